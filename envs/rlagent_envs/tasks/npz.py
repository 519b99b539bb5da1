"""Reading .npz files: arrays by name, without pickle."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

Names = dict[str, tuple[str, str]]  # of the inputs and targets of each part

OUR_NAMES: Names = {part: (f"x_{part}", f"y_{part}") for part in ("train", "valid", "test")}
MEDMNIST_NAMES: Names = {  # medmnist.com
    "train": ("train_images", "train_labels"),
    "valid": ("val_images", "val_labels"),
    "test": ("test_images", "test_labels"),
}
NAMINGS: tuple[Names, ...] = (OUR_NAMES, OUR_NAMES | {"train": ("x", "y")}, MEDMNIST_NAMES)


def read_npz_parts(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets of each part of a file: train, and valid and test where they are there.

    Raises:
        ValueError: if the file is damaged, or lacks an array.
    """
    wanted = named_parts(npz_names(path), path)
    return {part: (read_array(path, x), read_array(path, y)) for part, (x, y) in wanted.items()}


def named_parts(names: set[str], path: Path) -> Names:
    """Which of the arrays of `path` are inputs and targets of which part.

    Raises:
        ValueError: if there are none to train on, or one of a pair is not there.
    """
    for naming in NAMINGS:
        if naming["train"][0] in names:
            break
    else:
        pairs = [" and ".join(naming["train"]) for naming in NAMINGS]
        raise ValueError(
            f"{path} must have the arrays {', '.join(pairs[:-1])}, or {pairs[-1]}; it has: "
            f"{_list(names)}"
        )
    found = {part: pair for part, pair in naming.items() if names & set(pair)}
    for pair in found.values():
        for name in pair:
            if name not in names:
                raise ValueError(f"{path} lacks the array {name}; it has: {_list(names)}")
    return found


def read_npz_inputs(path: Path) -> np.ndarray:
    """`x_test` of a file, else its `x`; of MedMNIST's `test_images`.

    Raises:
        ValueError: if it has none of them, or is damaged.
    """
    return read_array(path, _new_rows(path)[0])


def read_npz_labelled(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """The array of `read_npz_inputs`, its targets, and whether their names say that they test.

    Raises:
        ValueError: if one is not there, or the file is damaged.
    """
    x, y = _new_rows(path)
    if y not in (names := npz_names(path)):
        raise ValueError(f"{path} lacks the array {y}, the targets; it has: {_list(names)}")
    return read_array(path, x), read_array(path, y), x != "x"


def _new_rows(path: Path) -> tuple[str, str]:
    """The names of the inputs to predict for and of their targets, be these there or not."""
    names = npz_names(path)
    for pair in (OUR_NAMES["test"], ("x", "y"), MEDMNIST_NAMES["test"]):
        if pair[0] in names:
            return pair
    raise ValueError(f"{path} must have the array x_test or x; it has: {_list(names)}")


def npz_names(path: Path) -> set[str]:
    """Names of the arrays of a file; ValueError if it is no .npz file or cut short."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.namelist()
    except (zipfile.BadZipFile, OSError, EOFError):
        raise ValueError(f"{path} is not a readable .npz file, it may be damaged") from None
    return {entry.removesuffix(".npy") for entry in entries if entry.endswith(".npy")}


def read_array(path: Path, name: str) -> np.ndarray:
    """One array of a file; ValueError if it is damaged or holds Python objects."""

    def read() -> np.ndarray:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])

    return without_pickle(read, f"the array {name} of {path}")


def without_pickle(read: Callable[[], np.ndarray], what: str) -> np.ndarray:
    """What `read` gives; ValueError if that is damaged or holds Python objects."""
    try:
        return read()
    except ValueError as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise ValueError(f"{what} holds Python objects, not numbers or texts") from None
        raise ValueError(f"{what} is damaged") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError):
        raise ValueError(f"{what} is damaged") from None


def _list(names: set[str]) -> str:
    """Names in an error message."""
    return ", ".join(sorted(names)) or "none"
