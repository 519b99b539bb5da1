"""The log of a run, to the writers that are asked for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from rlagent.apply import run_folder
from rlagent.apply.loggers.mlflow import MLflow
from rlagent.apply.loggers.tensorboard import TensorBoard
from rlagent.apply.loggers.wandb import WeightsAndBiases
from rlagent.apply.loggers.writer import WHOLE, Record, Writer
from rlagent.storage import write_json

LOG = "log.json"  # in the folder of a run: its writers, and by what names they know the run
LONGEST_REASON = 160  # characters of what another program says of its failure

WRITERS: dict[str, Callable[[], Writer]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}

# In force while a writer works, where the user has set nothing: no reports of use or of errors, and
# a server that is gone costs seconds (MLflow would wait for 4 minutes).
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
}


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
    if asked is not None and not isinstance(asked, Sequence):
        raise ValueError(f"log must name one or several of {', '.join(WRITERS)}, got {log!r}")
    stored = {} if resume is None else _read_log(resume)
    given = [*(stored if asked is None else asked)]
    for name in given:
        if name not in [*WRITERS]:
            raise ValueError(f"unknown log {name!r}; there are: {', '.join(WRITERS)}")
    names = dict.fromkeys(given)
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
