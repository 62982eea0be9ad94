"""Tells the service manager the service's state: READY, STATUS, RELOADING, STOPPING, WATCHDOG.

It never makes the service fail: without `$NOTIFY_SOCKET` every call does nothing, and a manager
that does not listen is ignored, as sd_notify(3) asks of its callers. This is our own code
because the protocol is one datagram. Of the packages for it, `sdnotify` and `sd-notify` have had
no release for years (and do not support RELOADING), `systemd-python` compiles against libsystemd
on installation, and `cysystemd` brings 5 MB of shared libraries. sd_notify(3) itself shows an
implementation of this size for programs that want no dependency.
"""

import os
import socket
from collections.abc import MutableMapping

from reconciler.log.logger import get_logger
from reconciler.log.redact import redact
from reconciler.log.visible import visible
from reconciler.systemd.reload import monotonic_usec

_LOG = get_logger(__name__)
_LONGEST_STATUS = 2000
"""Bytes. systemd ignores a message of more than PIPE_BUF (4096), even with a READY=1 in it."""


class Notifier:
    """Speaks sd_notify(3) to the manager at `address`, or to nobody.

    Attributes:
        watchdog_interval: seconds between two `watchdog()` calls (half of what the manager
            allows), or None if there is no watchdog.
    """

    def __init__(self, address: str | None = None, watchdog_interval: float | None = None) -> None:
        self._address = address
        self.watchdog_interval = watchdog_interval

    @classmethod
    def from_environment(
        cls, environ: MutableMapping[str, str] = os.environ, pid: int | None = None
    ) -> "Notifier":
        """Take the manager's address out of `environ`, so that no child of ours inherits it.

        Args:
            environ: has NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; they are removed.
            pid: our own process id; a watchdog for another process is ignored.
        """
        address = environ.pop("NOTIFY_SOCKET", None) or None
        usec = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", "")
        ours = not watched or watched == str(os.getpid() if pid is None else pid)
        interval = int(usec) / 2_000_000 if usec.isdecimal() and int(usec) and ours else None
        return cls(address, interval if address else None)

    @property
    def connected(self) -> bool:
        """Whether a service manager asked to be notified."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Startup or a reload is complete; `status` is one sentence for people."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """Replace the sentence that `systemctl status` shows."""
        self._send(_status(status))

    def reloading(self, status: str = "Reloading the configuration") -> None:
        """A reload starts; it ends with `ready()`, whether the configuration is accepted or not."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec()}", _status(status))

    def stopping(self, status: str) -> None:
        """Shutdown starts."""
        self._send("STOPPING=1", _status(status))

    def watchdog(self) -> None:
        """The loop that does the work is alive."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        # A leading @ means the NUL byte of the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        try:
            with socket.socket(socket.AF_UNIX, kind) as channel:
                channel.settimeout(1)
                channel.sendto("\n".join(assignments).encode(), address)
        except OSError as error:
            _LOG.debug("notify.unheard", error=str(error), address=self._address)


def _status(text: str) -> str:
    """The assignment for one sentence; the protocol ends a value at the end of the line.

    `systemctl status` shows it to every user, as it is: no secrets, no control characters.
    """
    line = visible(" ".join(redact(text).split())).encode()
    if len(line) > _LONGEST_STATUS:
        line = line[:_LONGEST_STATUS].rsplit(b" ", 1)[0] + " …".encode()
    return "STATUS=" + line.decode("utf-8", "ignore")
