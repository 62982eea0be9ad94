"""Looks into the journal for commands that change nothing: it is not even repaired."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from reconciler.files.trust import check_trust
from reconciler.journal.history import STATE, State, state_of


def peek(path: Path, environment: str) -> State:
    """The lasting state of an environment; the default if the file cannot be read.

    Args:
        path: The journal.
        environment: The environment's name in it.

    As root, a file that others may write is not read.
    """
    if not path.is_file() or check_trust([path], os.geteuid()):
        return State()
    in_use = path.with_name(f"{path.name}-wal").exists()
    how = "mode=ro" if in_use else "immutable=1"  # which leaves no file behind
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)) as connection:
            return state_of(connection.execute(STATE, (environment,)).fetchall())
    except sqlite3.Error:  # whatever writes it will report that
        return State()
