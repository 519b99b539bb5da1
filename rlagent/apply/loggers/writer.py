"""A writer of logs, and what all writers say of a run, its decisions and its end."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

PROJECT = "rlagent"  # the experiment of MLflow and the project of Weights & Biases
WHOLE = ("finished", "deadline")  # how a run ends that is not to be taken up again
FINAL = ("valid_loss", "valid_score", "test_loss", "test_score")

Record = dict[str, Any]
Parameters = dict[str, str | bool | int | float]


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


def load(writer: str, package: str) -> ModuleType:
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
