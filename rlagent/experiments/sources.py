"""Where the tasks of an experiment come from: names, files, folders of files, and suites."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlagent_envs.tasks.task import Task

SUITES_FILE = Path(__file__).with_name("suites.toml")
PROCEDURAL = "procedural:"
# A training draws its seeds below 2^31 by hashing; these it never saw.
PROCEDURAL_SEEDS = 2_000_000_000
PROCEDURAL_TEST_ROWS = 4000
ARRAYS = ".npz"
USUAL_TARGETS = ("target", "label", "class", "y", "income")


@dataclass(frozen=True)
class Source:
    """A task that can be loaded, on this machine or by another process."""

    name: str  # in the store and in the tables
    place: str  # a bundled name, procedural:SEED, or the path of a file
    target: str | None = None  # column of a table

    @property
    def procedural(self) -> bool:
        """Whether it is drawn, not read."""
        return self.place.startswith(PROCEDURAL)

    def load(self) -> Task:
        """The task.

        Raises:
            ValueError: in one sentence, if it cannot be loaded.
        """
        from rlagent_envs.tasks import load_task
        from rlagent_envs.tasks.procedural import sample_task

        if self.procedural:
            return sample_task(int(self.place.removeprefix(PROCEDURAL)), PROCEDURAL_TEST_ROWS)
        return load_task(self.place, target=self.target)

    def fingerprint(self) -> dict[str, Any]:
        """What a result depends on: the content of a file, wherever it lies."""
        if self.is_file:
            return {
                "name": self.name,
                "sha256": _hash_of(Path(self.place), Path(self.place).stat().st_mtime_ns),
                "target": self.target,
            }
        return {"name": self.name}

    @property
    def is_file(self) -> bool:
        """Whether it is read from a file of the user's."""
        return Path(self.place).suffix.lower() in (*_tables(), ARRAYS)


def source(text: str, folder: Path | None = None, target: str | None = None) -> Source:
    """The source of `digits`, `openml:31`, `procedural:7`, `FILE.npz`, or a table in a file.

    A table may have its target behind it: `FILE.csv:COLUMN`, `FILE.parquet:COLUMN`.

    Args:
        text: as people write it.
        folder: where a relative path is looked for; the present folder where None.
        target: column of a table that names none; guessed where None.

    Raises:
        ValueError: if there is no such task or file.
    """
    from rlagent_envs.tasks.registry import TASKS, is_name

    if is_name(text):
        return Source(text, text)
    if text.startswith(PROCEDURAL):
        if not text.removeprefix(PROCEDURAL).isdecimal():
            raise ValueError(f"procedural: needs a seed, a whole number from 0 up, got {text!r}")
        return Source(text, text)
    name, _, column = text.rpartition(":")
    if not name.lower().endswith(_tables()):
        name, column = text, ""
    path = (folder or Path()) / name
    if path.suffix.lower() not in (*_tables(), ARRAYS):
        raise ValueError(
            f"unknown task {text!r}; there are: {', '.join(sorted(TASKS))}, procedural:SEED, "
            f"or give a {_endings()} file"
        )
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    is_table = path.suffix.lower() != ARRAYS
    chosen = (column or target or guess_target(path)) if is_table else None
    return Source(path.stem, str(path), chosen)


def folder_sources(folder: Path, target: str | None = None) -> list[Source]:
    """Every table and every .npz file of a folder, by name.

    Raises:
        ValueError: if there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    endings = (*_tables(), ARRAYS)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    if not files:
        raise ValueError(f"the folder {folder} holds no {_endings()} file")
    return [source(str(path), target=target) for path in files]


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


def _endings() -> str:
    return f"{', '.join(_tables())} or {ARRAYS}"


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
    drawn = range(PROCEDURAL_SEEDS, PROCEDURAL_SEEDS + suite.get("procedural", 0))
    try:
        named = [source(text, folder) for text in suite.get("tasks", ())]
    except ValueError as error:
        raise ValueError(
            f"the suite {name} cannot be loaded: {error}; say where its files are by --suite-dir"
        ) from error
    return named + [source(f"{PROCEDURAL}{seed}") for seed in drawn]


def unique(sources: Iterable[Source]) -> list[Source]:
    """Each source once; ValueError if two different ones have the same name."""
    found: dict[str, Source] = {}
    for one in sources:
        other = found.setdefault(one.name, one)
        if (other.place, other.target) != (one.place, one.target):
            raise ValueError(
                f"two tasks have the name {one.name}: {other.place} and {one.place}; rename a file"
            )
    return list(found.values())


def names_of(sources: Sequence[Source]) -> list[str]:
    """What they are called."""
    return [one.name for one in sources]


@cache
def _hash_of(path: Path, changed: int) -> str:
    """Of the content; `changed` makes a file that was written since count as another one."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
