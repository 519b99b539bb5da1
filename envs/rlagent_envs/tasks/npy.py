"""Reading .npy files: an array each, the targets in a file of their own, without pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlagent_envs.tasks.npz import NAMINGS, named_parts, without_pickle

INPUTS = [naming["train"][0] for naming in NAMINGS]  # names of files that have their targets beside
MAGIC = b"\x93NUMPY"
KNOWN = {name for naming in NAMINGS for pair in naming.values() for name in pair}


def read_npy_parts(path: Path, target: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets of each part: train, and valid and test where they are there.

    Args:
        path: the inputs to train on.
        target: the file of their targets. Where None, `path` has one of the names that arrays
            have in a .npz file, such as x_train.npy, and the others are files beside it.

    Raises:
        ValueError: if a file is damaged or not there.
    """
    if target is not None:
        return {"train": (read_npy(path), read_npy(_file_of_targets(target)))}
    if path.stem not in INPUTS:
        raise ValueError(
            f"name the .npy file of the targets of {path}; for {', '.join(INPUTS)} they are in a "
            f"file beside it"
        )
    # `x` is no input of a folder that has `x_train`, too.
    others = set(INPUTS) - {path.stem}
    names = {file.stem for file in path.parent.glob("*.npy")} & KNOWN - others
    return {
        part: (read_npy(path.with_name(f"{x}.npy")), read_npy(path.with_name(f"{y}.npy")))
        for part, (x, y) in named_parts(names, path.parent).items()
    }


def read_npy_labelled(path: Path, target: str | None) -> tuple[np.ndarray, np.ndarray, bool]:
    """An array, its targets, and whether its name says that it tests.

    Args:
        path: the inputs.
        target: the file of their targets. Where None, the names are those of a pair in a .npz file,
            such as x_test.npy and y_test.npy.

    Raises:
        ValueError: if a file is damaged or not there.
    """
    tests = path.stem in [naming["test"][0] for naming in NAMINGS]
    pairs = dict(pair for naming in NAMINGS for pair in naming.values())
    if target is None:
        if path.stem not in pairs:
            raise ValueError(f"name the .npy file of the targets of {path}, as the target")
        target = str(path.with_name(f"{pairs[path.stem]}.npy"))
    return read_npy(path), read_npy(_file_of_targets(target)), tests


def beside(path: Path, target: str | None) -> list[Path]:
    """The other files that belong to a .npy file; none for files of other forms."""
    if path.suffix.lower() != ".npy":
        return []
    if target is not None:
        return [_file_of_targets(target)]
    return sorted(one for one in path.parent.glob("*.npy") if one.stem in KNOWN and one != path)


def read_npy(path: Path) -> np.ndarray:
    """The array of a file, which stays on disk until it is looked at.

    Raises:
        ValueError: if it is damaged or holds Python objects.
    """
    with path.open("rb") as file:
        # NumPy takes anything else for a pickle, and would say so.
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path} is not a .npy file, or it is damaged")
    return without_pickle(lambda: np.load(path, mmap_mode="r", allow_pickle=False), str(path))


def _file_of_targets(target: str) -> Path:
    path = Path(target)
    if path.suffix.lower() != ".npy":
        raise ValueError(f"the targets of a .npy file are in another .npy file, got {target!r}")
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path
