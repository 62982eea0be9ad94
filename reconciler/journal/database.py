"""The SQLite file behind the journal: opened, migrated, and recreated if it is damaged.

A damaged file is set aside, never deleted. What must survive a restart (a pause, a rollback)
is copied from it as far as it can be read.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from reconciler.journal.takeover import inodes_of, move_over, remove_orphans, salvage

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

_PATIENT_SECONDS = 5.0
"""How long a write waits for that of another process."""
_IMPATIENT_SECONDS = 0.2
"""The same, once one has waited in vain."""
_LONGEST_QUEUE_SECONDS = 30.0
"""How long a thread waits for the others, as when the disk hangs."""


class JournalDamaged(sqlite3.DatabaseError):
    """The file is a database, but SQLite's own check has found damage."""


class Newer(sqlite3.DatabaseError):
    """The file was written by a newer version; its history must not be damaged."""


class Unavailable(sqlite3.OperationalError):
    """The file cannot be used now; the message names it and says why."""


class Database:
    """One file, shared by the threads of a process and by several processes.

    If the file is removed or replaced while it is open, what it had goes over to the new one.
    """

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
        self.on_moved: Callable[[], None] = lambda: None
        """Called when the file was removed or replaced, and a new one has what it had."""
        self.on_health: Callable[[sqlite3.Error | None], None] = lambda _: None
        """Told why it cannot be used, each time that this is so, and when it can be again: None."""
        self._failing = False
        self._lock = threading.RLock()
        self._open_folder()
        self._inodes = inodes_of(path)
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise _named(error, path) from error
            self._start_over()

    def close(self) -> None:
        """Close the file; it cannot be used afterwards."""
        with self._queued():
            if self._connection is not None:
                self._connection.close()

    def check(self) -> None:
        """Write something, so that everyone is told whether that works (`on_health`).

        Raises:
            sqlite3.Error: It does not.
        """

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO environments VALUES ('', zeroblob(8192))")
            connection.execute("DELETE FROM environments WHERE environment = ''")

        self.write(change)

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
        with self._queued():
            try:
                done = self._attempt(work)
            except (sqlite3.Error, OSError) as error:
                found = _named(error, self.path)
                self._failing = True
                self.on_health(found)
                raise found from error
            if self._failing:
                self._failing = False
                self.on_health(None)
            return done

    @contextmanager
    def _queued(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_LONGEST_QUEUE_SECONDS):
            raise Unavailable(f"{self.path}: another write does not end. Check the disk")
        try:
            yield
        finally:
            self._lock.release()

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._followed()
        patience = _IMPATIENT_SECONDS if self._failing else _PATIENT_SECONDS
        connection.execute(f"PRAGMA busy_timeout = {patience * 1000:.0f}")
        try:
            return work(connection)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        return work(self._start_over())

    def _followed(self) -> sqlite3.Connection:
        """The connection, to the file that is at the path by now.

        SQLite itself goes on with a file that was removed, and nobody would see what it writes.
        """
        before = self._connection
        if before is not None and inodes_of(self.path) == self._inodes:
            return before
        if before is not None and _inode(self.path) == self._inodes[0]:
            self._connection = None
            before.close()  # only the -wal or -shm is gone; this writes what they had to the file
            before = None
        self._open_folder()
        seen = self._inodes
        if before is not None:
            remove_orphans(self.path, seen)
        try:
            fresh = self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            fresh = self._start_over(moved=True)
        if before is not None:
            try:
                move_over(before, fresh)
            except sqlite3.Error:
                self._inodes = seen  # the old file still has everything; the next use tries again
                fresh.close()
                raise
            before.close()  # which leaves the new file alone (pager.c, databaseIsUnmoved)
            self._inodes = inodes_of(self.path)
        self._connection = fresh
        if before is not None:
            self.on_moved()
        return fresh

    def _open_folder(self) -> None:
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_PATIENT_SECONDS, isolation_level=None, check_same_thread=False
        )
        before = self._inodes
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise JournalDamaged(f"{self.path} is damaged")
            self._migrate(connection)
            self._inodes = inodes_of(self.path)
        except (sqlite3.Error, OSError):
            self._inodes = before
            connection.close()
            raise
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

    def _start_over(self, *, moved: bool = False) -> sqlite3.Connection:
        """Set the damaged file aside, and open a new one with what can be copied."""
        if self._connection is not None and not moved:
            self._connection.close()
            self._connection = None
        if not moved and _inode(self.path) != self._inodes[0]:  # another process has just done so
            self._connection = self._open()
            return self._connection
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        self.path.rename(aside)
        # The latest writes are in the -wal: it belongs to the damaged file and moves with it.
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(f"{aside}{suffix}")
        self._connection = fresh = self._open()
        salvage(aside, fresh)
        self.set_aside = aside
        self.on_set_aside(aside)
        return fresh


def _inode(path: Path) -> int:
    return inodes_of(path)[0]


def _named(error: sqlite3.Error | OSError, path: Path) -> sqlite3.Error:
    """The same error, with the path of the file."""
    if isinstance(error, Newer | Unavailable):
        return error
    named = Unavailable(f"{path}: {error}")
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
