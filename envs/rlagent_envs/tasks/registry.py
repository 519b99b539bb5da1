"""Tasks by name, or by the path of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rlagent_envs.tasks.bundled import load_bundled
from rlagent_envs.tasks.files import FORMATS, load_path
from rlagent_envs.tasks.huggingface import load_huggingface
from rlagent_envs.tasks.loading import Options
from rlagent_envs.tasks.openml import load_openml
from rlagent_envs.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    "breast_cancer": partial(load_bundled, "breast_cancer"),
    "diabetes": partial(load_bundled, "diabetes"),
    "digits": partial(load_bundled, "digits"),
    "iris": partial(load_bundled, "iris"),
    "wine": partial(load_bundled, "wine"),
}
SOURCES: dict[str, Callable[[str, Options], Task]] = {  # that are downloaded, by how names begin
    "openml:": load_openml,
    "hf:": load_huggingface,
}


def load_task(
    name_or_path: str | Path,
    *,
    target: str | None = None,
    split_column: str | None = None,
    group: str | None = None,
    valid: str | Path | None = None,
    image_size: str | int | None = None,
    skip_bad: bool | None = None,
    kind: str | None = None,
    form: str | None = None,
    time: str | None = None,
    horizon: int | None = None,
    window: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    user: str | None = None,
    item: str | None = None,
    vocabulary: int | None = None,
    embed: bool = True,
) -> Task:
    """Loads a bundled task by its name, a data set to download, or a file or folder by its path.

    Args:
        name_or_path: a name in `TASKS`, which goes before a file of that name; `openml:NAME|ID` or
            `hf:NAME`, see `load_openml` and `load_huggingface`; or a path.
        target: column to predict.
        split_column: column that says train, valid or test.
        group: column that says which rows stay together in a part.
        valid: a second file or folder, to validate on.
        image_size: pixels that images are resized to.
        skip_bad: leave out files of a folder that cannot be read.
        kind: classification, regression, segmentation or detection; inferred where None. Of what
            users took: ranking.
        form: of arrays, image or sequence; by the shape of a row where None.
        time: column that orders the rows of a time series.
        horizon: how many rows ahead the target of a time series is.
        window: how many past rows of a time series are looked at.
        batch_size: examples per update; chosen by the number of rows where None.
        seed: divides the rows; the division of bundled tasks never changes.
        user: column of users, of a table of ratings.
        item: column of items, the same.
        vocabulary: of texts in tables, how many tokens there are at most.
        embed: of tables, number the categories of columns that have more than 64.

    Raises:
        ValueError: one sentence that names what is wrong, and the choices.
    """
    options = Options(
        target=target,
        split_column=split_column,
        group=group,
        valid=valid,
        image_size=image_size,
        skip_bad=skip_bad,
        kind=kind,
        form=form,
        time=time,
        horizon=horizon,
        window=window,
        batch_size=batch_size,
        seed=seed,
        user=user,
        item=item,
        vocabulary=vocabulary,
        embed=embed,
    )
    name = str(name_or_path)
    if name in TASKS:
        return _load_named(name, options)
    for beginning, load in SOURCES.items():
        if name.startswith(beginning):
            return load(name, options)
    path = Path(name_or_path)
    if not path.exists() and not path.suffix:
        raise ValueError(
            f"unknown task {name!r}; there are: {', '.join(sorted(TASKS))}, or give {FORMATS}"
        )
    return load_path(path, options)


def is_name(text: str) -> bool:
    """Whether this names a task, where it is no path."""
    return text in TASKS or text.startswith(tuple(SOURCES))


def describe_tasks() -> list[dict[str, str | int]]:
    """Name, kind, rows (of all parts), features and outputs of each bundled task."""
    return [_describe(TASKS[name]()) for name in sorted(TASKS)]


def _load_named(name: str, options: Options) -> Task:
    """Loads a bundled task; ValueError for an option that has a meaning for other data only."""
    options.allow(f"{name} is a bundled task")
    task = TASKS[name]()
    size = options.batch_size
    return task if size is None else dataclasses.replace(task, batch_size=size)


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
