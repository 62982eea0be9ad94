"""Turns what was foreseen to go wrong into words for people; what was not stays a traceback."""

import sqlite3

from reconciler.cli.client import Foreign, NotRunning, Refused
from reconciler.config import ConfigRejected
from reconciler.recording import Reason, trouble_of
from reconciler.redact import redact


def words_of(error: Exception) -> str | None:
    """What is wrong and what to do; None: nobody foresaw this."""
    match error:
        case NotRunning() | Refused() | Foreign():
            return str(error)
        case ConfigRejected():
            return redact(str(error))
        case sqlite3.Error():
            return (
                f"the journal cannot be used ({error}). Run this as the service's user, or set "
                "state_dir in [service] to a folder of yours."
            )
        case PermissionError():
            return f"{error}. Run this as the owner of the environment and of the state folder."
    trouble = trouble_of(error)
    return None if trouble.reason == Reason.UNEXPECTED else trouble.message
