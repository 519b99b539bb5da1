"""Tables, whatever file they are in: their columns, their parts, and their types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rlagent_envs.tasks.columns import holds_numbers, numbered_texts, to_numbers
from rlagent_envs.tasks.csv_tables import csv_header, csv_texts, read_csv_table
from rlagent_envs.tasks.json_lines import json_header, read_json_table
from rlagent_envs.tasks.left_out import on_left_out, without_dropped
from rlagent_envs.tasks.parquet import parquet_header, parquet_index, read_parquet_table
from rlagent_envs.tasks.parts_apart import refuse_twice
from rlagent_envs.tasks.roles import ROLES
from rlagent_envs.tasks.splits import SPLIT_NAMES

if TYPE_CHECKING:
    import pandas as pd

MOSTLY = 0.9  # a column with this share of numbers, and many of them, is numeric with bad cells
MANY_NUMBERS = 20


class Reader(NamedTuple):
    """How files of a suffix are read."""

    read: Callable[[Path], pd.DataFrame]
    header: Callable[[Path], list[str]]  # the names of the columns alone


READERS: dict[str, Reader] = {
    ".csv": Reader(read_csv_table, csv_header),
    ".tsv": Reader(read_csv_table, csv_header),
    ".parquet": Reader(read_parquet_table, parquet_header),
    ".jsonl": Reader(read_json_table, json_header),
    ".ndjson": Reader(read_json_table, json_header),
    ".json": Reader(read_json_table, json_header),
}
WITHOUT_TYPES = (".csv", ".tsv")  # what looks like a number may be meant as one


class TablePart(NamedTuple):
    """Rows of a table that belong together."""

    x: pd.DataFrame
    y: np.ndarray  # [rows], of booleans, numbers or texts
    groups: pd.Series | None  # [rows]: whose rows must stay together; None where not asked for
    times: pd.Series | None  # [rows]: by which rows are divided; None where not asked for


class Asked(NamedTuple):
    """Which columns are no features, by the options that name them."""

    target: str
    split_column: str | None
    group: str | None
    split_time: str | None


def read_table(
    path: Path, texts: Container[str] = (), notes: list[str] | None = None
) -> pd.DataFrame:
    """The table in a file, by its suffix.

    Args:
        path: the file.
        texts: of a file without types, columns that are texts even if they look like numbers.
        notes: what there is to say of the reading is put behind it.

    Raises:
        ValueError: if the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in WITHOUT_TYPES:
        return read_csv_table(path, texts, notes)
    table = READERS[suffix].read(path)
    for name, times in table.columns.value_counts().items():
        if times > 1:
            raise ValueError(f"{path} has {times} columns named {name!r}")
    return table


def without_index(
    path: Path, table: pd.DataFrame, needed: Container[str | None], notes: list[str] | None
) -> pd.DataFrame:
    """The table of a file without the index that pandas wrote.

    Args:
        path: the file.
        table: what was read of it.
        needed: names of columns that stay, such as the target.
        notes: if something is left out, it is said behind it.
    """
    if path.suffix.lower() != ".parquet":
        return table
    index = [n for n in parquet_index(path) if n in table.columns and n not in needed]
    if not index:
        return table
    if notes is not None:
        notes.append(on_left_out(index, "the index of the rows in pandas"))
    return table.drop(columns=index)


def header_of(path: Path) -> list[str]:
    """The names of the columns of a file; ValueError if it cannot be read."""
    return READERS[path.suffix.lower()].header(path)


def read_table_parts(
    path: Path,
    target: str | None,
    split_column: str | None,
    group: str | None,
    apart: Mapping[str, Path],
    texts: Collection[str] = (),
    split_time: str | None = None,
    drop: Sequence[str] | None = None,
    notes: list[str] | None = None,
) -> dict[str, TablePart]:
    """Features and target of each part: train, and valid and test where they are told.

    Args:
        path: the file.
        target: name of its target column.
        split_column: name of the column that tells the parts; None for `split`, if it does.
        group: name of the column that says which rows must stay together.
        apart: files of the same columns to validate or test on, by the part.
        texts: names of columns that are texts even if they look like numbers.
        split_time: name of the column of times by which rows are to be divided.
        drop: names of columns to leave out.
        notes: what there is to say of the reading is put behind it.

    Raises:
        ValueError: if a column is not there or cannot be used.
    """
    notes = [] if notes is None else notes
    table = read_table(path, texts, notes)
    asked = _check_columns(table, target, split_column, group, split_time, path)
    _keep_classes(path, table, asked.target, notes)
    table = without_dropped(table, drop, str(path), asked._asdict())
    table = without_index(path, table, asked, notes)
    tables = _divided(table, asked)
    if "train" not in tables:
        raise ValueError(f"the split column of {path} calls no row train")
    if split_time is not None and len(tables) > 1:
        raise ValueError(f"{path} has a split column, so it cannot be divided by split_time too")
    for part, file in apart.items():
        refuse_twice(part, tables, path, file)
        tables[part] = _of_file(file, part, asked, tables["train"], notes)
    numeric = _numeric(tables["train"]) if path.suffix.lower() in WITHOUT_TYPES else set()
    numeric -= set(texts)
    return {part: _taken_apart(rows, asked, numeric) for part, rows in tables.items()}


def read_labelled_rows(
    path: Path,
    are_texts: Mapping[str, bool],
    target: str,
    classes: tuple[object, ...] | None,
    split_column: str | None,
) -> dict[str, TablePart]:
    """Columns that were trained on and their target, as `read_table_parts` read them for training.

    Args:
        path: the file.
        are_texts: the columns, and whether cells of them are texts even if they look like numbers.
        target: name of its target column.
        classes: the labels of training; None for numbers.
        split_column: name of the column that tells the parts, if there is one in the file.

    Raises:
        ValueError: if a column is not there or cannot be used.
    """
    known = type(classes[0]) if classes else float
    texts = {name for name, is_text in are_texts.items() if is_text}
    table = read_table(path, texts | ({target} if known is str else set()))
    for name in are_texts:
        if name not in table.columns:
            raise ValueError(f"{path} lacks the column {name!r}")
    told = split_column if split_column in table.columns else None
    asked = _check_columns(table, target, told, None, None, path)
    if known is str:
        _keep_classes(path, table, target, None)
    numeric = {target} if known in (int, float) and path.suffix.lower() in WITHOUT_TYPES else set()
    return {
        part: _taken_apart(rows, asked, numeric) for part, rows in _divided(table, asked).items()
    }


def _check_columns(
    table: pd.DataFrame,
    target: str | None,
    split_column: str | None,
    group: str | None,
    split_time: str | None,
    path: Path,
) -> Asked:
    """The columns asked for; ValueError, listing those that there are, if one is none."""
    columns = ", ".join(table.columns)
    if target is None:
        raise ValueError(f"name the target column of {path}; it has: {columns}")
    asked = Asked(target, split_column, group, split_time)
    taken: dict[str, str] = {}
    for option, name in asked._asdict().items():
        if name is None:
            continue
        called, purpose = ROLES[option]
        if name not in table.columns:
            raise ValueError(f"{path} has no column {name!r} {purpose}; it has: {columns}")
        if name in taken:
            raise ValueError(f"column {name!r} cannot be both {taken[name]} and {called}")
        taken[name] = called
    return asked


def _of_file(
    path: Path, part: str, asked: Asked, train: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """The rows of another file that are a part: those it calls so, else those that train."""
    texts = {name for name in train.columns if _is_text(train[name])}
    said: list[str] = []
    table = read_table(path, texts, said)
    notes += [note for note in said if note not in notes]
    for name in train.columns:
        if name not in table.columns:
            raise ValueError(f"{path} lacks the column {name!r}")
    if asked.split_column not in table.columns:
        asked = asked._replace(split_column=None)
    if _is_text(train[asked.target]):
        _keep_classes(path, table, asked.target, None)
    parts = _divided(table, asked)
    for name in (part, "train"):
        if name in parts:
            return parts[name][list(train.columns)]
    raise ValueError(f"the split column of {path} calls no row {part} or train")


def _keep_classes(path: Path, table: pd.DataFrame, name: str, notes: list[str] | None) -> None:
    """Makes classes of what is called NA, None or null in a target of texts, and says so.

    In a file without types such cells are missing elsewhere; no text of a target can be.
    """
    column = table[name]
    if path.suffix.lower() not in WITHOUT_TYPES or not column.isna().any():
        return
    if not _is_text(column) or looks_numeric(column):
        return
    cells = csv_texts(path, name)
    classes = cells[column.isna() & cells.notna()].value_counts()
    table[name] = cells
    if notes is not None:
        notes += [
            f"the target {text!r} in {count} rows is taken for a class, not for a missing value"
            for text, count in classes.items()
        ]


def _divided(table: pd.DataFrame, asked: Asked) -> dict[str, pd.DataFrame]:
    """The rows of each part, as the split column tells, and without it; all in train if none."""
    column = asked.split_column
    if column is None and asked.target != "split" and "split" in table.columns:
        column = "split" if table["split"].isin(SPLIT_NAMES).all() else None
    if column is None:
        return {"train": table}
    told = table[column]
    wrong = told[~told.isin(SPLIT_NAMES)]
    if len(wrong):
        value = "an empty cell" if wrong.isna().iloc[0] else repr(str(wrong.iloc[0]))
        raise ValueError(
            f"column {column!r} has {value} in row {wrong.index[0]}; it must say "
            f"{', '.join(SPLIT_NAMES)}"
        )
    parts = told.astype(object).map(SPLIT_NAMES)
    rest = table.drop(columns=column)
    tables = {part: rest[parts == part] for part in ("train", "valid", "test")}
    return {part: rows for part, rows in tables.items() if len(rows)}


def _taken_apart(table: pd.DataFrame, asked: Asked, numeric: set[str]) -> TablePart:
    """Features and what is none, with numbers in the columns that are numeric in training."""
    import pandas as pd

    others = (asked.target, asked.group, asked.split_time)
    x = {
        name: to_numbers(table[name], name) if name in numeric else table[name]
        for name in table.columns
        if name not in others
    }
    if not x:
        raise ValueError(f"there is no column besides the target {asked.target!r}")
    target = table[asked.target]
    y = target_values(target, to_numbers(target, asked.target) if asked.target in numeric else None)
    groups = None if asked.group is None else table[asked.group]
    times = None if asked.split_time is None else table[asked.split_time]
    return TablePart(pd.DataFrame(x, index=table.index), y, groups, times)


def _numeric(train: pd.DataFrame) -> set[str]:
    """Columns of numbers, among them those of texts that look like numbers."""
    return {name for name in train.columns if looks_numeric(train[name])}


def _is_text(column: pd.Series) -> bool:
    import pandas.api.types as types

    return types.is_object_dtype(column.dtype) or types.is_string_dtype(column.dtype)


def looks_numeric(column: pd.Series) -> bool:
    """Whether a column of numbers or texts is one of numbers, be it with a few bad cells.

    True where all are numbers, and where nine in ten are and differ: then the rest are slips or
    a mark for missing values, to be named in an error, rather than categories.
    """
    import pandas as pd

    if not _is_text(column):
        return True
    places, texts = numbered_texts(str(column.name), column)
    often = np.bincount(places[places >= 0], minlength=len(texts))
    numbers = np.asarray(pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce"), float)
    known = ~np.isnan(numbers)
    if known.all():
        return len(texts) > 0
    mostly = often[known].sum() >= MOSTLY * often.sum()
    return bool(mostly and len(np.unique(numbers[known])) > MANY_NUMBERS)


def target_values(column: pd.Series, numbers: np.ndarray | None = None) -> np.ndarray:
    """The target as whole numbers where all are, else as floats, texts or booleans.

    Args:
        column: the cells.
        numbers: what they are as numbers, `[rows]`; None where they are what they are.

    Raises:
        ValueError: if some are empty.
    """
    import pandas.api.types as types

    empty = column.index[column.isna()]
    if len(empty):
        raise ValueError(
            f"the target column {column.name!r} is empty in {len(empty)} of {len(column)} rows, "
            f"the first is row {empty[0]}"
        )
    if numbers is not None:
        whole = np.all((numbers == np.round(numbers)) & (np.abs(numbers) < 2**53))
        return numbers.astype(np.int64) if whole else numbers
    name = str(column.name)
    if types.is_bool_dtype(column.dtype):
        return np.asarray(column)
    if holds_numbers(name, column):
        known = types.is_numeric_dtype(column.dtype)
        return np.asarray(column) if known else to_numbers(column, name)
    places, texts = numbered_texts(name, column)
    return np.array(texts)[places]
