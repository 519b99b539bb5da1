"""Tasks from time series: what a column will be, by what all columns have been."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.arrays import check_kind
from rlagent_envs.tasks.left_out import on_left_out, without_dropped
from rlagent_envs.tasks.loading import task_of_parts
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.splits import part_sizes
from rlagent_envs.tasks.tables import looks_numeric, read_table, without_index
from rlagent_envs.tasks.window_input import WindowInput, fill, numbers, ordered, windows

if TYPE_CHECKING:
    import pandas as pd

    from rlagent_envs.tasks.task import Task

MOST_STEPS = 32  # of a window that nobody asked for
LEAST_WINDOWS = 5  # so many times the rows of such a window are there
DIVIDING = "split_time in the place of time divides the rows of any table by time"


def load_forecast(path: Path, options: Options) -> Task:
    """Makes a task of a table with a column of times; see `forecast_task`."""
    notes: list[str] = []
    table = read_table(path, notes=notes)
    needed = (options.target, options.time, *(options.drop or ()))
    table = without_index(path, table, needed, notes)
    task = forecast_task(table, path.stem, options)
    return replace(task, notes=(*task.notes, *notes))


def forecast_task(table: pd.DataFrame, name: str, options: Options) -> Task:
    """Makes a task of a time series: windows of past rows, and the target some rows later.

    The rows are ordered by time and taken for equally spaced. A window holds all columns of
    numbers, the target among them; columns of texts are left out. The earliest 60 % of the targets
    train, the next 20 % validate, the latest 20 % test: no window of a part reaches into the
    targets of a later one. Where the target is missing there is no example.

    Args:
        table: a row for each time.
        name: of the task.
        options: `target`, the column to predict; `drop`, columns to leave out; `time`, the
            column that orders the rows; `horizon`, how many rows after the last one of a window
            the target is, 1 where None; `window`, the rows of a window, 32 where None, but at
            most a fifth of all rows; batch size; and the seed, which orders the rows to validate
            on.

    Raises:
        ValueError: naming the column, option or value that cannot be used.
    """
    allowed = ("target", "drop", "time", "horizon", "window", "kind")
    options.allow(f"{name} is a time series", *allowed)
    if (kind := check_kind(options.kind)) not in (None, "regression"):
        hint = f"; {DIVIDING}" if kind == "classification" else ""
        raise ValueError(f"a forecast is a regression, so {name} cannot be for {kind}{hint}")
    horizon = int(options.horizon or 1)
    steps = int(options.window or min(MOST_STEPS, max(len(table) // LEAST_WINDOWS, 1)))
    assert options.time is not None
    needed = {"target": options.target, "time": options.time}
    table = without_dropped(table, options.drop, name, needed)
    table = ordered(table, options.time)
    columns, empty = _columns(table, name, options)
    target = columns.index(str(options.target))
    values = numbers(table, columns)
    rows = _foreseen(values[:, target], steps, horizon, name)
    ends = np.cumsum(list(part_sizes(len(rows), test_given=False).values()))
    train, valid, test = np.split(rows, ends[:-1])
    medians = _medians(values[: train[-1] + 1], columns)
    every = windows(fill(values, medians), steps)

    def part(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The windows and the targets of rows."""
        return every[chosen - horizon - (steps - 1)], values[chosen, target]

    parts = {"train": part(train), "valid": part(valid), "test": part(test)}
    task = task_of_parts(parts, name, replace(options, kind="regression", form="sequence"))
    assert task.preprocessing is not None
    inputs = partial(
        WindowInput,
        time=options.time,
        columns=columns,
        medians=tuple(medians.tolist()),
        steps=steps,
        horizon=horizon,
    )
    preprocessing = task.preprocessing.made_by(inputs)
    notes = [on_left_out(empty, "empty in every row")] if empty else []
    return replace(task, preprocessing=preprocessing, notes=(*task.notes, *notes))


def read_forecasts(path: Path, inputs: WindowInput, target: str) -> tuple[np.ndarray, np.ndarray]:
    """All windows of a table that have a target behind them, and these.

    Args:
        path: of a table, of a run on a time series.
        inputs: of that run.
        target: the column that it forecasts.

    Returns:
        Windows `[rows, steps, columns]` and values `[rows]`, in the order of time.

    Raises:
        ValueError: if a column is not there, or if there are too few rows.
    """
    table = read_table(path)
    if target not in inputs.columns:
        raise ValueError(f"the run forecasts one of {', '.join(inputs.columns)}, not {target!r}")
    table = ordered(table, inputs.time)
    known = numbers(table, inputs.columns)[:, inputs.columns.index(target)]
    rows = _foreseen(known, inputs.steps, inputs.horizon, str(path))
    every = windows(inputs.filled(table), inputs.steps)
    return every[rows - inputs.horizon - (inputs.steps - 1)], known[rows]


def _foreseen(target: np.ndarray, steps: int, horizon: int, name: str) -> np.ndarray:
    """The rows with a target and a whole window before them; ValueError if there is none."""
    rows = np.arange(steps - 1 + horizon, len(target))
    rows = rows[~np.isnan(target[rows])]
    if len(rows) == 0:
        raise ValueError(
            f"{name} has {len(target)} rows, too few for windows of {steps} and a horizon of "
            f"{horizon}"
        )
    return rows


def _columns(table: pd.DataFrame, name: str, options: Options) -> tuple[tuple[str, ...], list[str]]:
    """The columns of numbers, without the time, and those that have no value at all."""
    target, time = options.target, options.time
    texts = {str(name): table.iloc[:, place] for place, name in enumerate(table.columns)}
    if target is None:
        raise ValueError(f"name the target column of {name}; it has: {', '.join(texts)}")
    if target not in texts:
        names = ", ".join(texts)
        raise ValueError(f"{name} has no column {target!r} for the target; it has: {names}")
    if target == time:
        raise ValueError(f"column {target!r} cannot be both the target and the time")
    empty = [name for name, column in texts.items() if name != target and column.isna().all()]
    others = {time, *empty}
    columns = tuple(name for name, column in texts.items() if name not in others and _holds(column))
    if target not in columns:
        raise ValueError(
            f"a forecast needs a target of numbers, but column {target!r} has others; {DIVIDING}"
        )
    return columns, [name for name in empty if name != time]


def _holds(column: pd.Series) -> bool:
    """Whether a column holds numbers, be they written as texts."""
    import pandas.api.types as types

    if types.is_object_dtype(column.dtype) or types.is_string_dtype(column.dtype):
        return looks_numeric(column)
    return types.is_numeric_dtype(column.dtype)


def _medians(values: np.ndarray, columns: tuple[str, ...]) -> np.ndarray:
    """Of the rows to train on, `[columns]`."""
    empty = np.flatnonzero(np.isnan(values).all(axis=0))
    if len(empty):
        raise ValueError(f"column {columns[empty[0]]!r} has no values in the training rows")
    return np.nanmedian(values, axis=0)
