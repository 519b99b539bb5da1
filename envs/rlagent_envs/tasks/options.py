"""What can be asked of data: the one list of the options that say how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Self, TypeGuard

import numpy as np

from rlagent_envs.tasks.left_out import names_to_drop
from rlagent_envs.tasks.parts_apart import PARTS_APART
from rlagent_envs.tasks.task import Task

# What an option is for, in the words of an error.
PURPOSES = {
    "target": "tables",
    "split_column": "tables",
    "group": "tables",
    "split_time": "tables",
    "drop": "tables",
    "time": "tables",
    "horizon": "time series, which need the option time",
    "window": "time series, which need the option time",
    "form": "arrays",
    "valid": "files",
    "test": "files",
    "image_size": "images",
    "skip_bad": "folders",
    "streamed": "arrays on disk and folders with a folder for each class",
    "kind": "data whose targets may be of several kinds",
    "vocabulary": "texts in tables",
    "user": "ratings in tables",
    "item": "ratings in tables",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How data is to be read; None stands for what each form does by itself. See `load_task`."""

    target: str | None = None
    split_column: str | None = None
    group: str | None = None
    split_time: str | None = None
    drop: str | Sequence[str] | None = None  # a tuple as soon as it is checked
    valid: str | Path | None = None
    test: str | Path | None = None
    image_size: str | int | None = None
    skip_bad: bool | None = None
    user: str | None = None
    item: str | None = None
    kind: str | None = None
    form: str | None = None
    time: str | None = None
    horizon: int | None = None
    window: int | None = None
    vocabulary: int | None = None
    streamed: bool | None = None
    batch_size: int | None = None
    family: str | None = None
    mirrored: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError, naming the option and its value, if one makes no sense by itself."""
        if self.drop is not None:
            object.__setattr__(self, "drop", names_to_drop(self.drop))
        for name in ("batch_size", "horizon", "window", "vocabulary"):
            check_whole(name, getattr(self, name))
        if self.group is not None and self.split_time is not None:
            raise ValueError("group and split_time both say how rows are divided: give one of them")
        for name in ("streamed", "skip_bad", "mirrored"):
            check_truth(name, getattr(self, name))
        if not (_is_number(self.seed) and self.seed % 1 == 0 and 0 <= self.seed < 2**32):
            raise ValueError(f"seed must be a whole number from 0 to 2^32 - 1, got {self.seed!r}")

    @property
    def embeds(self) -> bool:
        """Whether the networks embed numbered categories; they do if they read no tables."""
        from rlagent_envs.models import FAMILIES  # imports JAX, which reading data does not need

        return self.family not in [*FAMILIES] or "table" not in FAMILIES[str(self.family)].reads

    @property
    def parts_apart(self) -> dict[str, Path]:
        """The files or folders of the parts that have one of their own."""
        given = {part: getattr(self, part) for part in PARTS_APART}
        return {part: Path(path) for part, path in given.items() if path is not None}

    def with_apart(self, paths: Mapping[str, Path]) -> Self:
        """The same with files or folders of these parts."""
        valid, test = paths.get("valid", self.valid), paths.get("test", self.test)
        return replace(self, valid=valid, test=test)

    def allow(self, what: str, *names: str) -> None:
        """Raises ValueError if another option than these is given, which `what` has no use for."""
        for name, purpose in PURPOSES.items():
            given = getattr(self, name)
            if name not in names and given is not None and given is not False:
                raise ValueError(f"{name} is for {purpose}, but {what}")

    def applied(self, task: Task) -> Task:
        """The task for the family of networks and with the mirror images that were asked for."""
        if self.mirrored:
            task = replace(task, mirrored=True)
        return task if self.family is None else of_family(task, self.family)


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Raises ValueError if an option that is given is no whole number from `least` up."""
    if value is not None and not (_is_number(value) and value % 1 == 0 and value >= least):
        raise ValueError(f"{name} must be a whole number from {least} up, got {value!r}")


def check_number(name: str, value: object) -> None:
    """Raises ValueError if an option that is given is no number."""
    if value is not None and not _is_number(value):
        raise ValueError(f"{name} must be a number, got {value!r}")


def check_truth(name: str, value: object) -> None:
    """Raises ValueError if an option that is given is not true or false."""
    if value is not None and not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def of_family(task: Task, family: str) -> Task:
    """The task for networks of a family.

    Raises:
        ValueError: if there is no such family, or if it cannot read the examples of the task.
    """
    from rlagent_envs.models import FAMILIES, fitting

    if family not in [*FAMILIES]:  # a list, because what is given may have no hash
        raise ValueError(f"unknown family {family!r}; there are: {', '.join(FAMILIES)}")
    reads, there_are = FAMILIES[family].reads, fitting(task.form, task.target_shape)
    if family not in there_are and task.form in reads:
        asked, has = ("one target", "many") if task.target_shape else ("many targets", "one")
        raise ValueError(
            f"{family} is for examples with {asked}, but {task.name} has {has}; there are for it: "
            f"{', '.join(there_are)}"
        )
    if family not in there_are:
        what_is = {
            "image": " (an image is [rows, height, width] of at least 4 x 4 pixels, or with 1, 3 "
            "or 4 channels behind)",
            "sequence": " (a sequence is [rows, steps, channels]: ask for the form sequence)",
        }
        hint = "" if task.vocabularies else "".join(what_is.get(form, "") for form in reads)
        raise ValueError(
            f"{family} reads {' or '.join(reads)}, but {task.name} is of the form "
            f"{task.form}{hint}; "
            f"there are for it: {', '.join(there_are)}"
        )
    return replace(task, family=family)
