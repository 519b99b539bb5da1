"""Columns of identifiers and of many categories: a number for each, for a network to embed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from rlagent_envs.tasks.columns import Stored, numbered_texts

if TYPE_CHECKING:
    import pandas as pd

MOST_IDS = 10_000  # categories of a table: each has a vector, and an update moves all of them


class IdColumn(Stored):
    """The number of each category of training: from 1 up, then "missing" if needed.

    0 stands for all that training had once or not at all: together they have enough rows for
    something to be learned about what is rare.
    """

    kind: Literal["id"] = "id"
    name: str
    categories: tuple[str, ...]
    flags_missing: bool  # training had missing values; else they are as what training lacked

    @classmethod
    def fit(cls, name: str, column: pd.Series, most: int | None = None) -> IdColumn:
        """Learns the categories of the training values, the most frequent ones of them."""
        places, texts = numbered_ids(name, column)
        counts = np.bincount(places[places >= 0], minlength=len(texts)).tolist()
        often = {text: count for text, count in zip(texts, counts, strict=True) if count > 1}
        # Ties by name, so that the order of the rows does not matter.
        frequent = sorted(often, key=lambda text: (-often[text], text))[:most]
        missing = bool((places < 0).any())
        return cls(name=name, categories=tuple(sorted(frequent)), flags_missing=missing)

    @property
    def features(self) -> int:
        """Features made of this column: the number."""
        return 1

    @property
    def continuous(self) -> list[bool]:
        """That it is no quantity."""
        return [False]

    @property
    def vocabulary(self) -> int:
        """How many numbers there are."""
        return 1 + len(self.categories) + self.flags_missing

    def fill(self, made: np.ndarray, column: pd.Series) -> None:
        """Writes the numbers into zeros `[rows, 1]`."""
        numbers = {text: number for number, text in enumerate(self.categories, 1)}
        missing = self.vocabulary - 1 if self.flags_missing else 0
        places, texts = numbered_ids(self.name, column)
        # The last one is where the place -1, a missing value, looks.
        made[:, 0] = np.array([*(numbers.get(text, 0) for text in texts), missing])[places]


def numbered_ids(name: str, column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """As `numbered_texts`; whole numbers are the same texts whatever their type is."""
    import pandas.api.types as types

    given = column.dropna()
    if types.is_float_dtype(column.dtype) and (given % 1 == 0).all():
        column = column.astype("Int64")
    return numbered_texts(name, column)
