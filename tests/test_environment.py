"""The Gymnasium environments, and what an episode promises."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import rlagent_envs  # noqa: F401 (registers the environment)
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.batch import Stepped
from rlagent_envs.config import BASIC_KNOBS, KNOB_NAMES, EnvConfig
from rlagent_envs.episode import Start, draw, flops_spent
from rlagent_envs.gym_env import TuningEnv
from rlagent_envs.models import FAMILIES, MLP, Rung, ShapeClass
from rlagent_envs.observation import HIGHEST, LOWEST
from rlagent_envs.observation import NAMES as FEATURE_NAMES
from rlagent_envs.pool import Pool, fixed_task
from rlagent_envs.reward import FLOOR
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import TASKS, from_arrays, load_task
from rlagent_envs.tasks.task import Split
from rlagent_envs.training.bank import baseline_loss
from rlagent_envs.training.feed import bank_of, data_of
from rlagent_envs.vector_env import TuningVectorEnv

ID = "rlagent/Tuning-v0"
NAMES = list(knobs.KNOBS)
LEARNING_RATE = NAMES.index("learning_rate")

# Few and small programs, as compiling them takes longer than all else: four rungs of one task.
SHORT = EnvConfig(
    task="iris",
    decisions=(2, 6),
    updates_per_decision=(8.0, 12.0),
    depths=(1, 2),
    widths=(32,),
)
FIXED_RUNG = replace(
    SHORT, depths=(1,), knobs=tuple(name for name in BASIC_KNOBS if name != "growth")
)

SMALLEST: dict[str, Any] = {"depths": (1,), "widths": (32,)}

Policy = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


@pytest.fixture(autouse=True)
def small_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ladder of four rungs."""
    monkeypatch.setitem(FAMILIES, "mlp", replace(MLP, depths=(1, 2), widths=(32, 64)))


def make(config: EnvConfig = SHORT) -> TuningEnv:
    return TuningEnv(config)


def test_a_share_of_the_starts_is_plain() -> None:
    config = replace(SHORT, plain_start=0.3, schedule="cosine")
    starts = [draw(config, seed) for seed in range(400)]
    plain = [s.settings._replace(learning_rate=DEFAULT.learning_rate) == DEFAULT for s in starts]
    assert 0.2 < np.mean(plain) < 0.4
    assert all(start.schedule == "cosine" for start in starts)
    rates = [start.settings.learning_rate for start in starts]
    assert len(set(rates)) == len(rates)
    assert rates == [draw(SHORT, seed).settings.learning_rate for seed in range(400)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"schedule": "linear"},
            "unknown schedule 'linear'; there are: constant, cosine, "
            "one-cycle, step, exponential, warmup-cosine",
        ),
        ({"plain_start": 1.5}, "plain_start must be from 0 to 1, got 1.5"),
    ],
)
def test_a_start_that_makes_no_sense_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(SHORT, **changes)


def masked_choice(generator: np.random.Generator, mask: np.ndarray, _step: int) -> np.ndarray:
    """Any allowed level of each knob."""
    parts = np.split(mask, knobs.STARTS[1:-1])
    return np.array([generator.choice(np.flatnonzero(part)) for part in parts])


def play(env: TuningEnv, seed: int, policy: Policy = masked_choice) -> list[tuple[Any, ...]]:
    """All that an episode gives, from its reset on."""
    generator = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    given: list[tuple[Any, ...]] = [(observation, 0.0, False, False, info)]
    while not given[-1][2]:
        action = policy(generator, env.action_masks(), len(given) - 1)
        given.append(env.step(action))
    return given


def same(a: Any, b: Any) -> bool:
    """Bitwise equality, through dicts, lists and arrays."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


def action(**levels: int) -> np.ndarray:
    chosen = knobs.HOLD.copy()
    for name, level in levels.items():
        chosen[NAMES.index(name)] = level
    return chosen


# --- the interface


def test_gymnasium_is_content() -> None:
    check_env(gym.make(ID, config=SHORT).unwrapped)


def test_stable_baselines_is_content() -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(make())


def test_the_registry_makes_one_and_many() -> None:
    env = gym.make(ID, task="iris", decisions=[2, 3], **SMALLEST)
    assert isinstance(env.unwrapped, TuningEnv)
    assert env.unwrapped.pool.config == EnvConfig(task="iris", decisions=(2, 3), **SMALLEST)
    mode = "vector_entry_point"
    envs = gym.make_vec(ID, num_envs=3, vectorization_mode=mode, task="wine", **SMALLEST)
    assert isinstance(envs, TuningVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert (envs.num_envs, envs.pool.config.task) == (3, "wine")
    assert envs.observation_space.shape == (3, len(LOWEST))
    assert envs.action_space.shape == (3, len(knobs.KNOBS))


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(part) for key, part in value.items())
    if isinstance(value, list):
        return all(plain(part) for part in value)
    return type(value) in (bool, int, float, str)


def test_what_comes_back_is_numpy_and_plain_python() -> None:
    env = make()
    for observation, reward, terminated, truncated, info in play(env, 3):
        assert type(observation) is np.ndarray
        assert env.observation_space.contains(observation)
        assert (type(reward), type(terminated), truncated) == (float, bool, False)
        mask = info.pop("action_mask")
        assert (type(mask), mask.dtype, mask.shape) == (np.ndarray, bool, (sum(knobs.LEVELS),))
        assert plain(info), info
    assert {"valid_loss", "train_loss", "updates", "diverged", "improved"} <= info.keys()
    assert set(info["settings"]) == set(NAMES[:5])
    assert info["rung"] in {"32x1", "32x2", "64x1", "64x2"}


def test_nothing_given_is_shared_with_later_calls() -> None:
    def all_arrays(given: list[tuple[Any, ...]]) -> list[np.ndarray]:
        return [array for step in given for array in (step[0], step[4]["action_mask"])]

    expected, env = play(make(), 4), make()
    generator = np.random.default_rng(4)
    observation, info = env.reset(seed=4)
    given = [(observation, 0.0, False, False, info)]
    while not given[-1][2]:
        chosen = masked_choice(generator, env.action_masks(), 0)
        for array in all_arrays(given):
            array[...] = 0  # whoever does that harms nobody
        env.action_masks()[...] = False
        given.append(env.step(chosen))
        chosen[...] = 0
    assert same(given[-1], expected[-1])
    kept = all_arrays(expected)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(kept) for b in kept[:i])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"task": "iriss"} | SMALLEST,
            "^unknown task 'iriss'; there are: breast_cancer, diabetes, ",
        ),
        ({"decision": (2, 3)}, "^unknown environment setting 'decision'; there are: task, knobs, "),
        ({"decisions": 20}, r"^decisions must be a list of 2, got 20$"),
        ({"knobs": "dropout"}, r"^knobs must be a list, got 'dropout'$"),
        ({"canvases": 1}, r"^canvases must be true or false, got 1$"),
        ({"depths": (1, 9), "widths": (32,)}, r"^mlp has no rung 32x9; widths are "),
        ({"decisions": (0, 3)}, r"^decisions must be a range within 1 to 100000, got \(0, 3\)$"),
        ({"mode": "fast"}, "^unknown mode 'fast'; there are: sequential, vmap$"),
        (
            {"render_mode": "human"},
            "^there is nothing to render: render_mode is None, got 'human'$",
        ),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TuningEnv(**arguments)
    with pytest.raises(ValueError, match=text):
        TuningVectorEnv(2, **arguments)


def test_wrong_calls_are_answered_with_a_sentence() -> None:
    env = make()
    with pytest.raises(RuntimeError, match=r"^call reset\(\) before step\(\)$"):
        env.step(knobs.HOLD)
    with pytest.raises(ValueError, match=r"^reset takes no options, got budget$"):
        env.reset(options={"budget": 3})
    play(env, 0)
    with pytest.raises(RuntimeError, match=r"^the episode has ended: call reset\(\) before step"):
        env.step(knobs.HOLD)
    envs = TuningVectorEnv(2, SHORT)
    with pytest.raises(ValueError, match=r"^there are 2 environments, but 3 seeds$"):
        envs.reset(seed=[1, 2, 3])
    envs.reset(seed=1)
    with pytest.raises(ValueError, match=r"^there are 2 environments, but 1 actions$"):
        envs.step(knobs.HOLD[None])
    with pytest.raises(ValueError, match=r"^num_envs must be at least 1, got 0$"):
        TuningVectorEnv(0)


# --- what an episode may be


def test_a_share_of_episodes_is_judged_under_attack_or_may_change_its_architecture() -> None:
    config = EnvConfig(
        "iris",
        KNOB_NAMES,
        depths=(1,),
        widths=(32,),
        robust_share=0.3,
        robust_epsilon=(0.1, 0.2),
        architecture_share=0.4,
    )
    starts = [draw(config, seed) for seed in range(400)]
    robust = [one.robust_epsilon for one in starts if one.robust_epsilon]
    assert 0.2 < len(robust) / 400 < 0.4
    assert 0.1 <= min(robust) < max(robust) <= 0.2
    free = [one for one in starts if not one.held]
    assert 0.3 < len(free) / 400 < 0.5
    env = TuningEnv(config)
    for seed in range(12):
        env.reset(seed=seed)
        place = env.pool.place(0)
        assert place.episode.open_mask[knobs.STARTS[knobs.GROWTH] + knobs.WIDER] == (
            not place.start.held
        )


def test_programs_are_dropped_before_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Linux would end the process without a word."""
    cleared = []
    monkeypatch.setattr(jax, "clear_caches", lambda: cleared.append(True))
    monkeypatch.setattr(batch, "_shapes", set())
    shape = ShapeClass("mlp", Rung(1, 32), "classification", 4, 3, 32)
    monkeypatch.setattr(batch, "_most_memory_maps", lambda: 1000.0)
    monkeypatch.setattr(batch, "_memory_maps", lambda: 800)
    batch.make_room(shape)
    assert not cleared
    monkeypatch.setattr(batch, "_memory_maps", lambda: 801)
    batch.make_room(shape)  # there is one already
    assert not cleared
    other = replace(shape, features=5)
    batch.make_room(other)
    assert len(cleared) == 1
    assert batch._shapes == {other}


# --- masks


def test_a_masked_level_holds_and_is_named() -> None:
    mask = knobs.open_mask(("learning_rate", "restore"), load_task("iris"))
    knobs.close(mask, knobs.RESTORE, knobs.BEST)
    wanted = action(learning_rate=8, dropout=2, restore=1)
    allowed, names = knobs.held(wanted, mask)
    np.testing.assert_array_equal(allowed, action(learning_rate=8))
    assert names == ["dropout", "restore"]
    knobs.check_allowed(allowed, mask)
    np.testing.assert_array_equal(wanted, action(learning_rate=8, dropout=2, restore=1))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (action(dropout=3), "^dropout has levels 0 to 2, got 3$"),
        (action(growth=-1), "^growth has levels 0 to 2, got -1$"),
        (
            knobs.HOLD[:-1],
            r"^an action is \d+ whole numbers, a level for each knob; got ",
        ),
        (knobs.HOLD * 1.0, r"^an action is \d+ whole numbers, "),
    ],
)
def test_a_level_that_does_not_exist_is_refused(wrong: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        knobs.held(wrong, np.ones(knobs.STARTS[-1], bool))


def test_in_an_episode_a_masked_level_does_the_same_as_hold() -> None:
    held, masked = make(FIXED_RUNG), make(FIXED_RUNG)
    held.reset(seed=2)
    masked.reset(seed=2)
    expected = held.step(action(learning_rate=3))
    given = masked.step(action(learning_rate=3, growth=1, restore=1))
    assert given[4].pop("masked") == ["growth", "restore"]
    assert expected[4].pop("masked") == []
    assert same(given, expected)
    with pytest.raises(ValueError, match=r"^level 1 of growth \(wider\) is masked in this state$"):
        held.pool.step(action(growth=1)[None])


def test_what_a_mask_allows_is_never_masked() -> None:
    env = make()
    for seed in range(20):
        for *_, info in play(env, seed)[1:]:
            assert info["masked"] == []


# --- repeatable


def test_a_seed_is_an_episode() -> None:
    env = make()
    first = play(env, 11)
    assert same(play(env, 11), first)
    assert same(play(make(), 11), first)
    assert not same(play(env, 12)[1], first[1])


def test_without_a_seed_the_stream_goes_on() -> None:
    a, b = make(), make()
    a.reset(seed=5)
    b.reset(seed=5)
    streams = [[env.reset()[1]["seed"] for _ in range(3)] for env in (a, b)]
    assert streams[0] == streams[1]
    assert len({*streams[0], make().reset()[1]["seed"], make().reset()[1]["seed"]}) == 5


def test_in_a_vector_environment_each_plays_what_it_would_play_alone() -> None:
    count, seed = 3, 21
    envs = TuningVectorEnv(count, SHORT)
    alone = [make() for _ in range(count)]
    observations, infos = envs.reset(seed=seed)
    for number, env in enumerate(alone):
        observation, info = env.reset(seed=seed + number)
        assert same(observations[number], observation)
        assert infos["seed"][number] == info["seed"]
    generator, ended = np.random.default_rng(0), np.zeros(count, int)
    while ended.min() < 2:
        masks = envs.action_masks()
        actions = np.stack([masked_choice(generator, mask, 0) for mask in masks])
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        assert not truncated.any()
        assert observations.dtype == np.float32
        assert rewards.dtype == np.float64
        for number, env in enumerate(alone):
            assert same(masks[number], env.action_masks())
            observation, reward, end, _, info = env.step(actions[number])
            assert (rewards[number], terminated[number]) == (reward, end)
            own = infos
            if end:
                assert same(infos["final_obs"][number], observation)
                own = infos["final_info"]
                observation, fresh = env.reset()
                assert infos["seed"][number] == fresh["seed"]
                assert infos["_seed"][number]
                ended[number] += 1
            assert same(observations[number], observation)
            for name in ("valid_loss", "updates", "spent", "rung"):
                assert own[name][number] == info[name]
                assert own[f"_{name}"][number]
            assert own["settings"]["dropout"][number] == info["settings"]["dropout"]
        assert ("final_obs" in infos) == terminated.any()
        if terminated.any():
            np.testing.assert_array_equal(infos["_final_obs"], terminated)


@pytest.mark.parametrize("place", [0, 2])
def test_neighbours_do_not_matter(place: int) -> None:
    expected = play(make(), 31)
    pool = Pool(SHORT, 4)
    pool.seed([31 if number == place else 100 + number for number in range(4)])
    observations = [pool.begin_next(number) for number in range(4)]
    assert same(observations[place], expected[0][0])
    own, others = np.random.default_rng(31), np.random.default_rng(1)
    for observation, reward, *_ in expected[1:]:
        actions = [
            masked_choice(own if number == place else others, mask, 0)
            for number, mask in enumerate(pool.masks())
        ]
        stepped = pool.step(np.stack(actions))
        assert same(stepped[place].observation, observation)
        assert stepped[place].report.reward == reward
        for number, one in enumerate(stepped):
            if number != place and one.report.terminated:
                pool.begin_next(number)


def test_vmap_gives_the_same_but_for_roundings() -> None:
    """Of 120 such decisions the worst differed by 2.4e-7 in the loss, 1.2e-6 in a feature."""
    config = replace(
        FIXED_RUNG, decisions=(3, 3), learning_rate=(1e-3, 1e-2), knobs=("learning_rate", "dropout")
    )
    results: list[list[Stepped]] = []
    for mode in ("sequential", "vmap"):
        pool = Pool(config, 2, mode)
        for number in range(2):
            pool.begin(number, 40 + number)
        generator = np.random.default_rng(0)
        results.append([])
        for _ in range(3):
            chosen = np.stack([masked_choice(generator, mask, 0) for mask in pool.masks()])
            chosen[:, LEARNING_RATE] = np.clip(chosen[:, LEARNING_RATE], 1, 7)
            results[-1] += pool.step(chosen)
    for one, other in zip(*results, strict=True):
        assert one.report.updates == other.report.updates
        assert one.report.valid_loss == pytest.approx(other.report.valid_loss, rel=2e-6)
        assert one.report.reward == pytest.approx(other.report.reward, abs=2e-6)
        np.testing.assert_allclose(one.observation, other.observation, atol=1e-5)


@pytest.mark.parametrize("test", ["none", "other"])
def test_test_data_cannot_matter(test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = fixed_task("iris")
    part = None
    if test == "other":
        part = Split(np.full((5, 4), 1e6, np.float32), np.zeros(5, np.int32))
    assert task.test is not None
    changed = replace(task, test=part)
    monkeypatch.setitem(TASKS, f"iris-{test}", lambda: changed)
    expected = play(make(), 6)
    assert same(play(make(replace(SHORT, task=f"iris-{test}")), 6), expected)


# --- whatever the policy does


def always(*wanted: np.ndarray) -> Policy:
    """Asks for the given actions in turn, masked or not."""
    return lambda _generator, _mask, step: wanted[step % len(wanted)]


def any_level(generator: np.random.Generator, _mask: np.ndarray, _step: int) -> np.ndarray:
    return generator.integers(knobs.LEVELS)


HIGHEST_LEVELS = np.array(knobs.LEVELS) - 1
POLICIES: dict[str, Policy] = {
    "masked choice": masked_choice,
    "any level": any_level,
    "learning rate x10": always(action(learning_rate=8)),
    "learning rate x10 and restore": always(action(learning_rate=8, restore=1)),
    "learning rate / 10": always(action(learning_rate=0)),
    "wider": always(action(growth=knobs.WIDER)),
    "deeper": always(action(growth=knobs.DEEPER)),
    "wider, deeper, restore": always(
        action(growth=knobs.WIDER, learning_rate=8),
        action(growth=knobs.DEEPER),
        action(restore=1, growth=knobs.WIDER),
    ),
    "restore": always(action(restore=1)),
    "lowest": always(np.zeros_like(knobs.HOLD)),
    "highest": always(HIGHEST_LEVELS),
    "extremes": always(np.zeros_like(knobs.HOLD), HIGHEST_LEVELS),
}
HARSH = replace(
    SHORT,
    updates_per_decision=(1.0, 6.0),
    learning_rate=(1e-8, 1.0),
    momentum=(0.5, 0.99),
    group_dropout=0.2,
)


def hostile_steps() -> Iterator[tuple[str, tuple[Any, ...]]]:
    env = make(HARSH)
    for number in range(1000):
        name = list(POLICIES)[number % len(POLICIES)]
        for step in play(env, number, POLICIES[name]):
            yield name, step


def test_observations_are_finite_and_inside_whatever_the_policy() -> None:
    diverged = set()
    seen = []
    for name, (observation, reward, _, _, info) in hostile_steps():
        assert np.isfinite(observation).all(), name
        assert np.isfinite(reward), name
        assert -3.0 <= reward <= 3.0, name
        seen.append(observation)
        if info.get("diverged"):
            diverged.add(name)
        assert np.isfinite(list(info["settings"].values())).all(), name
    observations = np.stack(seen)
    assert (observations >= LOWEST).all()
    assert (observations <= HIGHEST).all()
    assert diverged  # else they were not hostile


# --- what an episode promises


def run_pool(config: EnvConfig, seed: int, policy: Policy) -> tuple[Pool, list[Stepped]]:
    """An episode, with all that is behind it."""
    pool, generator = Pool(config, 1), np.random.default_rng(seed)
    pool.begin(0, seed)
    steps: list[Stepped] = []
    while not steps or not steps[-1].report.terminated:
        mask = pool.masks()[0]
        chosen, _ = knobs.held(policy(generator, mask, len(steps)), mask)
        steps += pool.step(chosen[None])
    return pool, steps


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_a_divergence_puts_the_snapshot_back_and_nothing_else() -> None:
    config = replace(SHORT, decisions=(12, 12), depths=(1,), learning_rate=(1e-2, 1e-2))
    seen = 0
    for seed in range(8):
        pool = Pool(config, 1)
        pool.begin(0, seed)
        pool.step(action()[None])
        before = pool.place(0).episode
        assert before.at_best
        settings_at_best = np.asarray(before.run.books.settings)
        diverged = False
        for step in range(8):
            mask = pool.masks()[0]
            wanted = action(learning_rate=8, growth=knobs.WIDER, momentum=step % 3)
            chosen, _ = knobs.held(wanted, mask)
            before = pool.place(0).episode
            (stepped,) = pool.step(chosen[None])
            diverged = bool(stepped.report.diverged)
            if diverged or stepped.report.terminated:
                break
            if stepped.report.improved:
                settings_at_best = np.asarray(stepped.episode.run.books.settings)
        if not diverged:
            continue
        seen += 1
        after = stepped.episode
        assert after.shape == after.snapshot_shape == before.snapshot_shape
        assert same(leaves(after.run.live), leaves(before.snapshot))
        np.testing.assert_array_equal(after.run.books.settings, settings_at_best)
        assert tuple(after.run.books.rung[:2]) == after.shape.rung
        shown = stepped.observation[FEATURE_NAMES.index("learning_rate")]
        assert shown == pytest.approx((np.log10(settings_at_best[0]) + 3.0) / 3.0, abs=1e-5)
        old, new = before.run.books, after.run.books
        np.testing.assert_array_equal(new.key, old.key)
        assert int(new.updates) == int(old.updates) + stepped.report.updates
        assert int(new.decisions) == int(old.decisions) + 1
        assert int(new.divergences) == int(old.divergences) + 1
        assert float(new.spent) > float(old.spent)
        assert float(new.budget) == float(old.budget)
        assert stepped.report.reward == pytest.approx(-config.divergence_penalty, abs=1e-6)
        assert not pool.masks()[0][knobs.STARTS[knobs.RESTORE] + knobs.BEST]
        # The next batches are new ones: the same slice again would end elsewhere.
        (later,) = pool.step(action()[None])
        assert np.isfinite(later.report.valid_loss)
    assert seen >= 3


def test_weights_that_are_not_finite_are_a_divergence_too() -> None:
    pool = Pool(replace(SHORT, decisions=(6, 6)), 1)
    pool.begin(0, 2)
    pool.step(action()[None])
    place = pool.place(0)
    live = place.episode.run.live
    huge = live.replace(params=jax.tree.map(lambda leaf: np.float32(1e30) * leaf, live.params))
    run = place.episode.run.replace(live=huge)
    pool.places[0] = replace(place, episode=replace(place.episode, run=run))
    (stepped,) = pool.step(action()[None])
    assert stepped.report.diverged
    assert not np.isfinite(stepped.report.valid_loss)
    assert np.isfinite(stepped.observation).all()
    assert np.isfinite(stepped.report.reward)
    assert same(leaves(stepped.episode.run.live), leaves(place.episode.snapshot))
    (later,) = pool.step(action()[None])
    assert np.isfinite(later.report.valid_loss)
    assert np.isfinite(later.observation).all()


def test_a_divergence_goes_back_to_weights_that_are_worse_than_a_constant() -> None:
    generator = np.random.default_rng(0)
    task = from_arrays(generator.normal(size=(200, 4)), (np.arange(200) % 40 == 0).astype(int))
    data, mode, hold = data_of(task), batch.default_mode(), np.array(knobs.HOLD)[None]
    settings = DEFAULT._replace(learning_rate=1e-4)
    start = Start(seed=0, settings=settings, rung=Rung(1, 32), budget=40.0, decisions=4)
    episode = episodes.begin(task, bank_of(data), start, ())
    (first,) = batch.step([data], [episode], hold, mode)
    assert first.report.improved
    assert first.report.valid_loss > baseline_loss(task)
    assert first.report.reward == 0.0
    run = first.episode.run
    huge = jax.tree.map(lambda leaf: np.float32(1e30) * leaf, run.live.params)
    wrecked = run.replace(live=run.live.replace(params=huge))
    (second,) = batch.step([data], [replace(first.episode, run=wrecked)], hold, mode)
    assert second.report.diverged
    books = second.episode.run.books
    assert float(books.memory.valid_score) == float(books.safe_score)
    assert float(books.safe_score) == float(first.episode.run.books.memory.valid_score)
    assert same(leaves(second.episode.run.live), leaves(first.episode.run.live))


def test_a_restore_gives_the_best_weights_back_and_keeps_the_settings() -> None:
    config = replace(SHORT, decisions=(12, 12), depths=(1,), learning_rate=(1e-2, 1e-2))
    pool = Pool(config, 1)
    pool.begin(0, 1)
    pool.step(action()[None])
    pool.step(action(learning_rate=8, growth=knobs.WIDER)[None])
    (worse,) = pool.step(action(learning_rate=8)[None])
    assert not worse.report.improved
    snapshot = pool.place(0).episode.snapshot
    assert pool.masks()[0][knobs.STARTS[knobs.RESTORE] + knobs.BEST]
    # A restore that lowers the learning rate is a slice from the snapshot, at the lower rate.
    (restored,) = pool.step(action(restore=knobs.BEST, learning_rate=0)[None])
    assert restored.episode.shape == worse.episode.snapshot_shape
    in_force = worse.episode.run.books.settings
    assert in_force[0] > worse.episode.run.books.safe_settings[0]
    np.testing.assert_allclose(restored.episode.run.books.settings[0], 0.1 * in_force[0], rtol=1e-6)
    np.testing.assert_array_equal(restored.episode.run.books.settings[1:], in_force[1:])
    change = leaves(restored.episode.run.live.params)[0] - leaves(snapshot.params)[0]
    assert 0.0 < np.abs(change).max() < 1.0


def update_flops(shape: ShapeClass) -> tuple[float, float]:
    """Of an update, and of evaluating a piece: written out anew, layer by layer."""
    width = shape.rung.width
    sizes = [shape.features, *[width] * shape.rung.depth, shape.outputs]
    training = evaluating = 0.0
    for number, (rows, columns) in enumerate(pairwise(sizes)):
        product = 2.0 * shape.batch_size * rows * columns  # of one matrix product
        evaluating += product
        training += product * (2 if number == 0 else 3)
    return training, evaluating


@pytest.mark.parametrize("name", ["masked choice", "wider, deeper, restore", "learning rate x10"])
def test_the_budget_is_kept_and_evaluation_is_a_small_part_of_it(name: str) -> None:
    config = replace(SHORT, decisions=(4, 16), updates_per_decision=(8.0, 16.0))
    trained = evaluated = 0.0
    for seed in range(25):
        pool, steps = run_pool(config, seed, POLICIES[name])
        place = pool.place(0)
        pieces = int(place.episode.run.books.pieces)
        base = update_flops(replace(steps[0].episode.shape, rung=place.start.rung))[0]
        training = evaluation = 0.0
        # After a divergence the rung of a slice is gone: it is read off what the slice has cost.
        spent, ends = 0.0, [step.report.terminated for step in steps]
        for step in steps:
            rungs = [Rung(depth, width) for depth in (1, 2) for width in (32, 64)]
            bills = [update_flops(replace(step.episode.shape, rung=rung)) for rung in rungs]
            billed = (step.report.spent - spent) * base
            spent = step.report.spent
            totals = [(step.report.updates * a + pieces * b, (a, b)) for a, b in bills]
            total, (update, piece) = min(totals, key=lambda one: abs(one[0] - billed))
            assert billed == pytest.approx(total, rel=1e-3)
            training += step.report.updates * update
            evaluation += pieces * piece
        assert spent * base == pytest.approx(flops_spent(place.episode), rel=1e-6)
        assert spent * base == pytest.approx(training + evaluation, rel=1e-3)
        assert spent <= place.start.budget + (update + pieces * piece) / base
        assert place.start.budget - spent <= place.start.budget / place.start.decisions + 8.0
        assert evaluation < 0.15 * (training + evaluation)
        assert ends == [False] * (len(steps) - 1) + [True]
        trained, evaluated = trained + training, evaluated + evaluation
    assert evaluated < 0.13 * (trained + evaluated)


def test_there_are_about_as_many_decisions_as_drawn() -> None:
    config = replace(FIXED_RUNG, decisions=(2, 40))
    for seed in range(20):
        pool, steps = run_pool(config, seed, always(action()))
        assert abs(len(steps) - pool.place(0).start.decisions) <= 1


def test_rewards_add_up_to_the_improvement() -> None:
    episodes = 0
    for seed in range(20):
        pool, steps = run_pool(SHORT, seed, masked_choice)
        rewards = [step.report.reward for step in steps]
        if any(step.report.diverged for step in steps) or max(rewards) >= 3.0:
            continue
        episodes += 1
        losses = [step.report.valid_loss for step in steps]
        baseline = float(pool.place(0).episode.run.books.task[3])
        improvement = np.log(1.0 + FLOOR) - np.log(min(losses) / baseline + FLOOR)
        assert sum(rewards) == pytest.approx(max(improvement, 0.0), abs=1e-5)
    assert episodes > 10
