"""Columns of a table: how each becomes numbers, fitted on training rows."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeGuard

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rlagent_envs.tasks.streamed import Flat

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 64  # of a column with a feature for each; the rest share one, "other"
CLIP = 10.0  # standardised values stay within this, so that one outlier cannot wreck a run
VALUES_AT_ONCE = 4_000_000  # converted to float64, 32 MB
DENSE = 4  # whole numbers that all differ number the rows if there are fewer than 4 for each row
MOST_TEXTS = 20  # a column with more is no category if over half of its values are different


class Stored(BaseModel):
    """What is kept in JSON: nothing unknown, nothing converted, nothing infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NumericColumn(Stored):
    """Median imputation and standardising, and a flag where values were missing in training."""

    kind: Literal["numeric"] = "numeric"
    name: str
    median: float
    mean: float
    scale: Annotated[float, Field(gt=0)]
    flags_missing: bool  # whether a second feature says which values were missing

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> NumericColumn:
        """Learns from the training values `[rows]`, float64, NaN where missing, not all are."""
        missing = np.isnan(values)
        median = float(np.median(values[~missing]))
        filled = np.where(missing, median, values)
        mean, scale = mean_and_scale(filled[:, None])
        if not np.isfinite([median, mean[0], scale[0]]).all():
            raise ValueError(f"column {name!r} has values too large to standardise")
        return cls(
            name=name,
            median=median,
            mean=float(mean[0]),
            scale=float(scale[0]),
            flags_missing=bool(missing.any()),
        )

    @property
    def features(self) -> int:
        """Features made of this column."""
        return 1 + self.flags_missing

    @property
    def continuous(self) -> list[bool]:
        """For each feature whether it is a quantity, that a little more or less of makes sense."""
        return [True, False][: self.features]

    def fill(self, made: np.ndarray, column: pd.Series) -> None:
        """Writes into zeros `[rows, features]`; ValueError for text and infinite values."""
        values = to_numbers(column, self.name)
        missing = np.isnan(values)
        filled = np.where(missing, self.median, values)
        made[:, 0] = standardised(filled, self.mean, self.scale)
        if self.flags_missing:
            made[missing, 1] = 1


class CategoryColumn(Stored):
    """One feature for each category of training, then "other", then "missing", where needed.

    A category that training lacks sets "other" if there is one, else nothing.
    """

    kind: Literal["category"] = "category"
    name: str
    categories: Annotated[tuple[str, ...], Field(min_length=1)]
    has_other: bool  # training had more categories than are kept
    flags_missing: bool  # training had missing values

    @classmethod
    def fit(cls, name: str, column: pd.Series) -> CategoryColumn:
        """Learns the categories of the training values, of which not all are missing."""
        places, texts = numbered_texts(name, column)
        given = places[places >= 0]
        counts = dict(zip(texts, np.bincount(given, minlength=len(texts)).tolist(), strict=True))
        if len(counts) > max(MOST_TEXTS, len(given) // 2):
            if (mark := mark_among_numbers(texts)) is not None:
                raise ValueError(
                    f"column {name!r} has {mark!r} among its numbers; leave cells without a number "
                    f"empty, or drop it: {how_to_drop(name)}"
                )
            raise ValueError(
                f"column {name!r} has {len(counts)} different texts in {len(column)} rows; "
                f"identifiers cannot be used, so drop it: {how_to_drop(name)}"
            )
        # Ties by name, so that the order of the rows does not matter.
        frequent = sorted(counts, key=lambda text: (-counts[text], text))[:MOST_CATEGORIES]
        return cls(
            name=name,
            categories=tuple(sorted(frequent)),
            has_other=len(counts) > MOST_CATEGORIES,
            flags_missing=len(given) < len(column),
        )

    @property
    def features(self) -> int:
        """Features made of this column."""
        return len(self.categories) + self.has_other + self.flags_missing

    @property
    def continuous(self) -> list[bool]:
        """For each feature False: none of them is a quantity."""
        return [False] * self.features

    def fill(self, made: np.ndarray, column: pd.Series) -> None:
        """Writes at most a single one in each row into zeros `[rows, features]`."""
        numbers = {text: number for number, text in enumerate(self.categories)}
        other = len(self.categories) if self.has_other else -1
        missing = self.features - 1 if self.flags_missing else -1
        places, texts = numbered_texts(self.name, column)
        # The last one is where the place -1, a missing text, looks.
        features = np.array([*(numbers.get(text, other) for text in texts), missing])[places]
        rows = np.flatnonzero(features >= 0)
        made[rows, features[rows]] = 1


def fit_column(name: str, column: pd.Series) -> NumericColumn | CategoryColumn | None:
    """Learns a column of the training rows; None for one without variation, which is dropped.

    Raises:
        ValueError: naming the column, if all its values are missing, if one is infinite, if it
            holds identifiers, or dates and other things without a meaning here.
    """
    if column.isna().all():
        raise ValueError(
            f"column {name!r} has no values in the training rows, so drop it: {how_to_drop(name)}"
        )
    if holds_numbers(name, column):
        values = to_numbers(column, name)
        numeric = NumericColumn.fit(name, values)
        return None if np.all(values == values[0]) else numeric
    category = CategoryColumn.fit(name, column)
    return None if len(category.categories) == 1 and not category.flags_missing else category


def holds_numbers(name: str, column: pd.Series) -> bool:
    """Whether a column is numeric, by its type, not by what its texts look like."""
    import pandas.api.types as types

    if isinstance(column.dtype, types.CategoricalDtype) or types.is_bool_dtype(column.dtype):
        return False
    if types.is_complex_dtype(column.dtype):
        raise ValueError(f"column {name!r} holds complex numbers, which cannot be used")
    if types.is_numeric_dtype(column.dtype):
        return True
    if not (types.is_object_dtype(column.dtype) or types.is_string_dtype(column.dtype)):
        raise ValueError(
            f"column {name!r} is of type {column.dtype}; give numbers, texts or booleans"
        )
    if not types.is_object_dtype(column.dtype):
        return False
    found = types.infer_dtype(column, skipna=True)
    if found in ("mixed", "mixed-integer"):
        kinds = sorted({type(value).__name__ for value in column.dropna()})
        raise ValueError(
            f"column {name!r} holds values of the type {' and '.join(kinds)}; it must hold "
            f"numbers, texts or booleans, one of them alone"
        )
    if found in ("string", "bytes", "boolean", "empty"):
        return False
    if found not in ("integer", "floating", "mixed-integer-float", "decimal"):
        raise ValueError(
            f"column {name!r} holds values of the type {found}; give numbers, texts or booleans"
        )
    return True


def numbered_texts(name: str, column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Values as texts, by number: each text is looked at once, however many rows there are.

    Returns:
        The place of each row's text in the list, -1 where missing, `[rows]`; and the list, of
        different texts.

    Raises:
        ValueError: naming the column, if it holds lists and the like.
    """
    import pandas as pd

    try:
        places, values = pd.factorize(column)
    except TypeError:
        raise ValueError(f"column {name!r} must hold numbers, texts or booleans") from None
    texts = {text: place for place, text in enumerate(dict.fromkeys(map(str, values)))}
    same = np.array([*(texts[str(value)] for value in values), -1])
    return same[places], list(texts)


def mark_among_numbers(texts: Sequence[str]) -> str | None:
    """The first text that is no number, where most of them, and more than 20, are numbers.

    Args:
        texts: of a column, each once.
    """
    import pandas as pd

    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    others = np.flatnonzero(numbers.isna())
    known = len(texts) - len(others)
    return texts[others[0]] if len(others) and known > max(MOST_TEXTS, len(others)) else None


def to_numbers(column: pd.Series, name: str) -> np.ndarray:
    """A column as float64 `[rows]`, NaN where missing; ValueError for text and infinity."""
    import pandas as pd

    missing = column.isna().to_numpy(bool)
    converted = pd.to_numeric(column, errors="coerce")
    numbers = np.asarray(converted.to_numpy(np.float64, na_value=np.nan))
    wrong = np.flatnonzero(~np.isfinite(numbers) & ~missing)
    if len(wrong):
        value = column.iloc[wrong[0]]
        raise ValueError(
            f"column {name!r} has {str(value)!r} in row {column.index[wrong[0]]}, "
            f"which is not a finite number"
        )
    return numbers


def row_numbers(name: str, column: pd.Series) -> tuple[float, float] | None:
    """The least and the greatest of numbers that tell rows apart; None where they may say more.

    They are whole, all differ, and lie as close as those of rows do: they say nothing of a new row.
    """
    if len(column) <= MOST_TEXTS or column.isna().any() or not holds_numbers(name, column):
        return None
    least, most = float(column.min()), float(column.max())  # as floats they cannot overflow
    if most - least >= DENSE * len(column) or (column % 1 != 0).any() or not column.is_unique:
        return None
    return least, most


def how_to_drop(name: str) -> str:
    """What to write so that a column is left out, for errors: on the command line and in Python."""
    if "," in name or name != name.strip():
        return f"drop=[{name!r}] in Python"
    return f"--drop {shlex.quote(name)}, in Python drop={name!r}"


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


class Column(Protocol):
    """What is made of a column of a table."""

    name: str

    @property
    def features(self) -> int:
        """Features made of it."""

    def fill(self, made: np.ndarray, column: pd.Series) -> None:
        """Writes into zeros `[rows, features]`."""


def features_of(columns: Sequence[Column], given: Any) -> np.ndarray:
    """What columns make of a DataFrame, in which others do not matter, `[rows, features]`.

    Raises:
        ValueError: if it is no DataFrame, or lacks a column.
    """
    if not is_table(given):
        raise ValueError("the input must be a table, as in training, not an array")
    names = column_names(given)
    lacking = [column.name for column in columns if column.name not in names]
    if lacking:
        raise ValueError(f"the input lacks the column {lacking[0]!r}")
    made = np.zeros((len(given), sum(column.features for column in columns)), np.float32)
    first = 0
    for column in columns:
        place = slice(first, first + column.features)
        column.fill(made[:, place], given.iloc[:, names[column.name]])
        first = place.stop
    return made


def mean_and_scale(values: np.ndarray | Flat) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column of `[rows, features]`, 1 where it is constant.

    In float64, in pieces of rows, because a float64 copy of many images would be gigabytes.
    Infinite where the values are too large for their squares.
    """
    count = -(-values.size // VALUES_AT_ONCE)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = [np.sum(piece, axis=0, dtype=np.float64) for piece in _split(values, count)]
        mean = sum(sums) / len(values)
        first = np.empty(0)
        squares: list[np.ndarray] = []
        same: list[np.ndarray] = []
        for piece in _split(values, count):
            first = piece[0] if not same else first
            squares.append(np.sum((piece - mean) ** 2, axis=0))
            same.append(np.all(piece == first, axis=0))
        scale = np.sqrt(sum(squares) / len(values))
    # By the values: the mean of equal numbers need not be exactly that number.
    constant = np.all(same, axis=0)
    mean = np.where(constant, first, mean)
    return mean, np.where(constant | (scale == 0), 1.0, scale)


def _split(values: np.ndarray | Flat, count: int) -> Iterable[np.ndarray]:
    return values.split(count) if isinstance(values, Flat) else np.array_split(values, count)


def standardised(
    values: np.ndarray, mean: np.ndarray | float, scale: np.ndarray | float
) -> np.ndarray:
    """Float32 values of mean 0 and scale 1 over training, clipped to [-10, 10]."""
    with np.errstate(over="ignore"):
        return np.clip((values - mean) / scale, -CLIP, CLIP).astype(np.float32)
