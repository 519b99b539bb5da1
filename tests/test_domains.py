"""Episodes on random tasks of every domain: one observation and one set of knobs for all."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import rlagent
from rlagent.apply.report import report
from rlagent.apply.request import Request, make_plan
from rlagent_envs import episode as episodes
from rlagent_envs import knobs
from rlagent_envs.config import DOMAINS, EnvConfig
from rlagent_envs.models import FAMILIES
from rlagent_envs.pool import Pool
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks.domains import SAMPLERS, sample
from rlagent_envs.tasks.procedural_common import CONTEXT
from rlagent_envs.tasks.procedural_tables import sample_table_task
from rlagent_envs.tasks.registry import load_task

EVEN = tuple((name, 1.0) for name in DOMAINS)
PAGE = Path(__file__).parents[1] / "docs" / "tasks_procedural.md"
APART = ("ratings", "rankings")  # whose rows are others at each difficulty


def test_a_config_names_the_domains_that_there_are() -> None:
    assert tuple(SAMPLERS) == DOMAINS
    for wrong, message in (
        ((("videos", 1.0),), f"domains has no 'videos'; there are: {', '.join(DOMAINS)}"),
        ((("texts", 0.0),), "the weight of the domain texts must be more than 0, got 0.0"),
        ((("tables", 1.0), ("tables", 2.0)), "domains names 'tables' twice"),
        ((), "domains must name at least one, got none"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            EnvConfig(domains=wrong)


@pytest.mark.parametrize("domain", [name for name in DOMAINS if name not in APART])
def test_a_difficulty_is_how_much_is_wrong(domain: str) -> None:
    """The same task with more of its targets and, but for languages, its inputs disturbed."""
    wrong, moved = np.zeros(2), np.zeros(2)
    for seed in (1, 2):
        easy, *others = (SAMPLERS[domain](seed, 0, level).train for level in (0.0, 0.5, 1.0))
        for place, other in enumerate(others):
            wrong[place] += np.abs(other.y.astype(float) - easy.y).mean()
            moved[place] += np.abs(other.x - easy.x).mean()
    assert 0.0 < wrong[0] < wrong[1]
    assert 0.0 < moved[0] < moved[1] or domain == "language"


def test_the_difficulty_of_ratings_is_the_share_of_noise() -> None:
    """What is left of the variance, once users and items are known, grows with it."""
    left = []
    for level in (0.0, 1.0):
        task = SAMPLERS["ratings"](6, 0, level)
        users, items = task.train.x.astype(int).T
        known = np.zeros((len(users), users.max() + items.max() + 2))
        known[np.arange(len(users)), users] = 1.0
        known[np.arange(len(users)), users.max() + 1 + items] = 1.0
        residual = Ridge(1e-3).fit(known, task.train.y).predict(known) - task.train.y
        left.append(residual.var() / task.train.y.var())
    assert left[1] > left[0] + 0.1


def test_a_config_may_say_how_difficult_tasks_are() -> None:
    ours = sample((("texts", 1.0),), 3, difficulty=(0.5, 0.5))
    np.testing.assert_array_equal(ours.train.y, SAMPLERS["texts"](3, 0, 0.5).train.y)
    drawn = sample((("texts", 1.0),), 3)
    np.testing.assert_array_equal(drawn.train.y, SAMPLERS["texts"](3, 0, None).train.y)
    pool = Pool(EnvConfig(task="procedural", difficulty=(0.2, 0.2), depths=(1,), widths=(32,)), 1)
    pool.begin(0, 3)
    expected = sample_table_task(3, 0, 0.2)
    np.testing.assert_array_equal(pool.place(0).task.train.x, expected.train.x)
    with pytest.raises(ValueError, match=r"^difficulty must be a range within 0 to 1, got "):
        EnvConfig(difficulty=(0.5, 2.0))
    with pytest.raises(ValueError, match=r"^difficulty must be a range \[low, high\], or none"):
        EnvConfig(difficulty=(0.5,))
    with pytest.raises(
        ValueError, match=r"^difficulty is of tasks drawn for each episode, not of 'iris'$"
    ):
        EnvConfig(task="iris", difficulty=(0.2, 0.5))


def test_tables_alone_are_the_tasks_that_they_were() -> None:
    ours, theirs = sample((("tables", 1.0),), 5), sample_table_task(5)
    np.testing.assert_array_equal(ours.train.x, theirs.train.x)
    assert ours.context == theirs.context


def test_domains_come_as_often_as_their_weights_say() -> None:
    # Only the draw is of interest, so that the tasks need not be made.
    weights = np.array([3.0, 1.0])
    drawn = [
        np.random.default_rng([seed, 6]).choice(2, p=weights / weights.sum()) for seed in range(200)
    ]
    assert 0.15 < np.mean(drawn) < 0.35
    domains = (("tables", 3.0), ("texts", 1.0))
    for seed in range(6):
        assert (sample(domains, seed).form == "tokens") == drawn[seed]


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_episode_of_each_domain(domain: str) -> None:
    config = EnvConfig(
        task="procedural",
        domains=((domain, 1.0),),
        decisions=(2, 2),
        updates_per_decision=(8.0, 8.0),
        depths=(1,),
        widths=(32,),
        robust_share=1.0,
        starts=(("mixup", 0.2, 0.4), ("augmentation", 0.1, 0.2)),
        knobs=("learning_rate", "growth", "mixup", "adversarial_epsilon"),
    )
    pool = Pool(config, 1, "sequential")
    observation = pool.begin(0, 3)
    task = pool.place(0).task
    assert len(task.context) == CONTEXT
    again = sample(config.domains, 3)
    np.testing.assert_array_equal(task.train.x, again.train.x)
    (stepped,) = pool.step(np.array(knobs.HOLD)[None])
    assert stepped.observation.shape == observation.shape
    assert np.isfinite(stepped.observation).all()
    assert np.isfinite(stepped.report.valid_loss)
    assert not stepped.report.diverged


def test_what_has_no_meaning_for_a_task_is_left_out_of_its_start() -> None:
    task = sample((("texts", 1.0),), 0)
    drawn = episodes.draw(
        EnvConfig(robust_share=1.0, starts=(("mixup", 0.2, 0.4),), dropout=(0.1, 0.1)), 1
    )
    start = episodes.suited(drawn, task)
    assert start.robust_epsilon == 0.0
    assert start.settings.mixup == DEFAULT.mixup
    assert start.settings.dropout == drawn.settings.dropout
    family, mlp = FAMILIES[task.family], FAMILIES["mlp"]
    assert family.depths.index(start.rung.depth) == mlp.depths.index(drawn.rung.depth)
    assert family.widths.index(start.rung.width) == mlp.widths.index(drawn.rung.width)
    table = sample_table_task(0)
    assert episodes.suited(drawn, table) == replace(drawn, settings=drawn.settings)


def test_the_page_has_each_domain_with_its_family() -> None:
    told = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert told == [(domain, SAMPLERS[domain](0, 0, None).family) for domain in DOMAINS]


def test_a_name_is_a_task_with_rows_to_test_on() -> None:
    task, expected = load_task("procedural:records:3", seed=9), SAMPLERS["records"](3, 1000, None)
    assert task.test is not None
    assert expected.test is not None
    np.testing.assert_array_equal(task.test.x, expected.test.x)
    np.testing.assert_array_equal(task.train.y, expected.train.y)
    table = load_task("procedural:3", batch_size=16)
    assert table.test is not None
    assert (table.batch_size, len(table.test.y)) == (16, 4000)
    with pytest.raises(ValueError, match=r"^target is for tables, but procedural:3 is drawn as it"):
        load_task("procedural:3", target="a")
    with pytest.raises(ValueError, match=r"^unknown domain 'clouds'; there are: tables, images, "):
        load_task("procedural:clouds:3")


@pytest.mark.parametrize("domain", ["rankings", "language"])
def test_folds_of_random_tasks_would_know_the_answers_as_those_of_real_ones(domain: str) -> None:
    task = SAMPLERS[domain](3, 0, None)
    with pytest.raises(ValueError, match=f"^folds has no meaning for procedural {domain}:3: "):
        make_plan(Request(folds=3), task, ())


@pytest.mark.parametrize(
    ("name", "share", "score"),
    [
        ("procedural:categories:12", 0.4, "r2"),
        ("procedural:records:11", 0.6, "r2"),
        ("procedural:rankings:13", 0.9, "auc"),
    ],
)
def test_a_random_task_is_tuned_by_its_name(
    name: str, share: float, score: str, tmp_path: Path
) -> None:
    """The loss is at most this share of that of the best constant."""
    result = rlagent.tune(name, method="cosine", updates=200, decisions=4, out=tmp_path / "run")
    assert result.summary["score_name"] == score
    assert result.summary["valid_loss"] < share * result.summary["baseline_loss"]
    assert result.summary["test_loss"] < share * result.summary["baseline_loss"]
    assert "rlagent predict" not in report(result)  # no file is of its form


def test_episodes_of_several_domains_are_alone_what_they_are_in_one_batch() -> None:
    config = EnvConfig(
        task="procedural",
        domains=tuple((name, 1.0) for name in ("categories", "records", "rankings")),
        decisions=(2, 2),
        updates_per_decision=(8.0, 8.0),
        learning_rate=(1e-3, 1e-3),
        depths=(1,),
        widths=(32,),
        knobs=("learning_rate",),
    )
    pool = Pool(config, 3, "vmap", test_rows=50)
    families: dict[str, int] = {}
    for seed in range(20):
        families.setdefault(sample(config.domains, seed).family, seed)
    assert len(families) == 3
    for place, seed in enumerate(families.values()):
        pool.begin(place, seed)
    together = pool.step(np.array([knobs.HOLD] * 3))
    for stepped, seed in zip(together, families.values(), strict=True):
        alone = Pool(config, 1, "vmap", test_rows=50)  # the programs are compiled already
        alone.begin(0, seed)
        (expected,) = alone.step(np.array([knobs.HOLD]))
        assert stepped.report.valid_loss == pytest.approx(expected.report.valid_loss, rel=1e-4)
        np.testing.assert_allclose(stepped.observation, expected.observation, atol=1e-3)
