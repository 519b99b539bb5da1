"""Reading .npz files: arrays by name, without pickle."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np


def read_npz_parts(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets of each part of a file: train, and valid and test where they are there.

    Raises:
        ValueError: if the file is damaged, or lacks an array.
    """
    names = npz_names(path)
    x, y = ("x_train", "y_train") if "x_train" in names else ("x", "y")
    wanted = {"train": (x, y)}
    for part in ("valid", "test"):
        if names & {f"x_{part}", f"y_{part}"}:
            wanted[part] = (f"x_{part}", f"y_{part}")
    if not {"x", "y"} <= names and not {"x_train", "y_train"} <= names:
        raise ValueError(
            f"{path} must have the arrays x_train and y_train, or x and y; it has: {_list(names)}"
        )
    for pair in wanted.values():
        for name in pair:
            if name not in names:
                raise ValueError(f"{path} lacks the array {name}; it has: {_list(names)}")
    return {part: (read_array(path, x), read_array(path, y)) for part, (x, y) in wanted.items()}


def read_npz_inputs(path: Path) -> np.ndarray:
    """`x_test` of a file, else its `x`; ValueError if it has neither or is damaged."""
    names = npz_names(path)
    for name in ("x_test", "x"):
        if name in names:
            return read_array(path, name)
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
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"the array {name} of {path} holds Python objects, not numbers or texts"
            ) from None
        raise ValueError(f"the array {name} of {path} is damaged") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError):
        raise ValueError(f"the array {name} of {path} is damaged") from None


def _list(names: set[str]) -> str:
    """Names in an error message."""
    return ", ".join(sorted(names)) or "none"
