"""Free text: from the words of a text to whole numbers, by a vocabulary of the training rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlagent_envs.forms import UNKNOWN
from rlagent_envs.tasks.columns import (
    MOST_TEXTS,
    Stored,
    column_names,
    is_table,
    numbered_texts,
)

if TYPE_CHECKING:
    import pandas as pd

# Of a vocabulary nobody asked for: each token has a vector, and an update moves all of them. Larger
# ones were not better on AG News and SST-2, see docs/tasks_text.md.
USUAL_TOKENS = 8000
FEWEST_TOKENS, MOST_TOKENS = 3, 2**24  # that can be asked for; float32 tells no more apart
MANY_ROWS = 1000  # from so many texts on, words that occur only once are left out
LONGEST, SHORTEST = 128, 4  # tokens that are read of a text
READ_TO_END = 0.95  # share of the training texts
STEP = 4  # lengths are multiples of it
FIRST = 100  # values of a column that are looked at for words
COLUMN = "text"  # the name of texts that come without one

# A word is a run of letters, digits and underscores, with the apostrophes inside; any other sign
# but space stands by itself, and so do those of Chinese and Japanese, which put no spaces.
_UNSPACED = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
_LETTERS = rf"(?:(?!{_UNSPACED})\w)+"
_TOKEN = re.compile(rf"{_LETTERS}(?:['\u2019]{_LETTERS})*|\S")


class TextInput(Stored):
    """Texts as the numbers of their words: 0 behind the end, 1 for a word that training lacked."""

    kind: Literal["text"] = "text"
    # Of a table, in the order of training; the texts of a row are joined by a space.
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    words: Annotated[tuple[str, ...], Field(min_length=1)]  # that the numbers from 2 on stand for
    length: Annotated[int, Field(ge=1)]  # tokens that are read of a text

    @classmethod
    def fit(cls, texts: pd.DataFrame, vocabulary: int | None = None) -> TextInput:
        """Learns the vocabulary and the length from the training rows, columns of texts alone.

        The vocabulary is the most frequent words, the length the least that lets 95 % of the texts
        be read to their end.

        Args:
            texts: the training rows.
            vocabulary: how many tokens there are at most, the one for no token and the one for
                unknown words among them; 8,000 where None.

        Raises:
            ValueError: if there are no words.
        """
        columns = tuple(column_names(texts))
        tokens = [list(words_of(text)) for text in joined(texts, columns)]
        counts = Counter(word for row in tokens for word in row)
        least = 2 if len(tokens) >= MANY_ROWS and max(counts.values(), default=0) > 1 else 1
        known = [word for word, count in counts.items() if count >= least]
        if not known:
            raise ValueError(f"column {columns[0]!r} has no words in the training rows")
        # Ties by the word, so that the order of the rows does not matter.
        known.sort(key=lambda word: (-counts[word], word))
        length = float(np.quantile([len(row) for row in tokens], READ_TO_END))
        return cls(
            columns=columns,
            words=tuple(known[: (vocabulary or USUAL_TOKENS) - UNKNOWN - 1]),
            length=int(np.clip(-(-length // STEP) * STEP, SHORTEST, LONGEST)),
        )

    @property
    def features(self) -> int:
        """Features that `transform` makes."""
        return self.length

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(length,): a text is a row of tokens."""
        return (self.length,)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """How many tokens there are, with the one for no token and the one for unknown words."""
        return (UNKNOWN + 1 + len(self.words),)

    @property
    def continuous(self) -> list[bool]:
        """For each feature whether it is a quantity: none is."""
        return [False] * self.length

    def check(self) -> None:
        """Raises ValueError if a column or a word is there twice."""
        for name, values in (("columns", self.columns), ("words", self.words)):
            if len(set(values)) < len(values):
                raise ValueError(f"its {name} are not all different")

    def transform(self, given: Any) -> np.ndarray:
        """Texts `[rows]`, or a table in which other columns do not matter, to `[rows, length]`.

        Missing texts are empty; long ones are read up to the length, without their end.
        """
        texts = joined(self._table(given), self.columns)
        numbers = {word: number for number, word in enumerate(self.words, UNKNOWN + 1)}
        made = np.zeros((len(texts), self.length), np.float32)
        for row, text in zip(made, texts, strict=True):
            tokens = [numbers.get(word, UNKNOWN) for word in islice(words_of(text), self.length)]
            row[: len(tokens)] = tokens
        return made

    def _table(self, given: Any) -> pd.DataFrame:
        if is_table(given):
            return given
        texts = read_texts(given)
        if texts is None or len(self.columns) > 1:
            what = "a table, as in training" if len(self.columns) > 1 else "texts, or a table"
            raise ValueError(f"the input must be {what}, not an array")
        return texts.rename(self.columns[0]).to_frame()


def check_vocabulary(vocabulary: int | None) -> None:
    """Raises ValueError for a size that no vocabulary can have."""
    if vocabulary is not None and not FEWEST_TOKENS <= vocabulary <= MOST_TOKENS:
        raise ValueError(
            f"vocabulary must be from {FEWEST_TOKENS} to {MOST_TOKENS} tokens, got {vocabulary}"
        )


def words_of(text: str) -> Iterator[str]:
    """The words and signs of a text in their order, in lower case."""
    return (found.group() for found in _TOKEN.finditer(text.lower()))


def joined(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The text of each row, that of several columns joined by spaces; missing ones are empty."""
    names = column_names(table)
    for name in columns:
        if name not in names:
            raise ValueError(f"the input lacks the column {name!r}")
    parts = [table.iloc[:, names[name]].astype(object) for name in columns]
    filled = [part.where(part.notna(), "").map(str) for part in parts]
    return [" ".join(row) for row in zip(*filled, strict=True)]


def read_texts(given: Any) -> pd.Series | None:
    """Texts `[rows]`, of which some may be missing; None for anything else."""
    import pandas as pd

    if not isinstance(given, list | tuple | np.ndarray | pd.Series):
        return None
    if (isinstance(given, np.ndarray) and given.ndim == 0) or np.ndim(given[:1]) != 1:
        return None
    values = pd.Series(list(given), dtype=object, name=getattr(given, "name", None) or COLUMN)
    are_texts = values.map(lambda value: isinstance(value, str))
    return values if (are_texts | values.isna()).all() and are_texts.any() else None


def text_columns(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The columns of free text, and those beside them that vary.

    A column holds free text if most of its first values have several words, and if it has more than
    20 different values, more than half of those that are not missing. The latter is not asked for
    where no other column varies. Columns that never vary do not count.
    """
    places = column_names(table)
    columns = {name: table.iloc[:, place] for name, place in places.items()}
    worded = [name for name, column in columns.items() if _has_words(column)]
    different = {name: _different(name, column) for name, column in columns.items() if worded}
    varying = [name for name, count in different.items() if count > 1]
    least = {name: 0 if len(varying) == 1 else columns[name].count() // 2 for name in worded}
    texts = [name for name in worded if different[name] > max(MOST_TEXTS, least[name])]
    if not texts:
        return table.iloc[:, :0], table
    others = [places[name] for name in varying if name not in texts]
    return table.iloc[:, [places[name] for name in texts]], table.iloc[:, others]


def _has_words(column: pd.Series) -> bool:
    """Whether most of the first values have several words, as no number, date or link has."""
    first = column.dropna().iloc[:FIRST].tolist()
    several = [isinstance(value, str) and _several_words(value) for value in first]
    return sum(several) > len(several) / 2


def _several_words(text: str) -> bool:
    with_letters = [part for part in text.split() if any(map(str.isalpha, part))]
    return len(with_letters) > 1 or len(re.findall(_UNSPACED, text)) > 1


def _different(name: str, column: pd.Series) -> int:
    """How many different values there are, missing ones being one of them."""
    places, texts = numbered_texts(name, column)
    return len(texts) + bool((places < 0).any())
