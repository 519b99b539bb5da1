"""The store of an experiment: one SQLite file, which kills and power cuts leave whole.

Each reading opens the file anew, so that a reader who waits for news holds no lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rlagent.experiments.store_file import (
    connect_to_read,
    connect_to_write,
    in_one_sentence,
    leave_wal,
    only_writer,
)
from rlagent.experiments.store_rows import COLUMNS, DETAILS, conditions, from_row, to_row
from rlagent.experiments.stored_run import Packed, StoredRun, pack

CHOICES_SHOWN = 8  # in the message about a key


class Store:
    """The runs of an experiment in one file; see `Store.open`."""

    def __init__(self, path: Path, writer: sqlite3.Connection | None) -> None:
        self.path = path
        self._writer = writer

    @classmethod
    @contextmanager
    def open(cls, path: str | Path, *, write: bool) -> Iterator[Store]:
        """Opens a store until the end of a `with` block.

        Readers are never blocked, see what has been added so far at each call, and create no
        files. A writer excludes other writers, until it closes or its process ends; it belongs to
        the thread that opened it, and processes that use it too must not be forked from it.

        Args:
            path: of the file.
            write: whether to add or delete; creates the file if it is missing.

        Yields:
            The store.

        Raises:
            ValueError: in one sentence, here or from any method, if the file is missing and not to
                be written, of another program, of a newer version or damaged; if another process
                writes to it, or holds it locked for ten seconds; if it cannot be written, or the
                disk is full.
        """
        # Resolved, because all names of a file must lead to the same lock.
        path = Path(path).resolve()
        if path.is_dir():
            raise ValueError(f"the store {path} is a folder, not a file")
        if not write:
            store = cls(path, None)
            with store._connection():
                pass  # says now what is wrong with the file
            yield store
            return
        if not path.parent.is_dir():
            raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
        with only_writer(path), closing(connect_to_write(path)) as connection:
            try:
                yield cls(path, connection)
            finally:
                leave_wal(connection)

    def add(self, run: StoredRun) -> None:
        """Adds a run, wholly or not at all; when this returns, a power cut cannot take it away.

        A failed run of the same key is replaced.

        Args:
            run: its details must be what JSON can hold, so no NaN and no infinity.

        Raises:
            ValueError: if a finished run has the same key, the run cannot be stored, or the store
                cannot be written.
        """
        self.add_packed(pack(run))

    def add_packed(self, packed: Packed) -> None:
        """Adds a run that was packed where it was computed; see `add`."""
        run, row = packed.run, to_row(packed)
        with self._transaction() as connection:
            query = "SELECT status FROM runs WHERE key = ?"
            if connection.execute(query, (run.key,)).fetchone() == ("finished",):
                raise ValueError(f"{self.path} holds a finished run {run.key} already")
            names = ", ".join(f":{name}" for name in COLUMNS)
            statement = f"INSERT OR REPLACE INTO runs ({', '.join(COLUMNS)}) VALUES ({names})"
            connection.execute(statement, row)

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes runs: all of them, or none if a key is unknown.

        Args:
            keys: whole ones.

        Raises:
            ValueError: if there is no such run, or the store cannot be written.
        """
        with self._transaction() as connection:
            for key in sorted(set(keys)):
                if not connection.execute("DELETE FROM runs WHERE key = ?", (key,)).rowcount:
                    raise ValueError(f"{self.path} holds no run {key}, so nothing was deleted")

    def keys(self, status: str | None = None) -> set[str]:
        """The keys of all runs, or of those that are finished or failed.

        Raises:
            ValueError: if there is no such status, or the store cannot be read.
        """
        where, values = conditions(status=status)
        with self._connection() as connection:
            return {key for (key,) in connection.execute(f"SELECT key FROM runs{where}", values)}

    def superseded(self) -> set[str]:
        """The keys of finished runs after which another one of the same cell was finished.

        A cell is computed again when data, a controller or the program's protocol has changed.
        Tasks of one name, target and options are taken for one.

        Raises:
            ValueError: if the store cannot be read.
        """
        query = """
            SELECT key FROM (
                SELECT key, rowid, MAX(rowid) OVER cell AS last FROM runs
                WHERE status = 'finished'
                WINDOW cell AS (
                    PARTITION BY task, method, seed, updates,
                    json_extract(config, '$.task.target'), json_extract(config, '$.task.options')
                )
            ) WHERE rowid < last
        """
        with self._connection() as connection:
            return {key for (key,) in connection.execute(query)}

    def runs(
        self,
        *,
        tasks: Iterable[str] | None = None,
        methods: Iterable[str] | None = None,
        seeds: Iterable[int] | None = None,
        updates: Iterable[int] | None = None,
        status: str | None = None,
        key_prefix: str | None = None,
        details: bool | Collection[str] = True,
    ) -> list[StoredRun]:
        """The runs that meet all conditions, by task, updates, method and seed.

        Args:
            tasks: which tasks; None for all. So are methods, seeds and updates.
            methods: which methods.
            seeds: which seeds.
            updates: which budgets, in updates.
            status: finished or failed; None for both.
            key_prefix: how the key begins.
            details: which of trials, curve and decisions; the others are left empty. Without
                details, 10,000 runs take a fraction of a second; their decisions, gigabytes.

        Raises:
            ValueError: if there is no such status or detail, no key can begin so, or the store
                cannot be read.
        """
        kept = details if not isinstance(details, bool) else DETAILS if details else ()
        if unknown := sorted(set(kept) - set(DETAILS)):
            raise ValueError(f"unknown detail {unknown[0]!r}; choices: {', '.join(DETAILS)}")
        where, values = conditions(
            status=status,
            key_prefix=key_prefix,
            task=tasks,
            method=methods,
            seed=seeds,
            updates=updates,
        )
        columns = [name for name in COLUMNS if name in kept or name not in DETAILS]
        query = (
            f"SELECT {', '.join(columns)} FROM runs{where} "
            "ORDER BY task, updates, method, seed, key"
        )
        with self._connection() as connection:
            return [
                from_row(self.path, dict(zip(columns, row, strict=True)))
                for row in connection.execute(query, values)
            ]

    def get(self, key_prefix: str) -> StoredRun:
        """The only run whose key begins so, with all details.

        Raises:
            ValueError: if there is none, or more than one, naming some that there are.
        """
        found = self.runs(key_prefix=key_prefix, details=False)
        if not found:
            there = _some(sorted(self.keys())) or "it is empty"
            raise ValueError(f"no run in {self.path} begins with {key_prefix!r}; runs: {there}")
        if len(found) > 1:
            named = [f"{run.key} ({run.task}, {run.method}, seed {run.seed})" for run in found]
            raise ValueError(f"{len(found)} runs begin with {key_prefix!r}: {_some(named)}")
        (run,) = self.runs(key_prefix=found[0].key)
        return run

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from."""
        with in_one_sentence(self.path):
            if self._writer is not None:
                yield self._writer
                return
            with closing(connect_to_read(self.path)) as connection:
                yield connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is committed at the end, or undone if something is raised."""
        if self._writer is None:
            raise ValueError(f"{self.path} was opened for reading only")
        with in_one_sentence(self.path), self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - CHOICES_SHOWN} more" if len(names) > CHOICES_SHOWN else ""
    return ", ".join(names[:CHOICES_SHOWN]) + more
