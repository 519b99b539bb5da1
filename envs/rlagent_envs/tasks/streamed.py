"""Rows that stay where they are, as in a file that is larger than memory, until they are needed."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np

PIECE = 4096  # rows that are read at once where all are
STREAMED_BYTES = 2**31  # what is on disk is streamed if it would take more as float32
READERS = min(max(8, os.cpu_count() or 1), 32)  # threads: they wait, or decode without Python
ROWS_EACH = 32  # that a thread reads before another look whether the process is to end

Item = TypeVar("Item")
Read = TypeVar("Read")


def beyond_memory(values: int) -> bool:
    """Whether so many values are better streamed, where nobody has asked for anything."""
    return 4 * values > STREAMED_BYTES


class Transform(Protocol):
    """From rows as they are stored to the inputs of a network."""

    @property
    def features(self) -> int:
        """Of a row."""

    def lookup(self, dtype: np.dtype[Any], /) -> np.ndarray | None:
        """What `transform` makes of 0 to 255, `[256]`; None if it does not look bytes up."""

    def transform(self, given: Any, /) -> np.ndarray:
        """`[rows, ...]` to float32 `[rows, features]`."""


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Rows of an array on disk, or of anything else that is read by row numbers."""

    rows: Any  # [stored rows, ...], with a shape, a dtype and rows[numbers], as np.memmap
    numbers: np.ndarray | None = None  # of the rows that there are, in their order; None: all
    # Of each stored row, where they are known: reading all rows again would take long.
    digests: Sequence[bytes] | None = None

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

    @property
    def lookup(self) -> np.ndarray | None:
        """What becomes of bytes, see `Transform.lookup`."""
        return self.inputs.lookup(self.rows.dtype)

    def digest(self) -> bytes:
        """Of all rows, as they are preprocessed, or by what is known of each."""
        digest = hashlib.sha256()
        if self.rows.digests is not None:
            every = np.arange(len(self)) if self.rows.numbers is None else self.rows.numbers
            digest.update(b"".join(self.rows.digests[number] for number in every.tolist()))
            return digest.digest()
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
        streamed = beyond_memory(x.size)
    return OnDisk(x) if streamed else None


def gathered(
    read: Callable[[int], np.ndarray], numbers: np.ndarray, shape: tuple[int, ...], dtype: Any
) -> np.ndarray:
    """Rows that are read one by one, by several threads.

    Args:
        read: gives the row of a number, of `shape`; it may be called by threads at the same time.
        numbers: of the rows, `[rows]`.
        shape: of each row.
        dtype: of the array.

    Returns:
        `[rows, *shape]`.
    """
    made = np.empty((len(numbers), *shape), dtype)

    def put(places: np.ndarray) -> None:
        for place in places.tolist():
            made[place] = read(int(numbers[place]))

    with ThreadPoolExecutor(READERS, thread_name_prefix="rows") as readers:
        for first in range(0, len(numbers), READERS * ROWS_EACH):
            # Handed out bit by bit, because a process that ends waits for all that was handed out.
            some = np.arange(first, min(first + READERS * ROWS_EACH, len(numbers)))
            list(readers.map(put, np.array_split(some, READERS)))
    return made


def in_threads(read: Callable[[Item], Read], items: Sequence[Item]) -> Iterator[Read]:
    """As `map`, but that several items are read at the same time, in pieces."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="rows") as readers:
        for first in range(0, len(items), READERS * ROWS_EACH):
            yield from readers.map(read, items[first : first + READERS * ROWS_EACH])


@dataclass(frozen=True, eq=False)
class Flat:
    """The values of rows on disk as an array `[values, columns]`, read piece by piece."""

    rows: OnDisk
    columns: int
    read: Callable[[np.ndarray], np.ndarray]  # checks rows that were taken

    @property
    def size(self) -> int:
        """Values there are."""
        return math.prod(self.rows.shape)

    def __len__(self) -> int:
        """Of the array."""
        return self.size // self.columns

    def split(self, count: int) -> Iterator[np.ndarray]:
        """The pieces that `np.array_split` makes of the array."""
        least, longer = divmod(len(self), count)
        waiting = np.empty((0, self.columns), self.rows.dtype)
        source = self._read(max(1, self.size // count * len(self.rows) // self.size))
        for piece in range(count):
            length = least + (piece < longer)
            while len(waiting) < length:
                waiting = np.concatenate([waiting, next(source)])
            yield waiting[:length]
            waiting = waiting[length:]

    def _read(self, at_once: int) -> Iterator[np.ndarray]:
        for first in range(0, len(self.rows), at_once):
            rows = np.arange(first, min(first + at_once, len(self.rows)))
            yield self.read(self.rows[rows]).reshape(-1, self.columns)
