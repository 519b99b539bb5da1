"""Characters of a text as whole numbers: the inputs and the targets of a language model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlagent_envs.forms import UNKNOWN
from rlagent_envs.tasks.columns import Stored

UNKNOWN_CHARACTER = "\ufffd"  # stands for characters that training lacked


class CharacterInput(Stored):
    """Windows of text: 0 where there is no character, 1 for one that training lacked."""

    kind: Literal["characters"] = "characters"
    characters: Annotated[str, Field(min_length=1)]  # of the training text, in their order
    length: Annotated[int, Field(gt=0)]  # of a window

    @property
    def features(self) -> int:
        """Features that `transform` makes."""
        return self.length

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(length,)."""
        return (self.length,)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """One for all places."""
        return (1 + UNKNOWN + len(self.characters),)

    @property
    def continuous(self) -> list[bool]:
        """For each feature that it is no quantity."""
        return [False] * self.length

    def check(self) -> None:
        """Raises ValueError if the characters are not in their order."""
        if list(self.characters) != sorted(set(self.characters)):
            raise ValueError("its characters are not in their order")

    def transform(self, given: Any) -> np.ndarray:
        """Texts of at most `length` characters to float32 `[rows, length]`, 0 behind a short one.

        Raises:
            ValueError: for anything else than a list of texts, or if one is longer.
        """
        texts = read_windows(given, "the input")
        made = np.zeros((len(texts), self.length), np.float32)
        for row, text in zip(made, texts, strict=True):
            if len(text) > self.length:
                raise ValueError(
                    f"a text of the input has {len(text)} characters, at most {self.length} fit"
                )
            row[: len(text)] = numbers_of(text, self.characters) + UNKNOWN
        return made


class CharacterTarget(Stored):
    """The next character at each place of a window: class 0 is one that training lacked."""

    kind: Literal["characters"] = "characters"
    characters: Annotated[str, Field(min_length=1)]  # of the training text, in their order
    length: Annotated[int, Field(gt=0)]

    @property
    def outputs(self) -> int:
        """Outputs that a network needs: one for each character, and one for all others."""
        return 1 + len(self.characters)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """One for each place."""
        return (self.length,)

    @property
    def classes(self) -> tuple[str, ...]:
        """The characters in the order of the outputs."""
        return (UNKNOWN_CHARACTER, *self.characters)

    def encode(self, target: Any, part: str) -> np.ndarray:
        """Texts to class numbers, int32 `[rows, length]`, whichever part of the data they are.

        Raises:
            ValueError: for anything else than a list of texts, or one that is not of the length.
        """
        texts = read_windows(target, "y")
        for text in texts:
            if len(text) != self.length:
                raise ValueError(
                    f"a text of y has {len(text)} characters, it must have {self.length}"
                )
        return np.stack([numbers_of(text, self.characters) for text in texts])

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        """Class numbers, of any shape, to characters."""
        return np.array(self.classes)[np.asarray(numbers)]


def numbers_of(text: str, characters: str) -> np.ndarray:
    """A number for each character of a text, int32: 1 up for those known, 0 for others.

    Args:
        text: any.
        characters: those known, in their order.
    """
    codes, known = codes_of(text), codes_of(characters)
    places = np.searchsorted(known, codes)
    found = known[np.minimum(places, len(known) - 1)] == codes
    return np.where(found, places + 1, 0).astype(np.int32)


def codes_of(text: str) -> np.ndarray:
    """The code point of each character, `[characters]`, uint32."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def characters_of(text: str) -> str:
    """The different characters of a text, in their order."""
    return "".join(map(chr, np.unique(codes_of(text)).tolist()))


def read_windows(given: Any, name: str) -> list[str]:
    """A list of texts; ValueError, calling it `name`, if it is none."""
    texts = [] if isinstance(given, str) else list(given)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} must be a list of texts")
    return texts
