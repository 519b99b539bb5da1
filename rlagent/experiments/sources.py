"""Where the tasks of an experiment come from: names, files, folders of files, and suites."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlagent_envs.tasks.archives import SUFFIXES as ARCHIVES
from rlagent_envs.tasks.domains import PREFIX, drawn_by
from rlagent_envs.tasks.left_out import names_to_drop
from rlagent_envs.tasks.options import Options
from rlagent_envs.tasks.parts_apart import PARTS_APART
from rlagent_envs.tasks.ratings import RANKING

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Task

SUITES_FILE = Path(__file__).with_name("suites.toml")
# A training draws its seeds evenly below 2^31: that it has seen one of these is all but excluded.
PROCEDURAL_SEEDS = 2_000_000_000
USUAL_TARGETS = ("target", "label", "class", "y", "income")
# Of a task in an experiment: how its data is read. The seed is that of a run.
# Experiments have seeds of their own, and all methods train from memory.
OPTIONS = tuple(one.name for one in fields(Options) if one.name not in ("seed", "streamed"))
FOLDERS = 3  # one more whenever the same folder becomes another task
RANKINGS = 2  # the same of what users take, of files and of random tasks


@dataclass(frozen=True)
class Source:
    """A task that can be loaded, on this machine or by another process."""

    name: str  # in the store and in the tables
    place: str  # a bundled name, procedural:[DOMAIN:]SEED, or the path of a file or folder
    target: str | None = None  # column of a table
    options: tuple[tuple[str, Any], ...] = ()  # others of `OPTIONS`

    @property
    def procedural(self) -> bool:
        """Whether it is drawn, not read."""
        return self.place.startswith(PREFIX)

    @property
    def ranks(self) -> bool:
        """Whether it is of what users take, which files are only where it is asked for."""
        if self.procedural:
            return drawn_by(self.place)[0] == "rankings"
        return dict(self.options).get("kind") == RANKING

    def load(self) -> Task:
        """The task.

        Raises:
            ValueError: in one sentence, if it cannot be loaded.
        """
        from rlagent_envs.tasks.registry import load_with

        options = Options(target=self.target, streamed=False, **dict(self.options))
        return load_with(self.place, options)

    def fingerprint(self) -> dict[str, Any]:
        """What a result depends on: the content of what is read, wherever it lies."""
        found: dict[str, Any] = {"name": self.name}
        if self.options:
            found["options"] = {k: v for k, v in self.options if k not in PARTS_APART}
        if self.target is not None:
            found["target"] = self.target
        if Path(self.place).is_dir():
            found["folder"] = FOLDERS
        if self.ranks:
            found["ranking"] = RANKINGS
        if files := self._files():
            found["sha256"] = _hash_of(
                *((name, file, file.stat().st_mtime_ns) for name, file in files)
            )
        return found

    def _files(self) -> list[tuple[str, Path]]:
        """All files that are read, by their names within the source; none of what has a name."""
        from rlagent_envs.tasks.npy import beside
        from rlagent_envs.tasks.registry import is_name
        from rlagent_envs.tasks.series_files import test_file

        if is_name(self.place):
            return []
        files: list[tuple[str, Path]] = []
        given = {"train": self.place, **dict(self.options)}
        # What stands before the names: nothing for validation rows, as their results are known.
        for part, before in (("train", ""), ("valid", ""), ("test", "test/")):
            if part in given:
                path = Path(given[part])
                inside = sorted(p for p in path.rglob("*") if p.is_file())
                named = [(f"{before}{one.relative_to(path)}", one) for one in inside]
                files += named if path.is_dir() else [(before, path)]
        others = [test_file(Path(self.place)), *beside(Path(self.place), self.target)]
        return files + [(other.name, other) for other in others if other is not None]


def source(
    given: str | Mapping[str, Any], folder: Path | None = None, target: str | None = None
) -> Source:
    """The source of `digits`, `openml:31`, `procedural:7`, a file or a folder.

    A table may have its target behind it: `FILE.csv:COLUMN`, `FILE.parquet:COLUMN`. A mapping has
    such a text as its `task`, and, as it likes, a `name` and any of `OPTIONS`.

    Args:
        given: as people write it.
        folder: where a relative path is looked for; the present folder where None.
        target: column of a table that names none; guessed where None.

    Raises:
        ValueError: if there is no such task, file or option.
    """
    described = {"task": given} if isinstance(given, str) else dict(given)
    text, name = described.pop("task", None), described.pop("name", None)
    if not isinstance(text, str):
        raise ValueError(f"a task is a text, or a table with the key task, got {given!r}")
    if unknown := sorted(set(described) - set(OPTIONS)):
        choices = ", ".join(("name", *OPTIONS))
        raise ValueError(f"unknown option {unknown[0]!r} of the task {text}; there are: {choices}")
    for part in set(PARTS_APART) & set(described):
        described[part] = str((folder or Path()) / described[part])
    if "drop" in described:  # one of several forms, since a cell is known by it
        described |= {"drop": names_to_drop(described["drop"])}
    Options(**described)  # it says what is wrong with a value
    own_target = described.pop("target", None)
    target = own_target or target
    found = _named(text, own_target, described) or _read(text, folder or Path(), target, described)
    place = Path(found.place)
    if place.is_dir() or place.suffix.lower() in ARCHIVES:  # it may hold a table
        found = replace(found, target=own_target)
    return Source(name or found.name, found.place, found.target, tuple(sorted(described.items())))


def _named(text: str, target: str | None, options: Mapping[str, Any]) -> Source | None:
    """The source of what has a name; None where it can only be a path."""
    from rlagent_envs.tasks.registry import is_name

    if not text.startswith(PREFIX):
        return Source(text, text, target) if is_name(text) else None
    drawn_by(text)
    for name in [*options, *(["target"] if target else [])]:
        raise ValueError(f"{text} is drawn as it is: it takes no {name}")
    return Source(text, text)


def _read(text: str, folder: Path, target: str | None, options: Mapping[str, Any]) -> Source:
    """The source of a file or folder."""
    from rlagent_envs.tasks.files import LOADERS, check_file
    from rlagent_envs.tasks.registry import TASKS
    from rlagent_envs.tasks.series_files import is_series, name_of

    place, _, column = text.rpartition(":")
    if not place.lower().endswith(_tables()):
        place, column = text, ""
    path = folder / place
    if path.is_dir():
        return Source(path.resolve().name, str(path))
    if path.suffix.lower() not in LOADERS:
        raise ValueError(
            f"unknown task {text!r}; there are: {', '.join(sorted(TASKS))}, "
            "procedural:[DOMAIN:]SEED, or give the path of a file or folder"
        )
    check_file(path)
    if column or _has_target(path, options):
        return Source(path.stem, str(path), column or target or guess_target(path))
    if path.suffix.lower() == ".npy":
        of_arrays = target if target and target.endswith(".npy") else None
        return Source(path.stem, str(path), of_arrays)
    return Source(name_of(path) if is_series(path) else path.stem, str(path))


def _has_target(path: Path, options: Mapping[str, Any]) -> bool:
    """Whether a file is a table of which a column is to be predicted."""
    from rlagent_envs.tasks.rating_files import OF_RATINGS_CSV, find_columns
    from rlagent_envs.tasks.series_files import is_series

    if path.suffix.lower() not in _tables() or is_series(path):
        return False
    if options.get("user") is None:
        return find_columns(path, Options()) != OF_RATINGS_CSV
    return options.get("kind") != RANKING


def folder_sources(folder: Path, target: str | None = None) -> list[Source]:
    """Every data file of a folder, by name; not what is in folders of it, nor plain text.

    Files of one name have their endings in it. What cannot be read is a task that fails.

    Raises:
        ValueError: if there is no such folder, or no such file in it.
    """
    from rlagent_envs.tasks.rating_files import RATINGS_DAT, U_DATA_100K
    from rlagent_envs.tasks.series_files import TEST, is_series

    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    endings = (*_tables(), ".npz", ".ts", U_DATA_100K)
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings or path.name == RATINGS_DAT
    )
    meant = [path for path in files if not (path.stem.endswith(TEST) and is_series(path))]
    if not meant:
        raise ValueError(f"the folder {folder} holds no {', '.join(endings)} file to train on")
    found = [_of_file(path, target) for path in meant]
    counts = Counter(one.name for one in found)
    return [
        replace(one, name=path.name) if counts[one.name] > 1 else one
        for one, path in zip(found, meant, strict=True)
    ]


def _of_file(path: Path, target: str | None) -> Source:
    try:
        return source(str(path), target=target)
    except ValueError:
        return Source(path.stem, str(path), target)  # its cells will say what is wrong with it


def guess_target(path: Path) -> str:
    """The column that a table most likely is about: one of the usual names, else the last.

    Raises:
        ValueError: if the file cannot be read.
    """
    from rlagent_envs.tasks.tables import header_of

    names = header_of(path)
    usual = [name for name in names if name.lower() in USUAL_TARGETS]
    others = [name for name in names if name.lower() != "split"]
    return (usual or others[-1:] or [""])[0]


def _tables() -> tuple[str, ...]:
    """The suffixes of files that hold tables."""
    from rlagent_envs.tasks.tables import READERS

    return tuple(READERS)


@cache
def suites() -> dict[str, dict[str, Any]]:
    """The named suites, as `suites.toml` has them."""
    return tomllib.loads(SUITES_FILE.read_text("utf-8"))


def suite_sources(name: str, folder: Path) -> list[Source]:
    """The tasks of a suite.

    Args:
        name: of the suite.
        folder: where its files are.

    Raises:
        ValueError: if there is no such suite, or it lacks a file.
    """
    if name not in suites():
        raise ValueError(f"unknown suite {name!r}; there are: {', '.join(suites())}")
    suite = suites()[name]
    try:
        named = [source(given, folder) for given in suite.get("tasks", ())]
    except ValueError as error:
        raise ValueError(
            f"the suite {name} cannot be loaded: {error}; say where its files are by --suite-dir"
        ) from error
    begins = f"{PREFIX}{suite['domain']}:" if "domain" in suite else PREFIX
    seeds = range(PROCEDURAL_SEEDS, PROCEDURAL_SEEDS + suite.get("procedural", 0))
    return named + [source(f"{begins}{seed}") for seed in seeds]


def unique(sources: Iterable[Source]) -> list[Source]:
    """Each source once; ValueError if two different ones have the same name."""
    found: dict[str, Source] = {}
    for one in sources:
        other = found.setdefault(one.name, one)
        if other != one:
            raise ValueError(
                f"two tasks have the name {one.name}: {other.place} and {one.place}; rename a "
                "file, or give one of them a name in a TOML file"
            )
    return list(found.values())


@cache
def _hash_of(*files: tuple[str, Path, int]) -> str:
    """Of the names and the content of files; one that was written since counts as another one.

    Args:
        files: name, path, and the time at which it was last written.
    """
    together = hashlib.sha256()
    for name, path, _ in files:
        together.update(name.encode() + b"\0" + _digest(path).digest())
    return together.hexdigest()[:16]


def _digest(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
