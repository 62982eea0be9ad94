"""Keeps the HTTP server running as long as the service runs."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from reconciler.config import Config
from reconciler.daemon.service import CannotServe
from reconciler.daemon.supervisor import Supervisor
from reconciler.web.security.token import TokenUnusable, read_token
from reconciler.web.server import listen
from reconciler.web.server.application import create_app
from reconciler.web.server.http_server import Server, make_server


@asynccontextmanager
async def serving(
    supervisor: Supervisor, config: Config, sockets: Sequence[socket.socket]
) -> AsyncIterator[str]:
    """Run the server in this context; the value is the addresses where it listens.

    Args:
        supervisor: the service that it shows.
        config: who may do what, and where to listen.
        sockets: the ones that systemd opened; empty: open our own.

    Raises:
        CannotServe: the address or the token file cannot be used.
    """
    try:
        token = None if config.http.token_file is None else read_token(config.http.token_file)
        app = create_app(supervisor, config.http, token=token, metrics=supervisor.metrics)
        server = make_server(app, config.http, list(sockets), supervisor.metrics)
    except (listen.CannotListen, TokenUnusable) as error:
        raise CannotServe(str(error)) from error
    running = asyncio.create_task(server.serve(), name="http")
    try:
        await _started(server, running)
        yield ", ".join(server.addresses)
    finally:
        server.stop()
        await running


async def _started(server: Server, running: asyncio.Task[None]) -> None:
    ready = asyncio.ensure_future(server.ready.wait())
    await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if running.done():
        await running
