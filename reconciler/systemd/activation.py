"""Takes over the sockets that systemd opened before the service started (sd_listen_fds(3)).

It never touches a descriptor that was not passed to this process.
"""

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: the first descriptor after stdin, stdout and stderr."""


@dataclass(eq=False)
class ActivationError(Exception):
    """systemd passed something other than a listening stream socket."""

    unit: str
    """The name of the socket unit, or what it calls this descriptor (FileDescriptorName=)."""
    descriptor: int
    reason: str

    def __str__(self) -> str:
        return (
            f"the socket unit {self.unit} passes a descriptor that cannot be served "
            f"(descriptor {self.descriptor}: {self.reason})"
        )

    @property
    def fix(self) -> str:
        """What to do."""
        return (
            "Use ListenStream= and Accept=no in that unit; `reconciler service install --socket` "
            "writes one that fits. Then run `systemctl daemon-reload` and restart the unit."
        )


def inherited_sockets(
    environ: MutableMapping[str, str] = os.environ,
    pid: int | None = None,
    first: int = FIRST_DESCRIPTOR,
) -> tuple[socket.socket, ...]:
    """The listening sockets that systemd passed, in the unit's order; usually none.

    Args:
        environ: has LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES; they are removed, so that no
            child takes our sockets for its own.
        pid: our own process id; sockets meant for another process are left alone.
        first: the number of the first descriptor.

    Raises:
        ActivationError: a descriptor is closed, or is not a listening stream socket.
    """
    count = environ.pop("LISTEN_FDS", "")
    owner = environ.pop("LISTEN_PID", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if owner != str(os.getpid() if pid is None else pid) or not count.isdecimal():
        return ()
    units = dict(enumerate(filter(None, names)))
    return tuple(
        _listening(first + number, units.get(number, "(without a name)"))
        for number in range(int(count))
    )


def _listening(descriptor: int, unit: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        taken = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ActivationError(unit, descriptor, error.strerror or str(error)) from error
    problem = _problem(taken)
    if problem is not None:
        taken.detach()
        raise ActivationError(unit, descriptor, problem)
    taken.setblocking(False)
    return taken


def _problem(taken: socket.socket) -> str | None:
    """Why it cannot accept connections; None if it can."""
    if taken.type != socket.SOCK_STREAM:
        return "it is not a stream socket"
    if not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "it does not listen"
    return None
