"""Series of several lengths as input: all are brought to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlagent_envs.tasks.array_input import MadeInput
from rlagent_envs.tasks.columns import is_table
from rlagent_envs.tasks.targets import read_array


class SeriesInput(MadeInput):
    """Filling up and cutting at the end, and standardising."""

    kind: Literal["series"] = "series"
    steps: Annotated[int, Field(gt=0)]  # that all get: those of the longest to train on
    fill: tuple[float, ...]  # of each channel, the mean of those to train on
    # Values in a line of the .tsv file that was trained on, so that it is known whether a line of
    # another one has a label before them; None: it was no .tsv file.
    width: Annotated[int, Field(gt=0)] | None = None

    def check(self) -> None:
        """Raises ValueError if the parts do not fit together."""
        self.values.check()
        if self.input_shape != (self.steps, len(self.fill)):
            raise ValueError("its series are of another shape")

    def transform(self, given: Any) -> np.ndarray:
        """Series, each `[steps, channels]`, or an array of them, to float32 `[rows, features]`."""
        if is_table(given):
            raise ValueError("the input must be series, as in training, not a table")
        series = [read_array(one, f"series {number}") for number, one in enumerate(given)]
        if not series:
            raise ValueError("the input holds no series")
        return self.values.transform(of_one_length(series, self.steps, self.fill))


def of_one_length(
    series: Sequence[np.ndarray], steps: int, fill: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Series that are filled up or cut behind, `[series, steps, channels]`.

    Args:
        series: each `[its own steps, channels]`.
        steps: that all get.
        fill: what comes behind the end of a shorter one, `[channels]`.

    Raises:
        ValueError: if one has another number of channels, or is not of numbers.
    """
    made = np.tile(np.asarray(fill, np.float64), (len(series), steps, 1))
    for number, one in enumerate(series):
        if one.ndim != 2 or one.shape[1] != len(fill) or one.dtype.kind not in "biuf":
            raise ValueError(
                f"series {number} is of shape {one.shape} and {one.dtype}, expected numbers "
                f"[steps, {len(fill)}]"
            )
        made[number, : len(one)] = one[:steps]
    return made
