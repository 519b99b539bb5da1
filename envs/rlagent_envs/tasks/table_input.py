"""Rows of a table: its columns as numbers, those that are numbered at the end."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlagent_envs.tasks.columns import (
    CategoryColumn,
    NumericColumn,
    Stored,
    column_names,
    features_of,
    fit_column,
)
from rlagent_envs.tasks.id_column import MOST_IDS, IdColumn

if TYPE_CHECKING:
    import pandas as pd

AnyColumn = NumericColumn | CategoryColumn | IdColumn


class TableInput(Stored):
    """The columns of a table, in the order of training, but those that are numbered at the end."""

    kind: Literal["table"] = "table"
    columns: Annotated[
        tuple[Annotated[AnyColumn, Field(discriminator="kind")], ...], Field(min_length=1)
    ]

    @classmethod
    def fit(cls, table: pd.DataFrame, ids: Collection[str] = (), embed: bool = True) -> TableInput:
        """Learns from the training rows; columns that never vary in them are dropped.

        Args:
            table: the training rows.
            ids: names of the columns that hold identifiers, be they numbers or texts.
            embed: number the categories of columns that have more than 64.
        """
        columns: list[AnyColumn] = []
        for name, place in column_names(table).items():
            column = table.iloc[:, place]
            fitted = IdColumn.fit(name, column) if name in ids else fit_column(name, column)
            if embed and isinstance(fitted, CategoryColumn) and fitted.has_other:
                fitted = IdColumn.fit(name, column, MOST_IDS)
            if fitted is not None:
                columns.append(fitted)
        if not columns:
            raise ValueError("no column of the table varies in the training rows")
        columns.sort(key=lambda column: isinstance(column, IdColumn))
        return cls(columns=tuple(columns))

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
        """How many numbers there are in each of the last columns, where categories have some."""
        return tuple(c.vocabulary for c in self.columns if isinstance(c, IdColumn))

    @property
    def continuous(self) -> list[bool]:
        """For each feature whether it is a quantity, that a little more or less of makes sense."""
        return [one for column in self.columns for one in column.continuous]

    @property
    def are_texts(self) -> dict[str, bool]:
        """All columns, and whether cells of them are texts even if they look like numbers."""
        return {column.name: column.kind != "numeric" for column in self.columns}

    def check(self) -> None:
        """Raises ValueError if two columns have one name."""
        if len({column.name for column in self.columns}) < len(self.columns):
            raise ValueError("it has two columns of one name")
        numbered = [isinstance(column, IdColumn) for column in self.columns]
        if numbered != sorted(numbered):
            raise ValueError("its numbered columns are not the last ones")

    def transform(self, given: Any) -> np.ndarray:
        """A DataFrame, in which other columns do not matter, to float32 `[rows, features]`."""
        return features_of(self.columns, given)
