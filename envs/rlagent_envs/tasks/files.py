"""Tasks from .csv and .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.arrays import from_arrays
from rlagent_envs.tasks.csv_tables import read_csv_parts, read_csv_table
from rlagent_envs.tasks.npz import read_npz_inputs, read_npz_parts
from rlagent_envs.tasks.preprocessing import Preprocessing, TableInput

if TYPE_CHECKING:
    import pandas as pd

    from rlagent_envs.tasks.task import Kind, Task


def load_file(
    path: str | Path,
    *,
    target: str | None = None,
    split_column: str | None = None,
    valid: str | Path | None = None,
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
        valid: a second file of the same form to validate on: by its own validation rows if it
            tells them, else by its training rows.
        kind: classification or regression; inferred from the target where None.
        batch_size: examples per update; chosen by the number of rows where None.
        seed: divides the rows.

    Raises:
        ValueError: one sentence that names the file, column or array that cannot be used.
    """
    path = check_file(path)
    second = None if valid is None else check_file(valid, path.suffix.lower())
    if path.suffix.lower() == ".csv":
        parts = read_csv_parts(path, target, split_column, second)
    else:
        parts = _npz_parts(path, target, split_column, second)
    (x, y), unknown = parts["train"], (None, None)
    x_valid, y_valid = parts.get("valid", unknown)
    x_test, y_test = parts.get("test", unknown)
    return from_arrays(
        x,
        y,
        x_valid=x_valid,
        y_valid=y_valid,
        x_test=x_test,
        y_test=y_test,
        name=path.stem,
        kind=kind,
        batch_size=batch_size,
        seed=seed,
    )


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
    path = check_file(path, ".csv" if isinstance(preprocessing.inputs, TableInput) else ".npz")
    if not isinstance(preprocessing.inputs, TableInput):
        return read_npz_inputs(path)
    table = read_csv_table(path)
    names = [column.name for column in preprocessing.inputs.columns]
    for name in names:
        if name not in table.columns:
            raise ValueError(f"{path} lacks the column {name!r}")
    return table[names]


def check_file(path: str | Path, suffix: str | None = None) -> Path:
    """The path of a file that can be tried; ValueError if it is none, or not of `suffix`."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    if path.suffix.lower() not in (".csv", ".npz"):
        raise ValueError(
            f"{path} has the unknown extension {path.suffix!r}; give a .csv or .npz file"
        )
    if suffix is not None and path.suffix.lower() != suffix:
        raise ValueError(f"{path} must be a {suffix} file, as the training data")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    return path


def _npz_parts(
    path: Path, target: str | None, split_column: str | None, second: Path | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The parts of a .npz file, those to validate from a second one if it is given."""
    for argument, value in (("target", target), ("split_column", split_column)):
        if value is not None:
            raise ValueError(f"{argument} is for .csv files, but {path} is a .npz file")
    parts = read_npz_parts(path)
    if second is None:
        return parts
    if "valid" in parts:
        raise ValueError(f"{path} has validation rows already, so {second} cannot be used too")
    validating = read_npz_parts(second)
    return parts | {"valid": validating.get("valid", validating["train"])}
