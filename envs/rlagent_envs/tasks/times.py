"""Columns of times: what rows are ordered by."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def read_times(column: pd.Series, name: str) -> pd.Series:
    """What orders the rows of a column: numbers, or times.

    Args:
        column: numbers, times, or texts that pandas reads as such, all of one format.
        name: of the column, for errors.

    Raises:
        ValueError: naming the row, if a time is missing or not read.
    """
    import pandas as pd

    times = _times(column, name)
    wrong = np.flatnonzero(times.isna())
    if len(wrong):
        value = column.iloc[wrong[0]]
        what = "no time" if pd.isna(value) else f"{str(value)!r}, which is no time like the others,"
        raise ValueError(f"column {name!r} has {what} in row {column.index[wrong[0]]}")
    return times


def _times(column: pd.Series, name: str) -> pd.Series:
    """Numbers or times; missing where a value is neither."""
    import pandas as pd

    as_numbers = pd.to_numeric(column, errors="coerce")
    if not pd.api.types.is_datetime64_any_dtype(column) and as_numbers.notna().any():
        return as_numbers
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        times = pd.to_datetime(column, errors="coerce", utc=True)
    if any("Could not infer format" in str(one.message) for one in caught):
        first = column.dropna().iloc[0]
        raise ValueError(
            f"column {name!r} has {str(first)!r}, which is not read as a time; give numbers, or "
            f"times such as 2024-01-31 or 2024-01-31 18:00"
        )
    return times
