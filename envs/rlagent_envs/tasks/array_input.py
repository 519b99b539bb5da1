"""Arrays as inputs: what their examples are, and how they are standardised."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field

from rlagent_envs.tasks.columns import Stored, is_table, mean_and_scale, standardised
from rlagent_envs.tasks.streamed import Flat, OnDisk
from rlagent_envs.tasks.targets import read_array

ArrayForm = Literal["image", "sequence"]

LEAST_SIDE = 4  # of an image, in pixels
CHANNELS = (1, 3, 4)  # grey, colours, colours with opacity
LEAST_STEPS = 8  # of what is taken for a sequence although nobody said so
LONG = 4  # so many times more steps than channels, the same
MOST_FITTED = 100_000  # rows of an array that its mean and scale are taken from
ROWS_AT_ONCE = 4096  # transformed at a time: the float64 between would be gigabytes of images


def check_form(form: str | None) -> ArrayForm | None:
    """The form that was asked for; ValueError if arrays have none such."""
    if form is None:
        return None
    for known in get_args(ArrayForm):
        if form == known:
            return known
    raise ValueError(f"form must be {' or '.join(get_args(ArrayForm))}, got {form!r}")


def shape_of_examples(shape: tuple[int, ...], form: ArrayForm | None) -> tuple[int, ...]:
    """(height, width, channels), (steps, channels), or () for rows of a table.

    Where no form is asked for, rows with two axes are a sequence if they have at least 8 steps and
    at least 4 times as many steps as channels, as 128 readings of 9 sensors have; other rows are an
    image if they have two axes, or a third of 1, 3 or 4 channels, and at least 4 x 4 pixels.

    Args:
        shape: of one row as it was given.
        form: that was asked for, if one was.

    Raises:
        ValueError: if rows of the shape cannot be of the form.
    """
    if form is None:
        long = len(shape) == 2 and shape[0] >= max(LEAST_STEPS, LONG * shape[1])
        return shape if long else _image(shape) or ()
    found = _image(shape) if form == "image" else _sequence(shape)
    if found is None:
        wanted = {
            "image": "[rows, height, width] of at least 4 x 4 pixels, or with 1, 3 or 4 channels "
            "behind",
            "sequence": "[rows, steps, channels] or [rows, steps]",
        }
        raise ValueError(f"rows of the shape {shape} are no {form}; that is {wanted[form]}")
    return found


def _image(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    shape = (*shape, 1) if len(shape) == 2 else shape
    fits = len(shape) == 3 and min(shape[:2]) >= LEAST_SIDE and shape[2] in CHANNELS
    return shape if fits else None


def _sequence(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    shape = (*shape, 1) if len(shape) == 1 else shape
    return shape if len(shape) == 2 else None


class ArrayInput(Stored):
    """Standardising of arrays: by the statistics of each feature, of a sequence's channels, of all.

    Features of a table have statistics of their own, the channels of a sequence one for all of its
    steps, images one for all.
    """

    kind: Literal["array"] = "array"
    shape: tuple[int, ...]  # of one row
    form: ArrayForm | None = None  # that was asked for; None: by the shape
    mean: Annotated[tuple[float, ...], Field(min_length=1)]  # one, or one for each feature
    scale: tuple[Annotated[float, Field(gt=0)], ...]

    @classmethod
    def fit(cls, given: Any, form: ArrayForm | None = None) -> ArrayInput:
        """Learns from the training rows `[rows, ...]`; of very many, from some, evenly spaced."""
        x = given if isinstance(given, OnDisk) else read_inputs(given, "x")
        places = np.linspace(0, len(x) - 1, min(len(x), MOST_FITTED)).round().astype(int)
        if isinstance(x, OnDisk):
            read_inputs(x[places[:1]], "x")
            x = x.only(places)
        elif len(x) > MOST_FITTED:
            x = x[places]
        shape = x.shape[1:]
        input_shape = shape_of_examples(shape, form)
        # Of a sequence those of each channel, of a table of each feature, of images of all pixels.
        columns = input_shape[1] if len(input_shape) == 2 else 1 if len(shape) > 1 else shape[0]
        if isinstance(x, OnDisk):
            mean, scale = mean_and_scale(Flat(x, columns, partial(read_inputs, name="x")))
        else:
            mean, scale = mean_and_scale(x.reshape(-1, columns))
        if not (np.isfinite(mean) & np.isfinite(scale)).all():
            raise ValueError("x has values too large to standardise")
        return cls(
            shape=shape,
            form=form,
            mean=tuple(np.asarray(mean, float).tolist()),
            scale=tuple(np.asarray(scale, float).tolist()),
        )

    @property
    def features(self) -> int:
        """Features that `transform` makes."""
        return math.prod(self.shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of images, (steps, channels) of sequences, else ()."""
        return shape_of_examples(self.shape, self.form)

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
        sizes = {1, self.features, self.input_shape[-1] if len(self.input_shape) == 2 else 1}
        if len(self.mean) not in sizes or len(self.mean) != len(self.scale):
            raise ValueError("its mean and scale do not fit its shape")

    def lookup(self, dtype: np.dtype[Any]) -> np.ndarray | None:
        """What `transform` makes of 0 to 255, `[256]`; None if it does not look bytes up."""
        if dtype != np.uint8 or len(self.mean) > 1:
            return None
        return standardised(np.arange(256), self.mean[0], self.scale[0])  # several times faster

    def transform(self, given: Any) -> np.ndarray:
        """`[rows, ...]` to float32 `[rows, features]`."""
        x = read_inputs(given, "the input")
        if x.shape[1:] not in (self.shape, self.input_shape):
            raise ValueError(f"the input has rows of shape {x.shape[1:]}, expected {self.shape}")
        flat = x.reshape(len(x), -1)
        if (of_each := self.lookup(flat.dtype)) is not None:
            return np.take(of_each, flat, mode="clip")  # which none has to be
        # Channels are the last axis of a sequence: their statistics come again at each step.
        again = self.features // len(self.mean) if len(self.mean) > 1 else 1
        mean, scale = np.tile(self.mean, again), np.tile(self.scale, again)
        made = np.empty(flat.shape, np.float32)
        for first in range(0, len(flat), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            made[rows] = standardised(flat[rows], mean, scale)
        return made


class MadeInput(Stored):
    """What makes arrays of something else, such as files, and standardises them."""

    values: ArrayInput  # of the arrays when they are made

    @property
    def features(self) -> int:
        """Features that `transform` makes."""
        return self.values.features

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of images, (steps, channels) of sequences."""
        return self.values.input_shape

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """None: arrays hold quantities."""
        return ()

    @property
    def continuous(self) -> list[bool]:
        """For each feature True."""
        return self.values.continuous


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
