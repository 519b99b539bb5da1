"""`rlagent bench` and `rlagent runs`: nothing twice, nothing lost, failures said."""

import io
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rlagent.baselines import catalog
from rlagent.baselines.method import Problem, Steps
from rlagent.baselines.runs import as_test
from rlagent.cli import main
from rlagent.experiments import compute, runner
from rlagent.experiments.experiment import Asked, Cell, Job, expanded, read_experiment
from rlagent.experiments.runner import Forecast, computed, run_experiment
from rlagent.experiments.sources import (
    RANKINGS,
    Source,
    guess_target,
    source,
    suites,
    unique,
)
from rlagent.experiments.store import Store
from rlagent.experiments.stored_run import Packed, StoredRun, pack, unpack
from rlagent_envs import batch
from rlagent_envs.config import DOMAINS
from rlagent_envs.models import SEQUENCE, Rung
from rlagent_envs.reward import FLOOR
from rlagent_envs.tasks.procedural_ratings import sample_ratings_task
from rlagent_envs.training.bank import baseline_loss

SMALL = ["--tasks", "iris", "--updates", "40", "--quiet"]
PAIR = ["--methods", "constant,cosine@0.01", "--seeds", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test in a folder of its own, without the compile cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")


def stored(path: str = "runs/bench.sqlite") -> list[StoredRun]:
    with Store.open(path, write=False) as store:
        return store.runs()


def plain(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Without what depends on the clock."""
    return [replace(run, seconds=None) for run in runs]


def by_key(packed: Iterable[Packed]) -> list[StoredRun]:
    """The runs as they are in a store, in an order that does not depend on who was first."""
    runs = [replace(run, decisions=unpack(decisions)) for run, decisions in packed]
    return sorted(runs, key=lambda run: run.key)


def asked(**options: Any) -> Asked:
    return Asked(**{"tasks": ("iris",), "updates": (40,), "seeds": 2, **options})


# --- the command


def test_bench_computes_each_cell_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL, *PAIR]) == 0
    out = capsys.readouterr().out
    assert "4 cells, 4 of them computed now" in out
    assert "cosine@0.01" in out
    first = stored()
    assert [(run.method, run.seed) for run in first] == [
        ("constant", 0),
        ("constant", 1),
        ("cosine@0.01", 0),
        ("cosine@0.01", 1),
    ]
    assert main(["bench", *SMALL, "--methods", "constant,cosine@0.01,step", "--seeds", "2"]) == 0
    assert "6 cells, 2 of them computed now" in capsys.readouterr().out
    again = stored()
    assert [run for run in again if run.method != "step"] == first


def test_a_stored_run_tells_all_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL, "--methods", "controller", "--seeds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cells"], told["computed"], told["failed"]) == (1, 1, 0)
    assert told["scoreboard"]["methods"] == ["controller"]
    (run,) = stored()
    assert run.status == "finished"
    assert run.versions["jax"]
    assert run.config["updates"] == 40
    assert run.config["method"]["controller"]
    assert run.seconds is not None
    assert run.seconds > 0
    assert run.flops is not None
    assert run.budget_flops is not None
    assert 0.8 < run.flops / run.budget_flops <= 1.0
    assert run.metric_name == "accuracy"
    assert run.curve is not None
    assert run.curve.valid_score[-1] == pytest.approx(run.valid_score, rel=1e-5)
    assert run.curve.flops[-1] == pytest.approx(run.flops, rel=1e-5)
    assert len(run.decisions) == len(run.curve.flops)
    assert set(run.decisions[0]["probabilities"]) >= {"learning_rate"}
    (trial,) = run.trials
    assert (trial.valid_score, trial.test_score) == (run.valid_score, run.test_score)


def test_a_stored_population_tells_who_copied_whom(capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["--methods", "pbt:3,random:2", "--seeds", "1"]
    assert main(["bench", *SMALL, *methods]) == 0
    search, pbt = sorted(stored(), key=lambda run: run.method == "pbt:3")
    assert search.decisions == []
    each = len(pbt.decisions) // 3
    assert [record["trial"] for record in pbt.decisions] == [0] * each + [1] * each + [2] * each
    assert [record["decision"] for record in pbt.decisions] == [*range(1, each + 1)] * 3
    copies = [record for record in pbt.decisions if "copied" in record]
    assert copies
    assert {record["copied"] for record in copies} <= {0, 1, 2}
    # Who copies nobody keeps the settings that it has.
    for trial, first in zip(pbt.trials, pbt.decisions[::each], strict=True):
        assert first["settings"] == pytest.approx(trial.settings, rel=1e-5)
    capsys.readouterr()
    assert main(["runs", "show", pbt.key]) == 0
    shown = capsys.readouterr().out
    for record in copies:
        assert f"copies trial {record['copied']}: " in shown
        assert f"learning rate {record['settings']['learning_rate']:.3g}" in shown


def test_a_file_of_options_is_the_same_as_the_options() -> None:
    Path("e.toml").write_text(
        'tasks = ["iris"]\nmethods = ["constant"]\nseeds = 1\nupdates = [40]\nstore = "s.sqlite"\n'
    )
    assert main(["bench", "e.toml", "--quiet"]) == 0
    first = stored("s.sqlite")
    assert main(["bench", *SMALL, "--methods", "constant", "--seeds", "1"]) == 0
    assert [run.key for run in stored()] == [run.key for run in first]
    # The command line goes before the file.
    assert main(["bench", "e.toml", "--quiet", "--seeds", "2"]) == 0
    assert len(stored("s.sqlite")) == 2


def test_the_reference_comes_at_all_budgets_that_speed_up_is_read_from() -> None:
    assert expanded(("reference", "tpe")) == (
        "reference",
        "tpe",
        "reference:0.25",
        "reference:0.5",
        "reference:2",
        "reference:4",
    )
    assert expanded(("cosine",)) == ("cosine",)


def test_what_fails_is_recorded_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    Path("words.csv").write_text("a,label\n" + "x,1\n" * 3)
    options = ["--tasks", "words.csv,iris", "--updates", "40", "--quiet"]
    assert main(["bench", *options, "--methods", "constant", "--seeds", "1"]) == 1
    captured = capsys.readouterr()
    assert "constant on words, seed 0, 40 updates failed: " in captured.err
    failed, finished = sorted(stored(), key=lambda run: run.status)
    assert (failed.task, failed.status) == ("words", "failed")
    assert failed.reason
    assert "\n" not in failed.reason
    assert (finished.task, finished.status) == ("iris", "finished")
    assert "1 failed" in captured.out
    # A failed cell is tried again; a finished one is not.
    assert main(["bench", *options, "--methods", "constant", "--seeds", "1"]) == 1
    assert "2 cells, 1 of them computed now" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["--quiet", "--json"])
def test_where_all_fails_the_reasons_are_told(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("numbers.csv").write_text("a,label\n" + "1,1\n2,0\n" * 9)
    options = ["--tasks", "numbers.csv:typo", "--updates", "40", "--methods", "constant"]
    assert main(["bench", *options, "--seeds", "1", form]) == 1
    captured = capsys.readouterr()
    assert "numbers.csv has no column 'typo'" in captured.err
    if form == "--json":
        assert json.loads(captured.out)["scoreboard"] is None
    else:
        assert captured.out.startswith("1 cells, 1 of them computed now")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tasks iris --methods magic", "unknown method 'magic'; there are: reference, "),
        ("--suite magic", "unknown suite 'magic'; there are: smoke, meta-valid, meta-test"),
        ("--tasks magic", "unknown task 'magic'; there are: breast_cancer, "),
        ("--tasks none.csv", "there is no file none.csv"),
        ("--tasks procedural:x", "procedural: needs a seed, a whole number from 0 up"),
        ("--suite meta-test", "the suite meta-test cannot be loaded: there is no file data/adult"),
        ("--data-dir none", "there is no folder none"),
        ("", "name tasks by --tasks, --suite or --data-dir"),
        ("--tasks iris --seeds 0", "seeds must be a whole number from 1 up, got 0"),
        ("--tasks iris --updates 0", "updates must be a whole number from 1 up, got 0"),
        ("--tasks iris --updates x", "must be whole numbers, got 'x'"),
        ("--tasks iris --workers 0", "workers must be a whole number from 1 up, got 0"),
        ("none.toml", "there is no file none.toml"),
        ("wrong.toml", "unknown key 'metods' in wrong.toml; there are: tasks, suites, "),
        ("types.toml", "seeds in types.toml must be a whole number, got '3'"),
        ("items.toml", "updates in items.toml must be a list of whole numbers, got ['3']"),
        ("broken.toml", "broken.toml is not TOML: "),
        ("--tasks iris --store text.sqlite", "text.sqlite"),
        ("--tasks iris --device magic", "unknown device 'magic'"),
    ],
)
def test_bad_input_is_one_sentence(
    options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wrong.toml").write_text('metods = ["cosine"]\n')
    Path("types.toml").write_text('seeds = "3"\n')
    Path("items.toml").write_text('updates = ["3"]\n')
    Path("broken.toml").write_text("seeds = \n")
    Path("text.sqlite").write_text("these are words, and no database at all\n" * 100)
    assert main(["bench", *options.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rlagent: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert not Path("runs/bench.sqlite").exists()


def test_two_runners_do_not_share_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").mkdir()
    with Store.open("runs/bench.sqlite", write=True):
        assert main(["bench", *SMALL, *PAIR]) == 2
    assert "another runner" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(jobs: Sequence[Job], workers: int) -> Iterator[Packed]:
        yield from list(computed(jobs[:1], 1))
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "computed", stopped)
    assert main(["bench", *SMALL, *PAIR]) == 130
    assert "what is finished is in runs/bench.sqlite" in capsys.readouterr().err
    assert len(stored()) == 1


def test_runs_are_listed_shown_exported_and_deleted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *SMALL, *PAIR]) == 0
    keys = [run.key for run in stored()]
    capsys.readouterr()
    assert main(["runs", "list", "--methods", "constant"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 3
    assert main(["runs", "show", keys[0]]) == 0
    assert keys[0] in capsys.readouterr().out
    assert main(["runs", "export", "--out", "runs.csv"]) == 0
    table = pd.read_csv("runs.csv", dtype={"key": str})
    assert sorted(table["key"]) == sorted(keys)
    capsys.readouterr()
    assert main(["runs", "delete"]) == 2
    assert "name the runs to delete" in capsys.readouterr().err
    assert main(["runs", "delete", "--superseded"]) == 2  # nothing was computed twice
    assert "meets these conditions" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no answer is a no
    assert main(["runs", "delete", keys[0]]) == 0
    assert len(stored()) == 4
    assert main(["runs", "delete", keys[0], "--yes"]) == 0
    assert main(["runs", "delete", "--seeds", "1", "--yes"]) == 0
    assert [run.seed for run in stored()] == [0]
    capsys.readouterr()
    assert main(["runs", "list", "--store", "none.sqlite"]) == 2
    assert "none.sqlite" in capsys.readouterr().err
    assert main(["report", "none.sqlite"]) == 2
    assert "none.sqlite" in capsys.readouterr().err


def test_a_store_of_a_newer_rlagent_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL, "--methods", "constant", "--seeds", "1"]) == 0
    with sqlite3.connect("runs/bench.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for command in (["bench", *SMALL], ["runs", "list"], ["report", "runs/bench.sqlite"]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "99" in error
        assert len(error.splitlines()) == 1


# --- what is computed together


class Broken:
    """A method that fails at its second slice."""

    name = "broken"

    def steps(self, problem: Problem) -> Steps:
        steps = catalog.make("constant").steps(problem)
        wanted = next(steps)
        yield wanted
        raise ZeroDivisionError("on purpose")

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


def test_lanes_give_what_one_lane_gives_and_fail_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = asked(methods=("constant", "random:2", "step")).experiment().jobs()
    alone = by_key(computed(jobs, 1))
    make = catalog.make
    monkeypatch.setattr(catalog, "make", lambda text: Broken() if text == "broken" else make(text))
    monkeypatch.setattr(catalog, "budgeted", lambda text, problem: problem)
    monkeypatch.setitem(compute.LANES, "cpu", 3)
    broken = Job(Cell(Source("iris", "iris"), "broken", 0, 40), "0" * 16, {})
    together = by_key(computed([*jobs[:2], broken, *jobs[2:]], 1))
    assert plain([run for run in together if run.method != "broken"]) == plain(alone)
    (failure,) = (run for run in together if run.method == "broken")
    assert failure.reason == "ZeroDivisionError: on purpose"


def test_a_slice_that_fails_among_others_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    step = batch.step

    def fails(banks: Any, running: Any, actions: Any, mode: Any) -> Any:
        if any(one.seed == 1 for one in running):
            raise MemoryError("on purpose")
        return step(banks, running, actions, mode)

    monkeypatch.setattr(batch, "step", fails)
    monkeypatch.setitem(compute.LANES, "cpu", 4)
    runs = by_key(computed(asked(methods=("constant", "step")).experiment().jobs(), 1))
    assert {(run.seed, run.status) for run in runs} == {(0, "finished"), (1, "failed")}


def test_a_worker_that_dies_fails_its_cell_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Fragile:
        def __init__(self, number: int) -> None:
            made.append(number)

        def compute(self, job: Job) -> Packed:
            if job.cell.seed == 0:
                raise RuntimeError("its process ended with status -9")
            return pack(compute.failed(job, "a stand-in for a result"))

        def close(self) -> None:
            pass

    monkeypatch.setattr(runner, "Worker", Fragile)
    jobs = asked(methods=("constant",), seeds=3).experiment().jobs()
    runs = sorted(by_key(computed(jobs, 2)), key=lambda run: run.seed)
    assert [run.reason for run in runs] == [
        "its process ended with status -9",
        "a stand-in for a result",
        "a stand-in for a result",
    ]
    assert len(made) <= 3  # a new one in the place of the dead


@pytest.mark.slow
def test_processes_give_what_one_process_gives() -> None:
    experiment = asked(tasks=("iris", "wine"), methods=("constant", "tpe:2")).experiment()
    run_experiment(experiment, Path("one.sqlite"))
    run_experiment(experiment, Path("two.sqlite"), workers=2)
    assert plain(stored("one.sqlite")) == plain(stored("two.sqlite"))


# --- where tasks come from


def test_processes_share_the_cores_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    experiment = asked(tasks=("iris",), methods=("constant",)).experiment()
    says = (
        "^workers share the cores of a CPU, got 2 of them for a gpu: say device cpu or workers 1$"
    )
    with pytest.raises(ValueError, match=says):
        run_experiment(experiment, Path("none.sqlite"), workers=2)
    assert not Path("none.sqlite").exists()


def test_every_data_file_of_a_folder_is_a_task() -> None:
    Path("data").mkdir()
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((90, 3)), np.arange(90) % 2
    np.savez("data/arrays.npz", x=x, y=y)
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(label=y)
    frame.to_csv("data/table.csv", index=False)
    Path("data/notes.txt").write_text("no data\n")
    experiment = asked(tasks=(), data_dir="data", methods=("constant",)).experiment()
    assert [one.name for one in experiment.sources] == ["arrays", "table"]
    assert [run.status for run in by_key(computed(experiment.jobs(), 1))] == ["finished"] * 4
    frame.to_csv("data/table.tsv", index=False, sep="\t")  # of the same name
    frame.to_csv("data/more_TEST.csv", index=False)  # no part of a set of series
    Path("data/broken.parquet").write_bytes(b"no table")
    asked_for = asked(tasks=(), data_dir="data", methods=("constant",), seeds=1)
    experiment = asked_for.experiment()
    names = ["arrays", "broken", "more_TEST", "table.csv", "table.tsv"]
    assert sorted(one.name for one in experiment.sources) == names
    failed = [run for run in by_key(computed(experiment.jobs(), 1)) if run.status == "failed"]
    assert [run.task for run in failed] == ["broken"]
    assert "broken.parquet" in str(failed[0].reason)


def test_the_target_of_a_table_is_guessed() -> None:
    for header, target in (
        ("a,b,c", "c"),
        ("a,Label,c", "Label"),
        ("a;b;split", "b"),
        ("x0,target,split", "target"),
    ):
        Path("t.csv").write_text(f"{header}\n")
        assert guess_target(Path("t.csv")) == target
    assert source("t.csv:a").target == "a"
    assert source("t.csv", target="b").target == "b"


def test_other_content_is_another_cell() -> None:
    Path("t.csv").write_text("a,y\n1,2\n")
    first = asked(tasks=("t.csv",)).experiment().jobs()[0].key
    Path("t.csv").write_text("a,y\n1,3\n")
    assert asked(tasks=("t.csv",)).experiment().jobs()[0].key != first
    Path("sub").mkdir()
    Path("sub/t.csv").write_text("a,y\n1,2\n")  # the same content elsewhere is the same cell
    assert asked(tasks=("sub/t.csv",)).experiment().jobs()[0].key == first


def test_two_tasks_of_one_name_are_refused() -> None:
    pair = [Source("t", "a/t.csv", "y"), Source("t", "b/t.csv", "y")]
    with pytest.raises(ValueError, match=r"^two tasks have the name t: a/t.csv and b/t.csv"):
        unique(pair)
    assert unique([pair[0], pair[0]]) == [pair[0]]


def series_file(path: Path) -> None:
    """Two classes of a curve each, 60 of them."""
    generator, y = np.random.default_rng(0), np.arange(60) % 2
    x = np.sin(np.arange(16) * (0.4 + 0.4 * y[:, None])) + generator.normal(0, 0.1, (60, 16))
    rows = ("\t".join(map(str, row)) for row in np.column_stack([y, x]).tolist())
    path.write_text("\n".join(rows) + "\n")


def test_methods_run_on_what_no_mlp_can_read() -> None:
    """A search chooses among the rungs of the family of a task."""
    series_file(Path("curves_TRAIN.tsv"))
    series_file(Path("curves_TEST.tsv"))
    methods = ("random:2", "reference")
    experiment = asked(tasks=("curves_TRAIN.tsv",), methods=methods, seeds=1).experiment()
    assert experiment.sources == (Source("curves", "curves_TRAIN.tsv"),)
    found = by_key(computed(experiment.jobs(), 1))
    assert [run.status for run in found] == ["finished"] * 2, [run.reason for run in found]
    ladder = {str(Rung(d, w)) for d in SEQUENCE.depths for w in SEQUENCE.widths}
    assert {trial.rung for run in found for trial in run.trials} <= ladder
    (only,) = next(run for run in found if run.method == "reference").trials
    assert only.rung == str(SEQUENCE.default)


@pytest.mark.parametrize(
    ("domain", "name"), [("language", "bits_per_character"), ("ratings", "rmse")]
)
def test_a_task_is_judged_by_its_usual_score(domain: str, name: str) -> None:
    """Which follows from its loss in these two."""
    experiment = asked(
        tasks=(f"procedural:{domain}:2000000001",), methods=("constant",), updates=(16,), seeds=1
    ).experiment()
    (found,) = by_key(computed(experiment.jobs(), 1))
    assert (found.status, found.metric_name) == ("finished", name), found.reason
    task = as_test(experiment.sources[0].load())
    assert found.test_score is not None
    loss = (np.exp(found.test_score) - FLOOR) * baseline_loss(task)
    expected = loss / np.log(2) if domain == "language" else np.sqrt(loss)
    assert found.test_metric == pytest.approx(expected, rel=1e-4)


def test_a_task_may_bring_options_along() -> None:
    Path("t.csv").write_text("a,b,y\n1,2,3\n")
    given = {"task": "t.csv", "name": "wide", "target": "b", "family": "mlp", "batch_size": 8}
    (one,) = asked(tasks=(given,)).experiment().sources
    assert one == Source("wide", "t.csv", "b", (("batch_size", 8), ("family", "mlp")))
    keys = {asked(tasks=(task,)).experiment().jobs()[0].key for task in (given, "t.csv:b")}
    assert len(keys) == 2
    Path("e.toml").write_text('tasks = [{ task = "t.csv", kind = "regression" }, "iris"]\n')
    assert read_experiment(Path("e.toml"))["tasks"] == (
        {"task": "t.csv", "kind": "regression"},
        "iris",
    )


def test_columns_to_leave_out_are_known_in_one_form() -> None:
    Path("t.csv").write_text("a,b,y\n1,2,3\n")
    forms = {source({"task": "t.csv", "drop": drop}) for drop in ("a", ["a"])}
    (one,) = forms
    assert one.options == (("drop", ("a",)),)
    Path("data").mkdir()
    Path("t.csv").rename("data/t.csv")
    assert source({"task": "data", "target": "b"}).target == "b"  # of the table in it


def test_the_test_part_in_another_file_is_part_of_the_content() -> None:
    series_file(Path("c_TRAIN.tsv"))
    series_file(Path("c_TEST.tsv"))
    first = source("c_TRAIN.tsv").fingerprint()
    Path("c_TEST.tsv").write_text(Path("c_TEST.tsv").read_text() + "0" + "\t1" * 16 + "\n")
    assert source("c_TRAIN.tsv").fingerprint() != first


def test_arrays_beside_an_array_are_part_of_the_content() -> None:
    for name in ("x_train", "y_train", "other"):
        np.save(f"{name}.npy", np.zeros(3))
    first = source("x_train.npy").fingerprint()
    np.save("other.npy", np.ones(3))
    assert source("x_train.npy").fingerprint() == first
    np.save("y_train.npy", np.ones(3))
    assert source("x_train.npy").fingerprint() != first
    assert source({"task": "other.npy", "target": "y_train.npy"}).target == "y_train.npy"


def test_a_target_is_for_what_is_downloaded_too_and_for_nothing_that_is_drawn() -> None:
    adult = source({"task": "openml:adult", "target": "sex"})
    assert (adult.target, source("openml:adult").target) == ("sex", None)
    assert adult.fingerprint() != source("openml:adult").fingerprint()
    for option, value in (("target", "sex"), ("family", "mlp")):
        with pytest.raises(ValueError, match=f"^procedural:7 is drawn as it is: .* no {option}$"):
            source({"task": "procedural:7", option: value})


def test_a_budget_that_is_named_twice_is_one() -> None:
    experiment = asked(tasks=("iris",), updates=(100, 200, 100)).experiment()
    assert experiment.updates == (100, 200)


def test_parts_in_files_of_their_own_lie_beside_the_experiment_and_count() -> None:
    Path("data").mkdir()
    rows = "".join(f"{number},{number % 2}\n" for number in range(40))
    for name in ("train", "other"):
        Path(f"data/{name}.csv").write_text("x,y\n" + rows)
    found = {
        part: source({"task": "train.csv", "target": "y", part: "other.csv"}, Path("data"))
        for part in ("valid", "test")
    }
    tested = found["test"].load().test
    assert tested is not None
    assert len(tested.y) == len(found["valid"].load().valid.y) == 40
    first = {part: one.fingerprint() for part, one in found.items()}
    alone = source("train.csv", Path("data"), "y").fingerprint()
    assert len({one["sha256"] for one in (*first.values(), alone)}) == 3
    Path("data").rename("elsewhere")
    for part, known in first.items():
        there = source({"task": "train.csv", "target": "y", part: "other.csv"}, Path("elsewhere"))
        assert there.fingerprint() == known
    Path("elsewhere/other.csv").write_text("x,y\n" + rows[4:])
    for part, known in first.items():
        there = source({"task": "train.csv", "target": "y", part: "other.csv"}, Path("elsewhere"))
        assert there.fingerprint() != known


def test_folders_ratings_and_domains_have_sources() -> None:
    Path("pictures/cat").mkdir(parents=True)
    Path("pictures/cat/1.png").write_bytes(b"1")
    assert source("pictures").name == "pictures"
    first = source("pictures").fingerprint()
    Path("pictures/cat/2.png").write_bytes(b"2")
    second = source("pictures").fingerprint()
    assert second != first
    Path("pictures/dog").mkdir()
    Path("pictures/cat/2.png").rename("pictures/dog/2.png")  # another class
    assert source("pictures").fingerprint() not in (first, second)
    Path("ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3.5,4\n")
    Path("u.data").write_text("1\t2\t3\t4\n")
    assert source("ratings.csv").target is None
    assert source("u.data") == Source("u", "u.data")
    assert source("procedural:ratings:7").load().name == sample_ratings_task(7, 10).name


def test_only_what_users_take_is_told_apart_from_its_older_form() -> None:
    Path("u.data").write_text("1\t2\t3\t4\n")
    Path("t.csv").write_text("a,b,c\n1,2,3\n")
    pair = {"task": "t.csv", "user": "a", "item": "b"}
    given: list[Any] = [
        {"task": "u.data", "kind": "ranking"},
        pair | {"kind": "ranking"},
        "procedural:rankings:7",
        "u.data",
        pair | {"target": "c"},
        "procedural:ratings:7",
        "procedural:7",
        "iris",
    ]
    ranked = [source(one).fingerprint().get("ranking") for one in given]
    assert ranked == [RANKINGS] * 3 + [None] * 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "a"}, "a task is a text, or a table with the key task, got {'name': 'a'}"),
        ({"task": "iris", "famly": "mlp"}, "unknown option 'famly' of the task iris; there are: "),
        ({"task": "iris", "horizon": 0}, "horizon must be a whole number from 1 up, got 0"),
        ("procedural:clouds:7", "unknown domain 'clouds'; there are: tables, images, "),
        ("procedural:texts:x", "procedural: needs a seed, a whole number from 0 up, got "),
        ("t.xyz", "unknown task 't.xyz'; there are: breast_cancer, "),
        ("missing.csv", "there is no file missing.csv"),
    ],
)
def test_a_task_that_cannot_be_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        source(given)


def test_each_domain_has_a_suite() -> None:
    domains = {one.get("domain", "tables") for one in suites().values() if "procedural" in one}
    assert domains == set(DOMAINS)


def test_suites_name_what_there_is(shared_data: Path) -> None:
    for name in suites():
        experiment = asked(tasks=(), suites=(name,), suite_dir=str(shared_data)).experiment()
        assert experiment.sources
    selecting, testing = (
        {
            one.place
            for one in asked(tasks=(), suites=(name,), suite_dir=str(shared_data))
            .experiment()
            .sources
        }
        for name in ("meta-valid", "meta-test")
    )
    assert len(testing) == 7
    assert not selecting & testing


def test_a_file_of_options_is_read_as_it_is_written() -> None:
    Path("e.toml").write_text('suites = ["smoke"]\nworkers = 2\ndata_dir = "d"\n')
    read = read_experiment(Path("e.toml"))
    assert read == {"suites": ("smoke",), "workers": 2, "data_dir": "d"}


def test_the_time_that_is_left_is_told_by_task() -> None:
    cells = [Cell(Source(name, name), "constant", 0, 100) for name in ("a", "a", "b")]
    forecast = Forecast(cells, workers=2)
    assert forecast.seconds() is None
    forecast.note(cells[0], 10.0)
    assert forecast.seconds() == pytest.approx(10.0)  # 20 seconds of two workers
    forecast.note(cells[2], 30.0)
    assert forecast.seconds() == pytest.approx(5.0)
    forecast.note(cells[1], 10.0)
    assert forecast.seconds() == 0.0
