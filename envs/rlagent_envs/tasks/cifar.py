"""CIFAR-10 as its authors publish it: the binary archive, never the one of pickles.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlagent_envs.tasks.archives import unpacked
from rlagent_envs.tasks.image_input import ImageInput
from rlagent_envs.tasks.loading import task_of_parts
from rlagent_envs.tasks.options import Options

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Task

FOLDER, PICKLES = "cifar-10-batches-bin", "cifar-10-batches-py"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of cifar-10-binary.tar.gz
BATCHES = {
    "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["test_batch.bin"],
}
SHAPE = (3, 32, 32)  # of an image, behind one byte of its class
CLASSES = (  # batches.meta.txt
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def holds_cifar(path: Path, names: Iterable[str]) -> bool:
    """Whether an archive with files of these names is CIFAR-10; ValueError for that of pickles."""
    top = {name.split("/")[0] for name in names}
    if PICKLES in top:
        raise ValueError(
            f"{path} holds pickles, which could run any code when they are read; give the binary "
            f"version, cifar-10-binary.tar.gz"
        )
    return FOLDER in top


def load_cifar(path: Path, options: Options) -> Task:
    """Makes the task of the archive, which has a test part.

    Raises:
        ValueError: if it is not the archive that was published, by its MD5.
    """
    options.allow(f"{path} is CIFAR-10")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != MD5:
        raise ValueError(
            f"{path} is not the archive of CIFAR-10 that was published, its MD5 is {found} and not "
            f"{MD5}; download it again"
        )
    with unpacked(path) as (_, _, folder):
        parts = {part: _read([folder / name for name in files]) for part, files in BATCHES.items()}
    options = replace(options, kind="classification")
    task = task_of_parts(parts, "cifar10", options)
    assert task.preprocessing is not None
    preprocessing = task.preprocessing.made_by(ImageInput)
    return replace(task, preprocessing=preprocessing, mirrored=True)


def _read(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Images `[rows, 32, 32, 3]`, uint8, and the names of their classes `[rows]`."""
    rows = np.concatenate([np.fromfile(file, np.uint8) for file in files])
    rows = rows.reshape(-1, 1 + int(np.prod(SHAPE)))
    images = rows[:, 1:].reshape(-1, *SHAPE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(CLASSES)[rows[:, 0]]
