"""Free text with other columns beside it: the numbers of its words, then the row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rlagent_envs.tasks.columns import Stored, column_names, how_to_drop, is_table, row_numbers
from rlagent_envs.tasks.table_input import TableInput
from rlagent_envs.tasks.texts import TextInput

if TYPE_CHECKING:
    import pandas as pd


class RecordInput(Stored):
    """The tokens of a row's texts, then what a table makes of its other columns."""

    kind: Literal["record"] = "record"
    text: TextInput
    table: TableInput

    @classmethod
    def fit(
        cls,
        texts: pd.DataFrame,
        others: pd.DataFrame,
        embed: bool = True,
        vocabulary: int | None = None,
    ) -> RecordInput:
        """Learns from the training rows: their columns of free text, and the others that vary.

        Args:
            texts: see `TextInput.fit`.
            others: see `TableInput.fit`; columns that number the rows are refused.
            embed: the same.
            vocabulary: of the texts.
        """
        for name, place in column_names(others).items():
            if (numbers := row_numbers(name, others.iloc[:, place])) is not None:
                raise ValueError(
                    f"column {name!r} numbers the rows, from {numbers[0]:g} to {numbers[1]:g}; "
                    f"identifiers cannot be used, so drop it: {how_to_drop(name)}"
                )
        text = TextInput.fit(texts, vocabulary)
        return cls(text=text, table=TableInput.fit(others, embed=embed))

    @property
    def features(self) -> int:
        """Features that `transform` makes."""
        return self.text.features + self.table.features

    @property
    def input_shape(self) -> tuple[int, ...]:
        """How many tokens there are, and how many features behind them."""
        return self.text.features, self.table.features

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """How many tokens there are, and numbers in each of the last columns that have some."""
        return self.text.vocabularies + self.table.vocabularies

    @property
    def continuous(self) -> list[bool]:
        """For each feature whether it is a quantity: no token is."""
        return self.text.continuous + self.table.continuous

    @property
    def are_texts(self) -> dict[str, bool]:
        """All columns, and whether cells of them are texts even if they look like numbers."""
        return dict.fromkeys(self.text.columns, True) | self.table.are_texts

    def check(self) -> None:
        """Raises ValueError if two columns have one name, or one of the two is not in order."""
        self.text.check()
        self.table.check()
        if not set(self.text.columns).isdisjoint(self.table.are_texts):
            raise ValueError("it has two columns of one name")

    def transform(self, given: Any) -> np.ndarray:
        """A DataFrame, in which other columns do not matter, to float32 `[rows, features]`."""
        if not is_table(given):
            raise ValueError("the input must be a table, as in training, not an array")
        parts = self.text.transform(given), self.table.transform(given)
        return np.concatenate(parts, axis=1)
