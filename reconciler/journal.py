"""The history of passes and the lasting state of each environment, in SQLite.

Every write is one transaction, so a `kill -9` loses at most the pass it interrupted, and
that one is found again as interrupted. A corrupt file is set aside, never deleted.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from reconciler.status import HeldBack, Pass, PassDetail, Result, Suspension

JOURNAL = "journal.sqlite3"
"""Its name in the state folder."""
MAX_AGE_SECONDS = 180 * 24 * 3600.0
MAX_PASSES = 1000
"""For each environment; older passes are forgotten first."""

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


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What must outlive the process, of one environment. Times are seconds since the epoch."""

    last_attempted_revision: str | None = None
    last_applied_revision: str | None = None
    suspension: Suspension | None = None
    suspended_until: float | None = None
    rolled_back_revision: str | None = None
    failures: int = 0
    """How many passes in a row have failed for `last_attempted_revision`."""
    retry_at: float | None = None
    held_back: tuple[HeldBack, ...] = ()


class Journal:
    """One journal file, shared by the threads of a process and by several processes."""

    def __init__(self, path: Path) -> None:
        """Open the journal, making or mending it as needed.

        Raises:
            OSError: Its folder cannot be written.
            sqlite3.Error: It can neither be opened nor set aside.
        """
        self.path = path
        self.set_aside: Path | None = None
        """Where a corrupt journal was put, if there was one."""
        self._lock = threading.Lock()
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise
            self._put_aside()
            self._connection = self._open()
        self._before_us = self._newest()

    def _newest(self) -> int:
        """The highest id that was ever given out."""
        row = self._connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'passes'"
        ).fetchone()
        return int(row[0]) if row else 0

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("quick_check found damage")
            self._migrate(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = self._version(connection)
            for number in range(version, len(_MIGRATIONS)):
                for statement in _MIGRATIONS[number].split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _version(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise sqlite3.OperationalError(
                f"{self.path} was written by a newer Reconciler (schema {version}); "
                "use that one, or move the file away"
            )
        return int(version)

    def _put_aside(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        self.set_aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        self.path.rename(self.set_aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file; nothing can be asked afterwards."""
        with self._lock:
            self._connection.close()

    def begin(self, environment: str, trigger: str, started: float) -> int:
        """Record that a pass begins; its id, which is never used again."""
        detail = PassDetail(id=0, trigger=trigger, result=None, started_at=iso(started))
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO passes (environment, started, detail) VALUES (?, ?, ?)",
                (environment, started, msgspec.json.encode(detail)),
            )
            return int(cursor.lastrowid or 0)

    def finish(self, environment: str, detail: PassDetail) -> None:
        """Record the outcome of a pass, and forget the oldest ones."""
        bare = msgspec.structs.replace(detail, log="")
        with self._transaction() as connection:
            connection.execute(
                "UPDATE passes SET result = ?, detail = ?, log = ? WHERE id = ?",
                (detail.result, msgspec.json.encode(bare), detail.log, detail.id),
            )
            self._forget(connection, environment)

    def discard(self, pass_id: int) -> None:
        """Forget a pass in which nothing happened."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM passes WHERE id = ?", (pass_id,))

    def _forget(self, connection: sqlite3.Connection, environment: str) -> None:
        connection.execute(
            "DELETE FROM passes WHERE environment = ? AND (started < ? OR id <= "
            "(SELECT id FROM passes WHERE environment = ? ORDER BY id DESC LIMIT 1 OFFSET ?))",
            (environment, time.time() - MAX_AGE_SECONDS, environment, MAX_PASSES),
        )

    def close_interrupted(self, environment: str) -> list[int]:
        """Mark passes of earlier processes that never finished as failed; their ids.

        Call with the pass lock held: none of them can be running then.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id, detail FROM passes WHERE environment = ? AND result IS NULL "
                "AND id <= ?",
                (environment, self._before_us),
            ).fetchall()
            for pass_id, blob in rows:
                detail = msgspec.structs.replace(
                    msgspec.json.decode(blob, type=PassDetail),
                    id=pass_id,
                    result=Result.FAILED,
                    message="interrupted: the process ended in the middle of this pass",
                )
                connection.execute(
                    "UPDATE passes SET result = ?, detail = ? WHERE id = ?",
                    (Result.FAILED, msgspec.json.encode(detail), pass_id),
                )
        return [pass_id for pass_id, _ in rows]

    def history(self, environment: str, limit: int, before: int | None = None) -> list[Pass]:
        """Finished passes, the newest first, of those with an id below `before`."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, detail FROM passes WHERE environment = ? AND result IS NOT NULL "
                "AND id < ? ORDER BY id DESC LIMIT ?",
                (environment, before if before is not None else 2**62, limit),
            ).fetchall()
        return [
            msgspec.structs.replace(msgspec.json.decode(blob, type=Pass), id=pass_id)
            for pass_id, blob in rows
        ]

    def entry(self, pass_id: int) -> PassDetail | None:
        """One pass with its plan and uv's log, or None if there is none of that id."""
        with self._lock:
            row = self._connection.execute(
                "SELECT detail, log FROM passes WHERE id = ?", (pass_id,)
            ).fetchone()
        if row is None:
            return None
        detail = msgspec.json.decode(row[0], type=PassDetail)
        return msgspec.structs.replace(detail, id=pass_id, log=row[1])

    def environment_of(self, pass_id: int) -> str | None:
        """Which environment a pass was about."""
        with self._lock:
            row = self._connection.execute(
                "SELECT environment FROM passes WHERE id = ?", (pass_id,)
            ).fetchone()
        return str(row[0]) if row else None

    def state(self, environment: str) -> State:
        """The lasting state of an environment; the default for one never seen."""
        with self._lock:
            row = self._connection.execute(
                "SELECT state FROM environments WHERE environment = ?", (environment,)
            ).fetchone()
        return msgspec.json.decode(row[0], type=State) if row else State()

    def update_state(self, environment: str, change: Callable[[State], State]) -> State:
        """Change the lasting state of an environment in one step; the new one.

        Args:
            environment: Whose.
            change: From the state as it is to the state as it is to be; must be quick.
        """
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT state FROM environments WHERE environment = ?", (environment,)
            ).fetchone()
            state = change(msgspec.json.decode(row[0], type=State) if row else State())
            connection.execute(
                "INSERT INTO environments VALUES (?, ?) "
                "ON CONFLICT (environment) DO UPDATE SET state = excluded.state",
                (environment, msgspec.json.encode(state)),
            )
        return state

    def save_state(self, environment: str, state: State) -> None:
        """Record the lasting state of an environment, whatever it was."""
        self.update_state(environment, lambda _: state)


def iso(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601, UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
