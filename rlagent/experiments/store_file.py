"""The file of a store: who may write it, how it is opened, its tables, and what SQLite says.

While a runner writes, the file is in WAL mode, so that readers never wait for it. When the runner
closes the file it goes back to a rollback journal: a store at rest is a single file that can be
copied, and read where nothing can be written.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

APPLICATION_ID = 0x724C4167  # "rLAg": tells our files from those of other programs
LOCK_SECONDS = 10.0  # how long to wait for another program's lock
CLOSING_SECONDS = 1.0  # the same at the end of writing, when waiting is worth little
MAGIC = b"SQLite format 3\0"  # begins every SQLite database

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


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
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


def connect_to_write(path: Path) -> sqlite3.Connection:
    """A connection to a store of our version, which is created if it is missing."""
    if path.exists():
        _header(path)
    with in_one_sentence(path):
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


def connect_to_read(path: Path) -> sqlite3.Connection:
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


def leave_wal(connection: sqlite3.Connection) -> None:
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
def in_one_sentence(path: Path) -> Iterator[None]:
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
