"""The history of passes and the lasting state of each environment.

Every write is one transaction, so a `kill -9` loses at most the pass it interrupted, and the
next start recognises that one as interrupted.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from reconciler.files.parsing import json_as
from reconciler.journal.database import Database
from reconciler.journal.takeover import raise_number
from reconciler.log.redact import without_secrets
from reconciler.status import HeldBack, PassDetail, PassStatus, Result, Suspension

JOURNAL = "journal.sqlite3"
"""The name of the file in the state folder."""
MAX_AGE_SECONDS = 180 * 24 * 3600.0
MAX_PASSES = 1000
"""Per environment; the oldest passes are removed first."""
PAGE_BYTES = 1_000_000
"""About the most of the history that is read and shown at once; at least one pass is."""
_AT_ONCE = 10
"""Passes that one query reads."""


class RollingBack(msgspec.Struct, frozen=True, kw_only=True):
    """A rollback that is about to go live: if the process is killed then, it is not undone."""

    generation: int
    activation: int
    """What the live tree's label says as soon as it is live (`trees.generations`)."""
    revision: str | None
    reason: str | None


class HeldBefore(msgspec.Struct, frozen=True, kw_only=True):
    """A package that was held when a pass ended: if it is gone later, it is missed."""

    name: str
    version: str
    pinned_by: str | None = None
    vaulted: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What must survive a restart, for one environment. Times are seconds since the epoch."""

    last_attempted_revision: str | None = None
    last_applied_revision: str | None = None
    suspension: Suspension | None = None
    """Why it is left alone: a pause or a rollback, whichever came last."""
    beneath: Suspension | None = None
    """The other of the two; it is in effect once that one is over."""
    suspended_until: float | None = None
    """When the pause ends; None: when someone resumes."""
    rolled_back_revision: str | None = None
    """The revision that the rollback is about; another one ends it."""
    rolling_back: RollingBack | None = None
    """A rollback that has begun; a process that was killed may have left it behind."""
    failures: int = 0
    """How many passes in a row have failed for `last_attempted_revision`."""
    retry_at: float | None = None
    held_back: tuple[HeldBack, ...] = ()
    held: tuple[HeldBefore, ...] = ()
    """The holds when the last pass ended."""


class Journal:
    """One journal file, shared by the threads of a process and by several processes."""

    def __init__(self, path: Path) -> None:
        """Open the journal; create or fix it as needed.

        Raises:
            OSError: Its folder cannot be written.
            sqlite3.Error: It can neither be opened nor set aside.
        """
        self.path = path
        self._database = Database(path)
        self._states: dict[str, State] = {}
        """The states that this process knows, in case the file turns out to be damaged later."""
        self._before_us = self._highest = self._newest()
        self._tell: Callable[[Path], None] = lambda _: None
        self._database.on_set_aside = self._recreated

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged journal was put, if there was one."""
        return self._database.set_aside

    def when_set_aside(self, tell: Callable[[Path], None]) -> None:
        """Set the callback for when the file turns out to be damaged later; on any thread."""
        self._tell = tell

    def when_moved(self, tell: Callable[[], None]) -> None:
        """Set the callback for when the file was removed, and a new one has what it had."""
        self._database.on_moved = tell

    def when_unavailable(self, tell: Callable[[sqlite3.Error | None], None]) -> None:
        """Set the callback for when the file cannot be used, and why; None: it can be again."""
        self._database.on_health = tell

    def check(self) -> None:
        """Find out whether the file can be written; everyone is told.

        Raises:
            sqlite3.Error: It cannot.
        """
        self._database.check()

    def _recreated(self, aside: Path) -> None:
        """The file is new: write what this process knows, which is newer than the old file."""

        def write(connection: sqlite3.Connection) -> None:
            for environment, state in self._states.items():
                connection.execute(_SAVE, (environment, msgspec.json.encode(state)))
            raise_number(connection, self._highest)

        self._database.write(write)
        self._tell(aside)

    def _newest(self) -> int:
        """The highest id that was ever used."""
        rows = self._database.read("SELECT seq FROM sqlite_sequence WHERE name = 'passes'")
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        """Close the file; nothing can be asked afterwards."""
        self._database.close()

    def begin(
        self, environment: str, trigger: str, started: float, *, reason_given: str | None = None
    ) -> int:
        """Record that a pass begins; its id, which is never used again."""
        detail = PassDetail(
            id=0, trigger=trigger, result=None, started_at=iso(started), reason_given=reason_given
        )
        blob = msgspec.json.encode(without_secrets(detail))

        def insert(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO passes (environment, started, detail) VALUES (?, ?, ?)",
                (environment, started, blob),
            )
            return int(cursor.lastrowid or 0)

        self._highest = max(self._highest, number := self._database.write(insert))
        return number

    def finish(self, environment: str, detail: PassDetail) -> None:
        """Record the outcome of a pass, and remove the oldest passes."""
        detail = without_secrets(detail)
        blob = msgspec.json.encode(msgspec.structs.replace(detail, log=""))
        started = datetime.fromisoformat(detail.started_at).timestamp()

        def replace(connection: sqlite3.Connection) -> None:
            # Not an update: the journal may have been recreated since the pass began.
            connection.execute(
                "INSERT OR REPLACE INTO passes (id, environment, started, result, detail, log) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (detail.id, environment, started, detail.result, blob, detail.log),
            )
            _forget(connection, environment)

        self._database.write(replace)

    def discard(self, pass_id: int) -> None:
        """Remove a pass in which nothing happened."""
        self._database.write(lambda c: c.execute("DELETE FROM passes WHERE id = ?", (pass_id,)))

    def has_interrupted(self, environment: str) -> bool:
        """Whether passes of earlier processes still look as if they were running."""
        query = "SELECT 1 FROM passes WHERE environment = ? AND result IS NULL AND id <= ? LIMIT 1"
        return bool(self._database.read(query, environment, self._before_us))

    def close_interrupted(self, environment: str) -> list[int]:
        """Mark unfinished passes of earlier processes as failed; return their ids.

        Call with the pass lock held: none of them can be running.
        """

        def close(connection: sqlite3.Connection) -> list[int]:
            rows = connection.execute(
                "SELECT id, started, detail FROM passes WHERE environment = ? AND result IS NULL "
                "AND id <= ?",
                (environment, self._before_us),
            ).fetchall()
            for pass_id, started, blob in rows:
                detail = msgspec.structs.replace(
                    _decoded(started, blob),
                    id=pass_id,
                    result=Result.FAILED,
                    message="Interrupted: the process ended in the middle of this pass; the "
                    "environment is the old one or the new one",
                )
                connection.execute(
                    "UPDATE passes SET result = ?, detail = ? WHERE id = ?",
                    (Result.FAILED, msgspec.json.encode(detail), pass_id),
                )
            return [pass_id for pass_id, *_ in rows]

        return self._database.write(close)

    def history(self, environment: str, limit: int, before: int | None = None) -> list[PassStatus]:
        """Finished passes of one environment; as `history_of`."""
        return self.history_of([environment], limit, before)

    def history_of(
        self, environments: Sequence[str], limit: int, before: int | None = None
    ) -> list[PassStatus]:
        """Finished passes with an id below `before`, the newest first.

        There may be more of them although these are fewer than `limit`: once they are more than
        `PAGE_BYTES` together, no further ones are read.
        """
        found: list[PassStatus] = []
        size, last = 0, 2**62 if before is None else before
        named = ",".join("?" * len(environments))
        query = (
            f"SELECT id, started, detail FROM passes WHERE environment IN ({named}) "  # noqa: S608
            "AND result IS NOT NULL AND id < ? ORDER BY id DESC LIMIT ?"
        )
        while rows := self._database.read(
            query, *environments, last, min(_AT_ONCE, limit - len(found))
        ):
            for last, started, blob in rows:
                found.append(without_log(msgspec.structs.replace(_decoded(started, blob), id=last)))
                size += len(blob)
                if size >= PAGE_BYTES:
                    return found
        return found

    def entry(self, pass_id: int) -> PassDetail | None:
        """One pass with its plan and uv's log, or None if there is no pass with that id."""
        rows = self._database.read("SELECT started, detail, log FROM passes WHERE id = ?", pass_id)
        if not rows:
            return None
        started, blob, log = rows[0]
        return msgspec.structs.replace(_decoded(started, blob), id=pass_id, log=str(log))

    def state(self, environment: str) -> State:
        """The lasting state of an environment; the default if it is unknown."""
        state = self._states[environment] = state_of(self._database.read(STATE, environment))
        return state

    def update_state(
        self, environment: str, change: Callable[[State], State], *, durable: bool = False
    ) -> State:
        """Change the lasting state of an environment in one step; return the new state.

        Args:
            environment: The environment.
            change: Returns the new state for the old one; must be quick.
            durable: Return only once it would survive a power cut.
        """

        def update(connection: sqlite3.Connection) -> State:
            before = state_of(connection.execute(STATE, (environment,)).fetchall())
            state = without_secrets(change(before))
            connection.execute(_SAVE, (environment, msgspec.json.encode(state)))
            return state

        state = self._states[environment] = self._database.write(update, durable=durable)
        return state


_SAVE = (
    "INSERT INTO environments VALUES (?, ?) "
    "ON CONFLICT (environment) DO UPDATE SET state = excluded.state"
)
STATE = "SELECT state FROM environments WHERE environment = ?"
"""The query for the lasting state of an environment."""


def state_of(rows: list[Any]) -> State:
    """The state in the rows of that query."""
    # SQLite does not notice a flipped bit. An unreadable state counts as none.
    with suppress(msgspec.DecodeError):
        return json_as(rows[0][0], State) if rows else State()
    return State()


def _decoded(started: Any, blob: Any) -> PassDetail:
    with suppress(msgspec.DecodeError):
        return json_as(blob, PassDetail)
    return PassDetail(id=0, trigger="unknown", result=Result.FAILED, started_at=iso(started),
                      message="Unreadable: this row of the journal is damaged")  # fmt: skip


def without_log(detail: PassDetail) -> PassStatus:
    """A pass without its plan and log, as the status and the list of passes show it."""
    return PassStatus(**{name: getattr(detail, name) for name in PassStatus.__struct_fields__})


def _forget(connection: sqlite3.Connection, environment: str) -> None:
    """Remove passes that are too old or too many; the old ones of other environments too."""
    connection.execute("DELETE FROM passes WHERE started < ?", (time.time() - MAX_AGE_SECONDS,))
    connection.execute(
        "DELETE FROM passes WHERE environment = ? AND id <= "
        "(SELECT id FROM passes WHERE environment = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (environment, environment, MAX_PASSES),
    )


def iso(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601, UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
