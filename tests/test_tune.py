"""`rlagent.tune` from Python: results, selection, determinism, going on after an interruption."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from rich.console import Console
from sklearn import metrics
from sklearn.datasets import load_diabetes, load_iris

import rlagent
from rlagent.apply import curves, driver, run_folder, scores
from rlagent.apply.live import LiveView
from rlagent.apply.model import Model
from rlagent.apply.request import default_decisions, default_updates
from rlagent.apply.result import Result
from rlagent.apply.source import fingerprint
from rlagent.apply.wording import settings_in_words
from rlagent.controller.file import Controller, load_controller, save_controller
from rlagent.controller.policy import weight_shapes
from rlagent_envs.config import BASIC_KNOBS
from rlagent_envs.knobs import KNOBS
from rlagent_envs.settings import Settings
from rlagent_envs.tasks import TASKS, from_arrays, load_task
from rlagent_envs.tasks.task import Split, Task

SMALL: dict[str, Any] = {"updates": 60, "decisions": 6, "rung": "32x1"}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Those of a file that ships: what a random controller does must not change with the table.
FEATURES = load_controller("basic").features


def random_controller(seed: int = 0, knobs: tuple[str, ...] = BASIC_KNOBS) -> Controller:
    """A controller that acts at random."""
    generator = np.random.default_rng(seed)
    levels: dict[str, tuple[float | str, ...]] = {name: tuple(KNOBS[name].levels) for name in knobs}
    shapes = weight_shapes(len(FEATURES), tuple(map(len, levels.values())), (8,))
    weights = {n: generator.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    return Controller(
        name="random",
        features=FEATURES,
        knobs=levels,
        hidden=(8,),
        weights=weights,
        licence="Apache-2.0",
        deterministic=False,
    )


SETTINGS_ONLY = random_controller(1, ("learning_rate", "dropout", "momentum", "restore"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run on iris."""
    return rlagent.tune("iris", controller=SETTINGS_ONLY, **SMALL, out=tmp_path_factory.mktemp("a"))


def test_a_held_knob_stays_as_it_is(finished: Result) -> None:
    held = rlagent.tune("iris", controller=SETTINGS_ONLY, hold=["momentum"], **SMALL, out="held")
    for result, moved in ((finished, True), (held, False)):
        assert (len({row["settings"]["momentum"] for row in result.history}) > 1) is moved
        assert len({row["settings"]["learning_rate"] for row in result.history}) > 1
    again = rlagent.tune(resume="held")
    assert again.summary["valid_loss"] == held.summary["valid_loss"]


def test_a_controller_brings_the_schedule_that_it_has_learned_with() -> None:
    """One without an opinion holds all, so that its run is that of its schedule alone."""
    still = random_controller(0, ("dropout",))
    zero = {name: np.zeros_like(value) for name, value in still.weights.items()}
    hold = np.array(KNOBS["dropout"].levels) == KNOBS["dropout"].levels[KNOBS["dropout"].hold]
    zero["logits.bias"] = np.where(hold, 9.0, -9.0).astype(np.float32)
    losses = {}
    for schedule in ("constant", "cosine"):
        held = replace(still, weights=zero, schedule=schedule, deterministic=True)
        by_controller = rlagent.tune("iris", controller=held, learning_rate=1e-2, **SMALL)
        by_schedule = rlagent.tune("iris", method=schedule, learning_rate=1e-2, **SMALL)
        losses[schedule] = [line["valid_loss"] for line in by_controller.history]
        assert losses[schedule] == [line["valid_loss"] for line in by_schedule.history]
        rates = [line["settings"]["learning_rate"] for line in by_controller.history]
        assert rates == [line["settings"]["learning_rate"] for line in by_schedule.history]
        assert (rates[-1] < 0.2 * rates[0]) == (schedule == "cosine")
    assert losses["constant"] != losses["cosine"]


def files(folder: Path) -> dict[str, bytes]:
    """What a run folder holds that must not depend on time or place."""
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "history.jsonl")}


class Stop(KeyboardInterrupt):
    """Ctrl-C at a moment of our choice."""


def stop_at(decision: int) -> Callable[[dict[str, Any]], None]:
    def stop(record: dict[str, Any]) -> None:
        if record["decision"] == decision:
            raise Stop

    return stop


# What a run is and leaves behind


def test_the_folder_holds_what_it_should(finished: Result) -> None:
    assert {file.name for file in finished.run_dir.iterdir()} == {
        "run.json",
        "controller.safetensors",
        "model.safetensors",
        "history.jsonl",
        "summary.json",
        "curves.png",
    }
    assert (finished.run_dir / "curves.png").read_bytes().startswith(b"\x89PNG")
    asked = "task method seed updates flops seconds decisions valid_loss test_loss test_score"
    asked += " score_name diverged rung run_dir"
    assert set(asked.split()) <= finished.summary.keys()
    assert json.loads((finished.run_dir / "summary.json").read_text()) == finished.summary


def test_the_history_tells_of_each_decision(finished: Result) -> None:
    history = finished.history
    assert [record["decision"] for record in history] == list(range(1, len(history) + 1))
    assert len(history) == finished.summary["decisions"]
    assert history[-1]["updates"] == finished.summary["updates"]
    assert np.all(np.diff([record["spent"] for record in history]) > 0)
    assert history[-1]["spent"] <= 1.0
    for record in history:
        assert set(record["action"]) == {*BASIC_KNOBS, "shrink"}
        for name, chances in record["probabilities"].items():
            assert sum(chances) == pytest.approx(1.0, abs=1e-4)
            assert chances[KNOBS[name].levels.index(record["action"][name])] > 0
    assert len(finished.history_frame()) == len(history)
    assert {"settings.dropout", "action.growth"} <= set(finished.history_frame().columns)


def test_the_settings_follow_from_the_actions(finished: Result) -> None:
    for before, after in zip(finished.history, finished.history[1:], strict=False):
        if before["diverged"] or after["diverged"] or after["action"]["restore"] == "best":
            continue
        expected = before["settings"]["learning_rate"] * after["action"]["learning_rate"]
        assert after["settings"]["learning_rate"] == pytest.approx(expected, rel=1e-4)


def test_the_best_by_validation_loss_is_selected(finished: Result) -> None:
    task = load_task("iris")
    best = min(record["valid_loss"] for record in finished.history)
    # The fixed subset of iris is one piece of 32 rows, or all of the 30.
    raw = finished.model.raw(task.valid.x)
    assert finished.model.loss(task.valid, raw) == pytest.approx(best, rel=1e-4)
    improved = [record["valid_loss"] for record in finished.history if record["improved"]]
    assert improved[-1] == best
    assert improved == sorted(improved, reverse=True)


def test_not_the_last_but_the_best_is_selected() -> None:
    result = rlagent.tune("iris", method="constant", learning_rate=0.3, **SMALL, seed=1)
    losses = [record["valid_loss"] for record in result.history]
    assert min(losses) < losses[-1]
    task = load_task("iris")
    loss = result.model.loss(task.valid, result.model.raw(task.valid.x))
    assert loss == pytest.approx(min(losses), rel=1e-4)


def plain_outputs(result: Result, x: NDArray[Any]) -> NDArray[Any]:
    """The network's outputs by plain NumPy in float64."""
    assert isinstance(result.model, Model)
    *hidden, last = result.model.params
    for layer in hidden:
        x = np.maximum(x @ layer.kernel.astype(np.float64) + layer.bias, 0.0)
    return x @ last.kernel.astype(np.float64) + last.bias


def test_the_figures_of_a_classification_are_right(finished: Result) -> None:
    task = load_task("iris")
    assert task.test is not None
    for part, split in (("valid", task.valid), ("test", task.test)):
        outputs = plain_outputs(finished, split.x)
        chances = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
        loss = metrics.log_loss(split.y, chances, labels=[0, 1, 2])
        assert finished.summary[f"{part}_loss"] == pytest.approx(loss, rel=1e-4)
        hits = np.mean(outputs.argmax(axis=1) == split.y)
        assert finished.summary[f"{part}_score"] == pytest.approx(hits)


def test_the_figures_of_a_regression_are_right() -> None:
    x, y = load_diabetes(return_X_y=True)
    result = rlagent.tune(x, y, method="cosine", score="rmse", **SMALL)
    task = from_arrays(x, y, seed=0)
    assert task.test is not None
    assert task.preprocessing is not None
    outputs = plain_outputs(result, task.test.x)[:, 0]
    assert result.summary["test_loss"] == pytest.approx(
        np.mean((outputs - task.test.y) ** 2), rel=1e-4
    )
    off = task.preprocessing.decode_target(outputs) - task.preprocessing.decode_target(task.test.y)
    assert result.summary["test_score"] == pytest.approx(np.sqrt(np.mean(off**2)), rel=1e-4)
    assert result.predict(x[:3]).shape == (3,)
    assert 50 < np.mean(result.predict(x)) < 300  # in the units of the target
    with pytest.raises(ValueError, match=r"^a regression has no classes, so it has no probabil"):
        result.predict_proba(x)
    assert "valid_accuracy" not in result.history[0]
    assert result.score(x, y, "mae") == pytest.approx(np.mean(np.abs(result.predict(x) - y)))
    assert result.run_dir == run_folder.RUNS / "data-cosine-1"


def test_a_loaded_run_is_the_same(finished: Result) -> None:
    x, y = load_iris(return_X_y=True)
    loaded = rlagent.load_run(finished.run_dir)
    assert loaded.summary == finished.summary
    assert loaded.history == finished.history
    np.testing.assert_array_equal(loaded.predict_proba(x), finished.predict_proba(x))
    np.testing.assert_array_equal(loaded.predict(x), finished.predict(x))
    assert loaded.score(x, y) == np.mean(loaded.predict(x) == y)
    assert loaded.plot().axes


def test_predictions_do_not_depend_on_the_other_rows(finished: Result) -> None:
    x, _ = load_iris(return_X_y=True)
    many = np.tile(x, (10, 1))  # more than one piece
    np.testing.assert_array_equal(
        finished.predict_proba(many), np.tile(finished.predict_proba(x), (10, 1))
    )


# The same again


@pytest.mark.parametrize("method", ["cosine", "constant"])
def test_equal_seeds_give_equal_bytes(method: str) -> None:
    first, second, other = (
        rlagent.tune("iris", method=method, **SMALL, seed=seed).run_dir for seed in (5, 5, 6)
    )
    assert files(first) == files(second)
    assert files(first)["model.safetensors"] != files(other)["model.safetensors"]


def test_cosine_decays_and_constant_does_not() -> None:
    rates = {}
    for method in ("cosine", "constant"):
        history = rlagent.tune("iris", method=method, **SMALL, learning_rate=0.01).history
        rates[method] = [record["settings"]["learning_rate"] for record in history]
    assert rates["constant"] == pytest.approx([0.01] * len(rates["constant"]))
    assert rates["cosine"][0] == pytest.approx(0.01)
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert rates["cosine"][-1] < 0.003


def test_test_data_does_not_influence_the_model() -> None:
    task = load_task("iris")
    assert task.test is not None
    turned = Split(task.test.x[::-1] * 3.0, (task.test.y + 1) % 3)
    changed = Task(**{**vars(task), "test": turned})
    first, second = (rlagent.tune(t, method="cosine", **SMALL) for t in (task, changed))
    assert files(first.run_dir) == files(second.run_dir)
    assert first.summary["test_loss"] != second.summary["test_loss"]
    without = rlagent.tune(Task(**{**vars(task), "test": None}), method="cosine", **SMALL)
    assert files(first.run_dir) == files(without.run_dir)
    assert without.summary["test_score"] is None


@pytest.fixture(params=["settings", "growth", "none"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of runs of several kinds."""
    if request.param == "none":
        return {"method": "cosine", **SMALL}
    if request.param == "settings":
        return {"controller": SETTINGS_ONLY, **SMALL}
    return {"controller": random_controller(4), "seed": 2, **SMALL}


@pytest.mark.parametrize("decision", [1, 4])
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    options: dict[str, Any], decision: int
) -> None:
    whole = rlagent.tune("iris", **options, out="whole").run_dir
    with pytest.raises(KeyboardInterrupt) as caught:
        rlagent.tune("iris", **options, out="broken", callback=stop_at(decision))
    assert str(caught.value) == (
        f"interrupted after decision {decision} of 6; the best model so far and the history are "
        f"in broken; go on with: rlagent tune --resume broken"
    )
    so_far = rlagent.load_run("broken")
    assert so_far.summary["status"] == "interrupted"
    assert so_far.summary["test_loss"] is None
    assert len(so_far.history) == decision
    assert so_far.predict(load_iris().data).shape == (150,)
    resumed = rlagent.tune(resume="broken")
    assert files(resumed.run_dir) == files(whole)
    assert not (resumed.run_dir / "checkpoint.safetensors").exists()
    again = rlagent.tune(resume="broken")  # there is nothing left to do
    assert again.summary == resumed.summary


def test_a_run_goes_on_from_its_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(driver, "CHECKPOINT_SHARE", 1e9)
    whole = rlagent.tune("iris", method="cosine", **SMALL, out="whole").run_dir

    class KilledError(Exception):
        pass

    def kill(record: dict[str, Any]) -> None:
        if record["decision"] == 5:
            raise KilledError

    with pytest.raises(KilledError):  # nothing is saved on the way out
        rlagent.tune("iris", method="cosine", **SMALL, out="broken", callback=kill)
    assert len(run_folder.read_history(Path("broken"))) == 4
    with pytest.raises(ValueError, match=r"^the run broken has no model yet; go on with it by: "):
        rlagent.load_run("broken")
    seen: list[int] = []
    rlagent.tune(resume="broken", callback=lambda record: seen.append(record["decision"]))
    assert seen == [5, 6]
    assert files(Path("broken")) == files(whole)


def test_a_run_on_data_in_memory_goes_on_with_the_same_data() -> None:
    x, y = load_iris(return_X_y=True)
    whole = rlagent.tune(x, y, method="cosine", **SMALL).run_dir
    with pytest.raises(KeyboardInterrupt):
        rlagent.tune(x, y, method="cosine", **SMALL, out="broken", callback=stop_at(2))
    with pytest.raises(ValueError, match=r"^the run broken is on data in memory: give the data ag"):
        rlagent.tune(resume="broken")
    with pytest.raises(ValueError, match=r"^the data given is not what the run broken began with"):
        rlagent.tune(x * 2.0 + (y == 0)[:, None], y, resume="broken")
    assert files(rlagent.tune(x, y, resume="broken").run_dir) == files(whole)


def test_any_change_of_the_data_changes_its_fingerprint() -> None:
    task = load_task("iris")
    assert fingerprint(task) == fingerprint(load_task("iris"))
    seen = {fingerprint(task), fingerprint(Task(**{**vars(task), "test": None}))}
    for part in ("train", "valid", "test"):
        for which in ("x", "y"):
            split = getattr(task, part)
            array = getattr(split, which).copy()
            array.flat[-1] += 1
            other = Task(**{**vars(task), part: split._replace(**{which: array})})
            seen.add(fingerprint(other))
    assert len(seen) == 8


def test_an_interruption_before_the_first_decision_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        raise Stop

    drive = driver.drive
    monkeypatch.setattr(driver, "drive", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        rlagent.tune("iris", method="cosine", **SMALL, out="run")
    assert str(caught.value) == (
        "interrupted before the first decision, so the model in run is untrained; "
        "go on with: rlagent tune --resume run"
    )
    monkeypatch.setattr(driver, "drive", drive)
    whole = rlagent.tune("iris", method="cosine", **SMALL)
    assert files(rlagent.tune(resume="run").run_dir) == files(whole.run_dir)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 3}, "seed cannot change in a run that is resumed: leave it out"),
        ({"updates": 99}, "updates cannot change in a run that is resumed: leave it out"),
        ({"out": "x"}, "out cannot change in a run that is resumed: leave it out"),
        ({"x": "wine"}, "a run that is resumed goes on with its own data: leave out other data"),
        ({"resume": "gone"}, "there is no folder gone"),
        ({"resume": "."}, "the folder . holds no run: it has no run.json"),
    ],
)
def test_a_resumed_run_takes_no_other_options(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        rlagent.tune("iris", method="cosine", **SMALL, out="broken", callback=stop_at(1))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (all of the text is compared)
        rlagent.tune(**({"resume": "broken"} | changed))
    assert str(caught.value) == message


def test_a_damaged_checkpoint_is_refused() -> None:
    with pytest.raises(KeyboardInterrupt):
        rlagent.tune("iris", method="cosine", **SMALL, out="broken", callback=stop_at(1))
    path = Path("broken/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"^broken/checkpoint.safetensors is not a safetensors f"):
        rlagent.tune(resume="broken")


# Budgets


def test_minutes_become_updates_that_are_kept() -> None:
    result = rlagent.tune("iris", method="constant", rung="32x1", minutes=0.1, out="timed")
    stored = json.loads(Path("timed/run.json").read_text())
    assert stored["plan"]["updates"] == result.summary["budget"]
    assert stored["plan"]["deadline"] == 6.0
    assert result.summary["seconds"] < 12.0
    assert result.summary["status"] in ("finished", "deadline")


def test_the_deadline_ends_a_run_with_its_best_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rlagent.apply.calibration.affordable_updates", lambda plan, task, started: 100_000_000
    )
    result = rlagent.tune("iris", method="constant", rung="32x1", decisions=99_999, minutes=0.03)
    assert result.summary["status"] == "deadline"
    assert result.summary["test_score"] is not None
    assert result.summary["seconds"] < 10
    assert rlagent.tune(resume=result.run_dir).summary == result.summary


def test_decisions_for_which_there_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rlagent.apply.calibration.affordable_updates", lambda plan, task, started: 30
    )
    says = "decisions must be at most 30, the updates for which there is time, got 50"
    with pytest.raises(ValueError, match=f"^{says}$"):
        rlagent.tune("iris", method="constant", rung="32x1", decisions=50, minutes=1, out="none")
    assert not Path("none").exists()


@pytest.mark.parametrize(
    ("rows", "batch_size", "updates"),
    [(90, 32, 400), (1079, 64, 680), (6000, 64, 3760), (50_000, 128, 6000)],
)
def test_the_default_budget(rows: int, batch_size: int, updates: int) -> None:
    assert default_updates(rows, batch_size) == updates


@pytest.mark.parametrize(
    ("updates", "decisions"), [(1, 1), (80, 10), (250, 20), (1000, 40), (9000, 100)]
)
def test_the_default_decisions(updates: int, decisions: int) -> None:
    assert default_decisions(updates) == decisions


# Data in memory


def table() -> pd.DataFrame:
    """Numbers and categories, with gaps; the target depends on both."""
    generator = np.random.default_rng(0)
    size = generator.normal(size=120)
    colour = generator.choice(["red", "green", "blue"], 120)
    kind = np.where(size + (colour == "red") > 0.5, "yes", "no")
    frame = pd.DataFrame({"size": size, "colour": colour, "kind": kind})
    frame.loc[::17, "size"] = np.nan
    frame.loc[::23, "colour"] = None
    return frame


def test_a_data_frame_and_an_unseen_category() -> None:
    frame = table()
    result = rlagent.tune(frame, target="kind", method="cosine", updates=400, rung="32x1")
    assert result.summary["test_score"] > 0.7
    asked = frame.drop(columns="kind").head(4).assign(colour="violet")
    assert set(result.predict(asked)) <= {"yes", "no"}
    assert result.model.classes == ["no", "yes"]
    same = rlagent.tune(
        frame.drop(columns="kind"), frame["kind"], method="cosine", updates=400, rung="32x1"
    )
    assert files(same.run_dir) == files(result.run_dir)


def test_validation_rows_may_be_given() -> None:
    x, y = load_iris(return_X_y=True)
    result = rlagent.tune(x[::2], y[::2], valid=(x[1::2], y[1::2]), method="cosine", **SMALL)
    assert result.summary["valid_rows"] == result.summary["train_rows"] == 75
    assert result.summary["test_loss"] is None


def test_a_task_without_preprocessing_predicts_for_plain_rows() -> None:
    task = load_task("iris")
    plain = Task(**{**vars(task), "preprocessing": None, "name": "plain"})
    result = rlagent.tune(plain, method="cosine", **SMALL)
    assert task.test is not None
    labels = result.predict(task.test.x)
    assert np.mean(labels == task.test.y) == result.summary["test_score"]
    with pytest.raises(ValueError, match=r"^x must be \[rows, 4\], got shape \(3, 2\)$"):
        result.predict(np.zeros((3, 2)))


# Scores


def test_scores_are_those_of_their_names() -> None:
    y = np.array([0, 0, 0, 1, 2, 2])
    chances = np.array(
        [[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]] + [[0.1, 0.1, 0.8]] * 2
    )
    computed = {
        name: scores.compute(name, "classification", y, chances)
        for name in scores.SCORES["classification"]
    }
    assert computed["accuracy"] == pytest.approx(5 / 6)
    assert computed["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert computed["macro_f1"] == pytest.approx((4 / 5 + 2 / 3 + 1) / 3)
    assert computed["log_loss"] == pytest.approx(-np.log([0.8, 0.5, 0.2, 0.8, 0.8, 0.8]).mean())
    values, guesses = np.array([1.0, 2.0, 4.0]), np.array([[1.5], [2.0], [3.0]])
    assert scores.compute("mae", "regression", values, guesses) == pytest.approx(0.5)
    assert scores.compute("rmse", "regression", values, guesses) == pytest.approx((1.25 / 3) ** 0.5)
    total = np.sum((values - values.mean()) ** 2)
    assert scores.compute("r2", "regression", values, guesses) == pytest.approx(1 - 1.25 / total)


# Options that make no sense: one sentence, and nothing is written

WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"method": "magic"},
        "unknown method 'magic'; there are: controller, constant, cosine, "
        "one-cycle, step, exponential, warmup-cosine",
    ),
    ({"updates": 0}, "updates must be a whole number from 1 up, got 0"),
    ({"decisions": 0}, "decisions must be a whole number from 1 up, got 0"),
    (
        {"updates": 50, "decisions": 80},
        "decisions must be at most the number of updates, 50, got 80",
    ),
    ({"minutes": 0.0}, "minutes must be more than 0, got 0"),
    ({"minutes": 1.0, "updates": 5}, "give updates or minutes, not both"),
    ({"seed": -1}, "seed must be a whole number from 0 to 2^32 - 1, got -1"),
    ({"learning_rate": 3.0}, "learning_rate must be from 1e-08 to 1, got 3"),
    ({"learning_rate": float("nan")}, "learning_rate must be from 1e-08 to 1, got nan"),
    ({"rung": "big"}, "rung must be WIDTHxDEPTH, for instance 64x2, got 'big'"),
    (
        {"rung": "65x2"},
        "mlp has no rung 65x2; widths are 32, 64, 128, 256 and depths 1, 2, 3, 4",
    ),
    (
        {"score": "r2"},
        "unknown score 'r2' for classification; there are: accuracy, balanced_accuracy, macro_f1, "
        "log_loss",
    ),
    ({"device": "abacus"}, "unknown device 'abacus'; there are: cpu, gpu, tpu"),
    ({"controller": "x"}, "controller is for the method controller, not for cosine"),
    ({"hold": ["momentum"]}, "hold is for the method controller, not for cosine"),
    (
        {"method": "controller", "controller": "basic", "hold": "mixup"},
        "the controller has no knob 'mixup'; it has: learning_rate, weight_decay, dropout, "
        "label_smoothing, momentum, growth, restore",
    ),
    ({"y": [1, 2]}, "data in memory for y goes with x in memory, but x is 'iris'"),
    ({"x": [[1.0], [2.0]]}, "y is missing: give the targets, or target, a column of a DataFrame"),
    ({"x": None}, "give a task, a file or data"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG)
def test_a_wrong_option_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (all of the text is compared)
        rlagent.tune(**({"x": "iris", "method": "cosine"} | changed))
    assert str(caught.value) == message
    assert not list(Path().iterdir())


def test_a_device_that_is_not_there_is_named() -> None:
    jax.default_backend()
    with pytest.raises(ValueError, match=r"^JAX has begun to use the cpu already, so it cannot"):
        rlagent.tune("iris", method="cosine", device="gpu")


def test_every_bundled_task_has_a_default_plan() -> None:
    for name in TASKS:
        task = load_task(name)
        updates = default_updates(len(task.train.x), task.batch_size)
        assert updates / default_decisions(updates) >= 8


# The live view


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    return lambda: capsys.readouterr().err.splitlines()


def test_without_a_terminal_the_view_is_plain_lines(lines: Callable[[], list[str]]) -> None:
    rlagent.tune("iris", controller=SETTINGS_ONLY, **SMALL, out="seen", view=LiveView())
    assert lines()[0] == "iris, controller, seed 0, in seen"


def test_on_a_terminal_the_view_shows_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    rlagent.tune("iris", controller=SETTINGS_ONLY, **SMALL, view=LiveView(console))
    shown = screen.getvalue()
    for word in ("decision", "train", "valid", "best", "learning rate", "32x1", "elapsed"):
        assert word in shown


def test_a_terminal_that_cannot_draw_again_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("rlagent.apply.live.PLAIN_SECONDS", 0.0)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    rlagent.tune("iris", controller=SETTINGS_ONLY, **SMALL, view=LiveView(console))
    assert sum("valid " in line for line in screen.getvalue().splitlines()) > 1


def test_a_controller_file_is_kept_with_the_run(tmp_path: Path) -> None:
    save_controller(SETTINGS_ONLY, tmp_path / "c.safetensors")
    with pytest.raises(KeyboardInterrupt):
        rlagent.tune("iris", controller="c.safetensors", **SMALL, out="run", callback=stop_at(2))
    (tmp_path / "c.safetensors").unlink()
    resumed = rlagent.tune(resume="run")
    whole = rlagent.tune("iris", controller=SETTINGS_ONLY, **SMALL)
    assert files(resumed.run_dir) == files(whole.run_dir)


def test_a_run_that_diverges_again_and_again_has_no_endless_patience(tmp_path: Path) -> None:
    result = rlagent.tune(
        "diabetes",
        method="constant",
        optimizer="sgd",
        learning_rate=1.0,
        updates=80,
        decisions=8,
        patience=2,
        out=tmp_path / "run",
    )
    assert result.summary["diverged"] == result.summary["decisions"] == 2
    assert result.summary["notes"] == [
        "no weights were better on validation data than the best constant prediction, and what is "
        "kept is untrained"
    ]


def test_weights_that_are_worse_than_a_constant_are_kept_rather_than_untrained_ones() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(200, 4)), (np.arange(200) % 40 == 0).astype(int)
    slow: dict[str, Any] = {"method": "constant", "learning_rate": 1e-4, "rung": "32x1"}
    result = rlagent.tune(x, y, **slow, updates=40, decisions=4, patience=2, out="run")
    losses = [record["valid_loss"] for record in result.history]
    assert losses == sorted(losses, reverse=True)  # it gets better and better
    assert all(record["improved"] for record in result.history)
    assert len(losses) == 4  # so patience waits for nothing
    assert result.summary["valid_loss"] < losses[0]  # of all rows, not of some of them
    assert result.summary["notes"] == [
        "no weights were better on validation data than the best constant prediction"
    ]


def test_an_activation_is_called_by_its_name() -> None:
    settings = {"learning_rate": 0.0123, "activation": 3.0}
    assert settings_in_words({"settings": settings}) == ("learning rate 0.012   activation tanh\n")


def test_every_setting_has_a_line_in_the_picture() -> None:
    assert {name for name, *_ in curves.SETTINGS} == set(Settings._fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold": 5}, "hold must name one or several knobs, got 5"),
        ({"settings": ["mixup"]}, "settings must be numbers by name, as in {'mixup': 0.2}, got "),
        ({"controller": 5}, "controller must be a name, a file or a Controller, got 5"),
        ({"out": 3.5}, "out must be the path of a folder, got 3.5"),
        ({"log": 5}, "log must name one or several of tensorboard, mlflow, wandb, got 5"),
        ({"log": [["wandb"]]}, "unknown log ['wandb']; there are: tensorboard, mlflow, wandb"),
        ({"family": ["mlp"]}, "unknown family ['mlp']; there are: sequence, "),
        ({"device": ["cpu"]}, "unknown device ['cpu']; there are: cpu, gpu, tpu"),
    ],
)
def test_values_of_other_types_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        rlagent.tune("iris", **options)
    assert str(caught.value).startswith(message)
