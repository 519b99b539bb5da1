"""Files whose classes are the folders that they are in, or a column of a table beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rlagent_envs.tasks.folders import Labelled, class_files, files_below
from rlagent_envs.tasks.part_folders import folders_in, is_hidden, part_files, told_part
from rlagent_envs.tasks.tables import header_of, read_table
from rlagent_envs.tasks.targets import shortened

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".tsv")
# What folders of images and of their targets are called.
NO_CLASSES = ("images", "masks", "labels", "annotations", "trimaps", "ground_truth")
LEAST_NAMED = 0.5  # of the cells of a column that names files


class Listing(NamedTuple):
    """A table that names files."""

    path: Path
    table: pd.DataFrame  # all cells are texts
    column: str  # the one with the names
    files: dict[str, Path]  # by its cells


def labelled_files(
    folder: Path, suffixes: Sequence[str], target: str | None
) -> dict[str, Labelled]:
    """The files of each part, and the class of each: by `class_files`, or by a table if asked for.

    The table is a .csv or .tsv file in the folder or in one of its folders. One of its columns has
    the names of files, with or without endings and folders. Of several tables with the column their
    names tell the parts, or `train` alone does. Files that a table does not name do not count.

    Args:
        folder: where they are.
        suffixes: of the files.
        target: the column with the classes; None: the folders are the classes.

    Raises:
        ValueError: if the folder is not of this kind, or if a file or a class is missing.
    """
    if target is None:
        return _by_folders(folder, suffixes)
    listings = _listings(folder, suffixes, asked=True)
    if not listings:
        raise ValueError(
            f"{folder} holds no table that names its files, so there is no column {target!r}"
        )
    having = {one.path: one for one in listings if target in one.table.columns}
    if not having:
        names = ", ".join(map(str, listings[0].table.columns))
        raise ValueError(
            f"{listings[0].path} has no column {target!r} for the target; it has: {names}"
        )
    if len(having) == 1:
        parts = {"train": next(iter(having))}
    elif not (parts := part_files(having)):
        of_training = [path for path in having if _part(path) == "train"]
        parts = {"train": of_training[0]} if len(of_training) == 1 else {}
    if not parts:
        told = shortened([path.name for path in having])
        raise ValueError(f"{folder} holds several tables with the column {target!r}: {told}")
    return {part: _labelled(folder, having[path], target) for part, path in parts.items()}


def on_tables(folder: Path, suffixes: Sequence[str], target: str | None) -> tuple[str, ...]:
    """A sentence on a table that names the files of a folder and is not asked for; () if none."""
    return () if target is not None else tuple(map(_hint, _listings(folder, suffixes)[:1]))


def _by_folders(folder: Path, suffixes: Sequence[str]) -> dict[str, Labelled]:
    try:
        parts = class_files(folder, suffixes)
    except ValueError as error:
        for listing in _listings(folder, suffixes):
            raise ValueError(f"{error}; but {_hint(listing)}") from None
        raise
    classes = set(parts["train"].labels)
    if len(no_classes := sorted(one for one in classes if one.lower() in NO_CLASSES)) > 1:
        raise ValueError(
            f"{folder} has the folders {' and '.join(no_classes)}, which are called as no classes "
            f"are; masks go into masks, with the names of the images in images, and YOLO's boxes "
            f"into labels"
        )
    if len(classes) == 1:
        hints = [f"; but {_hint(one)}" for one in _listings(folder, suffixes)[:1]]
        raise ValueError(
            f"{folder} has one folder of files alone, {parts['train'].labels[0]}, so there is a "
            f"single class; it needs a folder for each class{''.join(hints)}"
        )
    return parts


def _hint(listing: Listing) -> str:
    return (
        f"{listing.path} names files too: --target takes their classes from a column of it, "
        f"{shortened([str(one) for one in listing.table.columns if one != listing.column])}"
    )


def _listings(folder: Path, suffixes: Sequence[str], *, asked: bool = False) -> list[Listing]:
    """The tables in a folder, and in its folders, that name files in it; that of train first.

    If none is asked for, a damaged file is none of them: whatever it is, it is not what is meant.
    """
    tables = [
        path
        for pattern in ("*", "*/*")
        for path in sorted(folder.glob(pattern))
        if path.suffix.lower() in TABLES and path.is_file() and not is_hidden(path.name)
    ]
    tables.sort(key=lambda path: _part(path) != "train")
    found = []
    places_of = cache(partial(_places, suffixes=suffixes))  # of several tables in one folder
    for path in tables:
        try:
            found.append(_listing(folder, path, places_of))
        except ValueError:
            if asked:
                raise
    return [one for one in found if one is not None]


def _listing(
    folder: Path, path: Path, places_of: Callable[[Path], dict[str, Path]]
) -> Listing | None:
    """The table in a file, if it names files: in the folder of its own part, if there is one."""
    part = _part(path)
    own = [one for one in folders_in(folder) if part is not None and told_part(one.name) == part]
    places = places_of(own[0] if len(own) == 1 else folder)
    table = read_table(path, set(header_of(path)))
    best, files = None, dict[str, Path]()
    for name in table.columns:
        cells = [str(cell) for cell in table[name].dropna()]
        found = {cell: file for cell in set(cells) if (file := _place_of(cell, places))}
        named = sum(cell in found for cell in cells)
        # Small numbers in other columns may be the names of some files too.
        if named >= LEAST_NAMED * len(table) and len(found) > len(files):
            best, files = str(name), found
    return None if best is None else Listing(path, table, best, files)


def _places(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The files of a folder by all that they may be called; what two are called is none's name."""
    places: dict[str, Path] = {}
    twice: set[str] = set()
    for file in files_below(folder, suffixes):
        within = file.relative_to(folder)
        names = (within.as_posix(), within.with_suffix("").as_posix(), file.name, file.stem)
        for name in dict.fromkeys(names):
            if name in places:
                twice.add(name)
            places[name] = file
    return {name: file for name, file in places.items() if name not in twice}


def _place_of(cell: str, places: dict[str, Path]) -> Path | None:
    """The file that a cell names, be it by a path from elsewhere."""
    steps = cell.strip().replace("\\", "/").split("/")
    tries = ("/".join(steps[first:]) for first in range(len(steps)))
    return next((places[one] for one in tries if one in places), None)


def _labelled(folder: Path, listing: Listing, target: str) -> Labelled:
    path, table, column, files = listing
    if target == column:
        raise ValueError(f"the column {target!r} of {path} names the files, so it is no target")
    names, labels = table[column], table[target]
    for what, cells in ((column, names), (target, labels)):
        if missing := int(cells.isna().sum()):
            raise ValueError(
                f"column {what!r} of {path} is empty in {missing} of {len(table)} rows"
            )
    for name in names:
        if str(name) not in files:
            raise ValueError(
                f"{path} names {str(name)!r} in column {column!r}, but there is no such file in "
                f"{folder}, or more than one"
            )
    pairs = dict(zip((files[str(name)] for name in names), map(str, labels), strict=True))
    if len(pairs) < len(table):
        raise ValueError(f"column {column!r} of {path} names a file in more than one row")
    paths = sorted(pairs)
    return Labelled(paths, [pairs[one] for one in paths])


def _part(path: Path) -> str | None:
    return told_part(path.stem)
