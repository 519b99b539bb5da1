"""What an experiment is: methods x tasks x seeds x budgets, checked before anything is computed."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from rlagent.apply.request import default_decisions
from rlagent.baselines import catalog
from rlagent.experiments.sources import Source, folder_sources, source, suite_sources, unique

# What has to change if the way in which a cell is computed changes, so that old results of a store
# are not taken for new ones.
PROTOCOL = 5
REFERENCE_BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the reference runs that speed-up is read from
DEFAULT_METHODS = ("reference", "controller", "random:16")
DEFAULT_SEEDS = 3
DEFAULT_UPDATES = (1000,)
DEFAULT_STORE = Path("runs/bench.sqlite")
DEFAULT_SUITE_DIR = Path("data")
# What lists in a file hold, where it is not texts.
LISTED: dict[str, tuple[Any, str]] = {
    "updates": (int, "whole numbers"),
    "tasks": ((str, dict), "texts or tables"),
}


@dataclass(frozen=True)
class Cell:
    """A method on a task, with a seed and a budget."""

    source: Source
    method: str
    seed: int
    updates: int  # budget of a single run

    @property
    def decisions(self) -> int:
        """Evaluations in a single run."""
        return default_decisions(self.updates)

    @property
    def weight(self) -> float:
        """Updates that it will about make, for the time that is left."""
        return self.updates * catalog.parse(self.method).times


@dataclass(frozen=True)
class Job:
    """A cell to be computed, and how the store knows it."""

    cell: Cell
    key: str
    configuration: dict[str, Any]

    @classmethod
    def of(cls, cell: Cell, described: Mapping[str, Any]) -> Job:
        """The job of a cell whose method describes itself so."""
        configuration = {
            "protocol": PROTOCOL,
            "task": cell.source.fingerprint(),
            "method": dict(described),
            "seed": cell.seed,
            "updates": cell.updates,
            "decisions": cell.decisions,
        }
        return cls(cell, key_of(configuration), configuration)


@dataclass(frozen=True)
class Asked:
    """The options of an experiment, as a file or the command line gives them."""

    tasks: tuple[str | dict[str, Any], ...] = ()  # see `sources.source`
    suites: tuple[str, ...] = ()
    data_dir: str | None = None
    suite_dir: str = str(DEFAULT_SUITE_DIR)
    target: str | None = None
    methods: tuple[str, ...] = DEFAULT_METHODS
    seeds: int = DEFAULT_SEEDS
    updates: tuple[int, ...] = DEFAULT_UPDATES
    store: str = str(DEFAULT_STORE)
    workers: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError, naming the option and its value, if one makes no sense by itself."""
        for name, value in (
            ("seeds", self.seeds),
            ("workers", self.workers),
            *(("updates", u) for u in self.updates),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1 up, got {value!r}")
        for name in ("methods", "updates"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one, got none")

    def experiment(self) -> Experiment:
        """The experiment that is asked for.

        Raises:
            ValueError: if a task, suite, file or method is unknown, or there is no task.
        """
        found = [source(given, target=self.target) for given in self.tasks]
        for name in self.suites:
            found += suite_sources(name, Path(self.suite_dir))
        if self.data_dir is not None:
            found += folder_sources(Path(self.data_dir), self.target)
        if not found:
            raise ValueError("name tasks by --tasks, --suite or --data-dir")
        methods = tuple(dict.fromkeys(self.methods))
        for text in methods:
            catalog.make(text)
        budgets = tuple(dict.fromkeys(self.updates))
        return Experiment(tuple(unique(found)), methods, self.seeds, budgets)


@dataclass(frozen=True)
class Experiment:
    """All cells of it can be computed, as far as one can tell before."""

    sources: tuple[Source, ...]
    methods: tuple[str, ...]
    seeds: int
    updates: tuple[int, ...]

    @cached_property
    def cells(self) -> list[Cell]:
        """Task by task, so that what is compiled for one is used up; seeds before methods."""
        return [
            Cell(one, method, seed, updates)
            for one, updates, seed, method in product(
                self.sources, self.updates, range(self.seeds), self.methods
            )
        ]

    def jobs(self) -> list[Job]:
        """The cells with the keys that they have in a store."""
        described = {text: catalog.make(text).describe() for text in self.methods}
        return [Job.of(cell, described[cell.method]) for cell in self.cells]


def key_of(configuration: Mapping[str, Any]) -> str:
    """16 hexadecimal digits: equal configurations have equal keys."""
    text = json.dumps(configuration, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_experiment(path: Path) -> dict[str, Any]:
    """The options in a TOML file.

    Raises:
        ValueError: if the file is not there or not TOML, or a key is unknown or of a wrong type.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    known = [field.name for field in fields(Asked)]
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown key {name!r} in {path}; there are: {', '.join(known)}")
        wanted = type(getattr(Asked(), name))
        if name in ("data_dir", "target"):
            wanted = str
        if not isinstance(value, list if wanted is tuple else wanted):
            called = {tuple: "a list", str: "a text", int: "a whole number"}[wanted]
            raise ValueError(f"{name} in {path} must be {called}, got {value!r}")
        if isinstance(value, list):
            inner, called = LISTED.get(name, (str, "texts"))
            if not all(isinstance(one, inner) for one in value):
                raise ValueError(f"{name} in {path} must be a list of {called}, got {value!r}")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def expanded(methods: tuple[str, ...]) -> tuple[str, ...]:
    """The methods, with the reference at all budgets that speed-up is read from."""
    if catalog.REFERENCE not in methods:
        return methods
    more = [f"{catalog.REFERENCE}:{b:g}" for b in REFERENCE_BUDGETS if b != 1.0]
    return tuple(dict.fromkeys([*methods, *more]))
