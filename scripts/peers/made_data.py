"""Data of the shape of MNIST for the comparison with DACBench: the same rows for both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

FEATURES, CLASSES, TEST_ROWS = 784, 10, 1000


@dataclass(frozen=True)
class Rows:
    """Rows as DACBench divides them: its share of validation data is a fifth."""

    train: int
    valid: int


SMALL = Rows(train=1280, valid=320)  # 20 batches of 64
FULL = Rows(train=48_000, valid=12_000)  # MNIST: 375 batches of 128
SIZES = {"small": SMALL, "full": FULL}


def write(path: Path, rows: Rows) -> None:
    """Writes an .npz file: ten classes by a random linear rule, each row about standard normal.

    What the numbers are is of no consequence for speed, so that no download is needed.
    """
    generator = np.random.default_rng(0)
    rule = generator.standard_normal((FEATURES, CLASSES), np.float32)
    arrays = {}
    for part, count in (("train", rows.train), ("valid", rows.valid), ("test", TEST_ROWS)):
        x = generator.standard_normal((count, FEATURES), np.float32)
        arrays[f"x_{part}"] = x
        arrays[f"y_{part}"] = np.argmax(x @ rule, axis=1).astype(np.int64)
    np.savez(path, **arrays)  # type: ignore[arg-type]
