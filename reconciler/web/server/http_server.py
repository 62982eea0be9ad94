"""The HTTP server: uvicorn, changed to sleep while idle and to leave signals alone."""

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from reconciler.config import HttpConfig
from reconciler.daemon.metrics import Metrics
from reconciler.log.logger import get_logger
from reconciler.web.security.crowd import CONNECTIONS, Crowd, Refusals
from reconciler.web.security.guard import GuardedProtocol
from reconciler.web.security.rules import LARGEST_HEAD
from reconciler.web.server import listen

_LOG = get_logger(__name__)
KEEP_ALIVE = 5
"""Seconds that an idle connection stays open."""
FINISH_WITHIN = 1
"""Seconds that requests get to finish when the service stops."""
_LOGGED_BY_US = ("Exception in ASGI application", "Invalid HTTP request received")


class Server(uvicorn.Server):
    """One server, on sockets that are already open.

    Attributes:
        addresses: where it listens, written as in the configuration.
        ready: set once it accepts connections.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], *, own: bool) -> None:
        self._exit = asyncio.Event()
        self.ready = asyncio.Event()
        super().__init__(config)
        self._sockets = sockets
        self._made = {
            opened: listen.identity_of(opened.getsockname())
            for opened in sockets
            if own and opened.family == socket.AF_UNIX
        }
        self.addresses = [listen.address_of(opened) for opened in sockets]

    @property
    def should_exit(self) -> bool:
        """Whether it should stop; set this only on its event loop."""
        return self._exit.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        if value:
            self._exit.set()
        else:
            self._exit.clear()

    def stop(self) -> None:
        """Stop, after the current requests."""
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `stop()`."""
        await super().serve(sockets or self._sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections."""
        await super().startup(sockets)
        for address in self.addresses:
            _LOG.info("listening", address=address)
        self.ready.set()

    async def main_loop(self) -> None:
        """Wait until it should stop; uvicorn's own loop wakes up ten times a second."""
        await self._exit.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let current requests finish, and leave no socket behind."""
        for opened in self._sockets:
            listen.remove_unix_socket(opened, self._made.get(opened))
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service."""
        yield


def make_server(
    app: Starlette,
    http: HttpConfig,
    sockets: list[socket.socket] | None = None,
    metrics: Metrics | None = None,
) -> Server:
    """Make the server, on `sockets` that systemd opened or on new ones. Runs on the event loop.

    Raises:
        CannotListen: it cannot listen there, or must not.
    """
    opened = sockets or listen.open_sockets(http.listen)
    if http.token_file is None:
        listen.refuse_strangers(opened)
    refusals = Refusals((metrics or Metrics()).observe_refusal)
    protocol = functools.partial(GuardedProtocol, crowd=Crowd(CONNECTIONS), refusals=refusals)
    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # it is called as a class would be
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=FINISH_WITHIN,
        backlog=listen.BACKLOG,
    )
    _quiet()
    return Server(config, opened, own=not sockets)


def _quiet() -> None:
    """Silence what uvicorn logs about these: we log them with the path and the user."""
    logger = logging.getLogger("uvicorn.error")
    if _is_news not in logger.filters:
        logger.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_LOGGED_BY_US)
