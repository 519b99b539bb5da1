"""Where in a folder the data is: in the only folder in it, or in some of its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rlagent_envs.tasks.folders import files_below
from rlagent_envs.tasks.part_folders import folders_in, is_hidden, part_files
from rlagent_envs.tasks.rating_files import U_DATA
from rlagent_envs.tasks.series_files import SUFFIXES as SERIES
from rlagent_envs.tasks.series_files import test_file
from rlagent_envs.tasks.splits import FOLDER_NAMES
from rlagent_envs.tasks.tables import READERS
from rlagent_envs.tasks.targets import shortened

RATINGS = ("ratings.csv", "ratings.dat", "u.data")  # of MovieLens, beside files on users and items
ALONE = tuple(dict.fromkeys((*READERS, *U_DATA, *SERIES, ".npz")))  # each file of these is a task
DATA = (*ALONE, ".npy")
TEXT = ".txt"  # several of one set, but beside other data they may be lists of its rows


class Found(NamedTuple):
    """Where the data is."""

    path: Path  # what is trained on, and divided where parts are lacking
    apart: dict[str, Path]  # the files of other parts
    notes: tuple[str, ...] = ()


def innermost(folder: Path) -> Path:
    """The first folder on the way down that holds more than one visible thing, or a single file."""
    while folder.is_dir():
        inside = [one for one in folder.iterdir() if not is_hidden(one.name)]
        if len(inside) != 1:
            break
        folder = inside[0]
    return folder


def folder_of_classes(
    folder: Path, suffixes: tuple[str, ...], is_whole: Callable[[Path], bool]
) -> Path:
    """The first folder on the way down that holds more than one folder, or none.

    A lone folder that is called as a part is, that holds no folders, or that holds files of its
    own, is not gone into.

    Args:
        folder: where to begin.
        suffixes: of the files.
        is_whole: whether a folder is known by what is in it, and so is not gone into.
    """
    while len(inside := folders_in(folder)) == 1 and not is_whole(folder):
        (lone,) = inside
        files = (one for one in lone.iterdir() if not is_hidden(one.name))
        holds_files = any(one.suffix.lower() in suffixes for one in files)
        if lone.name.lower() in FOLDER_NAMES or not folders_in(lone) or holds_files:
            break
        folder = lone
    return folder


def data_files(folder: Path) -> Found | None:
    """The files of a folder that are the data; None if there are none that could be.

    The ratings of MovieLens, the training part of the only pair of files of time series, files
    that are called as parts are, see `part_files`, or the only file.

    Raises:
        ValueError: naming some of the files, if several could be.
    """
    found = files_below(folder, DATA)
    ratings = [path for path in found if path.name.lower() in RATINGS]
    pairs = [path for path in found if path.suffix.lower() in SERIES and test_file(path)]
    one_set = len({path.with_suffix("") for path in pairs}) == 1  # it may be there in two forms
    alone = [path for path in found if path.suffix.lower() in ALONE]
    if len(ratings) == 1:
        return Found(ratings[0], {})
    if one_set:
        return Found(pairs[0], {})
    if parts := part_files(alone if found else files_below(folder, (TEXT,))):
        return _in_parts(parts, found)
    if len(alone) == 1:
        return Found(alone[0], {})
    if not found:
        return None
    names = shortened([str(path.relative_to(folder)) for path in found])
    count = "several files of data; give one of them" if len(found) > 1 else "a file; give it"
    raise ValueError(f"{folder} holds {count} alone: {names}")


def _in_parts(parts: dict[str, Path], found: Sequence[Path]) -> Found:
    others = [path.name for path in found if path not in parts.values()]
    notes = (f"read are {', '.join(path.name for path in parts.values())} alone",)
    path = parts["train"]
    apart = {part: one for part, one in parts.items() if part != "train"}
    return Found(path, apart, notes if others else ())
