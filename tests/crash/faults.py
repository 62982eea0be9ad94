"""What can go wrong at a change to the file system."""

import errno
import signal
from typing import NamedTuple


class Fault(NamedTuple):
    """What goes wrong.

    Attributes:
        kill: The signal, if someone is to be killed.
        whom: `all` processes, the `command` only, or `uv` only.
        error: The error number that the call returns otherwise.
        lasting: Whether every later call fails as well.
    """

    kill: int = 0
    whom: str = ""
    error: int = 0
    lasting: bool = False


FAULTS = {
    "kill-all": Fault(signal.SIGKILL, "all"),
    "kill-command": Fault(signal.SIGKILL, "command"),
    "kill-uv": Fault(signal.SIGKILL, "uv"),
    "term": Fault(signal.SIGTERM, "command"),
    "EIO": Fault(error=errno.EIO),
    "ENOSPC": Fault(error=errno.ENOSPC),
    "EROFS": Fault(error=errno.EROFS),
    "EACCES": Fault(error=errno.EACCES),
    "EMFILE": Fault(error=errno.EMFILE),
    "ENOSPC-on": Fault(error=errno.ENOSPC, lasting=True),
    "EROFS-on": Fault(error=errno.EROFS, lasting=True),
}
