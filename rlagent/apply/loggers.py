"""What a run tells other programs: TensorBoard, MLflow, Weights & Biases; offline unless told.

All that is logged is in the folder of the run anyway: `run.json`, `history.jsonl`, `summary.json`.
So a writer that fails ends, never the run; and a log can be written when the run is over, too.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from rlagent.apply import run_folder
from rlagent.storage import write_atomically, write_json

if TYPE_CHECKING:
    from types import ModuleType

LOG = "log.json"  # in the folder of a run: its writers, and by what names they know the run
TENSORBOARD = "tensorboard"  # a folder in it
PROJECT = "rlagent"  # the experiment of MLflow and the project of Weights & Biases
ARTIFACTS = (run_folder.MODEL, run_folder.CURVES, run_folder.HISTORY, run_folder.SUMMARY)
WHOLE = ("finished", "deadline")  # how a run ends that is not to be taken up again
FINAL = ("valid_loss", "valid_score", "test_loss", "test_score")
LONGEST_REASON = 160  # characters of what another program says of its failure

# In force while a writer works, where the user has set nothing: no reports of use or of errors, and
# a server that is gone costs seconds (MLflow would wait for 4 minutes).
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
}
BEGIN_SECONDS, UPLOAD_SECONDS = 30, 60  # for Weights & Biases at most, where it is online
RECORDS_PER_BATCH = 40  # MLflow takes 1000 figures at a time

Record = dict[str, Any]
Parameters = dict[str, str | bool | int | float]


def parameters(run: Mapping[str, Any]) -> Parameters:
    """What a run was asked to do and will do, by name; what is not set is left out.

    Args:
        run: the contents of its `run.json`.
    """
    asked = run["request"]
    chosen = {
        "task": run["data"]["name"],
        "method": asked["method"],
        "controller": asked["controller"],
        "batch_size": asked["batch_size"],
        **{name: value for name, value in run["plan"].items() if name != "settings"},
        **run["plan"]["settings"],
        "knobs": ", ".join(run["plan"]["knobs"]) or None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a decision, by name; a loss that was not finite is left out.

    Those of a member of an ensemble are under its name, as `member-2/loss/train`.

    Args:
        record: a line of the history.
    """
    place = f"member-{record['member']}/" if "member" in record else ""
    width, depth = record["rung"].split("x")
    named = {
        "loss/train": record["train_loss"],
        "loss/valid": record["valid_loss"],
        "accuracy/valid": record.get("valid_accuracy"),
        "reward": record["reward"],
        "diverged": record["diverged"],
        "network/depth": depth,
        "network/width": width,
        **{f"settings/{name}": value for name, value in record["settings"].items()},
    }
    figures = {place + name: float(value) for name, value in named.items() if value is not None}
    return figures | {"budget/spent": float(record.get("total_spent", record["spent"]))}


def step_of(record: Mapping[str, Any]) -> int:
    """Where a decision is in a log: the updates until then, of all networks together."""
    step: int = record.get("total_updates", record["updates"])
    return step


def final_scalars(summary: Mapping[str, Any]) -> dict[str, float]:
    """What the model that is kept is worth, by name, for instance `final/test_accuracy`.

    Args:
        summary: the contents of `summary.json`.
    """
    named = {name.replace("score", summary["score_name"]): summary[name] for name in FINAL}
    return {f"final/{name}": float(value) for name, value in named.items() if value is not None}


class Writer(Protocol):
    """Writes the log of one run in the form of another program; may raise what it likes."""

    def begin(
        self,
        folder: Path,
        run: Mapping[str, Any],
        history: Sequence[Record],
        state: dict[str, Any],
    ) -> None:
        """Writes what has happened so far, in the place of what the log has of this run.

        Args:
            folder: of the run.
            run: the contents of its `run.json`.
            history: the decisions so far.
            state: what the writer remembers of this run; it may add to it.
        """

    def write(self, record: Record) -> None:
        """Writes a decision."""

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Closes the log; None stands for a run that has failed."""


class RunLog:
    """The log of a run: to one writer, to several or to none.

    A writer that fails is left out from then on, which a line on stderr says.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Raises ValueError if what a writer needs cannot be imported."""
        with _environment():
            self._open = {name: WRITERS[name]() for name in names}
        self._folder = Path()

    def begin(self, folder: Path, history: Sequence[Record]) -> None:
        """Begins the log, or goes on with it.

        Args:
            folder: of the run.
            history: the decisions so far. If the log has more, those are going to be made again.
        """
        self._folder = folder

        def start(name: str) -> None:
            state = _read_log(folder).get(name, {}) | {"complete": False}
            self._remember(name, state)  # first, so that a run taken up again knows its writers
            self._open[name].begin(folder, run_folder.read_run(folder), history, state)
            self._remember(name, state)

        self._each(start)

    def show(self, record: Record) -> None:
        """Writes a decision."""
        self._each(lambda name: self._open[name].write(record))

    def end(self, summary: Mapping[str, Any]) -> None:
        """Writes how the run has ended, and closes the log."""

        def finish(name: str) -> None:
            self._open.pop(name).end(summary)
            if summary["status"] in WHOLE:
                self._remember(name, _read_log(self._folder)[name] | {"complete": True})

        self._each(finish)

    def close(self) -> None:
        """Closes what is still open, because the run has failed; else does nothing."""
        self._each(lambda name: self._open.pop(name).end(None))

    def _remember(self, name: str, state: Mapping[str, Any]) -> None:
        write_json(self._folder / LOG, _read_log(self._folder) | {name: state})

    def _each(self, act: Callable[[str], None]) -> None:
        for name in list(self._open):
            try:
                # MLflow prints addresses, but stdout is for results.
                with _environment(), redirect_stdout(sys.stderr):
                    act(name)
            # All, because the writers are other programs and their servers, and the run is worth
            # more than its log.
            except Exception as error:
                self._open.pop(name, None)
                print(_sentence(name, error, self._folder), file=sys.stderr)


def _sentence(name: str, error: Exception, folder: Path) -> str:
    """What is said of a log that has failed."""
    reason = (str(error) or repr(error)).splitlines()[0]
    if len(reason) > LONGEST_REASON:
        reason = reason[:LONGEST_REASON] + "…"
    return (
        f"rlagent: the log to {name} ends here: {reason}; the run does not depend on it, and when "
        f"it is over rlagent tune --resume {folder} --log {name} writes the whole log"
    )


def open_log(log: str | Sequence[str] | None, resume: Path | None = None) -> RunLog:
    """The log that is asked for, before anything is written.

    Args:
        log: the name of a writer, or several: tensorboard, mlflow, wandb. None for none or, in a
            run that is taken up again, for those that it began with.
        resume: the folder of a run that is taken up again; what is complete is not written again.

    Raises:
        ValueError: if there is no such writer, what it needs cannot be imported, or the folder's
            `log.json` is damaged.
    """
    asked = [log] if isinstance(log, str) else log
    stored = {} if resume is None else _read_log(resume)
    names = dict.fromkeys(stored if asked is None else asked)
    for name in names:
        if name not in WRITERS:
            raise ValueError(f"unknown log {name!r}; there are: {', '.join(WRITERS)}")
    return RunLog([name for name in names if not stored.get(name, {}).get("complete")])


def _read_log(folder: Path) -> dict[str, dict[str, Any]]:
    """What `log.json` says, by writer; empty if there is none."""
    path = folder / LOG
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(stored, dict) or not all(isinstance(one, dict) for one in stored.values()):
        raise ValueError(f"{path} is damaged: it holds no writers")
    return stored


@contextmanager
def _environment() -> Iterator[None]:
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _load(writer: str, package: str) -> ModuleType:
    """Imports what a writer needs; ValueError if that cannot be."""
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise _lacking(writer, str(error)) from error
    # A folder of the same name, such as W&B makes, is imported as a package with nothing in it.
    if module.__file__ is None:
        raise _lacking(writer, f"there is only a folder named {package}")
    return module


def _lacking(writer: str, reason: str) -> ValueError:
    return ValueError(f"the log to {writer} needs pip install 'rlagent[log]': {reason}")


class _TensorBoard:
    """An event file in the folder of the run, written anew when the run is taken up again.

    Neither TensorFlow nor torch has a part in it.
    """

    def __init__(self) -> None:
        for part in ("compat.proto.event_pb2", "plugins.hparams.api_pb2"):
            _load("tensorboard", f"tensorboard.{part}")
        self._file = Path()

    def begin(
        self,
        folder: Path,
        run: Mapping[str, Any],
        history: Sequence[Record],
        state: dict[str, Any],
    ) -> None:
        place = folder / TENSORBOARD
        place.mkdir(exist_ok=True)
        host, process = socket.gethostname(), os.getpid()
        name = f"events.out.tfevents.{int(time.time()):010d}.{host}.{process}.{uuid4().hex[:8]}"
        self._file = place / name
        head = [_file_version(), _session_start(folder.name, parameters(run))]
        head.append(_text("parameters", 0, parameters(run)))
        events = [*head, *(_scalar_event(step_of(record), scalars(record)) for record in history)]
        write_atomically(self._file, b"".join(map(_framed, events)))
        for other in place.glob("events.out.tfevents.*"):
            if other != self._file:
                other.unlink()

    def write(self, record: Record) -> None:
        self._append(_scalar_event(step_of(record), scalars(record)))

    def end(self, summary: Mapping[str, Any] | None) -> None:
        if summary is not None and summary["status"] in WHOLE:
            self._append(_scalar_event(summary["updates"], final_scalars(summary)))
            self._append(_text("summary", summary["updates"], summary))
        if summary is None or summary["status"] in WHOLE:
            self._append(_session_end(failed=summary is None))

    def _append(self, event: Any) -> None:
        with self._file.open("ab") as file:
            file.write(_framed(event))


def _framed(event: Any) -> bytes:
    """An event as it stands in a file, with its length and its checksums."""
    import io

    from tensorboard.summary.writer.record_writer import (  # type: ignore[import-untyped]
        RecordWriter,
    )

    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def _event(step: int, **content: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

    return Event(wall_time=time.time(), step=step, **content)


def _file_version() -> Any:
    return _event(0, file_version="brain.Event:2")  # the form of today, without which all is legacy


def _scalar_event(step: int, named: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

    values = [Summary.Value(tag=name, simple_value=value) for name, value in named.items()]
    return _event(step, summary=Summary(value=values))


def _text(tag: str, step: int, named: Mapping[str, Any]) -> Any:
    """A table, for the tab Text."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto  # type: ignore[import-untyped]
    from tensorboard.compat.proto.types_pb2 import DT_STRING  # type: ignore[import-untyped]
    from tensorboard.plugins.text.metadata import (  # type: ignore[import-untyped]
        create_summary_metadata,
    )

    table = ["| name | value |", "| --- | --- |"]
    table += [f"| {name} | {value} |" for name, value in named.items()]
    value = Summary.Value(
        tag=tag,
        metadata=create_summary_metadata(display_name="", description=""),
        tensor=TensorProto(dtype=DT_STRING, string_val=["\n".join(table).encode()]),
    )
    return _event(step, summary=Summary(value=[value]))


def _session_start(name: str, named: Parameters) -> Any:
    """The parameters, for the tab HParams, where runs stand side by side."""
    from tensorboard.plugins.hparams.metadata import (  # type: ignore[import-untyped]
        SESSION_START_INFO_TAG,
    )
    from tensorboard.plugins.hparams.plugin_data_pb2 import (  # type: ignore[import-untyped]
        HParamsPluginData,
        SessionStartInfo,
    )

    start = SessionStartInfo(group_name=name, start_time_secs=time.time())
    for key, value in named.items():
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif isinstance(value, str):
            start.hparams[key].string_value = value
        else:
            start.hparams[key].number_value = value
    return _session(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))


def _session_end(failed: bool) -> Any:
    from tensorboard.plugins.hparams.api_pb2 import (  # type: ignore[import-untyped]
        STATUS_FAILURE,
        STATUS_SUCCESS,
    )
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = STATUS_FAILURE if failed else STATUS_SUCCESS
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    return _session(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _session(tag: str, content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR, create_summary_metadata

    metadata = create_summary_metadata(content)
    value = Summary.Value(tag=tag, metadata=metadata, tensor=NULL_TENSOR)
    return _event(0, summary=Summary(value=[value]))


class _MLflow:
    """A run of the experiment `rlagent`, in MLflow's own store in the working directory.

    That is where `mlflow ui` looks, and a database for each run would take seconds to set up. What
    the user has set, by MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME or in Python, goes first. Only
    clients are used: the active run of a notebook stays what it was.
    """

    def __init__(self) -> None:
        self._mlflow: Any = _load("mlflow", "mlflow")
        if self._mlflow.get_tracking_uri().startswith("sqlite"):
            for package in ("sqlalchemy", "alembic"):  # which mlflow-skinny does not bring
                _load("mlflow", package)
        self._client: Any = None
        self._run = ""
        self._known: set[int] = set()  # the updates of the decisions that the store has

    def begin(
        self,
        folder: Path,
        run: Mapping[str, Any],
        history: Sequence[Record],
        state: dict[str, Any],
    ) -> None:
        address = None
        if not self._mlflow.is_tracking_uri_set():
            # Kept, because a run may be taken up from another folder. What a user has set is not:
            # it may hold a password.
            address = state.setdefault("store", self._mlflow.get_tracking_uri())
        self._folder = folder
        with _alone(address), _without_news("mlflow.store.db.utils"):
            self._client = self._mlflow.MlflowClient(tracking_uri=address)
        self._run = self._known_run(state.get("run"))
        if not self._run:
            self._run = state["run"] = self._new_run(folder, run)
        marks = self._client.get_metric_history(self._run, "budget/spent")
        self._known = {mark.step for mark in marks}
        for first in range(0, len(history), RECORDS_PER_BATCH):
            self._log(history[first : first + RECORDS_PER_BATCH])

    def write(self, record: Record) -> None:
        self._log([record])

    def end(self, summary: Mapping[str, Any] | None) -> None:
        if summary is None:
            self._client.set_terminated(self._run, "FAILED")
            return
        if summary["status"] in WHOLE:
            figures = self._figures(summary["updates"], final_scalars(summary))
            self._client.log_batch(self._run, metrics=figures)
            for name in ARTIFACTS:
                self._client.log_artifact(self._run, str(self._folder / name))
        ended = "FINISHED" if summary["status"] in WHOLE else "KILLED"
        self._client.set_terminated(self._run, ended)

    def _known_run(self, name: str | None) -> str:
        """The run that the log began with, running again; empty if the store does not have it."""
        if name is None:
            return ""
        try:
            if self._client.get_run(name).info.lifecycle_stage == "deleted":
                return ""
        except self._mlflow.exceptions.MlflowException:
            return ""
        self._client.update_run(name, status="RUNNING")
        return name

    def _new_run(self, folder: Path, run: Mapping[str, Any]) -> str:
        tags = {f"version.{name}": value for name, value in run["versions"].items()}
        made = self._client.create_run(self._experiment(), run_name=folder.name, tags=tags)
        named = parameters(run).items()
        params = [self._mlflow.entities.Param(name, str(value)) for name, value in named]
        self._client.log_batch(made.info.run_id, params=params)
        return str(made.info.run_id)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except self._mlflow.exceptions.MlflowException:
            found = self._client.get_experiment_by_name(name)
            if found is None:  # else another run was quicker
                raise
            return str(found.experiment_id)

    def _log(self, records: Sequence[Record]) -> None:
        figures = [
            figure
            for record in records
            if step_of(record) not in self._known
            for figure in self._figures(step_of(record), scalars(record))
        ]
        if figures:
            self._client.log_batch(self._run, metrics=figures)

    def _figures(self, step: int, named: Mapping[str, float]) -> list[Any]:
        now = int(1000 * time.time())
        metric = self._mlflow.entities.Metric
        return [metric(name, value, now, step) for name, value in named.items()]


@contextmanager
def _alone(store: str | None) -> Iterator[None]:
    """Keeps other runs from a local store while its tables are made: MLflow does not."""
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None  # type: ignore[assignment]
    if fcntl is None or store is None or not store.startswith("sqlite:///"):
        yield
        return
    # The folder, because a lock on it leaves no file behind; it ends with the process, too.
    handle = os.open(Path(store.removeprefix("sqlite:///")).parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _without_news(logger: str) -> Iterator[None]:
    """Lets a logger say what is wrong only."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


class _WeightsAndBiases:
    """A run of the project `rlagent`, in the folder of the run, for `wandb sync` to upload.

    What the user has set by WANDB_MODE and the like goes first.
    """

    def __init__(self) -> None:
        self._wandb: Any = _load("wandb", "wandb")
        self._run: Any = None

    def begin(
        self,
        folder: Path,
        run: Mapping[str, Any],
        history: Sequence[Record],
        state: dict[str, Any],
    ) -> None:
        name = state.setdefault("run", uuid4().hex[:8])
        mode = os.environ["WANDB_MODE"]
        if mode == "offline":
            for copy in (folder / "wandb").glob(f"offline-run-*-{name}"):
                shutil.rmtree(copy)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=name,
            name=folder.name,
            dir=str(folder),
            config={**parameters(run), "versions": run["versions"]},
            mode=mode,
            resume="allow",
            reinit="create_new",  # the active run of a notebook stays what it was
            settings=self._wandb.Settings(
                silent=True,
                console="off",
                init_timeout=BEGIN_SECONDS,
                finish_timeout=UPLOAD_SECONDS,
            ),
        )
        for record in history:
            self.write(record)

    def write(self, record: Record) -> None:
        if step_of(record) >= self._run.step:  # else the server has had it before a kill
            self._run.log(scalars(record), step=step_of(record))

    def end(self, summary: Mapping[str, Any] | None) -> None:
        if summary is not None:
            self._run.summary.update({"status": summary["status"], **final_scalars(summary)})
        self._run.finish(exit_code=0 if summary is not None else 1)


WRITERS: dict[str, Callable[[], Writer]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _WeightsAndBiases,
}
