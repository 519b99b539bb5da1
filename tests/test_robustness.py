"""Runs that are judged under attack, and how a finished model does under it."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

import rlagent
from rlagent.apply.request import Request, make_plan
from rlagent.apply.robustness import worst_case
from rlagent.cli import main
from rlagent_envs import batch, knobs
from rlagent_envs import episode as episodes
from rlagent_envs.books import RungFacts, TaskFacts
from rlagent_envs.episode import Episode, Start
from rlagent_envs.models import Rung
from rlagent_envs.observation import NAMES
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks import from_arrays, load_task
from rlagent_envs.tasks.task import Split, Task
from rlagent_envs.training.adversarial import JUDGE_STEPS, ROBUST
from rlagent_envs.training.bank import Bank, make_bank

FEATURES, ROWS, VALID, BATCH_SIZE = 6, 96, 40, 32
SMALL = Rung(1, 32)
EPSILON = 0.3


@cache
def make_task() -> tuple[Task, Bank]:
    """Two classes, told apart by a single column."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((ROWS + VALID, FEATURES)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    parts = Split(x[:ROWS], y[:ROWS]), Split(x[ROWS:], y[ROWS:])
    task = Task("rows", "classification", *parts, None, 2, BATCH_SIZE)
    return task, jax.device_put(make_bank(task, padded=False))


def begin(epsilon: float, task: Task | None = None, **changes: Any) -> Episode:
    own, bank = make_task()
    start = Start(3, DEFAULT, SMALL, 60.0, 3, robust_epsilon=epsilon, **changes)
    return episodes.begin(task or own, bank, start, ())


def linear(episode: Episode, weight: float) -> Episode:
    """The run with a network that is the first column: its logits are +-weight times it."""
    first, last = episode.run.live.params
    kernel = np.zeros_like(first.kernel)
    kernel[0, :2] = [1.0, -1.0]
    out = np.zeros_like(last.kernel)
    out[:2] = [[-weight, weight], [weight, -weight]]
    params = (
        first._replace(kernel=kernel, bias=np.zeros_like(first.bias)),
        last._replace(kernel=out, bias=np.zeros_like(last.bias)),
    )
    return replace(episode, run=episode.run.replace(live=episode.run.live.replace(params=params)))


def judge(episode: Episode, epsilon: float, pieces: int = 2) -> Any:
    _, bank = make_task()
    return batch.evaluate_one(
        episode.shape,
        bank,
        np.int32(0),
        episode.run.live,
        np.int32(pieces),
        np.float32(0.0),
        np.float32(epsilon),
    )


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- judging


@pytest.mark.parametrize("epsilon", [0.0, EPSILON])
def test_a_linear_network_is_judged_at_the_worst_point_of_the_ball(epsilon: float) -> None:
    """For which that point is known: the column moved by epsilon towards the other class."""
    task, _ = make_task()
    judged = judge(linear(begin(EPSILON), 2.0), epsilon)
    side = np.where(task.valid.y == 1, 1.0, -1.0)

    def loss(column: np.ndarray) -> np.ndarray:
        return np.log1p(np.exp(-4.0 * side * column))

    clean, moved = loss(task.valid.x[:, 0]), loss(task.valid.x[:, 0] - epsilon * side)
    assert float(judged.robust_loss) == pytest.approx(moved.mean(), rel=1e-4)
    assert float(judged.clean_loss) == pytest.approx(clean.mean(), rel=1e-4)
    assert float(judged.loss) == pytest.approx((clean.mean() + moved.mean()) / 2, rel=1e-4)
    robust = np.mean(side * task.valid.x[:, 0] > epsilon)
    assert float(judged.robust_hits) == pytest.approx(robust, rel=1e-5)
    assert float(judged.hits) == pytest.approx((1.0 + robust) / 2, rel=1e-5)


def test_a_column_that_is_no_quantity_is_not_attacked() -> None:
    _, bank = make_task()
    fixed = np.array([False] + [True] * (FEATURES - 1))
    still = bank.replace(continuous=fixed[None].astype(np.float32))
    episode = linear(begin(EPSILON), 2.0)
    _, hits, _, robust_hits, _ = batch.evaluate_one(
        episode.shape,
        still,
        np.int32(0),
        episode.run.live,
        np.int32(2),
        np.float32(0.0),
        np.float32(EPSILON),
    )
    assert float(robust_hits) == float(hits) == 1.0


def test_judging_under_attack_is_billed_and_observed() -> None:
    plain, robust = begin(0.0), begin(EPSILON)
    facts = [RungFacts.of(one.shape) for one in (plain, robust)]
    passes = 1 + (2 * JUDGE_STEPS + 1)  # as they are; to and fro at each step, and the result
    assert facts[1].piece_flops == pytest.approx(passes * facts[0].piece_flops)
    assert facts[1].update_flops == facts[0].update_flops
    place = NAMES.index("robust_epsilon")
    seen = [batch.observe(one)[place] for one in (plain, robust, begin(10.0))]
    assert seen[0] == -1.0 < seen[1] < seen[2] == 1.0


def test_a_run_is_selected_by_what_it_is_judged_by() -> None:
    _, bank = make_task()
    (stepped,) = batch.step([bank], [begin(EPSILON)], knobs.HOLD[None], "sequential")
    report = stepped.report
    assert report.robust_loss > report.valid_loss > 0.0  # the mean with the loss of clean rows
    judged = judge(stepped.episode, EPSILON, int(stepped.episode.run.books.pieces))
    assert report.robust_loss == pytest.approx(float(judged.robust_loss), rel=1e-5)
    facts = stepped.episode.run.books
    expected = np.log(report.valid_loss / facts.task[3] + 0.05)
    assert report.best_score == pytest.approx(min(expected, np.log(1.05)), rel=1e-4)


def test_training_against_attacks_makes_a_run_more_robust() -> None:
    """An epsilon at which a plain network is often wrong."""
    _, bank = make_task()
    robust_loss = {}
    for name, settings in {
        "plain": DEFAULT._replace(learning_rate=0.02),
        "trained": DEFAULT._replace(learning_rate=0.02, adversarial_epsilon=0.5),
    }.items():
        start = Start(3, settings, SMALL, 400.0, 4, robust_epsilon=0.5)
        episode = episodes.begin(make_task()[0], bank, start, ())
        for _ in range(3):
            (stepped,) = batch.step([bank], [episode], knobs.HOLD[None], "sequential")
            episode = stepped.episode
        robust_loss[name] = stepped.report.robust_loss
    assert robust_loss["trained"] < 0.8 * robust_loss["plain"]


def test_a_run_that_is_wrong_under_a_strong_attack_has_not_diverged() -> None:
    """There the loss is above any that rows as they are have before weights explode."""
    task, bank = make_task()
    start = Start(3, DEFAULT._replace(learning_rate=0.03), SMALL, 600.0, 2, robust_epsilon=5.0)
    episode = episodes.begin(task, bank, start, ())
    (stepped,) = batch.step([bank], [episode], knobs.HOLD[None], "sequential")
    report = stepped.report
    ceiling = float(TaskFacts(*episode.run.books.task).loss_ceiling)
    clean = float(judge(stepped.episode, 5.0).clean_loss)
    assert report.valid_loss > ceiling > clean
    assert not report.diverged
    assert report.best_score == pytest.approx(np.log(1.05), abs=1e-3)  # a constant's, so far
    still = DEFAULT._replace(learning_rate=1e-8, weight_decay=1e-6)
    start = Start(3, still, SMALL, 600.0, 2, robust_epsilon=5.0)
    episode = episodes.begin(task, bank, start, ())
    # Wrong on rows as they are; right on them, and wrong beyond any score where they are moved.
    for weight in (-20.0, 1e20):
        (gone,) = batch.step([bank], [linear(episode, weight)], knobs.HOLD[None], "sequential")
        assert gone.report.diverged, weight
    (right,) = batch.step([bank], [linear(episode, 20.0)], knobs.HOLD[None], "sequential")
    assert not right.report.diverged


# --- finished models


def test_the_worst_case_of_a_model_is_worse_than_a_random_one_and_inside_its_ball() -> None:
    result = rlagent.tune("iris", method="constant", updates=200, learning_rate=0.01, out="run")
    task = load_task("iris")
    still = worst_case(result.model, task.valid.x, task.valid.y, 0.0)
    raw = result.model.raw(task.valid.x)
    np.testing.assert_allclose(still.raw, raw, rtol=1e-5, atol=1e-5)
    assert np.mean(still.losses) == pytest.approx(result.model.loss(task.valid, raw), rel=1e-4)
    generator = np.random.default_rng(0)
    means = []
    for epsilon in (0.1, 0.3):
        worst = worst_case(result.model, task.valid.x, task.valid.y, epsilon)
        noise = epsilon * generator.choice([-1.0, 1.0], task.valid.x.shape).astype(np.float32)
        noisy = result.model.loss(task.valid, result.model.raw(task.valid.x + noise))
        assert np.mean(worst.losses) > noisy
        assert (worst.losses >= still.losses - 1e-6).all()
        means.append(np.mean(worst.losses))
    assert means[0] < means[1]


def test_tune_tells_how_robust_a_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--method", "constant", "--updates", "60", "--decisions", "4", "--quiet"]
    assert main(["tune", "iris", *options, "--robust-epsilon", "0.2", "--out", "run"]) == 0
    said = capsys.readouterr().out
    result = rlagent.load_run("run")
    summary = result.summary
    assert "test rows under attacks of linf 0.2" in said
    assert summary["robust_epsilon"] == 0.2
    assert summary["robust_test_loss"] > summary["test_loss"]
    assert summary["robust_test_score"] <= summary["test_score"]
    assert all("robust_accuracy" in record for record in result.history)
    assert begin(0.2).shape.levers == (ROBUST,)
    task = load_task("iris")
    x, y = load_iris(return_X_y=True)
    scores = [result.robust_score(x, y, epsilon) for epsilon in (0.0, 0.5)]
    assert scores[0] == pytest.approx(result.score(x, y))
    assert scores[1] < scores[0]
    assert task.attackable


def test_a_run_may_only_tell_how_robust_its_model_is() -> None:
    options: dict[str, Any] = {"method": "constant", "updates": 60, "decisions": 4}
    plain = rlagent.tune("iris", **options)
    told = rlagent.tune("iris", report_epsilon=0.2, norm="l2", **options)
    assert told.history == plain.history
    new = {name: told.summary[name] for name in set(told.summary) - set(plain.summary)}
    assert new.pop("robust_test_score") <= told.summary["test_score"]
    assert new.pop("robust_test_loss") > told.summary["test_loss"]
    assert new.pop("robust_valid_loss") > told.summary["valid_loss"]
    new.pop("robust_valid_score")
    assert new == {"robust_epsilon": 0.2, "norm": "l2"}


# --- what makes no sense


def test_a_table_of_categories_cannot_be_attacked(tmp_path: Path) -> None:
    table = pd.DataFrame({"colour": list("rgb") * 40, "flag": [True, False] * 60})
    task = from_arrays(table, np.arange(120) % 2, name="colours")
    assert not task.attackable
    sentence = "colours, which has no continuous inputs that an attack could move$"
    with pytest.raises(ValueError, match=f"^robust_epsilon has no meaning for {sentence}"):
        make_plan(Request(robust_epsilon=0.1), task, ())
    with pytest.raises(ValueError, match=f"^adversarial_epsilon has no meaning for {sentence}"):
        make_plan(Request(settings={"adversarial_epsilon": 0.1}), task, ())
    mask = knobs.open_mask(list(knobs.KNOBS), task)
    closed = list(knobs.KNOBS).index("adversarial_epsilon")
    assert mask[knobs.STARTS[closed] : knobs.STARTS[closed + 1]].tolist() == [False, True, False]


def test_only_the_numbers_of_a_table_are_attacked() -> None:
    table = pd.DataFrame({"colour": list("rgb") * 40, "size": [*range(119), np.nan]})
    task = from_arrays(table, np.arange(120) % 2)
    assert task.continuous is not None
    # Three colours; the size, and the flag of where it is missing if training had one.
    assert task.continuous.tolist()[:4] == [False, False, False, True]
    assert task.continuous.sum() == 1


@pytest.mark.parametrize("option", ["robust", "report"])
@pytest.mark.parametrize("epsilon", [0.0, -0.1, 11.0, float("nan")])
def test_a_ball_that_makes_no_sense_is_named(
    option: str, epsilon: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "iris", f"--{option}-epsilon", str(epsilon)]) == 2
    assert capsys.readouterr().err == (
        f"rlagent: {option}_epsilon must be more than 0 and at most 10, got {epsilon:g}\n"
    )


def test_a_run_is_judged_under_attack_or_tells_of_it() -> None:
    with pytest.raises(ValueError, match=r"^give robust_epsilon, which also"):
        Request(robust_epsilon=0.1, report_epsilon=0.1)
