"""What is asked of data that is read, and the task that its parts make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlagent_envs.tasks.arrays import check_kind, from_arrays
from rlagent_envs.tasks.task import Task

# What an option is for, in the words of an error.
PURPOSES = {
    "target": "tables",
    "split_column": "tables",
    "group": "tables",
    "time": "tables",
    "horizon": "time series, which need the option time",
    "window": "time series, which need the option time",
    "form": "arrays",
    "valid": "files",
    "image_size": "images",
    "skip_bad": "folders",
    "kind": "data whose targets may be of several kinds",
    "vocabulary": "texts in tables",
    "user": "ratings in tables",
    "item": "ratings in tables",
}


@dataclass(frozen=True)
class Options:
    """How data is to be read; None stands for what each form does by itself. See `load_file`."""

    target: str | None = None
    split_column: str | None = None
    group: str | None = None
    valid: str | Path | None = None
    image_size: str | int | None = None
    skip_bad: bool | None = None
    kind: str | None = None
    form: str | None = None
    time: str | None = None
    horizon: int | None = None
    window: int | None = None
    batch_size: int | None = None
    seed: int = 0
    user: str | None = None
    item: str | None = None
    vocabulary: int | None = None
    embed: bool = True  # number the categories of columns of tables that have more than 64

    def allow(self, what: str, *names: str) -> None:
        """Raises ValueError if another option than these is given, which `what` has no use for."""
        for name, purpose in PURPOSES.items():
            if name not in names and getattr(self, name) is not None:
                raise ValueError(f"{name} is for {purpose}, but {what}")


def task_of_parts(
    parts: Mapping[str, tuple[Any, Any]],
    name: str,
    options: Options,
    groups: Any = None,
    notes: tuple[str, ...] = (),
) -> Task:
    """The task of inputs and targets that were read.

    Args:
        parts: inputs and targets of train and, where they are known, of valid and test.
        name: of the task.
        options: kind, form, batch size, seed, embed and vocabulary are looked at.
        groups: of the rows of train, see `from_arrays`.
        notes: what there is to say of the data; see `Task`.
    """
    (x, y), unknown = parts["train"], (None, None)
    x_valid, y_valid = parts.get("valid", unknown)
    x_test, y_test = parts.get("test", unknown)
    task = from_arrays(
        x,
        y,
        x_valid=x_valid,
        y_valid=y_valid,
        x_test=x_test,
        y_test=y_test,
        groups=groups,
        name=name,
        kind=check_kind(options.kind),
        form=options.form,
        batch_size=options.batch_size,
        seed=options.seed,
        embed=options.embed,
        vocabulary=options.vocabulary,
    )
    return replace(task, notes=(*task.notes, *notes))
