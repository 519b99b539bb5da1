"""Which folders or files of a folder are the parts train, valid and test, by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rlagent_envs.tasks.splits import FOLDER_NAMES, SPLIT_NAMES

OF_MACOS = "__MACOSX"  # what macOS puts beside the files of an archive
WORD = "|".join(sorted(FOLDER_NAMES, key=len, reverse=True))
WITH_PREFIX = re.compile(rf"(?P<before>.+[._-])(?P<word>{WORD})")  # seg_train
WITH_SUFFIX = re.compile(rf"(?P<word>{WORD})(?P<after>[._-].+)")  # test-set


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name does not count."""
    return name.startswith(".") or name == OF_MACOS


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder that are not hidden, in the order of their names."""
    return sorted(one for one in folder.iterdir() if one.is_dir() and not is_hidden(one.name))


def told_parts(folder: Path) -> list[tuple[str, Path]]:
    """The folders for the parts of a folder, each with its part; none if there is none for train.

    These are `train` and all that have one of `SPLIT_NAMES`, in any case. Or they hold folders, and
    have one of `FOLDER_NAMES`, all with the same prefix or suffix, or without one: `Training` and
    `Testing`, `seg_train` and `seg_test`. Such names may be those of classes too, so a folder
    `Training` has to have another part beside it, or to be alone.
    """
    inside = folders_in(folder)
    usual = [(part, one) for one in inside if (part := FOLDER_NAMES.get(one.name.lower()))]
    if any(SPLIT_NAMES.get(one.name.lower()) == "train" for _, one in usual):
        return usual
    by_affix: dict[tuple[str, str], list[tuple[str, Path]]] = defaultdict(list)
    for one in inside:
        part, affix = _part_and_affix(one.name.lower())
        if part is not None and folders_in(one):
            by_affix[affix].append((part, one))
    for found in by_affix.values():
        parts = [part for part, _ in found]
        told = len(found) > 1 or len(inside) == 1
        if told and "train" in parts and len(set(parts)) == len(parts):
            return found
    return []


def part_files(files: Iterable[Path]) -> dict[str, Path]:
    """The files that are called as the parts of one set of data, by the part; {} if none are.

    Such are `train.csv` and `test.csv`, or `mnist_train.csv` and `mnist_test.csv`: in one folder,
    of one ending, and called alike but for the word that tells the part. There are none either if
    several sets could be meant.
    """
    sets: dict[tuple[object, ...], list[tuple[str, Path]]] = defaultdict(list)
    for path in files:
        part, affix = _part_and_affix(path.stem.lower())
        if part is not None:
            sets[path.parent, path.suffix.lower(), affix].append((part, path))
    told = [dict(found) for found in sets.values() if len(dict(found)) == len(found) > 1]
    whole = [found for found in told if "train" in found]
    return whole[0] if len(whole) == 1 else {}


def train_folder(folder: Path) -> Path:
    """The folder to train on of a folder, whether there is one or not."""
    return next((one for part, one in told_parts(folder) if part == "train"), folder / "train")


def tells_part(name: str, part: str) -> bool:
    """Whether the name of a folder tells this part, with a prefix or suffix or without one."""
    return told_part(name) == part


def told_part(name: str) -> str | None:
    """The part that the name of a file or folder tells, with a prefix or suffix or without one."""
    return _part_and_affix(name.lower())[0]


def _part_and_affix(name: str) -> tuple[str | None, tuple[str, str]]:
    """The part that a name in small letters tells, and what is before and behind that word."""
    if name in FOLDER_NAMES:
        return FOLDER_NAMES[name], ("", "")
    if (match := WITH_PREFIX.fullmatch(name)) is not None:
        return FOLDER_NAMES[match["word"]], (match["before"], "")
    if (match := WITH_SUFFIX.fullmatch(name)) is not None:
        return FOLDER_NAMES[match["word"]], ("", match["after"])
    return None, ("", "")
