"""Choices: a user and two items, one of which the user took. Their loss is that of BPR.

Bayesian personalised ranking wants what a user took to score higher than what they did not: the
loss is the logarithm of the probability, by the difference of two scores, of choosing rightly. That
is cross-entropy between two items, so that choices are a classification, of rows that have a user
and the candidates in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rlagent_envs.tasks.columns import Stored, features_of
from rlagent_envs.tasks.id_column import IdColumn, numbered_ids
from rlagent_envs.tasks.task import Split

if TYPE_CHECKING:
    import pandas as pd

CANDIDATES = 2
CLASSES = ("taken", "not taken")  # of the first item
NEGATIVES = 4  # items that were not taken, for each that was; each makes a row
TRIES = 20  # to draw an item that a user has not taken


class ChoiceInput(Stored):
    """Numbers of a user and of items to choose from.

    What is predicted for is a user and one item: the other one is 0, which stands for rare and
    unknown items, so that the probability to take the item ranks the items of a user.
    """

    kind: Literal["choice"] = "choice"
    user: IdColumn
    item: IdColumn

    @classmethod
    def fit(cls, pairs: pd.DataFrame) -> ChoiceInput:
        """Learns from the training rows: a column of users and one of items."""
        user, item = (
            IdColumn.fit(str(name), pairs.iloc[:, place])
            for place, name in enumerate(pairs.columns)
        )
        return cls(user=user, item=item)

    @property
    def columns(self) -> tuple[IdColumn, IdColumn]:
        """What is read of a table."""
        return self.user, self.item

    @property
    def features(self) -> int:
        """Numbers in a row."""
        return 1 + CANDIDATES

    @property
    def input_shape(self) -> tuple[int, ...]:
        """How many items there are to choose from."""
        return (CANDIDATES,)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """How many numbers users and items have."""
        return self.user.vocabulary, self.item.vocabulary

    @property
    def continuous(self) -> list[bool]:
        """None of them is a quantity."""
        return [False] * self.features

    def check(self) -> None:
        """Raises ValueError if both columns have one name."""
        if self.user.name == self.item.name:
            raise ValueError("it has two columns of one name")

    def transform(self, given: Any) -> np.ndarray:
        """A DataFrame of users and items to float32 `[rows, 3]`: the other item is 0."""
        pairs = features_of(self.columns, given)
        return np.pad(pairs, [(0, 0), (0, CANDIDATES - 1)])


def draw_choices(
    inputs: ChoiceInput, parts: dict[str, pd.DataFrame], seed: int
) -> dict[str, Split]:
    """The choices of each part of a table, among all items in any part; see `choices_of`.

    Args:
        inputs: fitted on the part `train`.
        parts: users and items, what was taken.
        seed: of what is drawn.

    Raises:
        ValueError: if training knows fewer than two items.
    """
    import pandas as pd

    if inputs.item.vocabulary < 3:
        raise ValueError("a ranking needs at least two items that are taken more than once")
    told = np.concatenate([features_of(inputs.columns, x) for x in parts.values()])
    codes, numbers = [], []
    for place, column in enumerate(inputs.columns):
        values = pd.concat([x.iloc[:, place] for x in parts.values()])
        of_rows, texts = numbered_ids(column.name, values)
        of_codes = np.zeros(len(texts), np.int64)
        np.maximum.at(of_codes, of_rows, told[:, place].astype(np.int64))
        codes.append(of_rows)
        numbers.append(of_codes)
    ends = np.cumsum([len(x) for x in parts.values()])[:-1]
    pairs = dict(zip(parts, np.split(np.stack(codes, axis=1), ends), strict=True))
    return choices_of(np.random.default_rng(seed), pairs, *numbers)


def choices_of(
    generator: np.random.Generator,
    pairs: dict[str, np.ndarray],
    user_numbers: np.ndarray,
    item_numbers: np.ndarray,
) -> dict[str, Split]:
    """The choices of each part: for each item taken four that were not, in random order.

    What was not taken is drawn evenly among all items, without those that the user took: in
    training for rows to train on, at any time for the others. Items with number 0 are drawn as
    often as others are, or a network would learn that what it does not know is taken. A choice
    between two of them cannot be made, but is not drawn anew: the rest would say that again.

    Args:
        generator: draws all of it.
        pairs: of each part the codes of users and items, from 0, what was taken, `[rows, 2]`.
        user_numbers: by which the network knows the user of each code, `[users]`.
        item_numbers: the same of all items that there are, `[items]`.

    Source: Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback"
    (arXiv:1205.2618), section 4; four negatives: He et al. 2017 (arXiv:1708.05031), section 4.1.
    """
    items = len(item_numbers)
    taken = {part: x @ (items, 1) for part, x in pairs.items()}
    made = {}
    for part in filter(pairs.__contains__, _UNTIL):  # what tests comes last in every order
        x = pairs[part]
        users, own = x[generator.permutation(np.repeat(np.arange(len(x)), NEGATIVES))].T
        # Which items there are is known; who takes them later than in this part is not.
        known = np.concatenate([taken[earlier] for earlier in _UNTIL[part] if earlier in taken])
        others = _not_taken(generator, users, items, known)
        y = generator.integers(CANDIDATES, size=len(users), dtype=np.int32)
        first, second = item_numbers[np.where(y == 0, [own, others], [others, own])]
        numbers = np.stack([user_numbers[users], first, second], axis=1)
        made[part] = Split(numbers.astype(np.float32), y)
    return made


_UNTIL = {"train": ("train",), "valid": ("train", "valid"), "test": ("train", "valid", "test")}


def _not_taken(
    generator: np.random.Generator, users: np.ndarray, items: int, taken: np.ndarray
) -> np.ndarray:
    """An item for each user, by its code; of users who took nearly all, any item at last."""
    drawn = generator.integers(items, size=len(users))
    for _ in range(TRIES):
        wrong = np.flatnonzero(np.isin(users * items + drawn, taken))
        if not len(wrong):
            break
        drawn[wrong] = generator.integers(items, size=len(wrong))
    return drawn
