"""Asks the kernel for one socket by its two ends (sock_diag(7)), in a tenth of a millisecond.

Changes nothing. If the kernel or a sandbox does not allow it, `works()` is false.
"""

import functools
import os
import socket
import struct

from reconciler.web.security.owners import Endpoint, SocketOwner

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST = 1
_ERROR = 2
_ANY_STATE = _NO_COOKIE = 0xFFFFFFFF
_HEAD = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
_WANTED = struct.Struct("=BBBxI")
"""inet_diag_req_v2: family, protocol, extensions, states; the socket's id follows."""
_PORTS = struct.Struct("!HH")
_REST = struct.Struct("=III")
"""The id's interface and cookie."""
_FOUND = struct.Struct("=BB2x48xIIIII")
"""inet_diag_msg: family, state, the id, expires, queues, uid, inode."""
_PATIENCE = 1.0


def find(local: Endpoint, remote: Endpoint) -> SocketOwner | None:
    """The owner of the socket with these ends; None if there is no such socket.

    Raises:
        OSError: the kernel does not support or allow this query.
    """
    request = _request(local, remote)
    head = _HEAD.pack(_HEAD.size + len(request), _BY_FAMILY, _REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.sendto(head + request, (0, 0))
        answer = kernel.recv(65536)
    _, kind, _, _, _ = _HEAD.unpack_from(answer)
    if kind == _ERROR:
        return None
    _, state, _, _, _, uid, inode = _FOUND.unpack_from(answer, _HEAD.size)
    return SocketOwner(state=state, uid=uid, inode=inode)


@functools.cache
def works() -> bool:
    """Whether the kernel finds one of our own connections and reports our user."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            socket.create_connection(listening.getsockname()) as client,
        ):
            local, remote = Endpoint.of(client.getsockname()), Endpoint.of(client.getpeername())
            found = find(local, remote) if local and remote else None
    except OSError:
        return False
    return found is not None and found.counts and found.uid == os.geteuid()


def _request(local: Endpoint, remote: Endpoint) -> bytes:
    family = socket.AF_INET if local.address.version == 4 else socket.AF_INET6
    addresses = (end.address.packed.ljust(16, b"\0") for end in (local, remote))
    identity = _PORTS.pack(local.port, remote.port) + b"".join(addresses)
    wanted = _WANTED.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE)
    return wanted + identity + _REST.pack(0, _NO_COOKIE, _NO_COOKIE)
