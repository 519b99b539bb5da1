"""Parts of data that are in files or folders of their own, beside those that are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

PARTS_APART = ("valid", "test")  # the options that name them
ROWS = {"valid": "validation rows", "test": "test rows"}  # of each, for errors

Read = TypeVar("Read")


def with_apart(
    parts: Mapping[str, Read],
    where: Path,
    apart: Mapping[str, Path],
    parts_of: Callable[[Path], Mapping[str, Read]],
) -> dict[str, Read]:
    """The parts of data, and those that other files or folders of the same form hold.

    Args:
        parts: of the data.
        where: it is, for errors.
        apart: the file or folder of each other part: that part of it if it tells one, else all
            that it has to train on.
        parts_of: gives the parts of it.

    Raises:
        ValueError: if the data has such a part already.
    """
    found = dict(parts)
    for part, path in apart.items():
        refuse_twice(part, found, where, path)
        others = parts_of(path)
        found[part] = others.get(part, others["train"])
    return found


def refuse_twice(part: str, parts: Mapping[str, object], where: Path, path: Path) -> None:
    """Raises ValueError if there is a part already that a file or folder of its own is to be."""
    if part in parts:
        raise ValueError(f"{where} has {ROWS[part]} already, so {path} cannot be used too")


def to_judge(parts: Mapping[str, Read], where: Path) -> Read:
    """The part to test on, or all where the data tells no parts.

    Args:
        parts: of the data; all in train if none are told.
        where: it is, for errors.

    Raises:
        ValueError: if parts are told, but none to test on.
    """
    if "test" in parts:
        return parts["test"]
    if set(parts) != {"train"}:
        raise ValueError(f"{where} tells the parts {', '.join(parts)}, but has no {ROWS['test']}")
    return parts["train"]
