"""The log of a run as TensorBoard reads it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from rlagent.apply.loggers.writer import (
    WHOLE,
    Record,
    final_scalars,
    load,
    parameters,
    scalars,
    step_of,
)
from rlagent.storage import write_atomically

TENSORBOARD = "tensorboard"  # a folder in that of the run


class TensorBoard:
    """An event file in the folder of the run, written anew when the run is taken up again."""

    def __init__(self) -> None:
        self._events = load("tensorboard", "rlagent.apply.loggers.tensorboard_events")
        self._file = Path()

    def begin(
        self,
        folder: Path,
        run: Mapping[str, Any],
        history: Sequence[Record],
        state: dict[str, Any],
    ) -> None:
        """Writes the file, then removes those of earlier processes."""
        place = folder / TENSORBOARD
        place.mkdir(exist_ok=True)
        host, process = socket.gethostname(), os.getpid()
        name = f"events.out.tfevents.{int(time.time()):010d}.{host}.{process}.{uuid4().hex[:8]}"
        self._file = place / name
        begun = [
            self._events.file_version(),
            self._events.session_start(folder.name, parameters(run)),
            self._events.text("parameters", 0, parameters(run)),
            *map(self._decision, history),
        ]
        write_atomically(self._file, b"".join(map(self._events.framed, begun)))
        for other in place.glob("events.out.tfevents.*"):
            if other != self._file:
                other.unlink()

    def write(self, record: Record) -> None:
        """Appends a decision."""
        self._append(self._decision(record))

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Appends what the model is worth; a run to be taken up again has no end yet."""
        if summary is not None and summary["status"] in WHOLE:
            self._append(self._events.scalar_values(summary["updates"], final_scalars(summary)))
            self._append(self._events.text("summary", summary["updates"], summary))
        if summary is None or summary["status"] in WHOLE:
            self._append(self._events.session_end(failed=summary is None))

    def _decision(self, record: Record) -> Any:
        return self._events.scalar_values(step_of(record), scalars(record))

    def _append(self, event: Any) -> None:
        with self._file.open("ab") as file:
            file.write(self._events.framed(event))
