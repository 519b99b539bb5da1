"""The log of a run as Weights & Biases keeps it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from rlagent.apply.loggers.writer import (
    PROJECT,
    Record,
    final_scalars,
    load,
    parameters,
    scalars,
    step_of,
)

BEGIN_SECONDS, UPLOAD_SECONDS = 30, 60  # at most, where it is online


class WeightsAndBiases:
    """A run of the project `rlagent`, in the folder of the run, for `wandb sync` to upload.

    What the user has set by WANDB_MODE and the like goes first.
    """

    def __init__(self) -> None:
        self._wandb: Any = load("wandb", "wandb")
        self._run: Any = None

    def begin(
        self,
        folder: Path,
        run: Mapping[str, Any],
        history: Sequence[Record],
        state: dict[str, Any],
    ) -> None:
        """Makes the run anew, or goes on with it where the server has it."""
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
        """Logs a decision that the server has not had yet."""
        if step_of(record) >= self._run.step:  # else the server has had it before a kill
            self._run.log(scalars(record), step=step_of(record))

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Says what the model is worth, and waits until all is written."""
        if summary is not None:
            self._run.summary.update({"status": summary["status"], **final_scalars(summary)})
        self._run.finish(exit_code=0 if summary is not None else 1)
