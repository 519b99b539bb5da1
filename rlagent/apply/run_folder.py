"""The folder of a run: what is in it, and how it stays whole whatever happens."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from rlagent.storage import read_arrays, write_arrays, write_atomically, write_json

if TYPE_CHECKING:
    from rlagent.controller.file import Controller

FORMAT_VERSION = 1  # of `run.json`
CHECKPOINT_VERSION = 2
RUN, CHECKPOINT, HISTORY = "run.json", "checkpoint.safetensors", "history.jsonl"
MODEL, SUMMARY, CURVES = "model.safetensors", "summary.json", "curves.png"
CONTROLLER = "controller.safetensors"  # a copy: the run does not change if the original does
RUNS = Path("runs")  # where folders go that were not named


@dataclass(frozen=True)
class Checkpoint:
    """A run between two decisions, with its history: one file, so that both are of one moment."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float  # that the run has taken


def check_free(out: Path | None) -> None:
    """Checks where a run is to go, before anything is made; None stands for a new name in `runs`.

    Raises:
        ValueError: if the folder holds something, or cannot be written.
    """
    folder = RUNS if out is None else out
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder")
    if out is not None and folder.is_dir() and any(folder.iterdir()):
        again = f"; go on with the run in it by --resume {out}" if (out / RUN).is_file() else ""
        raise ValueError(f"the folder {out} is not empty{again}")
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write into {nearest}")


def create(
    out: Path | None, name: str, contents: Mapping[str, Any], controller: Controller | None
) -> Path:
    """Makes the folder of a run, whole or not at all.

    Args:
        out: where; None for the first free `runs/NAME-N`.
        name: begins the name of the folder where `out` is None.
        contents: of `run.json`.
        controller: kept with the run, if there is one.

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds something, or cannot be written.
    """
    try:
        if out is not None:
            check_free(out)
            return _move_into_place(contents, controller, out)
        RUNS.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                return _move_into_place(contents, controller, RUNS / _free_name(name))
            except OSError as error:  # another run took the name since
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    except OSError as error:
        where = out if out is not None else RUNS
        raise ValueError(f"cannot write into {where}: {error.strerror}") from error


def read_run(folder: Path) -> dict[str, Any]:
    """What `run.json` says.

    Raises:
        ValueError: if the folder holds no run, a damaged one, or one of another format version.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    path = folder / RUN
    if not path.is_file():
        raise ValueError(f"the folder {folder} holds no run: it has no {RUN}")
    contents = _read_json(path)
    if (version := contents.get("format_version")) != FORMAT_VERSION:
        raise ValueError(
            f"the run {folder} has format version {version}; this rlagent reads: {FORMAT_VERSION}"
        )
    return contents


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What `summary.json` says; None if there is none."""
    path = folder / SUMMARY
    return _read_json(path) if path.is_file() else None


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The lines of `history.jsonl`; empty if there is none.

    Raises:
        ValueError: naming the line that is not JSON.
    """
    path = folder / HISTORY
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise ValueError(f"{path} is damaged: line {number} is not JSON") from None
    return records


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes a line for each decision."""
    lines = [json.dumps(record, allow_nan=False) + "\n" for record in history]
    write_atomically(folder / HISTORY, "".join(lines).encode())


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replaces the checkpoint, and the history that people read along."""
    metadata = {
        "format_version": CHECKPOINT_VERSION,
        "facts": checkpoint.facts,
        "history": checkpoint.history,
        "seconds": checkpoint.seconds,
    }
    write_arrays(folder / CHECKPOINT, checkpoint.arrays, metadata)
    write_history(folder, checkpoint.history)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The last checkpoint, or None if there is none yet.

    Raises:
        ValueError: if it is damaged or of another format version.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    arrays, metadata = read_arrays(path)
    if (version := metadata.get("format_version")) != CHECKPOINT_VERSION:
        raise ValueError(
            f"the checkpoint {path} has format version {version}; this rlagent reads: "
            f"{CHECKPOINT_VERSION}"
        )
    try:
        facts, history = metadata["facts"], metadata["history"]
        return Checkpoint(arrays, dict(facts), list(history), float(metadata["seconds"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint {path} is damaged: {error}") from error


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Replaces the summary."""
    write_json(folder / SUMMARY, summary)


def clean_up(folder: Path) -> None:
    """Removes what a finished run needs no more: its checkpoint, and what a kill left behind."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _move_into_place(contents: Mapping[str, Any], controller: Controller | None, out: Path) -> Path:
    """Fills a folder beside `out`, then renames it: nobody sees it half-filled."""
    if out.is_dir():  # empty; it may be the one that the user is in, so it stays
        _fill(out, contents, controller)
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.absolute().parent / f".{out.name}.{uuid4().hex}.tmp"
    staging.mkdir()
    try:
        _fill(staging, contents, controller)
        os.rename(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out


def _fill(folder: Path, contents: Mapping[str, Any], controller: Controller | None) -> None:
    if controller is not None:
        from rlagent.controller.file import save_controller

        save_controller(controller, folder / CONTROLLER)
    write_json(folder / RUN, {"format_version": FORMAT_VERSION, **contents})


def _free_name(name: str) -> str:
    """`NAME-N` with the first N that is free."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip(".") or "run"
    number = 1
    while (RUNS / f"{plain}-{number}").exists():
        number += 1
    return f"{plain}-{number}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return value
