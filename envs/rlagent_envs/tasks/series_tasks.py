"""Tasks from files of the time series archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.array_input import ArrayInput
from rlagent_envs.tasks.loading import rows_to_train, task_of_parts
from rlagent_envs.tasks.parts_apart import PARTS_APART, with_apart
from rlagent_envs.tasks.series_files import name_of, read_series, read_series_parts
from rlagent_envs.tasks.series_input import SeriesInput, of_one_length

if TYPE_CHECKING:
    from rlagent_envs.tasks.options import Options
    from rlagent_envs.tasks.task import Task


def load_series(path: Path, apart: Mapping[str, Path], options: Options) -> Task:
    """Makes a task of a file of series with a label each; see `read_series_parts`.

    If they are of several lengths, all get that of the longest to train on: shorter ones are filled
    up behind by the mean of each channel over the series to train on, longer ones are cut.

    Args:
        path: of the file.
        apart: the files of parts that have one of their own.
        options: kind, batch size and seed are looked at.

    Raises:
        ValueError: naming the file and line that cannot be used.
    """
    options.allow(f"{path} holds time series", *PARTS_APART, "kind")
    parts = with_apart(read_series_parts(path), path, apart, read_series_parts)
    kind = options.kind or parts["train"].kind
    options = replace(options, kind=kind, form="sequence")
    name, every = name_of(path), [one for part in parts.values() for one in part.x]
    if len({one.shape for one in every}) == 1:
        stacked = {part: (np.stack(x), y) for part, (x, y, _, _) in parts.items()}
        return task_of_parts(stacked, name, options)
    rows = rows_to_train({part: one.y for part, one in parts.items()}, options)
    of_training = [parts["train"].x[row] for row in rows]
    steps = max(map(len, of_training))
    fill = np.concatenate(of_training).mean(axis=0)
    given = {part: (of_one_length(x, steps, fill), y) for part, (x, y, _, _) in parts.items()}
    task = task_of_parts(given, name, options, notes=(_on_lengths(every, steps),))
    assert task.preprocessing is not None
    inputs = partial(
        SeriesInput, steps=steps, fill=tuple(fill.tolist()), width=parts["train"].width
    )
    return replace(task, preprocessing=task.preprocessing.made_by(inputs))


def _on_lengths(series: Sequence[np.ndarray], steps: int) -> str:
    lengths = [len(one) for one in series]
    cut = sum(length > steps for length in lengths)
    told = f", {cut} longer ones are cut at their end" if cut else ""
    return (
        f"series of {min(lengths)} to {max(lengths)} steps all get {steps}, as many as the longest "
        f"to train on has: shorter ones are filled up behind by the mean of each channel{told}"
    )


def read_new_series(
    path: Path, inputs: ArrayInput | SeriesInput
) -> tuple[np.ndarray | tuple[np.ndarray, ...], np.ndarray | None]:
    """The series of a file that was not trained on, and their labels if it has some.

    Args:
        path: of the file.
        inputs: fitted on the series that were trained on.

    Returns:
        `[series, steps, channels]`; if they may be of several lengths, each `[steps, channels]`.
        And the labels `[series]`, or None.

    Raises:
        ValueError: see `read_series`; if they should be of one length and are not; and if it cannot
            be told whether a .tsv file has labels.
    """
    if isinstance(inputs, ArrayInput):
        width = inputs.input_shape[0] if inputs.input_shape else 0
        x, y, *_ = read_series(path, width, one_length=True)
        lengths = [len(one) for one in x]
        if min(lengths) < max(lengths):
            raise ValueError(
                f"{path} has series of {min(lengths)} to {max(lengths)} steps, but those trained "
                f"on have {width} each"
            )
        return np.stack(x), y
    if path.suffix.lower() == ".ts":
        x, y, *_ = read_series(path)
        return tuple(x), y
    if inputs.width is None:
        raise ValueError(f"{path} must be a .ts file, as the training data")
    x, y, _, found = read_series(path, inputs.width)
    if found != inputs.width:
        cells = (found or 0) + (y is not None)
        raise ValueError(
            f"{path} has {cells} cells in a line, expected {inputs.width}, or {inputs.width + 1} "
            f"with the label first; end shorter series in NaN"
        )
    return tuple(x), y
