"""The past of a time series as input: the rows of a table in their order, a few at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlagent_envs.tasks.array_input import MadeInput
from rlagent_envs.tasks.columns import column_names, is_table, to_numbers
from rlagent_envs.tasks.times import read_times

if TYPE_CHECKING:
    import pandas as pd


class WindowInput(MadeInput):
    """The last rows of a table by time: which columns, how gaps are filled, and standardising.

    A missing value is the last one before it, or where there is none the median of training.
    """

    kind: Literal["window"] = "window"
    time: str  # column by which rows are ordered
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    medians: tuple[float, ...]  # of the columns
    steps: Annotated[int, Field(gt=0)]  # rows of a window
    horizon: Annotated[int, Field(gt=0)]  # rows from the last of a window to what is predicted

    def check(self) -> None:
        """Raises ValueError if the parts do not fit together."""
        self.values.check()
        if self.input_shape != (self.steps, len(self.columns)):
            raise ValueError("its windows are of another shape")
        if len(self.medians) != len(self.columns):
            raise ValueError("its medians do not fit its columns")

    def transform(self, given: Any) -> np.ndarray:
        """The windows to float32 `[windows, features]`.

        Args:
            given: a table, of which the last `horizon` windows are taken, or as many as it has:
                what is predicted by them is the next row after the table, the one after that, and
                so on; or windows `[windows, steps, columns]`.

        Raises:
            ValueError: if a column is missing, or if there are fewer rows than a window has.
        """
        if not is_table(given):
            return self.values.transform(given)
        filled = self.filled(ordered(given, self.time))
        if len(filled) < self.steps:
            raise ValueError(
                f"the input has {len(filled)} rows, but a forecast needs the last {self.steps}"
            )
        return self.values.transform(windows(filled, self.steps)[-self.horizon :])

    def filled(self, table: pd.DataFrame) -> np.ndarray:
        """The values of a table in order, float64 `[rows, columns]`, without gaps."""
        return fill(numbers(table, self.columns), np.array(self.medians))

    def row_names(self, given: Any) -> tuple[str, list[str]]:
        """How many rows after the last one of a table each forecast is for."""
        count = min(self.horizon, len(given) - self.steps + 1)
        last = self.horizon + 1
        return "rows_ahead", [str(ahead) for ahead in range(last - count, last)]


def ordered(table: pd.DataFrame, time: str) -> pd.DataFrame:
    """The rows in the order of their times.

    Args:
        table: rows in any order.
        time: the column that tells the time, see `read_times`.

    Raises:
        ValueError: if there is no such column, or if a time is missing, not read, or there twice.
    """
    names = column_names(table)
    if time not in names:
        raise ValueError(f"there is no column {time!r} for the time; there are: {', '.join(names)}")
    column = table.iloc[:, names[time]]
    times = read_times(column, time)
    twice = np.flatnonzero(times.duplicated())
    if len(twice):
        raise ValueError(
            f"column {time!r} has {str(column.iloc[twice[0]])!r} more than once; a series has one "
            f"row for each time"
        )
    return table.iloc[np.argsort(times.to_numpy(), kind="stable")]


def numbers(table: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """Columns as float64 `[rows, columns]`, NaN where missing; ValueError if one is not there."""
    names = column_names(table)
    for name in columns:
        if name not in names:
            raise ValueError(f"the input lacks the column {name!r}")
    return np.stack([to_numbers(table.iloc[:, names[name]], name) for name in columns], axis=1)


def fill(values: np.ndarray, medians: np.ndarray) -> np.ndarray:
    """Each gap of `[rows, columns]` with what was last there before it, else with the median."""
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, rows), axis=0)
    before = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last < 0, medians[None, :], before)


def windows(values: np.ndarray, steps: int) -> np.ndarray:
    """All windows of `[rows, columns]` in order, `[rows - steps + 1, steps, columns]`."""
    views = np.lib.stride_tricks.sliding_window_view(values, steps, axis=0)
    return np.ascontiguousarray(views.transpose(0, 2, 1))
