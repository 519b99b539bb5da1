"""Reading .csv files: cells as texts first, so that nothing is guessed twice."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.columns import to_numbers

if TYPE_CHECKING:
    import pandas as pd

SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
}
MOSTLY = 0.9  # a column with this share of numbers, and many of them, is numeric with bad cells
MANY_NUMBERS = 20


def read_csv_parts(
    path: Path, target: str | None, split_column: str | None, second: Path | None
) -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
    """Features and target of each part: train, and valid and test where they are told.

    Args:
        path: the file.
        target: name of its target column.
        split_column: name of the column that tells the parts; None for `split`, if it does.
        second: a file of the same columns to validate on.

    Raises:
        ValueError: if a column is not there or cannot be used.
    """
    table = read_csv_table(path)
    target = _check_target(table, target, path)
    _check_split_column(table, split_column, target, path)
    tables = _divided(table, split_column, target)
    if "train" not in tables:
        raise ValueError(f"the split column of {path} calls no row train")
    if second is not None:
        if "valid" in tables:
            raise ValueError(f"{path} has validation rows already, so {second} cannot be used too")
        tables["valid"] = _validating(second, split_column, target, list(tables["train"].columns))
    return _typed(tables, target)


def read_csv_table(path: Path) -> pd.DataFrame:
    """All cells as texts, NaN where empty; rows are numbered from 1, below the header.

    Raises:
        ValueError: if it is no table with a header of different names and at least one row.
    """
    import pandas as pd

    separator = _check_header(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                index_col=False,  # else cells beyond the header would become row labels
                skipinitialspace=True,
                encoding="utf-8-sig",
            )
    except pd.errors.ParserWarning:
        raise ValueError(f"{path} has rows with more cells than its header") from None
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a well-formed .csv file: {reason}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None
    if len(table) == 0:
        raise ValueError(f"{path} has a header but no rows")
    table.columns = table.columns.str.strip()
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def _check_header(path: Path) -> str:
    """Finds the separator; ValueError if names in the header are the same or empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8") from None
    separator = max(",;\t", key=first.count)
    names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    if not any(names):
        raise ValueError(f"{path} has no header in its first line")
    for place, name in enumerate(names, start=1):
        if not name:
            raise ValueError(f"column {place} of {path} has no name; name it or drop it")
        if names.count(name) > 1:
            raise ValueError(f"{path} has {names.count(name)} columns named {name!r}")
    return separator


def _check_target(table: pd.DataFrame, target: str | None, path: Path) -> str:
    """The target column; ValueError, listing the columns, if it is none."""
    columns = ", ".join(table.columns)
    if target is None:
        raise ValueError(f"name the target column of {path}; it has: {columns}")
    if target not in table.columns:
        raise ValueError(f"{path} has no column {target!r} for the target; it has: {columns}")
    return target


def _check_split_column(
    table: pd.DataFrame, split_column: str | None, target: str, path: Path
) -> None:
    """Raises ValueError if a split column was asked for that cannot be one."""
    if split_column == target:
        raise ValueError(f"column {target!r} cannot be both the target and the split column")
    if split_column is not None and split_column not in table.columns:
        columns = ", ".join(table.columns)
        raise ValueError(f"{path} has no column {split_column!r} to split by; it has: {columns}")


def _validating(
    path: Path, split_column: str | None, target: str, names: list[str]
) -> pd.DataFrame:
    """The rows of a second file that validate: those it calls so, else those that train."""
    table = read_csv_table(path)
    for name in names:
        if name not in table.columns:
            raise ValueError(f"{path} lacks the column {name!r}")
    parts = _divided(table, split_column if split_column in table.columns else None, target)
    for part in ("valid", "train"):
        if part in parts:
            return parts[part][names]
    raise ValueError(f"the split column of {path} calls no row valid or train")


def _divided(table: pd.DataFrame, split_column: str | None, target: str) -> dict[str, pd.DataFrame]:
    """The rows of each part, as the split column tells, and without it; all in train if none."""
    if split_column is None and target != "split" and "split" in table.columns:
        split_column = "split" if table["split"].isin(SPLIT_NAMES).all() else None
    if split_column is None:
        return {"train": table}
    told = table[split_column]
    wrong = told[~told.isin(SPLIT_NAMES)]
    if len(wrong):
        value = "an empty cell" if wrong.isna().iloc[0] else repr(wrong.iloc[0])
        raise ValueError(
            f"column {split_column!r} has {value} in row {wrong.index[0]}; it must say "
            f"{', '.join(SPLIT_NAMES)}"
        )
    parts = told.map(SPLIT_NAMES)
    rest = table.drop(columns=split_column)
    tables = {part: rest[parts == part] for part in ("train", "valid", "test")}
    return {part: rows for part, rows in tables.items() if len(rows)}


def _typed(
    tables: dict[str, pd.DataFrame], target: str
) -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
    """Turns texts into numbers, in the columns that are numeric in the training rows."""
    import pandas as pd

    train = tables["train"]
    numeric = {name for name in train.columns if looks_numeric(train[name])}
    parts = {}
    for part, table in tables.items():
        y = _target_values(table[target], numeric=target in numeric)
        x = {
            name: to_numbers(table[name], name) if name in numeric else table[name]
            for name in train.columns
            if name != target
        }
        if not x:
            raise ValueError(f"there is no column besides the target {target!r}")
        parts[part] = (pd.DataFrame(x, index=table.index), y)
    return parts


def looks_numeric(texts: pd.Series) -> bool:
    """Whether a column of texts is one of numbers, be it with a few bad cells.

    True where all are numbers, and where nine in ten are and differ: then the rest are slips or
    a mark for missing values, to be named in an error, rather than categories.
    """
    import pandas as pd

    given = texts.dropna()
    numbers = pd.to_numeric(given, errors="coerce").dropna()
    if len(numbers) == len(given):
        return len(given) > 0
    return len(numbers) >= MOSTLY * len(given) and numbers.nunique() > MANY_NUMBERS


def _target_values(column: pd.Series, *, numeric: bool) -> np.ndarray:
    """The target as whole numbers where all are, else as floats or texts."""
    empty = column.index[column.isna()]
    if len(empty):
        raise ValueError(
            f"the target column {column.name!r} is empty in {len(empty)} of {len(column)} rows, "
            f"the first is row {empty[0]}"
        )
    if not numeric:
        return np.array(column.map(str).tolist())
    numbers = to_numbers(column, str(column.name))
    whole = np.all((numbers == np.round(numbers)) & (np.abs(numbers) < 2**53))
    return numbers.astype(np.int64) if whole else numbers
