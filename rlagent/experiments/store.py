"""The store of an experiment: one SQLite file, which kills and power cuts leave whole.

While a runner writes, the file is in WAL mode, so that readers never wait for it. When the runner
closes the file it goes back to a rollback journal: a store at rest is a single file that can be
copied, and read where nothing can be written. Each reading opens the file anew, so that a reader
who waits for news holds no lock.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
import sqlite3
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

from rlagent.experiments.stored_run import (
    Curve,
    Packed,
    StoredRun,
    Trial,
    pack,
    to_json,
    unpack,
)

APPLICATION_ID = 0x724C4167  # "rLAg": tells our files from those of other programs
LOCK_SECONDS = 10.0  # how long to wait for another program's lock
CLOSING_SECONDS = 1.0  # the same at the end of writing, when waiting is worth little
CHOICES_SHOWN = 8  # in the message about a key
MAGIC = b"SQLite format 3\0"  # begins every SQLite database
STATUSES = ("finished", "failed")

# Each brings a store from the version of its index to the next; the number of them is the version
# that this program writes. Never change one that was released: add another.
MIGRATIONS: tuple[str, ...] = (
    # What is long comes last: SQLite then skips it when nobody asks for it.
    """
    CREATE TABLE runs (
        key TEXT PRIMARY KEY NOT NULL,
        task TEXT NOT NULL,
        method TEXT NOT NULL,
        seed INTEGER NOT NULL,
        updates INTEGER NOT NULL,
        config TEXT NOT NULL,
        versions TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('finished', 'failed')),
        reason TEXT,
        budget_flops REAL,
        flops REAL,
        seconds REAL,
        valid_score REAL,
        test_score REAL,
        metric_name TEXT,
        test_metric REAL,
        trials TEXT NOT NULL,
        curve TEXT,
        decisions BLOB NOT NULL
    );
    CREATE INDEX runs_in_order ON runs (task, updates, method, seed, key);
    """,
)

COLUMNS = tuple(field.name for field in fields(StoredRun))
DETAILS = ("trials", "curve", "decisions")
_REALS = ("budget_flops", "flops", "seconds", "valid_score", "test_score", "test_metric")


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
        with _only_writer(path), closing(_connect_to_write(path)) as connection:
            try:
                yield cls(path, connection)
            finally:
                _leave_wal(connection)

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
        run, row = packed.run, _to_row(packed)
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
        where, values = _conditions(status=status)
        with self._connection() as connection:
            return {key for (key,) in connection.execute(f"SELECT key FROM runs{where}", values)}

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
        where, values = _conditions(
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
                _from_row(self.path, dict(zip(columns, row, strict=True)))
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
        with _in_one_sentence(self.path):
            if self._writer is not None:
                yield self._writer
                return
            with closing(_connect_to_read(self.path)) as connection:
                yield connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is committed at the end, or undone if something is raised."""
        if self._writer is None:
            raise ValueError(f"{self.path} was opened for reading only")
        with _in_one_sentence(self.path), self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Holds the lock of a store, which the system drops however the process ends."""
    lock = _beside(path, ".lock")
    try:
        file = _take(lock)
    except BlockingIOError:
        owner = ""
        with suppress(FileNotFoundError):  # it may end just now
            owner = lock.read_text("ascii", "replace").strip()
        process = f" (process {owner})" if owner else ""
        raise ValueError(
            f"another runner{process} is writing {path}; wait until it has ended, or use another "
            "--store"
        ) from None
    except OSError as error:
        raise ValueError(f"cannot write into {path.parent}: {error.strerror}") from error
    with file:
        try:
            yield
        finally:
            # While it is locked: later, another runner may have locked the same file.
            lock.unlink(missing_ok=True)


def _take(lock: Path) -> IO[str]:
    """Creates and locks a file; raises BlockingIOError if another process has locked it."""
    if sys.platform == "win32":
        raise OSError(0, "a store can be written on Linux and macOS only")
    import fcntl

    while True:
        file = lock.open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, file):
                file.truncate(0)
                file.write(f"{os.getpid()}\n")
                file.flush()
                return file
        except OSError:
            file.close()
            raise
        file.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is still there; its last owner may have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _connect(database: str, timeout: float, *, uri: bool = False) -> sqlite3.Connection:
    # Without a level of isolation, transactions begin where we say so, and nowhere else.
    return sqlite3.connect(database, timeout=timeout, isolation_level=None, uri=uri)


def _connect_to_write(path: Path) -> sqlite3.Connection:
    """A connection to a store of our version, which is created if it is missing."""
    if path.exists():
        _header(path)
    with _in_one_sentence(path):
        connection = _connect(str(path), LOCK_SECONDS)
        try:
            version = _version(connection, path)  # before anything is changed
            _enter_wal(connection, path)
            # FULL waits at each commit until the disk has the log: a finished cell may have cost
            # an hour, and NORMAL may lose the last ones in a power cut. On macOS that takes
            # fullfsync too.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            _migrate(connection, version)
        except BaseException:
            connection.close()
            raise
        return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that creates no file; to a copy in memory, if the store is of older version."""
    if not path.is_file():
        raise ValueError(f"there is no store {path}")
    header = _header(path)
    access = "mode=ro"
    if _beside(path, "-journal").exists():
        # A runner may have been killed where SQLite has to undo what it began.
        access = "mode=rw"
    elif header[18:] == b"\x02\x02" and not _has_log(path):  # it says that it has a log
        # The file was copied without its log, or a runner was killed when the log was empty or
        # removed already; SQLite would create another one.
        access = "mode=ro&immutable=1"
    connection = _connect(f"{path.as_uri()}?{access}", LOCK_SECONDS, uri=True)
    try:
        version = _version(connection, path)
        if version == 0:
            raise ValueError(f"{path} is empty: no run has ever been stored in it")
        if version == len(MIGRATIONS):
            return connection
        with closing(connection):
            copy = _connect(":memory:", LOCK_SECONDS)
            connection.backup(copy)
            _migrate(copy, version)
            return copy
    except BaseException:
        connection.close()
        raise


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _has_log(path: Path) -> bool:
    log = _beside(path, "-wal")
    return log.exists() and log.stat().st_size > 0


def _header(path: Path) -> bytes:
    """The first bytes of a file; ValueError if it is no SQLite database."""
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    # SQLite does not look when a file is shorter than a page of a database: it writes over it.
    if header and not header.startswith(MAGIC):
        raise ValueError(f"{path} is not a store of runs: it is no SQLite database")
    return header


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a store, 0 for a new file; ValueError if we cannot read it."""
    # In one transaction: a writer that makes the store between two of them would be seen in half.
    connection.execute("BEGIN")
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    finally:
        connection.rollback()
    new = not (application or version or tables)
    if application != APPLICATION_ID and not new:
        raise ValueError(f"{path} is an SQLite database of another program, not a store of runs")
    if version > len(MIGRATIONS):
        raise ValueError(
            f"the store {path} has schema version {version}; this rlagent reads versions up to "
            f"{len(MIGRATIONS)}: install a newer rlagent"
        )
    return int(version)


def _enter_wal(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ValueError(
            f"cannot write {path}: its file system has no shared memory, which the store needs; "
            "use a --store on a local disk"
        )


def _leave_wal(connection: sqlite3.Connection) -> None:
    """Makes one file of the store, if nobody reads it just now."""
    # If it fails nothing is lost: all is in the log beside the store, where readers find it.
    with suppress(sqlite3.OperationalError):
        connection.execute(f"PRAGMA busy_timeout = {1000 * CLOSING_SECONDS:.0f}")
        connection.execute("PRAGMA journal_mode = DELETE")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Brings a store of an older version to ours, each step in a transaction of its own."""
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number};"
                f"PRAGMA application_id = {APPLICATION_ID}; COMMIT"
            )
        except BaseException:
            connection.rollback()
            raise


@contextmanager
def _in_one_sentence(path: Path) -> Iterator[None]:
    """Turns what SQLite says into ValueError."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # a mistake in the program that uses the store, not in its file
    except sqlite3.Error as error:
        raise ValueError(_sentence(path, error)) from error


def _sentence(path: Path, error: sqlite3.Error) -> str:
    # The first byte; the others say more than users can make use of. An error without a code is
    # the sqlite3 module's own about a text that is no UTF-8.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"another program has kept {path} locked for {LOCK_SECONDS:g} seconds; "
                "close it, or try again later"
            )
        case sqlite3.SQLITE_NOTADB:
            return f"{path} is not a store of runs: it is no SQLite database"
        case sqlite3.SQLITE_CORRUPT:
            return f"the store {path} is damaged: {error}"
        case sqlite3.SQLITE_FULL:
            return f"cannot write {path}: the disk is full"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"cannot write {path}: the file or its folder is read-only"
    return f"cannot use the store {path}: {error}"


def _conditions(**wanted: str | Iterable[Any] | None) -> tuple[str, list[str]]:
    """A WHERE clause, empty if all is wanted, and the values for its question marks."""
    clauses, values = [], []
    for name, value in wanted.items():
        if value is None:
            continue
        if name == "status":
            if value not in STATUSES:
                raise ValueError(f"unknown status {value!r}; choices: {', '.join(STATUSES)}")
            clauses.append("status = ?")
            values.append(str(value))
        elif name == "key_prefix":
            clauses.append("key GLOB ?")
            values.append(f"{_prefix(str(value))}*")
        else:
            # A list in one value: SQLite limits how many question marks a query may have.
            clauses.append(f"{name} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(value)))
    return (f" WHERE {' AND '.join(clauses)}" if clauses else ""), values


def _prefix(text: str) -> str:
    prefix = text.lower()
    if not re.fullmatch(r"[0-9a-f]{1,16}", prefix):
        raise ValueError(f"a key has up to 16 hexadecimal digits; {text!r} cannot begin one")
    return prefix


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - CHOICES_SHOWN} more" if len(names) > CHOICES_SHOWN else ""
    return ", ".join(names[:CHOICES_SHOWN]) + more


def _to_row(packed: Packed) -> dict[str, Any]:
    """The values of the columns; equal runs give equal rows.

    Raises:
        ValueError: naming what cannot be stored.
    """
    run = packed.run
    if not re.fullmatch(r"[0-9a-f]{16}", run.key):
        raise ValueError(f"a key has 16 lower-case hexadecimal digits, not {run.key!r}")
    if run.status not in STATUSES:
        raise ValueError(f"unknown status {run.status!r}; choices: {', '.join(STATUSES)}")
    row = {name: getattr(run, name) for name in COLUMNS}
    row |= {name: _integer(run.key, name, row[name]) for name in ("seed", "updates")}
    row |= {name: _real(run.key, name, row[name]) for name in _REALS}
    row |= {name: to_json(run.key, name, row[name]) for name in ("config", "versions")}
    row["trials"] = to_json(run.key, "trials", [_trial(trial) for trial in run.trials])
    if run.curve is not None:
        curve = {name: [float(one) for one in line] for name, line in asdict(run.curve).items()}
        row["curve"] = to_json(run.key, "curve", curve)
    row["decisions"] = packed.decisions
    return row


def _integer(key: str, name: str, value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"cannot store the run {key}: its {name} is {value}, not of 64 bits")
    return operator.index(value)


def _real(key: str, name: str, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise ValueError(f"cannot store the run {key}: its {name} is {value}, not a finite number")
    return None if value is None else float(value)


def _trial(trial: Trial) -> dict[str, Any]:
    """A trial as JSON holds it, its numbers of one kind: 1 equals 1.0, but is written otherwise."""
    reals = {name: getattr(trial, name) for name in ("valid_score", "test_score", "flops")}
    return asdict(trial) | {
        "settings": {name: float(value) for name, value in trial.settings.items()},
        **{name: None if value is None else float(value) for name, value in reals.items()},
    }


def _from_row(path: Path, row: dict[str, Any]) -> StoredRun:
    """A run from the values of the columns that were read."""
    try:
        row |= {name: json.loads(row[name]) for name in ("config", "versions")}
        if "trials" in row:
            row["trials"] = [Trial(**trial) for trial in json.loads(row["trials"])]
        if row.get("curve") is not None:
            row["curve"] = Curve(**json.loads(row["curve"]))
        if "decisions" in row:
            row["decisions"] = unpack(row["decisions"])
    except (TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"the run {row['key']} in {path} is damaged: {error}") from error
    return StoredRun(**row)
