"""The routes that only read: status, history, health, metrics. They change nothing.

Everything comes from memory except the history, which is read off the event loop.
"""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlencode

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from reconciler.daemon.metrics import CONTENT_TYPE, Metrics
from reconciler.status import PassStatus, Status
from reconciler.web.api.backend import ServiceProtocol
from reconciler.web.api.documents import StatusDocuments, json_response
from reconciler.web.api.parameters import LARGEST_INTEGER, query_of
from reconciler.web.api.problems import HttpProblem, HttpReason
from reconciler.web.api.schemas import History, HistoryQuery, Liveness, Readiness, StatusQuery
from reconciler.web.routes import environments
from reconciler.web.security.connection import Connection


class Looking:
    """Shows the state of `service`."""

    def __init__(self, service: ServiceProtocol, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        self._documents = StatusDocuments()

    async def status(self, request: Request) -> Response:
        """The whole status, at once or when it changes."""
        query = query_of(request, StatusQuery)
        current = self._service.status()
        since = current.generation if query.since is UNSET else query.since
        # A generation above the current one is from before a restart of the service.
        if query.wait and since >= current.generation == since:
            current = await self._news(
                Connection.of(request.scope), query.wait, lambda new: new.generation > since
            )
        return self._documents.whole(current).response(request)

    async def environment(self, request: Request) -> Response:
        """One environment, at once or when another of its trees is live."""
        query = query_of(request, StatusQuery)
        name = request.path_params["environment"]
        found = environments.named(self._service.status(), name)
        since = found.generation if query.since is UNSET else query.since
        current = self._service.status()
        if query.wait and found.generation <= since:
            current = await self._news(
                Connection.of(request.scope),
                query.wait,
                lambda new: _generation(new, name) > since,
            )
        document = self._documents.environment(current, name)
        if document is None:
            raise environments.unknown(current, name)
        return document.response(request)

    async def _news(
        self, connection: Connection, wait: float, reached: Callable[[Status], bool]
    ) -> Status:
        """The first status for which `reached` is true, or the one after `wait` seconds."""
        deadline = time.monotonic() + wait
        while True:
            current = self._service.status()
            rest = deadline - time.monotonic()
            if reached(current) or rest <= 0 or connection.closing.is_set():
                return current
            await connection.while_open(self._service.wait_for_status(current.generation, rest))

    async def history(self, request: Request) -> Response:
        """Passes, newest first."""
        query = query_of(request, HistoryQuery)
        chosen = None if query.environment is UNSET else query.environment
        before = None if query.before is UNSET else query.before
        if chosen is not None:
            environments.named(self._service.status(), chosen)
        passes = await asyncio.to_thread(self._service.history, chosen, query.limit, before)
        following = None
        # A page may have fewer passes than asked for: it has a limit in bytes as well.
        oldest = passes[-1].id if passes else 0
        if passes and await asyncio.to_thread(self._service.history, chosen, 1, oldest):
            place: dict[str, str | int] = {"limit": query.limit, "before": oldest}
            if chosen is not None:
                place["environment"] = chosen
            following = f"/history?{urlencode(place)}"
        return json_response(History(passes=tuple(passes), next=following))

    async def history_entry(self, request: Request) -> Response:
        """One pass with its changes and its log; while it runs, what is known so far."""
        text = request.path_params["id"]
        plain = text.isascii() and text.isdecimal() and len(text) < 20
        number = int(text) if plain else LARGEST_INTEGER + 1
        if number <= LARGEST_INTEGER:
            found = await asyncio.to_thread(self._service.history_entry, number)
            shown = found or _running(self._service.status(), number)
            if shown is not None:
                return json_response(shown)
        detail = f"There is no pass {text[:30]!r}. /history lists the recorded ones."
        raise HttpProblem(404, HttpReason.UNKNOWN_PASS, detail)

    async def alive(self, _: Request) -> Response:
        """Whether the working loops are making progress."""
        if self._service.alive():
            return json_response(Liveness(alive=True))
        detail = "A working loop has made no progress for too long. Restart the service."
        raise HttpProblem(503, HttpReason.STALLED, detail)

    async def ready(self, _: Request) -> Response:
        """Whether the service can do its job."""
        ready, why = self._service.ready()
        if ready:
            return json_response(Readiness(ready=True))
        raise HttpProblem(503, HttpReason.NOT_READY, why)

    async def metrics(self, _: Request) -> Response:
        """The metrics in Prometheus' text format."""
        return Response(self._metrics.render(self._service), headers={"Content-Type": CONTENT_TYPE})


def _generation(current: Status, name: str) -> int:
    """The live tree's number; for an environment that is gone, higher than any."""
    found = (row.generation for row in current.environments if row.name == name)
    return next(found, LARGEST_INTEGER + 1)


def _running(current: Status, number: int) -> PassStatus | None:
    running = (environment.current_pass for environment in current.environments)
    return next((one for one in running if one is not None and one.id == number), None)
