"""The SQLite file behind the journal: opened, migrated, and recreated if it is damaged.

A damaged file is set aside, never deleted. What must survive a restart (a pause, a rollback)
is copied from it as far as it can be read.
"""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY = 0xFF
"""The bits of an extended result code with the primary one (sqlite.org/rescode.html)."""

_MIGRATIONS = (
    """
    CREATE TABLE passes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        environment TEXT NOT NULL,
        started REAL NOT NULL,
        result TEXT,
        detail BLOB NOT NULL,
        log TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX passes_by_environment ON passes (environment, id);
    CREATE TABLE environments (environment TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT;
    """,
)

_TAKEN_OVER = (
    (
        "SELECT environment, state FROM environments",
        "INSERT OR IGNORE INTO environments (environment, state) VALUES (?, ?)",
    ),
    ("SELECT name, seq FROM sqlite_sequence", "INSERT INTO sqlite_sequence VALUES (?, ?)"),
)


class JournalDamaged(sqlite3.DatabaseError):
    """The file is a database, but SQLite's own check has found damage."""


class Newer(sqlite3.DatabaseError):
    """The file was written by a newer version; its history must not be damaged."""


class Database:
    """One file, shared by the threads of a process and by several processes."""

    def __init__(self, path: Path) -> None:
        """Open the file; create or fix it as needed.

        Raises:
            OSError: Its folder cannot be written.
            sqlite3.Error: It can neither be opened nor set aside.
        """
        self.path = path
        self.set_aside: Path | None = None
        """Where a damaged file was put, if there was one."""
        self.on_set_aside: Callable[[Path], None] = lambda _: None
        self._lock = threading.RLock()
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._inode = _inode(path)
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise _named(error, path) from error
            self._start_over()

    def close(self) -> None:
        """Close the file; it cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of one query."""
        return self._do(lambda connection: connection.execute(query, values).fetchall())

    def write(self, change: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run `change` in one transaction; it must be quick and repeatable.

        Args:
            change: What to write.
            durable: Return only once it would survive a power cut. Otherwise the last few seconds
                may be lost, though never half a transaction (SQLite's `PRAGMA synchronous`).
        """

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                done = change(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has rolled back already
                    connection.execute("ROLLBACK")
                raise
            return done

        def on_disk(connection: sqlite3.Connection) -> T:
            connection.execute("PRAGMA synchronous = FULL")
            try:
                return transaction(connection)
            finally:
                connection.execute("PRAGMA synchronous = NORMAL")

        return self._do(on_disk if durable else transaction)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return work(self._connection)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
            self._connection.close()
            self._start_over()
            return work(self._connection)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise JournalDamaged(f"{self.path} is damaged")
            self._migrate(connection)
        except sqlite3.Error:
            connection.close()
            raise
        self._inode = _inode(self.path)
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if version_of(connection, self.path) == len(_MIGRATIONS):
            return  # reading needs no lock
        connection.execute("BEGIN IMMEDIATE")
        try:
            for number in range(version_of(connection, self.path), len(_MIGRATIONS)):
                for statement in _MIGRATIONS[number].split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _start_over(self) -> None:
        """Set the damaged file aside, and open a new one with what can be copied."""
        if _inode(self.path) != self._inode:  # another process has done so just now
            self._connection = self._open()
            return
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        self.path.rename(aside)
        # The latest writes are in the -wal: it belongs to the damaged file and moves with it.
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(f"{aside}{suffix}")
        self._connection = self._open()
        _take_over(aside, self._connection)
        self.set_aside = aside
        self.on_set_aside(aside)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _named(error: sqlite3.DatabaseError, path: Path) -> sqlite3.DatabaseError:
    """The same error, with the path of the file."""
    if isinstance(error, Newer):
        return error
    named = type(error)(f"{path}: {error}")
    named.sqlite_errorcode = getattr(error, "sqlite_errorcode", 0)
    return named


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether it means that the file itself is damaged or not a database."""
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, JournalDamaged) or code & _PRIMARY in _DAMAGE


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """How many migrations the file has had.

    Raises:
        Newer: More than this version knows.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise Newer(
            f"{path} was written by a newer Reconciler (schema {version}). Use that version, or "
            "move the file away."
        )
    return int(version)


def _take_over(damaged: Path, fresh: sqlite3.Connection) -> None:
    """Copy what must survive a restart; of the passes, only the last number."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(damaged, isolation_level=None)) as old:
        # Otherwise SQLite would read nothing from a truncated file.
        old.execute("PRAGMA writable_schema = ON")
        for query, insert in _TAKEN_OVER:
            with suppress(sqlite3.Error):
                fresh.executemany(insert, old.execute(query).fetchall())
