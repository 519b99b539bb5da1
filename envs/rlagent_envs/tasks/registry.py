"""Tasks by name, or by the path of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rlagent_envs.tasks.bundled import load_bundled
from rlagent_envs.tasks.domains import PREFIX, load_procedural
from rlagent_envs.tasks.files import FORMATS, load_path
from rlagent_envs.tasks.huggingface import load_huggingface
from rlagent_envs.tasks.openml import load_openml
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    "breast_cancer": partial(load_bundled, "breast_cancer"),
    "diabetes": partial(load_bundled, "diabetes"),
    "digits": partial(load_bundled, "digits"),
    "iris": partial(load_bundled, "iris"),
    "wine": partial(load_bundled, "wine"),
}
SOURCES: dict[str, Callable[[str, Options], Task]] = {  # of others, by how their names begin
    PREFIX: load_procedural,
    "openml:": load_openml,
    "hf:": load_huggingface,
}


def load_task(
    name_or_path: str | Path,
    *,
    target: str | None = None,
    split_column: str | None = None,
    group: str | None = None,
    split_time: str | None = None,
    drop: str | Sequence[str] | None = None,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    image_size: str | int | None = None,
    skip_bad: bool | None = None,
    user: str | None = None,
    item: str | None = None,
    kind: str | None = None,
    form: str | None = None,
    time: str | None = None,
    horizon: int | None = None,
    window: int | None = None,
    vocabulary: int | None = None,
    streamed: bool | None = None,
    batch_size: int | None = None,
    family: str | None = None,
    mirrored: bool = False,
    seed: int = 0,
) -> Task:
    """Loads a bundled or random task by its name, a data set to download, or a file or folder.

    What files and folders may hold is told by `load_path`, and in docs/tasks.md.

    Args:
        name_or_path: a name in `TASKS`, which goes before a file of that name;
            `procedural:[DOMAIN:]SEED`, see docs/tasks_procedural.md; `openml:NAME|ID` or `hf:NAME`,
            see `load_openml` and `load_huggingface`; or a path.
        target: of a table, the column to predict; of a .npy file, that of the targets.
        split_column: of a table, the column that says for each row train, valid (or val,
            validation, dev) or test. Where None, a column named `split` of which all values are
            such words is taken, because published files come so.
        group: of a table, the column that says which rows must stay together in a part; it is no
            feature.
        split_time: of a table, the column of times (numbers, or such as 2024-01-31) by which rows
            are divided: the oldest 60 % train, the next 20 % validate, the newest 20 % test, all
            rows of one time in one part. It is no feature.
        drop: of a table, the column or columns to leave out, such as numbers of the rows.
        valid: a second file or folder of the same form to validate on: by its own validation rows
            if it tells them, else by its training rows.
        test: the same, to test on.
        image_size: of images, 32 or 24x32 pixels, height first; where None their own size if it
            is one, else 32.
        skip_bad: leave out files of a folder that cannot be read.
        user: of a table of ratings, the column of users.
        item: of a table of ratings, the column of items.
        kind: classification or regression; inferred from the target where None. Segmentation or
            detection, where a folder or arrays could be of something else. Of users and items,
            ranking, see `from_ratings`.
        form: of arrays, image or sequence; by the shape of a row where None, see `from_arrays`.
        time: of a table, the column that orders the rows of a time series, or the ratings of a
            user.
        horizon: with `time`, how many rows ahead the target is; 1 where None.
        window: with `time`, how many past rows are looked at; at most 32 where None.
        vocabulary: of texts in a table, how many tokens there are at most, see `from_arrays`.
        streamed: the rows to train on of a .npy file or of a folder a class stay on disk, and are
            read in time. Where None, they are if all rows would take more than 2 GiB.
        batch_size: examples per update; chosen by the number of rows where None.
        family: of networks; where None, the first that docs/tasks.md names for the data.
        mirrored: images keep their target when they are mirrored left to right.
        seed: divides the rows; the division of bundled tasks never changes.

    Raises:
        ValueError: one sentence that names what is wrong, and the choices.
    """
    options = Options(
        target=target,
        split_column=split_column,
        group=group,
        split_time=split_time,
        drop=drop,
        valid=valid,
        test=test,
        image_size=image_size,
        skip_bad=skip_bad,
        user=user,
        item=item,
        kind=kind,
        form=form,
        time=time,
        horizon=horizon,
        window=window,
        vocabulary=vocabulary,
        streamed=streamed,
        batch_size=batch_size,
        family=family,
        mirrored=mirrored,
        seed=seed,
    )
    return load_with(name_or_path, options)


def load_with(name_or_path: str | Path, options: Options) -> Task:
    """What `load_task` does, by options that are gathered already."""
    return options.applied(_load(name_or_path, options))


def _load(name_or_path: str | Path, options: Options) -> Task:
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
