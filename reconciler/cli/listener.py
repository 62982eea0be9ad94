"""Finds whose program answers at an address, so that the bearer token goes to nobody else.

On a unix socket, the kernel knows who listens. On TCP it knows the user of a socket that a
program has accepted; a connection that still waits has uid 0, whoever listens. So the program
first has to answer a request without the token.
"""

import http.client
import pwd
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

from reconciler.web.security import sockdiag
from reconciler.web.security.owners import Endpoint, listed

_CREDENTIALS = struct.Struct("iII")


def listener_uid(connection: http.client.HTTPConnection) -> int | None:
    """The user id of the program at the other end; None if that is on another machine.

    Connects, if it has to, and leaves the connection open for the request that follows.

    Raises:
        LookupError: It is on this machine, and its user cannot be known.
        OSError: It does not answer.
        http.client.HTTPException: It does not speak HTTP.
    """
    if connection.sock is None:
        connection.connect()
    if connection.sock.family == socket.AF_UNIX:
        packed = connection.sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        return int(_CREDENTIALS.unpack(packed)[1])
    connected = connection.sock
    connection.request("GET", "/livez", headers={"Host": "localhost"})
    connection.getresponse().read()
    if connection.sock is not connected:
        raise LookupError  # it has closed that connection, and the next one may be another's
    return _accepted_by(connected)


def _accepted_by(connected: socket.socket) -> int | None:
    remote, local = Endpoint.of(connected.getpeername()), Endpoint.of(connected.getsockname())
    if remote is None or local is None:
        raise LookupError
    if remote.address != local.address and not remote.address.is_loopback:
        return None
    find = sockdiag.find if sockdiag.works() else listed
    found = find(remote, local)
    if found is None or not found.counts:
        raise LookupError
    return found.uid


def uids_of(users: Iterable[str | int]) -> Iterator[int]:
    """The user ids of configured users; unknown names have none."""
    for user in users:
        if isinstance(user, int):
            yield user
            continue
        with suppress(KeyError):
            yield pwd.getpwnam(user).pw_uid


def name_of(uid: int) -> str:
    """A user in words."""
    with suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name}"
    return f"uid {uid}"
