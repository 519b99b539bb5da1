"""Tasks from files and folders, whatever form they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.loading import Options, task_of_parts
from rlagent_envs.tasks.npy import read_npy, read_npy_parts
from rlagent_envs.tasks.npz import read_npz_inputs, read_npz_parts
from rlagent_envs.tasks.preprocessing import Preprocessing, TableInput
from rlagent_envs.tasks.tables import READERS, TablePart, read_table, read_table_parts

if TYPE_CHECKING:
    import pandas as pd

    from rlagent_envs.tasks.task import Kind, Task


def load_file(
    path: str | Path,
    *,
    target: str | None = None,
    split_column: str | None = None,
    group: str | None = None,
    valid: str | Path | None = None,
    image_size: str | int | None = None,
    skip_bad: bool | None = None,
    kind: Kind | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Task:
    """Makes a task of a file.

    A .npz file has `x_train, y_train` and, as it likes, `x_valid, y_valid` and `x_test, y_test`,
    or else `x, y`. A .csv file has a header and a row for each example, separated by commas,
    semicolons or tabs; an empty cell is a missing value. A column of which all values are
    numbers is numeric, any other one is a category. Parts that the file does not tell are
    divided as `from_arrays` does it.

    Args:
        path: the file.
        target: for .csv, the column to predict.
        split_column: for .csv, the column that says for each row train, valid (or val,
            validation, dev) or test. Where None, a column named `split` of which all values are
            such words is taken, because published files come so.
        group: for tables, the column that says which rows must stay together in a part; it is no
            feature.
        valid: a second file of the same form to validate on: by its own validation rows if it
            tells them, else by its training rows.
        image_size: for images.
        skip_bad: for folders.
        kind: classification or regression; inferred from the target where None.
        batch_size: examples per update; chosen by the number of rows where None.
        seed: divides the rows.

    Raises:
        ValueError: one sentence that names the file, column or array that cannot be used.
    """
    options = Options(
        target=target,
        split_column=split_column,
        group=group,
        valid=valid,
        image_size=image_size,
        skip_bad=skip_bad,
        kind=kind,
        batch_size=batch_size,
        seed=seed,
    )
    path = check_file(path)
    return LOADERS[path.suffix.lower()](path, options)


def read_features(path: str | Path, preprocessing: Preprocessing) -> pd.DataFrame | np.ndarray:
    """Reads inputs to predict for, as `preprocessing.transform` takes them.

    Of a .csv file the columns that were trained on; the target and others may be there or not.
    Of a .npz file the array `x_test`, or `x` where there is no `x_test`.

    Args:
        path: a file of the form of the one trained on.
        preprocessing: of the task trained on.

    Returns:
        A DataFrame, or an array `[rows, ...]`.

    Raises:
        ValueError: if the file cannot be read, lacks a column, or is of the other form.
    """
    path = check_file(path, *(READERS if isinstance(preprocessing.inputs, TableInput) else ARRAYS))
    if not isinstance(preprocessing.inputs, TableInput):
        return read_npz_inputs(path)
    columns = preprocessing.inputs.columns
    table = read_table(path, {column.name for column in columns if column.kind == "category"})
    names = [column.name for column in columns]
    for name in names:
        if name not in table.columns:
            raise ValueError(f"{path} lacks the column {name!r}")
    return table[names]


def check_file(path: str | Path, *suffixes: str) -> Path:
    """The path of a file that can be tried; ValueError if it is none, or not of `suffixes`."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    if path.suffix.lower() not in LOADERS:
        raise ValueError(
            f"{path} has the unknown extension {path.suffix!r}; give a .csv or .npz file"
        )
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} must be a {' or '.join(suffixes)} file, as the training data")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    return path


def _load_table(path: Path, options: Options) -> Task:
    options.refuse(f"{path} is a table", "image_size", "skip_bad")
    second = None if options.valid is None else check_file(options.valid, path.suffix.lower())
    parts = read_table_parts(path, options.target, options.split_column, options.group, second)
    _refuse_torn_groups(parts)
    inputs = {part: (rows.x, rows.y) for part, rows in parts.items()}
    return task_of_parts(inputs, path.stem, options, parts["train"].groups)


def _refuse_torn_groups(parts: dict[str, TablePart]) -> None:
    """Raises ValueError if a group has rows in two of the parts that are told."""
    seen: dict[object, str] = {}
    for part, rows in parts.items():
        for name in [] if rows.groups is None else rows.groups.unique():
            if name in seen:
                column = rows.groups.name
                raise ValueError(f"the group {name!s} of {column!r} is in {seen[name]} and {part}")
            seen[name] = part


def _load_arrays(path: Path, options: Options) -> Task:
    what = f"{path} is a {path.suffix} file"
    options.refuse(what, "split_column", "group", "image_size", "skip_bad")
    if path.suffix.lower() == ".npz":
        options.refuse(what, "target")
    parts = _array_parts(path, options.target)
    if options.valid is not None:
        second = check_file(options.valid, *ARRAYS)
        if "valid" in parts:
            raise ValueError(f"{path} has validation rows already, so {second} cannot be used too")
        validating = _array_parts(second, None)
        parts |= {"valid": validating.get("valid", validating["train"])}
    return task_of_parts(parts, path.stem, options)


def _array_parts(path: Path, target: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if path.suffix.lower() == ".npy":
        return read_npy_parts(path, target)
    return read_npz_parts(path)


ARRAYS = (".npz", ".npy")
LOADERS: dict[str, Callable[[Path, Options], Task]] = {
    **dict.fromkeys(READERS, _load_table),
    **dict.fromkeys(ARRAYS, _load_arrays),
}
