"""The logs of tuned runs: what is in them, also after a kill; one that fails; one made later."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import rlagent
from rlagent.apply.loggers import mlflow, run_log
from rlagent.apply.loggers.run_log import ENVIRONMENT, RunLog, open_log
from rlagent.apply.loggers.writer import final_scalars, scalars
from rlagent.apply.result import Result
from rlagent.apply.tuning import Interrupted
from rlagent.cli import main, parser
from rlagent.storage import write_json

SMALL: dict[str, Any] = {"method": "cosine", "updates": 60, "decisions": 6, "rung": "32x1"}
RUN = {
    "format_version": 1,
    "request": {"method": "controller", "controller": "default", "batch_size": None},
    "plan": {
        "updates": 60,
        "settings": {"learning_rate": 1e-3},
        "knobs": ["momentum", "growth"],
    },
    "data": {"name": "iris"},
    "versions": {"rlagent": "0", "jax": "1"},
}
SUMMARY = {
    "status": "finished",
    "updates": 60,
    "score_name": "accuracy",
    "valid_loss": 0.25,
    "valid_score": 0.9,
    "test_loss": 0.5,
    "test_score": 0.8,
}
FINAL = {
    "final/valid_loss": 0.25,
    "final/valid_accuracy": 0.9,
    "final/test_loss": 0.5,
    "final/test_accuracy": 0.8,
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the user of this computer has set, and without the compile cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAGENT_CACHE_DIR", "")
    for name in [*ENVIRONMENT, "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(name="folder")
def a_folder(tmp_path: Path) -> Path:
    """Of a run that has made no decision yet, and is small enough to be written by hand."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_json(folder / "run.json", RUN)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run that nobody has logged."""
    return rlagent.tune("iris", **SMALL, out=tmp_path_factory.mktemp("finished"))


def record(decision: int) -> dict[str, Any]:
    """A line of a history; 10 updates for each decision."""
    return {
        "decision": decision,
        "updates": 10 * decision,
        "spent": decision / 6,
        "rung": "64x2",
        "settings": {"learning_rate": 0.001 * decision, "dropout": 0.25},
        "action": {"learning_rate": 2.0},
        "train_loss": 1.0 / decision,
        "valid_loss": 2.0 / decision,
        "reward": 0.5,
        "improved": True,
        "diverged": False,
        "valid_accuracy": 0.75,
    }


def records(first: int, last: int) -> list[dict[str, Any]]:
    return [record(decision) for decision in range(first, last + 1)]


def write_artifacts(folder: Path) -> None:
    for name in mlflow.ARTIFACTS:
        (folder / name).write_bytes(b"content of " + name.encode())


def killed(log: RunLog, folder: Path) -> None:
    """A run that makes 4 decisions, of which its checkpoint knows 2."""
    log.begin(folder, [])
    for line in records(1, 4):
        log.show(line)


def interrupted(log: RunLog, folder: Path) -> None:
    """The same run, taken up again; Ctrl-C after decision 5."""
    log.begin(folder, records(1, 2))
    for line in records(3, 5):
        log.show(line)
    log.end(SUMMARY | {"status": "interrupted", "test_loss": None, "test_score": None})
    log.close()


def whole(log: RunLog, folder: Path) -> None:
    """And its end."""
    log.begin(folder, records(1, 5))
    log.show(record(6))
    write_artifacts(folder)
    log.end(SUMMARY)
    log.close()


def lives(log: Callable[[], RunLog], folder: Path) -> None:
    """All three, with a log that is opened anew for each."""
    for life in (killed, interrupted, whole):
        life(log(), folder)


def events_of(folder: Path) -> Any:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    return events.Reload()


def points(events: Any, name: str) -> Any:
    """Pairs of step and value, for comparison with what pytest takes for about equal."""
    return [(event.step, event.value) for event in events.Scalars(name)]


def hparams(events: Any) -> dict[str, Any]:
    """What the tab HParams is told, by tag."""
    told = events.PluginTagToContent("hparams")
    return {tag: HParamsPluginData.FromString(content) for tag, content in told.items()}


# What is logged


def test_the_figures_of_a_decision() -> None:
    assert scalars(record(2)) == {
        "loss/train": 0.5,
        "loss/valid": 1.0,
        "accuracy/valid": 0.75,
        "reward": 0.5,
        "diverged": 0.0,
        "budget/spent": 2 / 6,
        "network/depth": 2.0,
        "network/width": 64.0,
        "settings/learning_rate": 0.002,
        "settings/dropout": 0.25,
    }


def test_what_is_not_there_is_left_out() -> None:
    diverged = record(1) | {"valid_loss": None, "train_loss": None, "diverged": True}
    del diverged["valid_accuracy"]
    left = scalars(record(1)).keys() - scalars(diverged).keys()
    assert left == {"loss/train", "loss/valid", "accuracy/valid"}
    assert scalars(diverged)["diverged"] == 1.0
    assert final_scalars(SUMMARY | {"test_loss": None, "test_score": None}).keys() == {
        "final/valid_loss",
        "final/valid_accuracy",
    }


# TensorBoard


def test_tensorboard_has_each_decision_once(folder: Path) -> None:
    lives(lambda: RunLog(["tensorboard"]), folder)
    events = events_of(folder)
    assert set(events.Tags()["scalars"]) == scalars(record(1)).keys() | FINAL.keys()
    for name in scalars(record(1)):
        expected = [(line["updates"], scalars(line)[name]) for line in records(1, 6)]
        assert points(events, name) == [(step, pytest.approx(value)) for step, value in expected]
    for name, value in FINAL.items():
        assert points(events, name) == [(60, pytest.approx(value))]
    assert len(list((folder / "tensorboard").iterdir())) == 1
    assert events.file_version == 2.0


def test_tensorboard_has_parameters_and_summary(folder: Path) -> None:
    lives(lambda: RunLog(["tensorboard"]), folder)
    events = events_of(folder)
    texts = events.PluginTagToContent("text").keys()
    assert texts == {"parameters", "summary"}
    (summary,) = events.Tensors("summary")
    assert b"| test_score | 0.8 |" in summary.tensor_proto.string_val[0]
    told = hparams(events)
    start = told["_hparams_/session_start_info"].session_start_info
    assert start.group_name == "run"
    assert start.hparams["learning_rate"].number_value == 1e-3
    assert start.hparams["knobs"].string_value == "momentum, growth"
    assert "batch_size" not in start.hparams
    assert told["_hparams_/session_end_info"].session_end_info.status == 1  # success


def test_tensorboard_reads_a_log_that_was_cut_by_a_kill(folder: Path) -> None:
    one = RunLog(["tensorboard"])
    one.begin(folder, records(1, 3))
    (file,) = (folder / "tensorboard").iterdir()
    whole = file.read_bytes()
    one.show(record(4))
    file.write_bytes(file.read_bytes()[: len(whole) + 20])
    assert [step for step, _ in points(events_of(folder), "reward")] == [10, 20, 30]
    RunLog(["tensorboard"]).begin(folder, records(1, 4))
    assert [step for step, _ in points(events_of(folder), "reward")] == [10, 20, 30, 40]


def test_other_files_beside_the_events_stay(folder: Path) -> None:
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "notes.txt").write_text("mine")
    lives(lambda: RunLog(["tensorboard"]), folder)
    assert (folder / "tensorboard" / "notes.txt").read_text() == "mine"


def test_a_failed_run_says_so(folder: Path) -> None:
    log = RunLog(["tensorboard"])
    log.begin(folder, records(1, 2))
    log.close()
    told = hparams(events_of(folder))
    assert told["_hparams_/session_end_info"].session_end_info.status == 2  # failure

    def fail(line: dict[str, Any]) -> None:
        raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        rlagent.tune("iris", **SMALL, out="failed", log="tensorboard", callback=fail)
    told = hparams(events_of(Path("failed")))
    assert told["_hparams_/session_end_info"].session_end_info.status == 2


def test_tensorboard_needs_neither_torch_nor_tensorflow(folder: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = sys.modules["tensorflow"] = None
from pathlib import Path
from rlagent.apply.loggers.run_log import RunLog
log = RunLog(["tensorboard"])
log.begin(Path({str(folder)!r}), [{record(1)!r}])
log.end({SUMMARY!r})
print(*sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert not {"jax", "pandas", "keras"} & set(run.stdout.split())
    assert points(events_of(folder), "final/test_loss") == [(60, 0.5)]


class Stop(KeyboardInterrupt):
    """Ctrl-C at a moment of our choice."""


def stop(line: dict[str, Any]) -> None:
    if line["decision"] == 3:
        raise Stop


def test_a_run_that_is_taken_up_again_goes_on_with_its_log() -> None:
    with pytest.raises(Interrupted):
        rlagent.tune("iris", **SMALL, out="run", log="tensorboard", callback=stop)
    assert len(points(events_of(Path("run")), "loss/valid")) == 3
    assert "final/test_loss" not in events_of(Path("run")).Tags()["scalars"]
    assert hparams(events_of(Path("run"))).keys() == {"_hparams_/session_start_info"}  # no end
    result = rlagent.tune(resume="run")
    events = events_of(Path("run"))
    losses = [(line["updates"], pytest.approx(line["valid_loss"])) for line in result.history]
    assert len(losses) == 6
    assert points(events, "loss/valid") == losses
    score = pytest.approx(result.summary["test_score"])
    assert points(events, "final/test_accuracy") == [(result.summary["updates"], score)]
    start = hparams(events)["_hparams_/session_start_info"].session_start_info
    assert start.hparams["task"].string_value == "iris"
    assert start.hparams["learning_rate"].number_value == result.summary["learning_rate"]


def test_a_run_that_is_over_can_be_logged(finished: Result) -> None:
    again = rlagent.tune(resume=finished.run_dir, log=["tensorboard"])
    assert again.summary == finished.summary
    events = events_of(finished.run_dir)
    assert [step for step, _ in points(events, "reward")] == [
        line["updates"] for line in finished.history
    ]
    assert len(points(events, "final/test_loss")) == 1
    (file,) = (finished.run_dir / "tensorboard").iterdir()
    rlagent.tune(resume=finished.run_dir, log=["tensorboard"])
    assert list((finished.run_dir / "tensorboard").iterdir()) == [file]  # it was complete


def test_a_log_does_not_change_the_run(finished: Result) -> None:
    logged = rlagent.tune("iris", **SMALL, out="run", log="tensorboard")
    for name in ("model.safetensors", "history.jsonl"):
        assert (logged.run_dir / name).read_bytes() == (finished.run_dir / name).read_bytes()


# What cannot be


def test_an_unknown_log_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        ValueError, match=r"^unknown log 'comet'; there are: tensorboard, mlflow, wandb$"
    ):
        rlagent.tune("iris", out="run", log=["tensorboard", "comet"])
    assert main(["tune", "iris", "--out", "run", "--log", "tensorbord"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("run").exists()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_named_before_anything_is_done(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [one for one in sys.modules if one.split(".")[0] == name]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"rlagent.apply.loggers.{name}_events", raising=False)
    sentence = rf"^the log to {name} needs pip install 'rlagent\[log\]': .*{name}"
    with pytest.raises(ValueError, match=sentence):
        rlagent.tune("iris", out="run", log=name)
    assert not Path("run").exists()


def test_mlflow_needs_what_its_local_store_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", FakeMLflow("mlflow").module())
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ValueError, match=r"^the log to mlflow needs pip install .*sqlalchemy"):
        open_log("mlflow")


@pytest.mark.skipif(find_spec("wandb") is not None, reason="the package goes before the folder")
def test_a_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"there is only a folder named wandb$"):
        open_log("wandb")
    sys.modules.pop("wandb", None)


def test_a_damaged_log_file_is_named(folder: Path) -> None:
    (folder / "log.json").write_text("[1")
    with pytest.raises(ValueError, match=r"log\.json cannot be read"):
        open_log(None, folder)
    (folder / "log.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"log\.json is damaged: it holds no writers$"):
        open_log("tensorboard", folder)


def test_the_option_can_be_repeated() -> None:
    args = parser().parse_args(["tune", "iris", "--log", "tensorboard", "--log", "mlflow"])
    assert args.log == ["tensorboard", "mlflow"]
    assert parser().parse_args(["tune", "iris"]).log is None


# A log that fails


class Broken:
    """A writer that works until a moment of our choice."""

    moment = "never"

    def _reach(self, moment: str) -> None:
        if self.moment == moment:
            raise OSError(28, "No space left on device")

    def begin(self, folder: Path, run: Any, history: Any, state: dict[str, Any]) -> None:
        self._reach("begin")

    def write(self, line: dict[str, Any]) -> None:
        self._reach("write")

    def end(self, summary: Any) -> None:
        self._reach("end")


@pytest.mark.parametrize("moment", ["begin", "write", "end"])
def test_a_log_that_fails_does_not_cost_the_run(
    moment: str,
    finished: Result,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(run_log.WRITERS, "wandb", Broken)
    monkeypatch.setattr(Broken, "moment", moment)
    result = rlagent.tune("iris", **SMALL, out="run", log=["wandb", "tensorboard"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1  # once, however many decisions there are
    assert err.startswith("rlagent: the log to wandb ends here: [Errno 28] No space left on device")
    assert "rlagent tune --resume run --log wandb" in err
    assert result.history == finished.history
    assert len(points(events_of(Path("run")), "final/test_loss")) == 1
    stored = json.loads(Path("run/log.json").read_text())
    assert {name: state["complete"] for name, state in stored.items()} == {
        "wandb": False,
        "tensorboard": True,
    }
    monkeypatch.setattr(Broken, "moment", "never")
    rlagent.tune(resume="run", log="wandb")  # as the sentence says
    assert json.loads(Path("run/log.json").read_text())["wandb"]["complete"]
    assert capsys.readouterr().err == ""


def test_a_full_disk_does_not_cost_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a stand-in: the folder of the events has become a file."""
    (folder / "tensorboard").write_text("in the way")
    log = RunLog(["tensorboard"])
    log.begin(folder, [])
    log.show(record(1))
    log.end(SUMMARY)
    log.close()
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_is_no_failure_of_a_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Broken, line: dict[str, Any]) -> None:
        raise Stop

    monkeypatch.setattr(Broken, "write", interrupt)
    monkeypatch.setitem(run_log.WRITERS, "wandb", Broken)
    log = RunLog(["wandb"])
    log.begin(folder, [])
    with pytest.raises(Stop):
        log.show(record(1))


def test_the_environment_stays_what_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(self: Broken, line: dict[str, Any]) -> None:
        seen.append({name: os.environ.get(name) for name in ENVIRONMENT})
        print("an address", end="")

    monkeypatch.setattr(Broken, "write", look)
    monkeypatch.setitem(run_log.WRITERS, "wandb", Broken)
    monkeypatch.setenv("WANDB_MODE", "online")
    before = dict(os.environ)
    log = RunLog(["wandb"])
    log.begin(folder, [])
    log.show(record(1))
    assert seen == [ENVIRONMENT | {"WANDB_MODE": "online"}]
    assert dict(os.environ) == before


def test_stdout_is_for_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Broken, "write", lambda self, line: print("an address"))
    monkeypatch.setitem(run_log.WRITERS, "wandb", Broken)
    log = RunLog(["wandb"])
    log.begin(folder, [])
    log.show(record(1))
    assert capsys.readouterr() == ("", "an address\n")


# MLflow and Weights & Biases: stand-ins that check the calls


class FakeMLflow:
    """As much of MLflow as is called, with one store for all clients."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address: str | None = None  # as the user has set it
        self.runs: dict[str, SimpleNamespace] = {}
        self.clients: list[str | None] = []  # their addresses
        self.local = f"sqlite:///{Path.cwd() / 'mlflow.db'}"

    def module(self) -> ModuleType:
        module = ModuleType(self.name)
        module.__file__ = "mlflow.py"
        module.get_tracking_uri = lambda: self.address or self.local  # type: ignore[attr-defined]
        module.is_tracking_uri_set = lambda: self.address is not None  # type: ignore[attr-defined]
        module.MlflowClient = self.client  # type: ignore[attr-defined]
        module.exceptions = SimpleNamespace(MlflowException=LookupError)  # type: ignore[attr-defined]
        module.entities = SimpleNamespace(  # type: ignore[attr-defined]
            Metric=lambda key, value, timestamp, step: SimpleNamespace(
                key=key, value=value, timestamp=timestamp, step=step
            ),
            Param=lambda key, value: (key, value),
        )
        return module

    def client(self, tracking_uri: str | None) -> "FakeMLflow":
        self.clients.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="7")

    def create_run(self, experiment: str, run_name: str, tags: Mapping[str, str]) -> Any:
        info = SimpleNamespace(run_id=f"id{len(self.runs)}", lifecycle_stage="active")
        self.runs[info.run_id] = SimpleNamespace(
            info=info, name=run_name, tags=tags, metrics=[], params={}, files=[], status="RUNNING"
        )
        return self.runs[info.run_id]

    def get_run(self, run_id: str) -> Any:
        return self.runs[run_id]

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].status = status

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [metric for metric in self.runs[run_id].metrics if metric.key == key]

    def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: Any = ()) -> None:
        assert len(metrics) <= 1000
        self.runs[run_id].metrics += metrics
        self.runs[run_id].params |= dict(params)

    def log_artifact(self, run_id: str, local_path: str) -> None:
        assert Path(local_path).is_file()
        self.runs[run_id].files.append(Path(local_path).name)

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id].status = status


@pytest.fixture(name="store")
def a_store(monkeypatch: pytest.MonkeyPatch) -> FakeMLflow:
    store = FakeMLflow("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", store.module())
    for name in ("sqlalchemy", "alembic"):
        module = ModuleType(name)
        module.__file__ = f"{name}.py"
        monkeypatch.setitem(sys.modules, name, module)
    return store


def test_mlflow_has_each_decision_once(store: FakeMLflow, folder: Path) -> None:
    lives(lambda: open_log("mlflow", folder), folder)
    (run,) = store.runs.values()
    assert (run.name, run.status) == ("run", "FINISHED")
    for name in scalars(record(1)):
        found = [(metric.step, metric.value) for metric in run.metrics if metric.key == name]
        assert found == [(line["updates"], scalars(line)[name]) for line in records(1, 6)]
    assert {metric.key: metric.value for metric in run.metrics if "final" in metric.key} == FINAL
    assert run.params["learning_rate"] == "0.001"
    assert run.tags == {"version.rlagent": "0", "version.jax": "1"}
    assert set(run.files) == {"model.safetensors", "curves.png", "history.jsonl", "summary.json"}
    # The first one asks for the default; from then on it is where the run has its log.
    assert store.clients == [store.local] * 3


def test_mlflow_tells_how_a_run_ends(store: FakeMLflow, folder: Path) -> None:
    for end, status in (("interrupted", "KILLED"), ("failed", "FAILED")):
        log = RunLog(["mlflow"])
        log.begin(folder, [])
        assert store.runs["id0"].status == "RUNNING"
        if end == "interrupted":
            log.end(SUMMARY | {"status": "interrupted"})
        log.close()
        assert store.runs["id0"].status == status
    assert store.runs["id0"].files == []


def test_mlflow_goes_where_the_user_says(store: FakeMLflow, folder: Path) -> None:
    store.address = "https://name:password@server"
    RunLog(["mlflow"]).begin(folder, records(1, 2))
    assert store.clients == [None]
    assert "password" not in (folder / "log.json").read_text()


def test_mlflow_begins_anew_where_its_run_is_gone(store: FakeMLflow, folder: Path) -> None:
    RunLog(["mlflow"]).begin(folder, records(1, 2))
    store.runs["id0"].info.lifecycle_stage = "deleted"
    RunLog(["mlflow"]).begin(folder, records(1, 3))
    assert [metric.step for metric in store.get_metric_history("id1", "reward")] == [10, 20, 30]


class FakeRun:
    """A run of Weights & Biases, with its figures by step."""

    def __init__(self, options: dict[str, Any], steps: list[int]) -> None:
        self.options, self.steps = options, steps
        self.step = steps[-1] + 1 if steps else 0
        self.figures: list[dict[str, float]] = []
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None

    def log(self, figures: dict[str, float], step: int) -> None:
        assert step >= self.step
        self.step = step
        self.steps.append(step)
        self.figures.append(figures)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


class FakeWandb:
    """As much of it as is called. What is online is kept by a server, offline in a folder."""

    def __init__(self) -> None:
        self.runs: list[FakeRun] = []

    def module(self) -> ModuleType:
        module = ModuleType("wandb")
        module.__file__ = "wandb.py"
        module.init = self.init  # type: ignore[attr-defined]
        module.Settings = dict  # type: ignore[attr-defined]
        return module

    def init(self, **options: Any) -> FakeRun:
        earlier = self.runs[-1].steps if self.runs and options["mode"] == "online" else []
        self.runs.append(FakeRun(options, list(earlier)))
        if options["mode"] == "offline":
            place = Path(options["dir"], "wandb", f"offline-run-{len(self.runs)}-{options['id']}")
            place.mkdir(parents=True)
        return self.runs[-1]


@pytest.fixture(name="wandb")
def a_wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake.module())
    return fake


def test_wandb_is_offline_and_has_each_decision_once(wandb: FakeWandb, folder: Path) -> None:
    (folder / "wandb" / "offline-run-0-another").mkdir(parents=True)
    lives(lambda: open_log("wandb", folder), folder)
    last = wandb.runs[-1]
    assert last.steps == [10, 20, 30, 40, 50, 60]
    assert last.figures == [scalars(line) for line in records(1, 6)]
    assert last.summary == FINAL | {"status": "finished"}
    assert last.exit_code == 0
    assert {run.options["mode"] for run in wandb.runs} == {"offline"}
    assert len({run.options["id"] for run in wandb.runs}) == 1
    assert last.options["config"]["learning_rate"] == 1e-3
    assert last.options["config"]["versions"]["jax"] == "1"
    # What is uploaded by `wandb sync` is the last one only.
    kept = {one.name for one in (folder / "wandb").iterdir()}
    assert kept == {"offline-run-0-another", f"offline-run-3-{last.options['id']}"}


def test_wandb_is_online_where_the_user_says(
    wandb: FakeWandb, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    lives(lambda: open_log("wandb", folder), folder)
    assert {run.options["mode"] for run in wandb.runs} == {"online"}
    assert {run.options["project"] for run in wandb.runs} == {"mine"}
    assert wandb.runs[-1].steps == [10, 20, 30, 40, 50, 60]  # of the server, over all processes


def test_wandb_hears_of_a_failed_run(wandb: FakeWandb, folder: Path) -> None:
    log = RunLog(["wandb"])
    log.begin(folder, [])
    log.close()
    assert wandb.runs[0].exit_code == 1


# The real ones, where they are installed. In processes of their own: they start threads and
# servers, and change what warns.

REAL = """
import os, sys
from pathlib import Path
tests, name, folder, life = sys.argv[1:]
sys.path.insert(0, tests)
import test_loggers
getattr(test_loggers, life)(test_loggers.open_log(name, Path(folder)), Path(folder))
if life == "killed":
    os._exit(0)
"""


def run_really(name: str, folder: Path) -> None:
    """Logs a run in three processes, which must say nothing."""
    for life in ("killed", "interrupted", "whole"):
        command = [sys.executable, "-c", REAL, str(Path(__file__).parent), name, str(folder), life]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", ""), life


@pytest.mark.slow
def test_the_real_mlflow(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    run_really("mlflow", folder)
    code = """
import json, mlflow
client = mlflow.MlflowClient("sqlite:///mlflow.db")
(run,) = client.search_runs([client.get_experiment_by_name("rlagent").experiment_id])
history = client.get_metric_history(run.info.run_id, "loss/valid")
print(json.dumps({
    "name": run.info.run_name,
    "status": run.info.status,
    "points": sorted((metric.step, metric.value) for metric in history),
    "params": run.data.params,
    "metrics": run.data.metrics,
    "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = json.loads(run.stdout)
    assert (told["name"], told["status"]) == ("run", "FINISHED")
    assert told["points"] == [[line["updates"], line["valid_loss"]] for line in records(1, 6)]
    assert told["params"]["knobs"] == "momentum, growth"
    assert told["metrics"].items() >= FINAL.items()
    assert told["files"] == ["curves.png", "history.jsonl", "model.safetensors", "summary.json"]
    assert (tmp_path / "mlflow.db").is_file()


@pytest.mark.slow
def test_two_runs_at_once_share_the_real_mlflow(folder: Path, tmp_path: Path) -> None:
    """Each finds that there is no store yet."""
    pytest.importorskip("mlflow")
    folders = [folder, tmp_path / "another"]
    shutil.copytree(folder, folders[1])
    commands = [
        [sys.executable, "-c", REAL, str(Path(__file__).parent), "mlflow", str(one), "whole"]
        for one in folders
    ]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    assert [process.communicate()[0] for process in processes] == ["", ""]
    assert all(json.loads((one / "log.json").read_text())["mlflow"]["complete"] for one in folders)


@pytest.mark.slow
def test_the_real_wandb(folder: Path) -> None:
    pytest.importorskip("wandb")
    run_really("wandb", folder)
    (kept,) = (folder / "wandb").glob("offline-run-*")
    (file,) = kept.glob("*.wandb")
    code = """
import json, struct, sys
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record
# The log format of LevelDB: blocks of 32 KiB, in them pieces with checksum, length and type, of
# which 1 is a whole record and 4 the last piece of one; 7 bytes stand before all.
content, place, data = Path(sys.argv[1]).read_bytes(), 7, b""
steps, summary, exits = [], {}, []
while place + 7 <= len(content):
    if 32768 - place % 32768 < 7:
        place += 32768 - place % 32768
    _, length, piece = struct.unpack("<IHB", content[place : place + 7])
    data += content[place + 7 : place + 7 + length]
    place += 7 + length
    if piece not in (1, 4):
        continue
    record, data = Record.FromString(data), b""
    kind = record.WhichOneof("record_type")
    if kind == "history":
        items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
        steps.append([record.history.step.num, json.loads(items["loss/valid"])])
    elif kind == "summary":
        summary |= {i.key or "/".join(i.nested_key): i.value_json for i in record.summary.update}
    elif kind == "exit":
        exits.append(record.exit.exit_code)
print(json.dumps({"steps": steps, "summary": summary, "exits": exits}))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    told = json.loads(run.stdout)
    assert told["steps"] == [[line["updates"], line["valid_loss"]] for line in records(1, 6)]
    assert {name: json.loads(told["summary"][name]) for name in FINAL} == FINAL
    assert told["exits"] == [0]
