"""Files of ratings: which they are, and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.parts_apart import PARTS_APART
from rlagent_envs.tasks.ratings import RANKING, TIME, check_columns, ratings_task
from rlagent_envs.tasks.tables import header_of, read_table, read_table_parts, target_values

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from rlagent_envs.tasks.task import Task

# Suffixes of MovieLens' u.data and ratings.dat, which have no header, and what is between values.
U_DATA_100K, RATINGS_DAT = ".data", "ratings.dat"
U_DATA = {U_DATA_100K: "\t", ".dat": "::"}


class Columns(NamedTuple):
    """What the columns of ratings are called."""

    user: str
    item: str
    rating: str | None  # None: not looked at


OF_U_DATA = Columns("user", "item", "rating")
OF_RATINGS_CSV = Columns("userId", "movieId", "rating")


def find_columns(path: Path, options: Options) -> Columns | None:
    """The columns of a file of ratings; None if it is no such file.

    It is one if the columns are named, or if it is one of MovieLens: with the suffix .data or .dat,
    or with the header of `ratings.csv`.

    Raises:
        ValueError: if only some of the columns are named.
    """
    user, item, target = options.user, options.item, options.target
    ranking = options.kind == RANKING
    known = None
    if path.suffix.lower() in U_DATA:
        told = f"{path} is read as ratings without a header; save another table as .csv with one"
        options.allow(told, *PARTS_APART, "kind")
        known = OF_U_DATA
    elif user is not None or item is not None:
        known = Columns(*check_columns(user, item), target)
        if target is None and not ranking:
            raise ValueError(f"name the target column of {path}: what users said of items")
    elif path.suffix.lower() == ".csv" and target in (None, OF_RATINGS_CSV.rating):
        known = OF_RATINGS_CSV if header_of(path) == [*OF_RATINGS_CSV, TIME] else None
    if not ranking or known is None:
        return known
    if target is not None:
        raise ValueError(f"a ranking has no target, got {target!r}: each row is an item taken")
    return known._replace(rating=None)


def load_ratings(path: Path, columns: Columns, apart: Mapping[str, Path], options: Options) -> Task:
    """The task of a file of ratings, or of what users took.

    Args:
        path: the file.
        columns: where its ratings are.
        apart: files of the same form to validate or test on, by the part.
        options: how it is to be read.

    Raises:
        ValueError: naming the column that is not there or cannot be used.
    """
    texts, notes = columns[:2], list[str]()
    parts: dict[str, tuple[Any, Any]]
    allowed = (*PARTS_APART, "kind", "user", "item", "time")
    if path.suffix.lower() in U_DATA or columns.rating is None:
        options.allow(f"a ranking reads all of {path}", *allowed)
        files = {"train": path, **apart}
        parts = {part: _whole(file, columns, notes) for part, file in files.items()}
    else:
        options.allow(f"{path} holds ratings", "target", "split_column", *allowed)
        split = options.split_column
        found = read_table_parts(path, columns.rating, split, None, apart, texts, notes=notes)
        parts = {part: (rows.x, rows.y) for part, rows in found.items()}
    task = ratings_task(
        parts,
        columns.user,
        columns.item,
        options.time,
        path.stem,
        options.kind,
        options.batch_size,
        options.seed,
    )
    return replace(task, notes=(*task.notes, *notes))


def _whole(
    path: Path, columns: Columns, notes: list[str]
) -> tuple[pd.DataFrame, np.ndarray | None]:
    """All rows of a file, and their ratings if these are looked at."""
    is_u_data = path.suffix.lower() in U_DATA
    table = read_u_data(path) if is_u_data else read_table(path, columns[:2], notes)
    return table, None if columns.rating is None else target_values(table[columns.rating])


def read_u_data(path: Path) -> pd.DataFrame:
    """Rows of a user, an item, a rating and a time, without a header.

    They are separated by tabs, or in a file with the suffix .dat by `::`.

    Raises:
        ValueError: if the file is of another form.
    """
    import pandas as pd

    names = ["user", "item", "rating", TIME]
    between = U_DATA[path.suffix.lower()]
    step = len(between)  # pandas is fast where one character separates: `::` has nothing within
    ids = {0: str, step: str}
    try:
        table = pd.read_csv(path, sep=between[0], header=None, dtype=ids, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        table = pd.DataFrame()
    between_values = table.iloc[:, [n for n in range(table.shape[1]) if n % step]]
    if table.shape[1] != step * (len(names) - 1) + 1 or between_values.notna().any(axis=None):
        told = "tabs" if between == "\t" else between
        raise ValueError(f"{path} must have {', '.join(names)} in each row, separated by {told}")
    table = table.iloc[:, ::step]
    table.columns = pd.Index(names)
    first, others = str(table["rating"].iloc[0]), table["rating"].iloc[1:]
    if (
        first.isidentifier()
        and len(others)
        and pd.to_numeric(others, errors="coerce").notna().all()
    ):
        raise ValueError(
            f"{path} must have no header, but row 1 has {first!r} for a rating; with a header it "
            f"is read as a table: call it .tsv or .csv"
        )
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table
