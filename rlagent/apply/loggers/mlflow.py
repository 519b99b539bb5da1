"""The log of a run as MLflow keeps it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlagent.apply import run_folder
from rlagent.apply.loggers.writer import (
    PROJECT,
    WHOLE,
    Record,
    final_scalars,
    load,
    parameters,
    scalars,
    step_of,
)

ARTIFACTS = (run_folder.MODEL, run_folder.CURVES, run_folder.HISTORY, run_folder.SUMMARY)
RECORDS_PER_BATCH = 40  # MLflow takes 1000 figures at a time


class MLflow:
    """A run of the experiment `rlagent`, in MLflow's own store in the working directory.

    That is where `mlflow ui` looks, and a database for each run would take seconds to set up. What
    the user has set, by MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME or in Python, goes first. Only
    clients are used: the active run of a notebook stays what it was.
    """

    def __init__(self) -> None:
        self._mlflow: Any = load("mlflow", "mlflow")
        if self._mlflow.get_tracking_uri().startswith("sqlite"):
            for package in ("sqlalchemy", "alembic"):  # which mlflow-skinny does not bring
                load("mlflow", package)
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
        """Goes on with the run in the store, or makes one there."""
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
        """Adds a decision that the store does not have yet."""
        self._log([record])

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Adds what the model is worth, with its files, and says how the run has ended."""
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
