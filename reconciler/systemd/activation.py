"""Takes over the sockets that systemd opened before the service ran (sd_listen_fds(3)).

It never touches a descriptor that was not handed over to this very process.
"""

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: the first descriptor after stdin, stdout and stderr."""


@dataclass(eq=False)
class ActivationError(Exception):
    """What systemd handed over is no listening stream socket."""

    descriptor: int
    reason: str

    def __str__(self) -> str:
        return (
            f"descriptor {self.descriptor} from the socket unit cannot be served: {self.reason}; "
            "the unit must say ListenStream= and Accept=no"
        )


def inherited_sockets(
    environ: MutableMapping[str, str] = os.environ,
    pid: int | None = None,
    first: int = FIRST_DESCRIPTOR,
) -> tuple[socket.socket, ...]:
    """The listening sockets that were handed over, in the unit's order; usually none.

    Args:
        environ: where LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES stand; they are removed, so
            that no child takes our sockets for its own.
        pid: our own process id; sockets meant for another process are left alone.
        first: the number of the first descriptor.

    Raises:
        ActivationError: a descriptor is closed, or is no listening stream socket.
    """
    count = environ.pop("LISTEN_FDS", "")
    owner = environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if owner != str(os.getpid() if pid is None else pid) or not count.isdecimal():
        return ()
    return tuple(_listening(descriptor) for descriptor in range(first, first + int(count)))


def _listening(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        taken = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ActivationError(descriptor, error.strerror or str(error)) from error
    if not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        taken.detach()
        raise ActivationError(descriptor, "it does not listen")
    taken.setblocking(False)
    return taken
