"""From a table or an array to the float32 inputs and targets of a network, and back."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard

import numpy as np
from pydantic import Field, ValidationError

from rlagent_envs.tasks.columns import (
    Column,
    Stored,
    fit_column,
    mean_and_scale,
    standardised,
)
from rlagent_envs.tasks.streamed import OnDisk
from rlagent_envs.tasks.targets import ClassTarget, RegressionTarget, read_array, read_target

if TYPE_CHECKING:
    import pandas as pd

    from rlagent_envs.tasks.task import Kind

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


class TableInput(Stored):
    """The columns of a table, in the order of training."""

    kind: Literal["table"] = "table"
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]

    @classmethod
    def fit(cls, table: pd.DataFrame) -> TableInput:
        """Learns from the training rows; columns that never vary in them are dropped."""
        names = column_names(table)
        fitted = [fit_column(name, table.iloc[:, place]) for name, place in names.items()]
        columns = tuple(column for column in fitted if column is not None)
        if not columns:
            raise ValueError("no column of the table varies in the training rows")
        return cls(columns=columns)

    @property
    def features(self) -> int:
        """Features that `transform` makes."""
        return sum(column.features for column in self.columns)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """None: rows are flat."""
        return ()

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """None: categories have a feature each."""
        return ()

    @property
    def continuous(self) -> list[bool]:
        """For each feature whether it is a quantity, that a little more or less of makes sense."""
        return [one for column in self.columns for one in column.continuous]

    def check(self) -> None:
        """Raises ValueError if two columns have one name."""
        if len({column.name for column in self.columns}) < len(self.columns):
            raise ValueError("it has two columns of one name")

    def transform(self, given: Any) -> np.ndarray:
        """A DataFrame, in which other columns do not matter, to float32 `[rows, features]`."""
        if not is_table(given):
            raise ValueError("the input must be a table, as in training, not an array")
        names = column_names(given)
        lacking = [column.name for column in self.columns if column.name not in names]
        if lacking:
            raise ValueError(f"the input lacks the column {lacking[0]!r}")
        made = np.zeros((len(given), self.features), np.float32)
        first = 0
        for column in self.columns:
            place = slice(first, first + column.features)
            column.fill(made[:, place], given.iloc[:, names[column.name]])
            first = place.stop
        return made


class Preprocessing(Stored):
    """What was learned from the training rows, to be applied to all others.

    Numeric columns are imputed by the median and standardised, with a flag for missing values if
    training had any; texts and booleans become one feature for each category. Arrays are
    standardised, images by one mean and scale. Standardised inputs are clipped to [-10, 10].
    """

    version: Literal[1] = 1
    inputs: Annotated[ArrayInput | TableInput, Field(discriminator="kind")]
    target: Annotated[ClassTarget | RegressionTarget, Field(discriminator="kind")]

    @classmethod
    def fit(cls, x: Any, y: Any, kind: Kind) -> Preprocessing:
        """Learns from training rows alone.

        Args:
            x: DataFrame, or array `[rows, ...]`.
            y: labels or values, `[rows]`.
            kind: whether `y` holds classes or quantities.

        Raises:
            ValueError: naming the column or value that cannot be used.
        """
        target = ClassTarget if kind == "classification" else RegressionTarget
        inputs = TableInput.fit(x) if is_table(x) else ArrayInput.fit(x)
        return cls(inputs=inputs, target=target.fit(read_target(y)))

    @property
    def features(self) -> int:
        """Columns of the preprocessed input."""
        return self.inputs.features

    @property
    def outputs(self) -> int:
        """Number of classes, or 1 for regression."""
        return self.target.outputs

    @property
    def classes(self) -> tuple[bool | int | float | str, ...] | None:
        """The labels in the order of the class numbers; None for regression."""
        return self.target.classes if isinstance(self.target, ClassTarget) else None

    def transform(self, table_or_array: Any) -> np.ndarray:
        """Inputs of the form of training to float32 `[rows, features]`, always finite.

        Raises:
            ValueError: for a missing column, another shape of rows, text in a numeric column,
                infinite values, and, in arrays, missing ones.
        """
        return self.inputs.transform(table_or_array)

    def encode_target(self, y: Any, part: str = "given") -> np.ndarray:
        """Labels to int32 class numbers, or values to standardised float32, `[rows]`.

        Raises:
            ValueError: for classes that training lacked, in the part named by `part`.
        """
        return self.target.encode(read_target(y), part)

    def decode_target(self, encoded: np.ndarray) -> np.ndarray:
        """Class numbers to labels, or standardised values to the units of the target."""
        return self.target.decode(encoded)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and texts; `from_json` makes the same object of it, exactly."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Preprocessing:
        """What `to_json` gave; ValueError of one sentence for anything else."""
        try:
            # By way of text, because in JSON a tuple is a list, and nothing else is converted.
            read = cls.model_validate_json(json.dumps(stored))
            read.inputs.check()
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"]) or "it"
            message = f"{place}: {first['msg']}"
            raise ValueError(f"the preprocessing cannot be read: {message}") from None
        except (ValueError, TypeError) as error:
            raise ValueError(f"the preprocessing cannot be read: {error}") from None
        return read


def is_table(given: Any) -> TypeGuard[pd.DataFrame]:
    """Whether this is a DataFrame, found out without importing pandas."""
    return hasattr(given, "iloc") and hasattr(given, "columns")


def column_names(table: pd.DataFrame) -> dict[str, int]:
    """Names of the columns, as texts, and their places; ValueError if one is there twice."""
    names = [str(name) for name in table.columns]
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise ValueError(f"the column {name!r} is there {count} times")
    return {name: place for place, name in enumerate(names)}


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
