"""One HTTP request with a time limit for all of it: name, connection, encryption and answer.

Each read of a socket has a limit of its own in Python, so an answer that drips never ends. Here the
request runs on a thread, and its connection is cut when the time is over. A name that is still
being looked up cannot be cut: that thread ends with the resolver's own limit.
"""

import contextlib
import http.client
import socket
import threading
import time
import urllib.request
from typing import Any


class Overdue(Exception):
    """The request was not answered in time."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"it took longer than {limit:g} s")


class Exchange:
    """A request, and its answer, of which only the status matters.

    Args:
        request: what to send, and where to.
        limit: seconds for all of it.
    """

    def __init__(self, request: urllib.request.Request, limit: float) -> None:
        self._request = request
        self._limit = limit
        self._deadline = time.monotonic() + limit
        self._lock = threading.Lock()
        self._opened: list[socket.socket] = []
        self._over = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Send the request and wait for the answer.

        Raises:
            Overdue: it took too long.
            OSError, http.client.HTTPException, ValueError: as `urllib.request.urlopen`.
        """
        thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        thread.start()
        thread.join(self._limit)
        # Asked before the cut: a cut answer reads like one that ended.
        overdue = thread.is_alive()
        with self._lock:
            self._over = True
            for opened in self._opened:
                with contextlib.suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)
                opened.close()
        if overdue:
            raise Overdue(self._limit)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        opener = urllib.request.build_opener(_NoRedirects, _Http(self), _Https(self))
        try:
            opener.open(self._request, timeout=self._limit).close()
        except BaseException as error:  # noqa: BLE001  # raised by whoever waits
            self._error = error

    def connect(self, address: tuple[str, int], *_: Any) -> socket.socket:
        """Open a connection that is cut when the time is over.

        Raises:
            OSError: it cannot be opened, or the time is over.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        made = socket.create_connection(address, left)
        with self._lock:
            if self._over:
                made.close()
                raise TimeoutError
            self._opened.append(made.dup())  # TLS takes the socket itself over
        return made


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would hand the token to someone else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Http(urllib.request.HTTPHandler):
    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_connecting(http.client.HTTPConnection, self._exchange), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_connecting(http.client.HTTPSConnection, self._exchange), req)


def _connecting(kind: type[http.client.HTTPConnection], exchange: Exchange) -> Any:
    """A connection of this kind that the exchange opens."""

    def make(host: str, **options: Any) -> http.client.HTTPConnection:
        connection = kind(host, **options)
        connection._create_connection = exchange.connect  # type: ignore[attr-defined]  # noqa: SLF001
        return connection

    return make
