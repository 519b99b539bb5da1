"""Arrays as inputs: what their examples are, and how they are standardised."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlagent_envs.tasks.columns import Stored, is_table, mean_and_scale, standardised
from rlagent_envs.tasks.streamed import OnDisk
from rlagent_envs.tasks.targets import read_array

LEAST_SIDE = 4  # of an image, in pixels
CHANNELS = (1, 3, 4)  # grey, colours, colours with opacity
MOST_FITTED = 100_000  # rows of an array that its mean and scale are taken from
ROWS_AT_ONCE = 4096  # transformed at a time: the float64 between would be gigabytes of images


class ArrayInput(Stored):
    """Standardising of arrays: each feature by its own statistics, images by one for all."""

    kind: Literal["array"] = "array"
    shape: tuple[int, ...]  # of one row
    mean: Annotated[tuple[float, ...], Field(min_length=1)]  # one, or one for each feature
    scale: tuple[Annotated[float, Field(gt=0)], ...]

    @classmethod
    def fit(cls, given: Any) -> ArrayInput:
        """Learns from the training rows `[rows, ...]`; of very many, from some, evenly spaced."""
        x = given if isinstance(given, OnDisk) else read_inputs(given, "x")
        if isinstance(x, OnDisk) or len(x) > MOST_FITTED:
            places = np.linspace(0, len(x) - 1, min(len(x), MOST_FITTED)).round()
            x = read_inputs(x[places.astype(int)], "x")
        flat = x.reshape(-1, 1) if x.ndim > 2 else x
        mean, scale = mean_and_scale(flat)
        if not (np.isfinite(mean) & np.isfinite(scale)).all():
            raise ValueError("x has values too large to standardise")
        return cls(
            shape=x.shape[1:],
            mean=tuple(np.asarray(mean, float).tolist()),
            scale=tuple(np.asarray(scale, float).tolist()),
        )

    @property
    def features(self) -> int:
        """Features that `transform` makes."""
        return math.prod(self.shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of rows that are images, else ().

        An image has two axes, or a third of 1, 3 or 4 channels, and at least 4 x 4 pixels.
        """
        shape = (*self.shape, 1) if len(self.shape) == 2 else self.shape
        if len(shape) != 3 or min(shape[:2]) < LEAST_SIDE or shape[2] not in CHANNELS:
            return ()
        return shape

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """None: arrays hold quantities."""
        return ()

    @property
    def continuous(self) -> list[bool]:
        """For each feature whether it is a quantity: all of an array are taken for such."""
        return [True] * self.features

    def check(self) -> None:
        """Raises ValueError if the statistics do not fit the shape."""
        if len(self.mean) not in (1, self.features) or len(self.mean) != len(self.scale):
            raise ValueError("its mean and scale do not fit its shape")

    def transform(self, given: Any) -> np.ndarray:
        """`[rows, ...]` to float32 `[rows, features]`."""
        x = read_inputs(given, "the input")
        if x.shape[1:] != self.shape:
            raise ValueError(f"the input has rows of shape {x.shape[1:]}, expected {self.shape}")
        flat = x.reshape(len(x), -1)
        mean, scale = np.array(self.mean), np.array(self.scale)
        made = np.empty(flat.shape, np.float32)
        for first in range(0, len(flat), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            made[rows] = standardised(flat[rows], mean, scale)
        return made


def read_inputs(given: Any, name: str) -> np.ndarray:
    """An array `[rows, ...]` of finite numbers; ValueError, calling it `name`, if it is none."""
    if is_table(given):
        raise ValueError(f"{name} must be an array, as in training, not a table")
    x = read_array(given, name)
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, got {x.dtype}; give a DataFrame for texts")
    if x.ndim < 2:
        raise ValueError(f"{name} must be [rows, features] or have more axes, got shape {x.shape}")
    if x.size == 0:
        raise ValueError(f"{name} is empty, of shape {x.shape}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        wrong = np.argwhere(~np.isfinite(x))
        raise ValueError(
            f"{name} has values that are not finite, {len(wrong)} of {x.size}, the first at "
            f"{wrong[0].tolist()}"
        )
    return x.astype(np.uint8) if x.dtype.kind == "b" else x
