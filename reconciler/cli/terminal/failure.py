"""Turns expected errors into sentences for people; an unexpected one stays a traceback."""

import sqlite3

from reconciler.cli.client import Foreign, NotRunning, RefusedByService, Untrusted
from reconciler.config import ConfigRejected
from reconciler.journal.database import Newer
from reconciler.passes.endings import trouble_of
from reconciler.status import Reason


def words_of(error: Exception) -> str | None:
    """What is wrong and what to do; None if the error is unexpected."""
    match error:
        case (
            NotRunning() | RefusedByService() | Foreign() | Untrusted() | ConfigRejected() | Newer()
        ):
            return str(error)
        case sqlite3.Error():
            return _journal_words(error)
        case PermissionError():
            return f"{error}. Run this as the owner of the environment and of the state folder."
    trouble = trouble_of(error)
    return None if trouble.reason == Reason.UNEXPECTED else trouble.message


def _journal_words(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    fix = "Run this as the service's user, or set state_dir in [service] to a folder of yours."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        fix = "Another program has locked it: let it finish, or stop it."
    elif code == sqlite3.SQLITE_FULL:
        fix = "Free some space."
    return f"the journal cannot be used ({error}). {fix}"
