"""Training a controller: the policy, SB3's view of the environment, checkpoints, the config."""

from __future__ import annotations

import io
import json
import re
import signal
import tomllib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecCheckNan, VecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlagent.controller.file import Controller, bind, load_controller
from rlagent.controller.policy import choose, log_probabilities
from rlagent.ppo import callbacks, training
from rlagent.ppo.beginning import begin_from
from rlagent.ppo.callbacks import Bar, Keeper
from rlagent.ppo.checkpoint import FORMAT_VERSION, load_checkpoint, save_checkpoint
from rlagent.ppo.config import TrainConfig, plain_values, read_config, train_config
from rlagent.ppo.places import PRIVILEGED, Places
from rlagent.ppo.training import make_model, train
from rlagent.ppo.vec_env import TuningVecEnv
from rlagent.ppo.workers import Worker, WorkerError
from rlagent.storage import read_arrays, write_arrays
from rlagent_envs.config import BASIC_KNOBS, KNOB_NAMES, EnvConfig
from rlagent_envs.knobs import HOLD, KNOBS, LEVELS, STARTS
from rlagent_envs.observation import FEATURES, HIGHEST, LOWEST, NAMES

# One shape class for the training and one for its evaluation: there is little to compile.
TINY = """
name = "tiny"
checkpoint_minutes = 0

[ppo]
decisions = 128
places = 4
rollout = 8
batch_size = 16
epochs = 2
hidden = [16, 16]
seed = 3

[environment]
task = "iris"
knobs = ["learning_rate", "weight_decay", "dropout", "momentum", "restore"]
decisions = [2, 6]
updates_per_decision = [8, 8]
depths = [1]
widths = [32]
group_dropout = 0.2

[evaluation]
every = 64
tasks = ["iris"]
seeds = 1
updates = 16
run_decisions = 2
"""
PLACES, DECISIONS = 4, 128
PROGRESS = NAMES.index("progress")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return read_config(toml(tmp_path_factory.mktemp("config"), TINY))


def toml(folder: Path, text: str) -> Path:
    path = folder / "training.toml"
    path.write_text(text)
    return path


def make(config: TrainConfig, kind: type[TuningVecEnv] = TuningVecEnv) -> MaskablePPO:
    """A model before training, its environment in it."""
    return make_model(config.ppo, kind(config.environment, config.ppo.places, config.ppo.seed))


def env_of(model: MaskablePPO) -> TuningVecEnv:
    assert isinstance(model.env, TuningVecEnv)
    return model.env


def step(
    env: VecEnv, actions: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:
    observations, rewards, dones, infos = env.step(actions)
    assert isinstance(observations, dict)
    return observations, rewards, dones, infos


def random_actions(env: TuningVecEnv, generator: np.random.Generator) -> np.ndarray:
    """For each place and knob one of the levels that the mask allows."""
    masks = get_action_masks(env)
    return np.array(
        [
            [generator.choice(np.flatnonzero(part)) for part in np.split(mask, STARTS[1:-1])]
            for mask in masks
        ]
    )


def real_decisions(
    config: TrainConfig, steps: int
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Observations and masks of all places, under random actions."""
    env = TuningVecEnv(config.environment, PLACES, seed=11)
    generator = np.random.default_rng(0)
    observations = env.reset()
    for _ in range(steps):
        yield observations, get_action_masks(env)
        observations, *_ = step(env, random_actions(env, generator))


def message_of(function: Callable[..., object], *arguments: Any, **keywords: Any) -> str:
    """The text of the ValueError that the function raises."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the callers compare all of the text)
        function(*arguments, **keywords)
    return str(caught.value)


# --- the policy ------------------------------------------------------------------------------


def stirred(config: TrainConfig) -> MaskablePPO:
    """A model whose weights are all far from zero, so that every input matters."""
    model = make(config)
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in model.policy.parameters():
            weights.normal_(0.0, 0.5)
    return model


@pytest.mark.parametrize("scale", [0.1, 1.0, 1e3, 1e30])
def test_what_the_critic_sees_does_not_move_the_actor(config: TrainConfig, scale: float) -> None:
    policy: Any = stirred(config).policy
    shown = torch.rand(64, len(FEATURES))
    seen = [{"observation": shown, "privileged": torch.randn(64, PRIVILEGED)} for _ in range(2)]
    seen[1]["privileged"] *= scale
    actions, *_ = policy(seen[0], deterministic=True)
    others, *_ = policy(seen[1], deterministic=True)
    assert torch.equal(actions, others)
    # From each path that leads to probabilities: rollouts, updates, predictions.
    levels = [
        torch.cat([one.probs for one in policy.get_distribution(parts).distributions], 1)
        for parts in seen
    ]
    assert torch.equal(*levels)
    log_probs = [policy.evaluate_actions(parts, actions)[1] for parts in seen]
    assert torch.equal(*log_probs)
    values = [policy.predict_values(parts) for parts in seen]
    assert not torch.isclose(values[0], values[1]).any()


def test_gradients_of_the_actor_to_what_the_critic_sees_are_zero(config: TrainConfig) -> None:
    policy: Any = stirred(config).policy
    shown = torch.rand(8, len(FEATURES), requires_grad=True)
    hidden = torch.randn(8, PRIVILEGED, requires_grad=True)
    parts = {"observation": shown, "privileged": hidden}
    actions = torch.as_tensor(HOLD).expand(8, -1)
    values, log_prob, entropy = policy.evaluate_actions(parts, actions)
    actor = log_prob.sum() + entropy.sum()
    to_shown, to_hidden = torch.autograd.grad(
        actor, (shown, hidden), retain_graph=True, materialize_grads=True
    )
    assert to_shown.ne(0).all()
    assert to_hidden.eq(0).all()
    to_shown, to_hidden = torch.autograd.grad(values.sum(), (shown, hidden))
    assert to_shown.ne(0).all()
    assert to_hidden.ne(0).all()


def test_a_new_policy_mostly_holds(config: TrainConfig) -> None:
    model = make(config)
    policy: Any = model.policy
    observations, masks = next(real_decisions(config, 1))
    parts = policy.obs_to_tensor(observations)[0]
    for number, one in enumerate(policy.get_distribution(parts).distributions):
        hold = one.probs[:, HOLD[number]]
        expected = np.e / (np.e + LEVELS[number] - 1)  # a bias of 1, the other logits near 0
        np.testing.assert_allclose(hold.detach(), expected, rtol=0.05)
    held, _ = model.predict(observations, deterministic=True, action_masks=masks)
    assert np.array_equal(held, np.tile(HOLD, (PLACES, 1)))


def test_the_policy_refuses_other_observations(config: TrainConfig) -> None:
    class Swapped(TuningVecEnv):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            assert isinstance(self.observation_space, spaces.Dict)
            parts = self.observation_space.spaces
            self.observation_space = spaces.Dict([("hidden", parts["privileged"]), *parts.items()])

    assert message_of(make, config, Swapped) == (
        "the observation space must be a dict that begins with `observation`"
    )


# --- SB3's view of the environment -----------------------------------------------------------


def test_the_environment_keeps_to_the_contract_of_sb3(config: TrainConfig) -> None:
    tuning = TuningVecEnv(config.environment, PLACES, seed=0)
    env = VecCheckNan(tuning, raise_exception=True)
    generator = np.random.default_rng(0)
    observations: Any = env.reset()
    returns, lengths, ended = np.zeros(PLACES), np.zeros(PLACES, int), 0
    for _ in range(30):
        kept = {name: (value, value.copy()) for name, value in observations.items()}
        observations, rewards, dones, infos = step(env, random_actions(tuning, generator))
        for value, copy in kept.values():  # what was handed out does not change afterwards
            assert np.array_equal(value, copy)
        assert list(observations) == ["observation", "privileged"]
        for number in range(PLACES):
            assert tuning.observation_space.contains(
                {k: v[number] for k, v in observations.items()}
            )
        assert rewards.shape == (PLACES,)
        assert rewards.dtype == np.float32
        assert dones.shape == (PLACES,)
        assert dones.dtype == np.bool_
        assert len(infos) == PLACES
        returns, lengths = returns + rewards, lengths + 1
        for number, info in enumerate(infos):
            if not dones[number]:
                assert info == {}
                continue
            ended += 1
            last = info["terminal_observation"]
            assert tuning.observation_space.contains(last)
            assert last["observation"][PROGRESS] > 0.5
            assert observations["observation"][number, PROGRESS] == 0.0  # the next one has begun
            assert info["TimeLimit.truncated"] is False
            assert info["episode"]["r"] == pytest.approx(returns[number], abs=1e-6)
            assert info["episode"]["l"] == lengths[number]
            returns[number], lengths[number] = 0.0, 0
    assert ended > 10


def test_spaces_say_what_the_parts_are(config: TrainConfig) -> None:
    env = TuningVecEnv(config.environment, PLACES, seed=0)
    assert isinstance(env.observation_space, spaces.Dict)
    shown, hidden = env.observation_space.spaces.values()
    assert shown == spaces.Box(LOWEST, HIGHEST, dtype=np.float32)
    assert hidden == spaces.Box(-5.0, 5.0, (PRIVILEGED,), np.float32)
    assert env.action_space == spaces.MultiDiscrete(list(LEVELS))


def test_masks_are_those_of_the_places(config: TrainConfig) -> None:
    env = TuningVecEnv(config.environment, PLACES, seed=0)
    env.reset()
    assert is_masking_supported(env)
    masks = get_action_masks(env)
    assert masks.shape == (PLACES, sum(LEVELS))
    assert masks.dtype == np.bool_
    assert np.array_equal(masks, env.masks)
    some = env.env_method("action_masks", indices=[2, 0])
    assert np.array_equal(some, masks[[2, 0]])
    assert message_of(env.env_method, "render") == (
        "unknown method 'render'; there is: action_masks"
    )
    assert message_of(env.set_attr, "pool", None) == (
        "pool cannot be set: the config of an environment is frozen"
    )
    assert env.env_is_wrapped(VecCheckNan) == [False] * PLACES  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_episodes(config: TrainConfig) -> None:
    first, second = (TuningVecEnv(config.environment, PLACES, seed) for seed in (5, 9))
    assert second.seed(5) == [5, 5, 5, 5]
    generator = np.random.default_rng(0)
    both = [first.reset(), second.reset()]
    for _ in range(8):  # over the ends of some episodes
        for name in both[0]:
            assert np.array_equal(both[0][name], both[1][name])
        actions = random_actions(first, generator)
        both = [step(env, actions)[0] for env in (first, second)]
    second.reset()
    assert not np.array_equal(first.reset()["privileged"], both[0]["privileged"])


def test_neighbouring_seeds_share_no_episode(config: TrainConfig) -> None:
    first, second = (TuningVecEnv(config.environment, PLACES, seed).reset() for seed in (5, 6))
    rows = [{row.tobytes() for row in one["privileged"]} for one in (first, second)]
    assert len(rows[0]) == len(rows[1]) == PLACES
    assert not rows[0] & rows[1]


# --- workers ---------------------------------------------------------------------------------


@pytest.fixture
def two_workers(config: TrainConfig) -> Iterator[TuningVecEnv]:
    env = TuningVecEnv(config.environment, PLACES, seed=5, workers=2)
    yield env
    env.close()


def assert_same_steps(one: TuningVecEnv, other: TuningVecEnv, steps: int) -> None:
    """Takes the same actions in both, over the ends of some episodes."""
    generator = np.random.default_rng(0)
    for _ in range(steps):
        masks = get_action_masks(one)
        assert np.array_equal(masks, get_action_masks(other))
        actions = random_actions(one, generator)
        np.testing.assert_equal(step(other, actions), step(one, actions))


def test_workers_give_the_same_episodes(config: TrainConfig, two_workers: TuningVecEnv) -> None:
    alone = TuningVecEnv(config.environment, PLACES, seed=5)
    np.testing.assert_equal(two_workers.reset(), alone.reset())
    assert_same_steps(alone, two_workers, 10)


def test_what_one_process_saved_goes_on_in_two(
    config: TrainConfig, two_workers: TuningVecEnv
) -> None:
    alone = TuningVecEnv(config.environment, PLACES, seed=9)
    alone.reset()
    generator = np.random.default_rng(1)
    for _ in range(3):
        alone.step(random_actions(alone, generator))
    arrays, facts = alone.save()
    two_workers.load(arrays, facts)
    again, facts_again = two_workers.save()
    assert facts_again == facts
    np.testing.assert_equal(again, arrays)
    assert_same_steps(alone, two_workers, 6)


def test_a_training_does_not_depend_on_its_workers(tmp_path: Path) -> None:
    path = toml(tmp_path, TINY)
    for workers in (1, 2):
        train(path, tmp_path / str(workers), workers=workers, quiet=True)
    one, two = (load_controller(tmp_path / name / "controller.safetensors") for name in ("1", "2"))
    np.testing.assert_equal(two.weights, one.weights)


def test_a_worker_that_dies_is_named_and_none_stays(two_workers: TuningVecEnv) -> None:
    two_workers.reset()
    processes = [part.process for part in two_workers._parts if isinstance(part, Worker)]
    processes[1].kill()
    processes[1].wait()
    with pytest.raises(WorkerError, match=r"^worker 1 has ended with status -9$"):
        two_workers.step(np.tile(HOLD, (PLACES, 1)))
    two_workers.close()
    assert [process.poll() for process in processes] == [-signal.SIGTERM, -signal.SIGKILL]


def test_after_the_death_of_a_worker_it_is_said_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(env: TuningVecEnv) -> Any:
        raise WorkerError("worker 1 has ended with status -9")

    monkeypatch.setattr(TuningVecEnv, "step_wait", died)
    out = tmp_path / "out"
    assert message_of(train, toml(tmp_path, TINY), out, quiet=True) == (
        f"worker 1 has ended with status -9, at decision 0; the checkpoint in {out} is of decision "
        f"0; go on with: rlagent train --resume --out {out}"
    )


def test_workers_must_have_a_place_each(config: TrainConfig) -> None:
    assert message_of(TuningVecEnv, config.environment, 4, 0, 0, 5) == (
        "workers must be from 1 to the 4 places, got 5"
    )


# --- what a decision is paid -----------------------------------------------------------------


def test_the_return_is_the_score_of_the_selected_weights_on_rows_never_seen() -> None:
    environment = EnvConfig(
        task="procedural", decisions=(3, 5), updates_per_decision=(8, 9), depths=(1,), widths=(32,)
    )
    places, other = (Places(environment, [7], reward_rows=256) for _ in range(2))
    places.reset()
    place = places.pool.place(0)
    assert place.task.test is not None
    assert len(place.task.test.x) == 256
    counts = np.bincount(place.task.train.y, minlength=place.task.outputs)
    constant = -np.log((counts / counts.sum())[place.task.test.y]).mean()
    total, done = 0.0, False
    while not done:
        places.send(HOLD[None])
        turn = places.receive()
        total, done = total + float(turn.rewards[0]), bool(turn.dones[0])
        other.load(*places.save())  # a checkpoint in between changes nothing
        places, other = other, places
        if not done:  # else the place has gone on to its next episode
            layers = places.pool.place(0).episode.snapshot.params
            loss = plain_loss(layers, place.task.test.x, place.task.test.y, place.task.outputs)
            score = np.log(loss / constant + 0.05)
            assert total == pytest.approx(np.log(1.05) - score, abs=1e-3)
    assert turn.infos[0]["episode"]["r"] == pytest.approx(total)


def plain_loss(layers: Any, x: np.ndarray, y: np.ndarray, classes: int) -> float:
    """The cross-entropy of a network with one hidden layer, padded in its inputs and outputs."""
    hidden, last = jax.tree.map(np.asarray, layers)
    inner = np.maximum(x @ hidden.kernel[: x.shape[1]] + hidden.bias, 0)
    outputs = (inner @ last.kernel + last.bias)[:, :classes]
    log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(x)), y].mean())


def test_rows_for_the_reward_need_tasks_without_end() -> None:
    values = {"ppo": {"reward_rows": 64}, "environment": {"task": "digits"}}
    assert message_of(train_config, values) == (
        "ppo.reward_rows needs environment.task 'procedural', which has rows without end, got "
        "'digits'"
    )


class Watched(TuningVecEnv):
    """Counts the masked levels that it is asked for, and those that a uniform choice would hit."""

    asked = masked = 0

    def step_async(self, actions: np.ndarray) -> None:
        masks = self.masks
        allowed = np.take_along_axis(masks, actions + STARTS[:-1], axis=1)
        assert allowed.all()
        self.asked += allowed.size
        self.masked += int((~masks).sum())
        super().step_async(actions)


def test_masked_actions_never_occur(config: TrainConfig) -> None:
    model = make(config, Watched)
    model.learn(64)
    env = env_of(model)
    assert isinstance(env, Watched)
    assert env.asked == 64 * len(LEVELS)
    assert env.masked > 64  # so it was tried
    unmasked = make(config)
    with pytest.raises(ValueError, match="is masked in this state"):
        unmasked.learn(64, use_masking=False)


# --- checkpoints -----------------------------------------------------------------------------


class StopError(Exception):
    """Stands for a kill."""


class SaveAt(BaseCallback):
    """Takes a checkpoint at the start of a rollout, then stops."""

    def __init__(self, decisions: int, path: Path) -> None:
        super().__init__()
        self.decisions, self.path = decisions, path

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == self.decisions:
            assert isinstance(self.model, MaskablePPO)
            save_checkpoint(self.model, env_of(self.model), self.path, {"note": 1})
            raise StopError


@pytest.fixture(scope="module")
def half(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint from the middle of a training."""
    path = tmp_path_factory.mktemp("half") / "checkpoint.safetensors"
    with pytest.raises(StopError):
        make(config).learn(DECISIONS, callback=SaveAt(DECISIONS // 2, path))
    return path


@pytest.fixture(scope="module")
def undisturbed(config: TrainConfig) -> dict[str, Any]:
    model = make(config)
    model.learn(DECISIONS)
    return end_state(model)


def end_state(model: MaskablePPO) -> dict[str, Any]:
    """What a training ends with, and what would come next."""
    env = env_of(model)
    optimizer = model.policy.optimizer.state_dict()["state"]
    state: dict[str, Any] = {f"weights {k}": v for k, v in model.policy.state_dict().items()}
    state |= {f"moments {n} {k}": v for n, one in optimizer.items() for k, v in one.items()}
    assert isinstance(model._last_obs, dict)
    state |= {f"observation {name}": value for name, value in model._last_obs.items()}
    state["starts"] = model._last_episode_starts
    state["recent returns"] = [one["r"] for one in model.ep_info_buffer or ()]
    state["next random numbers"] = [*torch.rand(3).tolist(), *np.random.random(3)]
    for number in range(6):
        after, rewards, dones, _ = step(env, np.tile(HOLD, (PLACES, 1)))
        state |= {f"step {number} {name}": value for name, value in after.items()}
        state[f"step {number}"] = [rewards, dones]
    return {name: np.asarray(value) for name, value in state.items()}


def resumed_end(
    config: TrainConfig, path: Path, spoil: Callable[[MaskablePPO], object]
) -> dict[str, Any]:
    model = make(config)
    assert load_checkpoint(model, env_of(model), path) == {"note": 1}
    spoil(model)
    model.learn(DECISIONS // 2, reset_num_timesteps=False)
    return end_state(model)


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


def test_a_resumed_training_ends_as_an_undisturbed_one(
    config: TrainConfig, half: Path, undisturbed: dict[str, Any]
) -> None:
    assert not differing(undisturbed, resumed_end(config, half, lambda model: None))


def places_of(model: MaskablePPO) -> Places:
    (places,) = env_of(model)._parts
    assert isinstance(places, Places)
    return places


def begin_other_runs(model: MaskablePPO, fresh: MaskablePPO) -> None:
    for number in range(PLACES):
        places_of(model).pool.begin(number, seed=number)
    env_of(model).masks = places_of(model).pool.masks()


# Each takes the model that goes on, and a fresh one, from which one part is taken.
PARTS: dict[str, Callable[[MaskablePPO, MaskablePPO], object]] = {
    "random numbers of torch": lambda model, fresh: torch.manual_seed(3),
    "random numbers of NumPy": lambda model, fresh: np.random.seed(3),
    "weights": lambda model, fresh: model.policy.load_state_dict(fresh.policy.state_dict()),
    "moments": lambda model, fresh: model.policy.optimizer.state.clear(),
    "decisions": lambda model, fresh: setattr(model, "num_timesteps", 0),
    "observation": lambda model, fresh: setattr(model, "_last_obs", env_of(fresh).reset()),
    "returns": lambda model, fresh: places_of(model).returns.fill(0.0),
    "recent episodes": lambda model, fresh: setattr(model, "ep_info_buffer", deque(maxlen=100)),
    "runs": begin_other_runs,
    "streams of seeds": lambda model, fresh: env_of(model).seed(3),
}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_a_checkpoint_is_needed(
    config: TrainConfig, half: Path, undisturbed: dict[str, Any], part: str
) -> None:
    fresh = make(config)  # before the other: it seeds the random states of the process
    spoiled = resumed_end(config, half, lambda model: PARTS[part](model, fresh))
    assert differing(undisturbed, spoiled)


def test_a_loaded_checkpoint_is_written_again_with_the_same_bytes(
    config: TrainConfig, half: Path, tmp_path: Path
) -> None:
    model = make(config)
    note = load_checkpoint(model, env_of(model), half)
    save_checkpoint(model, env_of(model), tmp_path / "again.safetensors", note)
    assert (tmp_path / "again.safetensors").read_bytes() == half.read_bytes()


def test_there_is_no_checkpoint_before_training(config: TrainConfig, tmp_path: Path) -> None:
    model = make(config)
    path = tmp_path / "checkpoint.safetensors"
    assert message_of(save_checkpoint, model, env_of(model), path, None) == (
        "a checkpoint can be taken once training has begun, not before"
    )
    assert not path.exists()


def load_error(config: TrainConfig, path: Path) -> str:
    model = make(config)
    return message_of(load_checkpoint, model, env_of(model), path)


def test_what_is_wrong_with_a_checkpoint_is_said_in_a_sentence(
    config: TrainConfig, half: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    whole = half.read_bytes()
    for length in (len(whole) // 2, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        assert load_error(config, path) == f"{path} is not a safetensors file, or it is damaged"
    arrays, metadata = read_arrays(half)
    write_arrays(path, arrays, metadata | {"format_version": 99})
    assert load_error(config, path) == (
        f"checkpoint {path} has format version 99; this rlagent reads: {FORMAT_VERSION}"
    )
    few = replace(config, ppo=replace(config.ppo, places=2))
    assert load_error(few, half) == f"checkpoint {half} has 4 places; the config has 2"
    narrow = replace(config, ppo=replace(config.ppo, hidden=(8, 8)))
    assert load_error(narrow, half) == (
        f"checkpoint {half} does not fit its config: mlp_extractor.policy_net.0.weight is "
        f"[16, {len(FEATURES)}], not [8, {len(FEATURES)}]"
    )
    missing = {name: value for name, value in arrays.items() if name != "random/torch"}
    write_arrays(path, missing, metadata)
    assert load_error(config, path) == f"checkpoint {path} is damaged: it lacks 'random/torch'"
    gone = "env/1/run.books.key"
    missing = {name: value for name, value in arrays.items() if name != gone}
    write_arrays(path, missing, metadata)
    assert load_error(config, path) == (
        f"checkpoint {path} does not fit its config: the checkpoint lacks the array run.books.key"
    )


# --- a whole training ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole training."""
    folder = tmp_path_factory.mktemp("trained")
    summary = train(toml(folder, TINY), folder / "out", quiet=True)
    assert summary["controller"] == str(folder / "out" / "controller.safetensors")
    assert summary["decisions"] == DECISIONS
    assert summary["evaluation"]["decisions"] == DECISIONS
    return folder / "out"


LASTING = ("config.json", "controller.safetensors", "checkpoint.safetensors")
LOGS = ("rollouts.jsonl", "evaluations.jsonl")


def test_a_training_logs_what_happened(trained: Path) -> None:
    lines = {
        name: list(map(json.loads, (trained / name).read_text().splitlines())) for name in LOGS
    }
    assert [one["decisions"] for one in lines["rollouts.jsonl"]] == [32, 64, 96, 128]
    assert [one["decisions"] for one in lines["evaluations.jsonl"]] == [64, 128]
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    for name in ("return", "best_score", "length", "divergences"):
        written = [(one.step, one.value) for one in scalars[f"episodes/{name}"]]
        expected = [(one["decisions"], one[name]) for one in lines["rollouts.jsonl"]]
        np.testing.assert_allclose(written, expected, rtol=1e-6)
    for name in ("iris", "mean"):
        values = [one.value for one in scalars[f"evaluation/{name}"]]
        expected = [one[name] for one in lines["evaluations.jsonl"]]
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    wanted = ("policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction")
    for name in (*wanted, "explained_variance", "learning_rate"):
        assert len(scalars[f"train/{name}"]) == 4, name


@pytest.mark.parametrize("decision", [4, 40, 64, 68, 128])
def test_after_ctrl_c_a_training_goes_on_to_the_same_end(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decision: int
) -> None:
    folder = tmp_path / "out"
    step_wait, steps = TuningVecEnv.step_wait, iter(range(PLACES, DECISIONS + 1, PLACES))

    def interrupted(env: TuningVecEnv) -> Any:
        if next(steps) == decision:
            signal.raise_signal(signal.SIGINT)
        return step_wait(env)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(TuningVecEnv, "step_wait", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(toml(tmp_path, TINY), folder, quiet=True)
    assert signal.getsignal(signal.SIGINT) is before
    assert str(caught.value) == (
        f"interrupted at decision {decision}; the checkpoint in {folder} is of decision "
        f"{(decision - 1) // 32 * 32}; go on with: rlagent train --resume --out {folder}"
    )
    load_controller(folder / "controller.safetensors")
    monkeypatch.setattr(TuningVecEnv, "step_wait", step_wait)
    (folder / ".0123.tmp").write_bytes(b"left by a kill in the midst of writing")
    train(None, folder, resume=True, quiet=True)
    for name in (*LASTING, *LOGS):
        assert (folder / name).read_bytes() == (trained / name).read_bytes(), name
    assert {one.name for one in folder.iterdir()} == {*LASTING, *LOGS, "tensorboard"}


def test_a_second_ctrl_c_does_not_wait_and_no_checkpoint_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(env: TuningVecEnv) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TuningVecEnv, "step_wait", interrupted)
    config = toml(tmp_path, TINY.replace("checkpoint_minutes = 0", ""))
    with pytest.raises(KeyboardInterrupt) as caught:
        train(config, tmp_path / "out", quiet=True)
    assert str(caught.value) == (
        f"interrupted at decision 0; there is no checkpoint yet; go on with: "
        f"rlagent train --resume --out {tmp_path / 'out'}"
    )


def test_a_finished_training_can_be_prolonged(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in (*LASTING, *LOGS):
        (folder / name).write_bytes((trained / name).read_bytes())
    assert train(None, folder, resume=True, quiet=True)["decisions"] == DECISIONS
    for name in (*LASTING, *LOGS):
        assert (folder / name).read_bytes() == (trained / name).read_bytes(), name
    assert train(None, folder, resume=True, decisions=160, quiet=True)["decisions"] == 160
    assert json.loads((folder / "config.json").read_text())["ppo"]["decisions"] == 160


def test_the_progress_bar_shows_decisions_and_the_time_left(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(callbacks, "PLAIN_SECONDS", 0.0)
    train(toml(tmp_path, TINY), tmp_path / "out")
    output = capsys.readouterr()
    assert output.out == ""
    # Standard error is no terminal here: a line for each rollout, and one at the end.
    first, *_, last = output.err.splitlines()
    assert re.fullmatch(r" *\d+%  \d+ of 128 decisions  return -?\d\.\d{3}", first)
    assert last.startswith("100%  128 of 128 decisions  return ")
    for name in (*LASTING, *LOGS):  # it only looks on
        assert (tmp_path / "out" / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.parametrize(("terminal", "drawn"), [("xterm", True), ("dumb", False)])
def test_a_bar_is_drawn_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, terminal: str, *, drawn: bool
) -> None:
    monkeypatch.setenv("TERM", terminal)
    assert Bar(10, Console(file=io.StringIO(), force_terminal=True)).bar.disable is not drawn


def test_a_bar_that_never_began_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    Bar(10).close()
    assert capsys.readouterr() == ("", "")


# --- the controller file ---------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_controller_file_chooses_as_the_policy_does(
    config: TrainConfig, trained: Path, tmp_path: Path, scale: float
) -> None:
    """Once as trained, and once with opinions: after so short a training there are hardly any."""
    model = make(config)
    policy: Any = model.policy
    keeper = Keeper(config, env_of(model), tmp_path)
    load_checkpoint(model, env_of(model), trained / "checkpoint.safetensors")
    with torch.no_grad():
        assert isinstance(model.policy.action_net, torch.nn.Linear)
        model.policy.action_net.weight *= scale
    keeper._keep(model)
    file = keeper.controller_file if scale != 1.0 else trained / "controller.safetensors"
    controller = load_controller(file)
    assert file.stat().st_size < 2e6
    assert list(controller.knobs) == list(config.environment.knobs)
    assert controller.training["config"] == plain_values(config)

    binding = bind(controller, FEATURES, KNOBS)
    batched = jax.jit(jax.vmap(partial(log_probabilities, controller.policy)))
    chosen = jax.jit(jax.vmap(partial(choose, controller.policy)))
    same = 0
    for observations, masks in real_decisions(config, 20):
        parts = policy.obs_to_tensor(observations)[0]
        with torch.no_grad():
            theirs = policy.get_distribution(parts, action_masks=masks).distributions
        expected = torch.cat([one.logits for one in theirs], 1).numpy()[:, binding.level_indices]
        own = np.stack([binding.own_observation(row) for row in observations["observation"]])
        own_masks = np.stack([binding.own_mask(mask) for mask in masks])
        ours = np.asarray(batched(own, own_masks))
        assert np.abs(ours - expected)[own_masks].max() < 1e-5
        assert (ours[~own_masks] == -1e8).all()
        actions, _ = model.predict(observations, deterministic=True, action_masks=masks)
        levels = np.asarray(chosen(own, own_masks))
        for number in range(PLACES):
            full = binding.full_action(levels[number])
            for knob in np.flatnonzero(full != actions[number]):
                pair = STARTS[knob] + [full[knob], actions[number, knob]]
                logits = torch.cat([one.logits for one in theirs], 1).numpy()[number, pair]
                assert abs(logits[0] - logits[1]) < 1e-5
            same += int((full == actions[number]).sum())
    assert same > 0.99 * 20 * PLACES * len(KNOBS)


def test_the_controller_of_the_default_sizes_is_below_2_mb(
    config: TrainConfig, tmp_path: Path
) -> None:
    default = read_config(training.SHIPPED_CONFIG)
    wide = replace(config, ppo=replace(config.ppo, hidden=default.ppo.hidden))
    model = make(wide)
    model.learn(32)
    keeper = Keeper(wide, env_of(model), tmp_path)
    keeper._keep(model)
    assert keeper.controller_file.stat().st_size < 2e6


# --- a training that begins from a controller --------------------------------------------------


def controller_of(config: TrainConfig, folder: Path) -> Controller:
    """The controller of an untrained policy."""
    model = make(config)
    return Keeper(config, env_of(model), folder)._controller(model)


def test_a_training_begins_with_the_policy_of_a_controller_that_had_fewer_knobs(
    tmp_path: Path, config: TrainConfig
) -> None:
    controller = controller_of(config, tmp_path)
    assert set(controller.knobs) == set(config.environment.knobs)
    wider = replace(
        config,
        environment=replace(config.environment, knobs=KNOB_NAMES),
        ppo=replace(config.ppo, seed=9, hold_bias=4.0),
    )
    fresh = make(wider)
    before = {name: value.clone() for name, value in fresh.policy.state_dict().items()}
    begin_from(fresh, controller)
    binding = bind(controller, FEATURES, KNOBS)
    mixup = STARTS[list(KNOBS).index("mixup")]
    for observations, masks in real_decisions(config, 2):
        told: Any = fresh.policy.get_distribution(
            {name: torch.as_tensor(value) for name, value in observations.items()}
        )
        for number, mask in enumerate(masks):
            own = np.ones_like(binding.own_mask(mask))
            expected = log_probabilities(
                controller.policy, observations["observation"][number], own
            )
            logits = [one.logits[number].detach().numpy() for one in told.distributions]
            ours = np.concatenate(logits)
            np.testing.assert_allclose(ours[binding.level_indices], expected, atol=1e-5)
            assert np.exp(ours[mixup + 1]) > 0.8  # what the controller did not move is near hold
    after = fresh.policy.state_dict()
    for name, value in before.items():
        if "value_net" in name:  # the critic begins anew
            np.testing.assert_array_equal(after[name], value)


def test_a_controller_of_another_size_cannot_begin_a_training(
    tmp_path: Path, config: TrainConfig
) -> None:
    larger = replace(config, ppo=replace(config.ppo, hidden=(16, 32)))
    with pytest.raises(
        ValueError,
        match=r"^begin_from needs a controller with hidden layers of \[16, 32\], but tiny has "
        r"\[16, 16\]$",
    ):
        begin_from(make(larger), controller_of(config, tmp_path))


def test_the_config_of_the_full_controller_makes_sense() -> None:
    config = read_config(training.SHIPPED_CONFIG.with_name("full.toml"))
    # The training has no residual networks, which alone have blocks to skip.
    assert {*config.environment.knobs, "stochastic_depth"} == set(KNOB_NAMES)
    assert config.begin_from == "basic"
    assert train_config(json.loads(json.dumps(plain_values(config)))) == config


# --- the config ------------------------------------------------------------------------------


def test_the_shipped_config_means_what_it_says() -> None:
    config = read_config(training.SHIPPED_CONFIG)
    said = tomllib.loads(training.SHIPPED_CONFIG.read_text())
    assert said.pop("name") == config.name == "basic"
    for part, values in said.items():
        for name, value in values.items():
            expected = tuple(value) if isinstance(value, list) else value
            assert getattr(getattr(config, part), name) == expected
    ppo, environment = config.ppo, config.environment
    assert ppo.decisions >= 500_000
    assert ppo.gamma == 1.0  # the return of an episode is the improvement of the whole run
    assert environment.task == "procedural"
    low, high = environment.learning_rate
    assert low <= 1e-5 <= 1e-1 <= high  # four decades at least
    assert ppo.reward_rows > 0
    assert environment.knobs == BASIC_KNOBS
    assert environment.group_dropout > 0.0
    assert config.evaluation.tasks == ("breast_cancer", "diabetes", "digits", "iris", "wine")


def test_without_a_config_the_shipped_one_holds(tmp_path: Path) -> None:
    shipped = replace(read_config(training.SHIPPED_CONFIG))
    settings = training._settings(None, tmp_path, resume=False, decisions=None, seed=7)
    assert settings == replace(shipped, ppo=replace(shipped.ppo, seed=7))


def test_a_config_survives_json(config: TrainConfig) -> None:
    assert train_config(json.loads(json.dumps(plain_values(config)))) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "speed = 1",
            "unknown setting speed; there are: name, begin_from, checkpoint_minutes, ppo, "
            "environment, evaluation",
        ),
        (
            "[evaluation]\nseed = 1",
            "unknown setting evaluation.seed; there are: every, tasks, seeds, updates, "
            "run_decisions",
        ),
        (
            "[ppo]\nlr = 1",
            "unknown setting ppo.lr; there are: decisions, reward_rows, places, rollout, "
            "batch_size, epochs, learning_rate, entropy, clip, gamma, gae_lambda, value_weight, "
            "hidden, hold_bias, seed",
        ),
        ("ppo = 3", "ppo must be a table, got 3"),
        ("name = 3", "name must be text, got 3"),
        ('name = ""', "name must not be empty"),
        ("checkpoint_minutes = -1", "checkpoint_minutes must be at least 0, got -1"),
        ("checkpoint_minutes = nan", "checkpoint_minutes must be at least 0, got nan"),
        ('[ppo]\ndecisions = "many"', "ppo.decisions must be a whole number, got 'many'"),
        ("[ppo]\ndecisions = 1e6", "ppo.decisions must be a whole number, got 1000000.0"),
        ("[ppo]\ndecisions = true", "ppo.decisions must be a whole number, got True"),
        ("[ppo]\ndecisions = 0", "decisions must be at least 1, got 0"),
        ("[ppo]\nbatch_size = 1", "batch_size must be at least 2, got 1"),
        (
            "[ppo]\nbatch_size = 500",
            "batch_size must divide places x rollout = 2048, got 500",
        ),
        ("[ppo]\ngamma = 1.5", "gamma must be above 0 and at most 1, got 1.5"),
        ("[ppo]\nclip = nan", "clip must be above 0 and at most 1, got nan"),
        ("[ppo]\nlearning_rate = 0", "learning_rate must be above 0 and at most 1, got 0"),
        ("[ppo]\nentropy = inf", "entropy must be from 0 to 1, got inf"),
        ("[ppo]\nseed = -1", "seed must be from 0 to 2147483648, got -1"),
        ("[ppo]\nhidden = 64", "ppo.hidden must be a list, got 64"),
        ("[ppo]\nhidden = []", "hidden must name sizes from 1 up, got ()"),
        ("[ppo]\nhidden = [64.5]", "ppo.hidden must be a whole number, got 64.5"),
        ("[environment]\ndecisions = 5", "environment.decisions must be a list of 2, got 5"),
        (
            "[environment]\ndecisions = [5, 2]",
            "decisions must be a range within 1 to 100000, got (5, 2)",
        ),
        (
            '[environment]\nknobs = ["speed"]',
            f"unknown knob 'speed'; there are: {', '.join(KNOB_NAMES)}",
        ),
        (
            '[environment]\nknobs = ["dropout", "dropout"]',
            "a knob is named twice in dropout, dropout",
        ),
        (
            '[evaluation]\ntasks = ["moons"]',
            "unknown task 'moons'; there are: breast_cancer, diabetes, digits, iris, wine",
        ),
        ("[evaluation]\ntasks = []", "tasks must name at least one, got none"),
        ("[evaluation]\nupdates = 5", "updates must be at least run_decisions = 25, got 5"),
        (
            "[environment]\nwidths = [100]",
            "mlp has no rung 100x1; widths are 32, 64, 128, 256 and depths 1, 2, 3, 4",
        ),
        (
            '[environment]\ntask = "moons"',
            "unknown task 'moons'; there are: breast_cancer, diabetes, digits, iris, wine, "
            "or give a .csv, .tsv, .parquet, .jsonl, .npz, .npy, .ts or .txt file, a folder of "
            "images or of .wav files, or a .zip or .tar of it",
        ),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_before_anything_is_written(
    tmp_path: Path, text: str, message: str
) -> None:
    for workers in (1, 2):
        given = {"quiet": True, "workers": workers}
        assert message_of(train, toml(tmp_path, text), tmp_path / "out", **given) == message
        assert not (tmp_path / "out").exists()


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert message_of(read_config, path) == (
        f"cannot read the config {path}: No such file or directory"
    )
    assert message_of(read_config, tmp_path) == (
        f"cannot read the config {tmp_path}: Is a directory"
    )
    path = toml(tmp_path, "decisions 5")
    assert message_of(read_config, path) == (
        f"{path} is no valid TOML: Expected '=' after a key in a key/value pair "
        f"(at line 1, column 11)"
    )
    path.write_bytes(b"name = '\xff'")
    assert message_of(read_config, path).startswith(f"{path} is no valid TOML: 'utf-8' codec")


def test_a_folder_is_not_trained_in_twice_by_mistake(trained: Path, tmp_path: Path) -> None:
    before = {name: (trained / name).read_bytes() for name in LASTING}
    config = toml(tmp_path, TINY)
    assert message_of(train, config, trained) == (
        f"{trained} holds a training already; resume it or name another folder"
    )
    assert message_of(train, config, trained, resume=True) == (
        f"--resume goes on with the config in {trained}; give no other"
    )
    assert message_of(train, None, trained, resume=True, seed=5) == (
        f"the training in {trained} has seed 3, got 5"
    )
    assert message_of(train, None, tmp_path, resume=True) == (
        f"{tmp_path} holds no training to go on with"
    )
    assert message_of(train, None, tmp_path / "none", resume=True) == (
        f"{tmp_path / 'none'} holds no training to go on with"
    )
    assert message_of(train, config, config) == f"cannot write to {config}: File exists"
    assert {name: (trained / name).read_bytes() for name in LASTING} == before
    (tmp_path / "config.json").write_text("{")
    assert message_of(train, None, tmp_path, resume=True).startswith(
        f"{tmp_path / 'config.json'} is damaged: "
    )
