"""Data sets of OpenML, by name or number, through scikit-learn, which checks what it downloads."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from rlagent_envs.tasks.cache import download_folder
from rlagent_envs.tasks.left_out import without_dropped
from rlagent_envs.tasks.loading import task_of_parts
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.tables import target_values

if TYPE_CHECKING:
    import pandas as pd

    from rlagent_envs.tasks.task import Task

PREFIX = "openml:"


def load_openml(name: str, options: Options) -> Task:
    """Makes a task of a data set; the target is that which the data set names, or `target`.

    Args:
        name: such as `openml:adult` or, by its number, `openml:1590`.
        options: target, group, split time, drop, kind, batch size and seed are looked at.

    Raises:
        ValueError: if there is no such data set, or no network to get it.
    """
    known = ("target", "group", "split_time", "drop", "kind", "vocabulary")
    options.allow(f"{name} is a data set of OpenML", *known)
    found = _fetched(name, options.target)
    table: pd.DataFrame = found.data
    roles = {
        "the target": str(found.target.name),
        "the group column": options.group,
        "the column of times": options.split_time,
    }
    table = without_dropped(table, options.drop, name, roles)
    groups = times = None
    if options.group is not None:
        table, groups = _taken_out(name, table, options.group, "to group by")
    if options.split_time is not None:
        table, times = _taken_out(name, table, options.split_time, "to split by time")
    parts = {"train": (table, target_values(found.target))}
    return task_of_parts(parts, name.removeprefix(PREFIX), options, groups, times=times)


def _taken_out(
    name: str, table: pd.DataFrame, column: str, purpose: str
) -> tuple[pd.DataFrame, pd.Series]:
    """A table without a column, and the column."""
    if column not in table.columns:
        columns = ", ".join(map(str, table.columns))
        raise ValueError(f"{name} has no column {column!r} {purpose}; it has: {columns}")
    return table.drop(columns=column), table[column]


def _fetched(name: str, target: str | None) -> Any:
    """What scikit-learn gives, with a table and a single target."""
    from urllib.error import URLError

    from sklearn.datasets import fetch_openml

    asked = name.removeprefix(PREFIX)
    by = {"data_id": int(asked)} if asked.isdecimal() else {"name": asked}
    with download_folder("openml") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of several versions the active one is taken
        try:
            found = fetch_openml(
                **by,
                target_column="default-target" if target is None else target,
                as_frame=True,
                parser="auto",
                data_home=str(folder),
                n_retries=1,
            )
        except (URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise ValueError(f"{name} cannot be downloaded: {reason}") from None
        except (ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{name} cannot be used: {reason}") from None
    if found.target is None or len(found.target.shape) != 1:
        columns = ", ".join(map(str, found.data.columns))
        raise ValueError(f"name the target column of {name}; it has: {columns}")
    return found
