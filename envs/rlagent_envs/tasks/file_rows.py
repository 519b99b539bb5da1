"""Files that are read when their rows are needed, each of them a row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlagent_envs.tasks.folders import Labelled
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.splits import MOST_VALID_ROWS, VALID_SHARE
from rlagent_envs.tasks.streamed import OnDisk, beyond_memory, gathered

DIGEST_BYTES = 16  # of each file


@dataclass(frozen=True, eq=False)
class FileRows:
    """Files as the rows of an array on disk."""

    files: Sequence[Path]
    read: Callable[[Path], np.ndarray]  # raises ValueError, naming the file; threads call it
    example: tuple[int, ...]  # shape of what is read of each
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        """How many files there are."""
        return len(self.files)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return (len(self.files), *self.example)

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """What some of the files hold, in memory."""
        return gathered(
            lambda number: self.read(self.files[number]), numbers, self.example, self.dtype
        )


def are_streamed(options: Options, values: int) -> bool:
    """Whether files of so many values in all are streamed."""
    return beyond_memory(values) if options.streamed is None else options.streamed


def streamed_parts(
    parts: Mapping[str, Labelled],
    read: Callable[[Path], np.ndarray],
    example: tuple[int, ...],
    dtype: Any,
    digests: Mapping[Path, bytes],
) -> dict[str, tuple[OnDisk, np.ndarray]]:
    """Inputs that stay where they are, and labels, of each part.

    Args:
        parts: files and their labels.
        read: see `FileRows`.
        example: the same.
        dtype: the same.
        digests: of what each file holds, see `digest_of`.
    """
    return {
        name: (
            OnDisk(
                FileRows(files, read, example, np.dtype(dtype)),
                digests=[digests[path] for path in files],
            ),
            np.array(labels),
        )
        for name, (files, labels) in parts.items()
    }


def digest_of(values: np.ndarray) -> bytes:
    """Of what a file holds."""
    shape = repr(values.shape).encode()
    content = np.ascontiguousarray(values).data
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES, salt=shape[:16]).digest()


def judged_files(parts: Mapping[str, Labelled]) -> int:
    """How many files validate or test, and so go to memory, also where data are streamed."""
    told = sum(len(part.files) for name, part in parts.items() if name != "train")
    if "valid" in parts:
        return told
    each = min(round(VALID_SHARE * len(parts["train"].files)), MOST_VALID_ROWS)
    return told + (each if "test" in parts else 2 * each)
