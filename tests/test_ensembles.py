"""Ensembles and cross-validation: members, selection, files, budgets, going on, errors."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlagent
from rlagent.apply import driver
from rlagent.apply.curves import draw
from rlagent.apply.ensembles import selection
from rlagent.apply.ensembles.boosting import add_up
from rlagent.apply.ensembles.ensemble import Ensemble
from rlagent.apply.ensembles.folds import deal, fold_tasks
from rlagent.apply.ensembles.kinds import KINDS
from rlagent.apply.ensembles.lineup import bootstrap, member_seed
from rlagent.apply.ensembles.measures import calibration_error, disagreement
from rlagent.apply.model import Model
from rlagent.apply.model_file import load_model, save_model
from rlagent.apply.request import Request, make_plan
from rlagent.apply.result import Result, load_run
from rlagent.cli import main
from rlagent.experiments.report import write_report
from rlagent.storage import read_arrays, write_arrays
from rlagent_envs import batch
from rlagent_envs import episode as episodes
from rlagent_envs.tasks import load_task
from rlagent_envs.tasks.task import Kind
from rlagent_envs.training.bank import make_bank
from rlagent_envs.training.loop import batch as rows_of

SMALL: dict[str, Any] = {"updates": 120, "decisions": 6, "rung": "32x1"}
THREE: dict[str, Any] = {**SMALL, "members": 3}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """A run of a kind on a task, once."""
    done: dict[tuple[str, str], Result] = {}

    def run(task: str, kind: str) -> Result:
        if (task, kind) not in done:
            options = {**SMALL, "folds": 3} if kind == "folds" else {**THREE, "ensemble": kind}
            folder = tmp_path_factory.mktemp(kind)
            done[task, kind] = rlagent.tune(task, **options, out=folder)
        return done[task, kind]

    return run


def single(result: Result) -> Model:
    assert isinstance(result.model, Ensemble)
    return result.model.members[0]


# What an ensemble predicts


@pytest.mark.parametrize("task", ["iris", "diabetes"])
def test_identical_members_predict_as_one(made: Callable[..., Result], task: str) -> None:
    member = single(made(task, "seeds"))
    x = load_task(task).valid.x
    many = Ensemble((member,) * 5, (0.2,) * 5)
    alone = Ensemble((member,), (1.0,))
    np.testing.assert_array_equal(alone.values(alone.raw(x)), member.values(member.raw(x)))
    np.testing.assert_allclose(
        many.values(many.raw(x)), member.values(member.raw(x)), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("task", ["iris", "diabetes"])
def test_an_ensemble_is_the_weighted_mean_of_its_members(
    made: Callable[..., Result], task: str
) -> None:
    model = made(task, "folds").model
    assert isinstance(model, Ensemble)
    mixed = Ensemble(model.members, (0.5, 0.3, 0.2))
    x = load_task(task).valid.x
    expected = sum(
        weight * one.values(one.raw(x))
        for one, weight in zip(mixed.members, mixed.weights, strict=True)
    )
    np.testing.assert_allclose(mixed.values(mixed.raw(x)), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "folds"])
@pytest.mark.parametrize("task", ["iris", "diabetes"])
def test_what_was_made_can_be_loaded_and_applied(
    made: Callable[..., Result], task: str, kind: str, tmp_path: Path
) -> None:
    result = made(task, kind)
    again = load_run(result.run_dir)
    test = load_task(task).test
    assert test is not None
    model, loaded = result.model, again.model
    np.testing.assert_array_equal(loaded.raw(test.x), model.raw(test.x))
    assert loaded.classes == model.classes
    save_model(loaded, tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == (
        result.run_dir / "model.safetensors"
    ).read_bytes()
    summary = result.summary
    assert model.loss(test, model.raw(test.x)) == pytest.approx(summary["test_loss"])
    assert json.loads((result.run_dir / "summary.json").read_text()) == summary
    assert draw(result.history, summary).axes
    write_report(result.run_dir, tmp_path / "page.html", None)
    assert kind in (tmp_path / "page.html").read_text()


def test_a_damaged_ensemble_is_refused(made: Callable[..., Result], tmp_path: Path) -> None:
    arrays, metadata = read_arrays(made("iris", "folds").run_dir / "model.safetensors")
    path = tmp_path / "bad.safetensors"
    metadata["ensemble"]["weights"] = [0.5, 0.5, 0.5]
    write_arrays(path, arrays, metadata)
    with pytest.raises(ValueError, match=r"is damaged: weights must add up to 1"):
        load_model(path)


# Selection and measures


def losses_of(kind: Kind, shown: np.ndarray) -> list[float]:
    if kind == "regression":
        return [float(np.mean(row**2)) for row in shown]
    return [float(-np.mean(np.log(row))) for row in shown]


@given(
    seed=st.integers(0, 2**31 - 1),
    members=st.integers(1, 7),
    rows=st.integers(1, 30),
    kind=st.sampled_from(["classification", "regression"]),
)
def test_greedy_selection_is_never_worse_than_its_best_member(
    seed: int, members: int, rows: int, kind: Kind
) -> None:
    generator = np.random.default_rng(seed)
    shown = generator.uniform(0.01, 1.0, (members, rows))
    if kind == "regression":
        shown = generator.normal(size=(members, rows)) * generator.exponential(size=(members, 1))
    weights = selection.greedy_weights(kind, shown)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0)
    (mixed,) = losses_of(kind, (weights @ shown)[None])
    assert mixed <= min(losses_of(kind, shown)) + 1e-12


def test_greedy_selection_finds_two_that_cancel() -> None:
    errors = np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [0.9, 0.9, 0.9]])
    np.testing.assert_allclose(selection.greedy_weights("regression", errors)[:2], 0.5, atol=0.02)


@pytest.mark.parametrize("kind", ["snapshot", "bagging", "seeds", "boosting"])
@pytest.mark.parametrize("task", ["iris", "diabetes"])
def test_an_ensemble_is_not_below_its_best_member_on_validation(
    made: Callable[..., Result], task: str, kind: str
) -> None:
    summary = made(task, kind).summary
    told = summary["ensemble"]
    assert summary["valid_loss"] <= min(told["member_valid_losses"]) + 1e-9
    assert told["single"]["valid_loss"] >= summary["valid_loss"] - 1e-9
    assert len(told["weights"]) == 3


def test_the_calibration_error_of_a_hand_case() -> None:
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95], [0.94, 0.06], [0.62, 0.38]])
    # The bin from 14/15 up: confidence 0.9467, two of three right; the other one: 0.62, wrong.
    expected = 3 / 4 * (0.95 + 0.95 + 0.94 - 2) / 3 + 1 / 4 * 0.62
    targets = np.array([0, 1, 1, 1])
    assert calibration_error(probabilities, targets) == pytest.approx(expected)


def test_disagreement_of_a_hand_case() -> None:
    one, other = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.6, 0.4], [0.7, 0.3]])
    assert disagreement("classification", [one, other, one]) == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert disagreement("regression", [np.array([[1.0], [4.0]]), np.array([[3.0], [4.0]])]) == 0.5


# Members


@pytest.mark.parametrize("task", ["iris", "diabetes"])
def test_boosting_lowers_the_training_loss_at_each_stage(
    made: Callable[..., Result], task: str
) -> None:
    result = made(task, "boosting")
    told = result.summary["ensemble"]
    losses = told["stage_train_losses"]
    assert len(losses) == 3
    assert all(after < before for before, after in pairwise(losses))
    # The last is what the sum of the stages gives, computed from the models alone.
    model = result.model
    assert isinstance(model, Ensemble)
    if len(model.members) == 3:
        train = load_task(task).train
        assert model.loss(train, model.raw(train.x)) == pytest.approx(losses[-1])


def test_a_stage_is_trained_on_what_those_before_leave_over() -> None:
    """A first stage that knows all leaves nothing: its validation loss stays where it is."""
    result = rlagent.tune(
        "diabetes", ensemble="boosting", **{**THREE, "members": 2}, method="cosine"
    )
    second = [record for record in result.history if record["member"] == 2]
    task = load_task("diabetes")
    first = single(result)
    residual = replace(
        task,
        train=task.train._replace(y=task.train.y - first.raw(task.train.x)[:, 0]),
        valid=task.valid._replace(y=task.valid.y - first.raw(task.valid.x)[:, 0]),
    )
    seed = member_seed(0, 1)
    plain = rlagent.tune(residual, method="cosine", updates=60, decisions=6, rung="32x1", seed=seed)
    np.testing.assert_allclose(
        [one["valid_loss"] for one in second],
        [one["valid_loss"] for one in plain.history],
        rtol=1e-3,
    )


def test_a_step_of_boosting_never_raises_the_training_loss(made: Callable[..., Result]) -> None:
    """Whatever is added, an opponent of the first stage too."""
    task = load_task("diabetes")
    first = single(made("diabetes", "seeds"))
    last = first.params[-1]
    against = replace(
        first, params=(*first.params[:-1], last._replace(kernel=-last.kernel, bias=-last.bias))
    )
    stages = add_up([first, against, first], task)
    assert stages.train_losses[1] <= stages.train_losses[0]
    assert stages.train_losses[2] <= stages.train_losses[1]


def test_bagging_draws_rows_with_replacement() -> None:
    draws = [bootstrap(1000, member_seed(3, number)) for number in range(3)]
    for drawn in draws:
        assert drawn.min() >= 0
        assert drawn.max() < 1000
        # 1 - 1/e of the rows are among as many draws.
        assert len(np.unique(drawn)) / 1000 == pytest.approx(1 - math.exp(-1), abs=0.05)
    assert not np.array_equal(draws[0], draws[1])
    assert len({member_seed(seed, number) for seed in range(50) for number in range(5)}) == 250


def test_a_bagged_run_sees_its_own_rows_only() -> None:
    task = load_task("iris")
    bank = jax.device_put(make_bank(task, padded=False))
    picks = np.full((1, len(task.train.x)), 7, np.int32)
    plan = make_plan(Request(method="cosine", **SMALL), task, ())
    shape = episodes.begin(task, bank, plan.start(), ()).shape
    key = np.array([1, 2], np.uint32)
    drawn = jax.jit(rows_of, static_argnums=0)
    x, y = drawn(shape, bank.replace(picks=picks), 0, key, np.uint32(0))
    np.testing.assert_array_equal(x, np.tile(task.train.x[7], (len(x), 1)))
    assert set(np.asarray(y).tolist()) == {int(task.train.y[7])}


def test_snapshots_are_of_the_single_run(made: Callable[..., Result]) -> None:
    result = made("diabetes", "snapshot")
    alone = rlagent.tune("diabetes", **SMALL)
    assert [one["valid_loss"] for one in result.history] == [
        one["valid_loss"] for one in alone.history
    ]
    assert result.summary["flops"] == alone.summary["flops"]
    told = result.summary["ensemble"]
    # All decisions are in one stretch or another, so that the best is among the snapshots.
    losses = told["member_valid_losses"]
    assert any(loss == pytest.approx(alone.summary["valid_loss"]) for loss in losses)
    assert result.summary["valid_loss"] <= alone.summary["valid_loss"] + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_members_share_the_budget_of_one_run(made: Callable[..., Result], kind: str) -> None:
    result = made("iris", kind)
    alone = rlagent.tune("iris", method="cosine", **SMALL)
    per_update = alone.summary["flops"] / sum(np.diff([0, *spent_of(alone)]))
    assert result.summary["flops"] <= 120 * per_update * (1 + 1e-6)
    assert result.summary["flops"] >= 0.9 * alone.summary["flops"]
    assert result.summary["budget"] == 120


def spent_of(result: Result) -> list[float]:
    """In updates."""
    return [record["spent"] * result.summary["budget"] for record in result.history]


def test_each_member_may_have_the_whole_budget() -> None:
    one = rlagent.tune("iris", method="cosine", ensemble="seeds", budget_per_member=True, **THREE)
    alone = rlagent.tune("iris", method="cosine", **SMALL)
    assert one.summary["flops"] == 3 * alone.summary["flops"]
    first = [record["valid_loss"] for record in one.history if record["member"] == 1]
    assert first == [record["valid_loss"] for record in alone.history]


def test_members_compile_nothing_of_their_own() -> None:
    """Two more members, a second seed: no program that one member has not compiled."""
    for kind in ("seeds", "bagging", "boosting"):
        options = {**THREE, "method": "cosine", "ensemble": kind}
        rlagent.tune("iris", **{**options, "members": 2})
        before = batch.advance_one._cache_size()  # type: ignore[attr-defined]
        rlagent.tune("iris", **{**options, "members": 4}, seed=5)
        assert batch.advance_one._cache_size() == before  # type: ignore[attr-defined]
    rlagent.tune("iris", method="cosine", folds=3, **SMALL)
    before = batch.advance_one._cache_size()  # type: ignore[attr-defined]
    rlagent.tune("iris", method="cosine", folds=3, **SMALL, learning_rate=1e-2)
    assert batch.advance_one._cache_size() == before  # type: ignore[attr-defined]


# Folds


@given(
    seed=st.integers(0, 1000),
    counts=st.lists(st.integers(5, 40), min_size=2, max_size=4),
    folds=st.integers(2, 5),
)
def test_folds_are_disjoint_whole_and_stratified(seed: int, counts: list[int], folds: int) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    dealt = deal(targets, folds, stratified=True, seed=seed)
    assert len(dealt) == len(targets)
    assert set(dealt.tolist()) == set(range(folds))
    for group in [targets >= 0, *(targets == one for one in range(len(counts)))]:
        sizes = np.bincount(dealt[group], minlength=folds)
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_each_fold_trains_on_the_rows_that_it_does_not_validate_on(name: str) -> None:
    task = load_task(name)
    tasks, bank = fold_tasks(task, 4, seed=1)
    whole = sorted(map(tuple, np.concatenate([task.train.x, task.valid.x]).tolist()))
    validated: list[tuple[float, ...]] = []
    for fold, own in enumerate(tasks):
        rows = bank.picks[fold, : bank.train_rows[fold]]
        trained = bank.train_x[0][rows]
        np.testing.assert_array_equal(bank.train_y[0][rows], own.train.y)
        there = bank.valid_x[fold, : bank.valid_rows[fold]]
        np.testing.assert_array_equal(there, own.valid.x)
        assert sorted(map(tuple, np.concatenate([trained, there]).tolist())) == whole
        validated += map(tuple, there.tolist())
    assert sorted(validated) == whole


@pytest.mark.parametrize("task", ["iris", "diabetes"])
def test_cross_validation_tells_mean_and_spread(made: Callable[..., Result], task: str) -> None:
    result = made(task, "folds")
    told = result.summary["cross_validation"]
    tasks, _ = fold_tasks(load_task(task), 3, 0)
    assert isinstance(result.model, Ensemble)
    losses = [
        model.loss(own.valid, model.raw(own.valid.x))
        for model, own in zip(result.model.members, tasks, strict=True)
    ]
    np.testing.assert_allclose(told["valid_loss"]["values"], losses)
    assert told["valid_loss"]["mean"] == pytest.approx(np.mean(losses))
    assert told["valid_loss"]["std"] == pytest.approx(np.std(losses, ddof=1))
    for number, (model, own) in enumerate(zip(result.model.members, tasks, strict=True), start=1):
        lowest = min(one["valid_loss"] for one in result.history if one["member"] == number)
        # A run looks at the first rows of its fold, some whole batches of them.
        raw, rows = model.raw(own.valid.x), range(own.batch_size, 200, own.batch_size)
        prefixes = [own.valid._replace(y=own.valid.y[:end]) for end in rows]
        seen = [model.loss(part, raw[: len(part.y)]) for part in prefixes]
        assert any(loss == pytest.approx(lowest, rel=1e-4) for loss in seen)
    scores = told["selection_score"]["values"]
    assert all(score < math.log(1.05) for score in scores)


# Going on


class Stop(KeyboardInterrupt):
    """Ctrl-C at a moment of our choice."""


@pytest.mark.parametrize("kind", [*KINDS, "folds"])
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    made: Callable[..., Result], kind: str
) -> None:
    options = {**SMALL, "folds": 3} if kind == "folds" else {**THREE, "ensemble": kind}
    whole = made("iris", kind)
    seen = 0
    stops = iter((2, 3, 6))

    def stop(record: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        if seen == limit:
            raise Stop

    limit = next(stops)
    with pytest.raises(KeyboardInterrupt, match="after decision"):
        rlagent.tune("iris", **options, out="run", callback=stop)
    for limit in stops:
        kept = load_run("run")
        assert kept.summary["status"] == "interrupted"
        assert len(kept.predict(load_task("iris").valid.x)) == 30
        if kind == "snapshot" and limit == 6:
            break
        seen = 0
        with pytest.raises(KeyboardInterrupt, match="after decision"):
            rlagent.tune(resume="run", callback=stop)
    result = rlagent.tune(resume="run")
    for name in ("model.safetensors", "history.jsonl"):
        assert (Path("run") / name).read_bytes() == (whole.run_dir / name).read_bytes()
    told = ("seconds", "run_dir")
    expected = {name: one for name, one in whole.summary.items() if name not in told}
    assert {name: one for name, one in result.summary.items() if name not in told} == expected


@pytest.mark.parametrize("kind", ["snapshot", "boosting", "seeds"])
def test_a_run_goes_on_from_its_checkpoint(
    made: Callable[..., Result], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill, as the folder sees it: the last checkpoint, and nothing since."""
    whole = made("iris", kind)
    monkeypatch.setattr(driver, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(driver, "CHECKPOINT_SHARE", 1e9)
    left = 4 if kind == "snapshot" else 9

    def die(record: dict[str, Any]) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        rlagent.tune("iris", **THREE, ensemble=kind, out="run", callback=die)
    assert Path("run/checkpoint.safetensors").exists()
    rlagent.tune(resume="run")
    for name in ("model.safetensors", "history.jsonl"):
        assert (Path("run") / name).read_bytes() == (whole.run_dir / name).read_bytes()


# The command line


def test_the_commands_work_together(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["tune", "iris", "--ensemble", "seeds", "--members", "3", "--out", "run", "--quiet"]
    small = ["--updates", "120", "--decisions", "6", "--rung", "32x1"]
    assert main([*asked, *small]) == 0
    out = capsys.readouterr().out
    assert "seeds ensemble, weights" in out
    assert "calibration error" in out
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])
    np.savez("rows.npz", x=rows)
    assert main(["predict", "run", "rows.npz"]) == 0
    told = capsys.readouterr().out.splitlines()[1:]
    expected = load_run("run").predict_proba(rows)
    np.testing.assert_allclose(
        [[float(one) for one in line.split(",")[1:]] for line in told], expected, atol=1e-5
    )
    assert main(["tune", "iris", "--folds", "3", "--quiet", *small]) == 0
    assert "over 3 folds: accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ensemble": "stacking"},
            "unknown ensemble 'stacking'; there are: snapshot, bagging, boosting, seeds",
        ),
        (
            {"members": 3},
            "members is for an ensemble: name its kind too, one of "
            "snapshot, bagging, boosting, seeds",
        ),
        (
            {"budget_per_member": True},
            "budget_per_member is for an ensemble: name its kind too, one of "
            "snapshot, bagging, boosting, seeds",
        ),
        (
            {"ensemble": "seeds", "members": 1},
            "members must be a whole number from 2 up, got 1",
        ),
        (
            {"ensemble": "seeds", "folds": 3},
            "give ensemble or folds, not both, got seeds and 3 folds",
        ),
        (
            {"ensemble": "seeds", "members": 50, "updates": 40},
            "members must be at most 40, because each makes 1 decision and the budget is 40 "
            "updates, got 50",
        ),
        (
            {"ensemble": "bagging", "members": 9, "updates": 40, "decisions": 5},
            "members must be at most 8, because each makes 5 decisions and the budget is 40 "
            "updates, got 9",
        ),
        (
            {"ensemble": "snapshot", "members": 7, "updates": 60, "decisions": 6},
            "members of a snapshot ensemble must be at most the number of decisions, 6, got 7",
        ),
        (
            {"ensemble": "seeds", "budget_per_member": True, "minutes": 1.0},
            "budget_per_member multiplies updates, and the minutes stay what they are",
        ),
        ({"folds": 1}, "folds must be a whole number from 2 up, got 1"),
        (
            {"folds": 41},
            "folds must be at most the number of rows of the smallest class, 40, got 41",
        ),
        (
            {"folds": 121},
            "folds must be at most the number of rows to train and validate on, 120, got 121",
        ),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        rlagent.tune("iris", **options)
    assert str(caught.value) == message
    assert not list(Path().iterdir())
