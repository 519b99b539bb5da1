"""Tasks by name, or by the path of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rlagent_envs.tasks.bundled import load_bundled
from rlagent_envs.tasks.files import load_file
from rlagent_envs.tasks.task import Kind, Task

TASKS: dict[str, Callable[[], Task]] = {
    "breast_cancer": partial(load_bundled, "breast_cancer"),
    "diabetes": partial(load_bundled, "diabetes"),
    "digits": partial(load_bundled, "digits"),
    "iris": partial(load_bundled, "iris"),
    "wine": partial(load_bundled, "wine"),
}


def load_task(
    name_or_path: str | Path,
    *,
    target: str | None = None,
    split_column: str | None = None,
    valid: str | Path | None = None,
    kind: Kind | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Task:
    """Loads a bundled task by its name, or a .csv or .npz file by its path.

    Args:
        name_or_path: a name in `TASKS`, which goes before a file of that name, or a path.
        target: column to predict; for .csv files.
        split_column: column that says train, valid or test; for .csv files.
        valid: a second file, to validate on; for files.
        kind: classification or regression, for files; inferred where None.
        batch_size: examples per update; chosen by the number of rows where None.
        seed: divides the rows of a file; the division of bundled tasks never changes.

    Raises:
        ValueError: one sentence that names what is wrong, and the choices.
    """
    if str(name_or_path) in TASKS:
        only_files = {"target": target, "split_column": split_column, "valid": valid, "kind": kind}
        return _load_named(str(name_or_path), only_files, batch_size)
    path = Path(name_or_path)
    if not path.exists() and not path.suffix:
        raise ValueError(
            f"unknown task {str(name_or_path)!r}; there are: {', '.join(sorted(TASKS))}, "
            f"or give a .csv or .npz file"
        )
    return load_file(
        path,
        target=target,
        split_column=split_column,
        valid=valid,
        kind=kind,
        batch_size=batch_size,
        seed=seed,
    )


def describe_tasks() -> list[dict[str, str | int]]:
    """Name, kind, rows (of all parts), features and outputs of each bundled task."""
    return [_describe(TASKS[name]()) for name in sorted(TASKS)]


def _load_named(name: str, only_files: dict[str, Any], batch_size: int | None) -> Task:
    """Loads a bundled task; ValueError for an argument that has a meaning for files only."""
    for argument, value in only_files.items():
        if value is not None:
            raise ValueError(f"{argument} is for files, but {name} is a bundled task")
    task = TASKS[name]()
    return task if batch_size is None else dataclasses.replace(task, batch_size=batch_size)


def _describe(task: Task) -> dict[str, str | int]:
    """One line of the list of tasks."""
    splits = [split for split in (task.train, task.valid, task.test) if split is not None]
    return {
        "name": task.name,
        "kind": task.kind,
        "rows": sum(len(split.y) for split in splits),
        "features": task.features,
        "outputs": task.outputs,
    }
