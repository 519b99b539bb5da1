"""Columns of a table that are no features: those that people leave out, and those without values.

Both are left out before rows are divided, so that it does not matter which rows train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlagent_envs.tasks.columns import column_names
from rlagent_envs.tasks.roles import ROLES

if TYPE_CHECKING:
    import pandas as pd


def names_to_drop(given: Any) -> tuple[str, ...]:
    """The names of columns, one or several; ValueError if there is none, or one is no text."""
    names = tuple(given) if isinstance(given, list | tuple) else (given,)
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong or not names:
        got = repr(wrong[0]) if wrong else "none"
        raise ValueError(f"drop must name one or several columns, got {got}")
    return names


def without_dropped(
    table: pd.DataFrame,
    drop: Sequence[str] | None,
    where: str,
    roles: Mapping[str, str | None] | None = None,
) -> pd.DataFrame:
    """A table without the columns that are to be left out.

    Args:
        table: what was read, with the columns of all roles that are still in it.
        drop: names of columns; None for none.
        where: what the table is called in errors.
        roles: the columns that are needed, by the options of `ROLES` that name them, if any do.

    Raises:
        ValueError: if a column is not there, or is needed.
    """
    if drop is None:
        return table
    names = column_names(table)
    for name in drop:
        for option, needed in (roles or {}).items():
            if name == needed:
                raise ValueError(
                    f"column {name!r} is {ROLES[option].called}, so it cannot be dropped"
                )
        if name not in names:
            raise ValueError(f"{where} has no column {name!r} to drop; it has: {', '.join(names)}")
    return table.iloc[:, [place for name, place in names.items() if name not in drop]]


def without_empty(tables: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Tables without the columns of the first that have no value in any of them, and their names.

    If all columns are such, all stay: there is nothing else to say something of.
    """
    first = next(iter(tables.values()))
    names = column_names(first)
    empty = [name for name in names if all(_is_empty(table, name) for table in tables.values())]
    if not empty or len(empty) == len(names):
        return dict(tables), []
    kept = {}
    for part, table in tables.items():
        places = [place for place, name in enumerate(table.columns) if str(name) not in empty]
        kept[part] = table.iloc[:, places]
    return kept, empty


def _is_empty(table: pd.DataFrame, name: str) -> bool:
    """Whether a table has no value in a column, or no such column."""
    place = {str(one): place for place, one in enumerate(table.columns)}.get(name)
    if place is None:
        return True
    column = table.iloc[:, place]
    return bool(column.iloc[:1].isna().all() and column.isna().all())


def on_left_out(names: Sequence[str | int], reason: str) -> str:
    """The note on columns that were left out by themselves.

    Args:
        names: of the columns, one at least, or their places.
        reason: what all of them are, such as "empty in every row".
    """
    if len(names) == 1:
        return f"column {names[0]!r} is left out: {reason}"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"columns {', '.join(map(repr, names[:5]))}{more} are left out: {reason}"
