"""Rows that stay where they are, as in a file that is larger than memory, until they are needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

PIECE = 4096  # rows that are read at once where all are
STREAMED_BYTES = 2**31  # an array on disk is streamed if it would take more as float32


class Transform(Protocol):
    """From rows as they are stored to the inputs of a network."""

    @property
    def features(self) -> int:
        """Of a row."""

    def transform(self, given: Any, /) -> np.ndarray:
        """`[rows, ...]` to float32 `[rows, features]`."""


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Rows of an array on disk, or of anything else that is read by row numbers."""

    rows: Any  # [stored rows, ...], with a shape, a dtype and rows[numbers], as np.memmap
    numbers: np.ndarray | None = None  # of the rows that there are, in their order; None: all

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.rows) if self.numbers is None else len(self.numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array that all rows would be."""
        return (len(self), *self.rows.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows."""
        return np.dtype(self.rows.dtype)

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """Some of the rows, in memory; a row may be there many times."""
        stored = numbers if self.numbers is None else self.numbers[numbers]
        # In the order in which they lie on disk, each once.
        different, places = np.unique(stored, return_inverse=True)
        return np.asarray(self.rows[different])[places]

    def only(self, numbers: np.ndarray) -> OnDisk:
        """The same without the other rows."""
        return replace(self, numbers=numbers if self.numbers is None else self.numbers[numbers])


@dataclass(frozen=True, eq=False)
class Streamed:
    """Rows on disk, preprocessed when they are taken."""

    rows: OnDisk
    inputs: Transform

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Some of the rows, float32 `[len(numbers), features]`; a row may be there many times."""
        return self.inputs.transform(self.rows[numbers])

    def digest(self) -> bytes:
        """Of all rows, as they are preprocessed."""
        digest = hashlib.sha256()
        for first in range(0, len(self), PIECE):
            digest.update(self.take(np.arange(first, min(first + PIECE, len(self)))).tobytes())
        return digest.digest()


def on_disk(x: Any, *, streamed: bool | None) -> OnDisk | None:
    """The rows of an array that are to stay on disk; None where they go to memory.

    Args:
        x: what the user gave.
        streamed: whether they are to stay; where None, an `np.memmap` does that would take more
            than 2 GiB as float32, and what is `OnDisk` already does.

    Raises:
        ValueError: if what is to stay is neither.
    """
    if isinstance(x, OnDisk):
        return x
    if not isinstance(x, np.memmap):
        if streamed:
            raise ValueError(
                f"streamed needs an array on disk, as np.load(…, mmap_mode='r') gives it, "
                f"got {type(x).__name__}"
            )
        return None
    if streamed is None:
        streamed = 4 * x.size > STREAMED_BYTES
    return OnDisk(x) if streamed else None
