"""What goes over from one journal file to another, if a file was damaged, removed or replaced.

From a damaged file, what must survive a restart (a pause, a rollback); from one that was only
removed, everything: a process that has it open can still read it.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

_BESIDE = ("-wal", "-shm")
_STATES = (
    "SELECT environment, state FROM environments",
    "INSERT OR IGNORE INTO environments (environment, state) VALUES (?, ?)",
)
_PASSES = (
    "SELECT id, environment, started, result, detail, log FROM passes",
    "INSERT OR IGNORE INTO passes VALUES (?, ?, ?, ?, ?, ?)",
)
_NUMBERS = "SELECT seq FROM sqlite_sequence WHERE name = 'passes'"


def inodes_of(path: Path) -> tuple[int, ...]:
    """What distinguishes the files of a journal from others at the same path; 0: not there.

    Also of the -wal and -shm: what is written to one that was removed, nobody else will see.
    """
    return tuple(_inode(f"{path}{suffix}") for suffix in ("", *_BESIDE))


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 -- three at each use of the journal
    except (FileNotFoundError, NotADirectoryError):
        return 0


def remove_orphans(path: Path, inodes: tuple[int, ...]) -> None:
    """Remove the -wal and -shm of a file that is gone: a new one would take them for its own."""
    for suffix, inode in zip(_BESIDE, inodes[1:], strict=True):
        if inode and _inode(f"{path}{suffix}") == inode:
            Path(f"{path}{suffix}").unlink()


def salvage(damaged: Path, fresh: sqlite3.Connection) -> None:
    """Copy what must survive a restart; of the passes, only the last number."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(damaged, isolation_level=None)) as old:
        # Otherwise SQLite would read nothing from a truncated file.
        old.execute("PRAGMA writable_schema = ON")
        with suppress(sqlite3.Error):
            _copy(old, fresh, _STATES)
        with suppress(sqlite3.Error):
            raise_number(fresh, _last_number(old))


def move_over(old: sqlite3.Connection, fresh: sqlite3.Connection) -> None:
    """Copy everything that the file of the same name does not have by now.

    Raises:
        sqlite3.Error: Nothing was copied.
    """
    fresh.execute("BEGIN IMMEDIATE")
    try:
        _copy(old, fresh, _STATES)
        _copy(old, fresh, _PASSES)
        raise_number(fresh, _last_number(old))
    except BaseException:
        fresh.execute("ROLLBACK")
        raise
    fresh.execute("COMMIT")


def raise_number(connection: sqlite3.Connection, least: int) -> None:
    """No pass gets this number, or a lower one, from now on."""
    numbers = [least, *(seq for (seq,) in connection.execute(_NUMBERS))]
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'passes'")
    connection.execute("INSERT INTO sqlite_sequence VALUES ('passes', ?)", (max(numbers),))


def _copy(old: sqlite3.Connection, fresh: sqlite3.Connection, what: tuple[str, str]) -> None:
    query, insert = what
    fresh.executemany(insert, old.execute(query))


def _last_number(old: sqlite3.Connection) -> int:
    return max((int(seq) for (seq,) in old.execute(_NUMBERS)), default=0)
