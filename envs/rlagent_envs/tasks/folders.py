"""Folders of files: a folder a class, as they are or within train, valid and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from rlagent_envs.tasks import parts_apart
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.part_folders import folders_in, is_hidden, tells_part, told_parts
from rlagent_envs.tasks.splits import FOLDER_NAMES
from rlagent_envs.tasks.streamed import in_threads
from rlagent_envs.tasks.targets import shortened

Read = TypeVar("Read")


class Labelled(NamedTuple):
    """Files, and the class of each."""

    files: list[Path]
    labels: list[str]


class Targeted(NamedTuple):
    """Files, and the targets of each."""

    files: list[Path]
    targets: np.ndarray  # [files, ...]
    notes: tuple[str, ...]  # what there is to say of them


def class_files(folder: Path, suffixes: Sequence[str]) -> dict[str, Labelled]:
    """The files of each part, in the order of their names; all in train if parts are not told.

    The folder has a folder for each class, or folders for parts, see `told_parts`, with a folder
    for each class in each of them. Hidden files and folders, and files of other kinds, do not
    count.

    Args:
        folder: where they are.
        suffixes: of the files, such as (".wav",).

    Raises:
        ValueError: if the folders are not of this kind, or if one of them holds no such file.
    """
    told = told_parts(folder)
    if not told:
        return {"train": _of_classes(folder, suffixes)}
    for one in folders_in(folder):
        if one not in [path for _, path in told]:
            beside = next(path.name for part, path in told if part == "train")
            raise ValueError(
                f"{folder} has the folder {one.name} beside {beside}; there may be: "
                f"{', '.join(FOLDER_NAMES)}"
            )
    parts: dict[str, Labelled] = {}
    for part, one in told:
        if part in parts:
            raise ValueError(f"{folder} has two folders for the {part} part")
        parts[part] = _of_classes(_of_part(one, part), suffixes)
    return parts


def with_apart(
    parts: dict[str, Read],
    folder: Path,
    options: Options,
    parts_of: Callable[[Path], dict[str, Read]],
) -> dict[str, Read]:
    """The parts of a folder, and other folders of the same form to validate or test on.

    Args:
        parts: of the folder.
        folder: for errors.
        options: `valid` and `test` are looked at.
        parts_of: gives the parts of a folder.

    Raises:
        ValueError: if one is no folder, or if there is such a part already.
    """
    for part, path in options.parts_apart.items():
        if not path.is_dir():
            raise ValueError(f"{part} must be a folder, as {folder} is, got {path}")
    return parts_apart.with_apart(parts, folder, options.parts_apart, parts_of)


def check_counts(train: Labelled, folder: Path) -> None:
    """Raises ValueError if a class has a single file, where some are to be validated on."""
    for label, count in sorted(Counter(train.labels).items()):
        if count == 1:
            raise ValueError(
                f"the class {label!r} of {folder} has a single file; it needs two at least, one "
                f"to train on and one to validate on"
            )


def read_each(
    files: Sequence[Path],
    read: Callable[[Path], Read],
    *,
    skip_bad: bool,
    threads: bool = False,
) -> dict[Path, Read]:
    """What was read of each file, without those that cannot be read if they may be skipped.

    Args:
        files: which.
        read: raises ValueError, naming the file, if it cannot be read.
        skip_bad: leave out such files; see `skipped`.
        threads: call `read` of several files at the same time.

    Raises:
        ValueError: for the first file that cannot be read and may not be skipped, and if none is
            left.
    """

    def tried(path: Path) -> Read | ValueError:
        try:
            return read(path)
        except ValueError as error:
            return error

    found: dict[Path, Read] = {}
    for path, one in zip(
        files, in_threads(tried, files) if threads else map(tried, files), strict=True
    ):
        if not isinstance(one, ValueError):
            found[path] = one
        elif not skip_bad:
            raise ValueError(f"{one}; leave such files out by --skip-bad")
    bad = [str(path) for path in files if path not in found]
    if not found:
        raise ValueError(f"none of {len(files)} files can be read, {shortened(bad)}")
    return found


def skipped(files: Sequence[Path], found: Container[Path]) -> tuple[str, ...]:
    """A sentence on the files that could not be read, for the notes of a task; () if all could."""
    bad = [str(path) for path in files if path not in found]
    if not bad:
        return ()
    return (f"{len(bad)} of {len(files)} files cannot be read and are left out: {shortened(bad)}",)


def kept(labelled: Labelled, files: Iterable[Path]) -> Labelled:
    """What is left of labelled files.

    Raises:
        ValueError: if a class has none left.
    """
    left = set(files)
    pairs = [pair for pair in zip(*labelled, strict=True) if pair[0] in left]
    gone = set(labelled.labels) - {label for _, label in pairs}
    if gone:
        raise ValueError(f"no file of the class {min(gone)!r} can be read")
    return Labelled([path for path, _ in pairs], [label for _, label in pairs])


def files_below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """All files of these kinds in a folder and its folders, in the order of their names."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    return sorted(path for path in found if path.is_file() and not _hidden(path, folder))


def on_alike(folder: Path) -> tuple[str, ...]:
    """A sentence on classes that look like parts, with classes in each of them; () if none do."""
    seen: dict[tuple[str, ...], str] = {}
    for one in [] if told_parts(folder) else folders_in(folder):
        names = tuple(inside.name for inside in folders_in(one))
        if len(names) > 1 and names in seen:
            told = shortened(list(names))
            return (
                f"the classes {seen[names]} and {one.name} hold the same folders, {told}: if these "
                f"are the classes, call those above train, valid and test",
            )
        seen[names] = one.name
    return ()


def on_others(places: Iterable[Path], suffixes: Sequence[str]) -> tuple[str, ...]:
    """A sentence on the files of other kinds in the folders of some folders; () if there are none.

    Args:
        places: the folders.
        suffixes: of the files that are read.
    """
    inside = [one for place in places for one in folders_in(place)]
    counts = sum((_others(one, suffixes) for one in inside), Counter[str]())
    if not counts:
        return ()
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    told = shortened([f"{count} {suffix or 'without an ending'}" for suffix, count in ordered])
    return (f"files with other endings in the folders, which do not count: {told}",)


def instead(folder: Path, suffixes: Sequence[str]) -> str:
    """What to add to an error on a folder without files of these kinds: what it holds instead."""
    if not (counts := _others(folder, suffixes)):
        return ""
    suffix, count = max(counts.items(), key=lambda one: (one[1], one[0]))
    told = f"; the most frequent ending in it is {suffix} ({count} of {counts.total()} files)"
    return told if suffix else ""


def _others(folder: Path, suffixes: Sequence[str]) -> Counter[str]:
    """How many visible files of other kinds there are in a folder and its folders, by ending."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() not in suffixes)
    there = (path for path in found if not _hidden(path, folder) and path.is_file())
    return Counter(path.suffix.lower() for path in there)


def _of_part(folder: Path, part: str) -> Path:
    """The folder of a part, or the lone one in it that has such a name too: seg_test/seg_test."""
    inside = folders_in(folder)
    twice = len(inside) == 1 and tells_part(inside[0].name, part) and bool(folders_in(inside[0]))
    return inside[0] if twice else folder


def _of_classes(folder: Path, suffixes: Sequence[str]) -> Labelled:
    files: list[Path] = []
    labels: list[str] = []
    for one in folders_in(folder):
        inside = files_below(one, suffixes)
        if not inside:
            raise ValueError(
                f"the folder {one} of a class holds no {' or '.join(suffixes)} file"
                f"{instead(one, suffixes)}"
            )
        files += inside
        labels += [one.name] * len(inside)
    if not files:
        raise ValueError(f"{folder} holds no folders, one for each class")
    return Labelled(files, labels)


def _hidden(path: Path, folder: Path) -> bool:
    return any(is_hidden(part) for part in path.relative_to(folder).parts)
