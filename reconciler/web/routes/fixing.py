"""Fix Dependencies, as in the guide: runs a pass, and responds when it is done."""

import asyncio
import time
from contextlib import suppress
from datetime import datetime

from msgspec import UNSET
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from reconciler.daemon.actions import Refusal, RequestRefused
from reconciler.daemon.requests import Reconcile
from reconciler.status import EnvironmentStatus, PassDetail, PassStatus, Result
from reconciler.web.api.backend import ServiceProtocol
from reconciler.web.api.documents import json_response
from reconciler.web.api.parameters import body_of, query_of
from reconciler.web.api.problems import HttpProblem
from reconciler.web.api.schemas import EnvironmentQuery
from reconciler.web.routes import environments
from reconciler.web.routes.fixed import summary
from reconciler.web.security.connection import Connection

_JOINED = 10
"""Passes back to look for the one that did the work; others may have asked at the same time."""
_RECORDED_TO = 0.001
"""Seconds: times of passes are recorded to the millisecond."""


class Fixing:
    """Runs passes of `service` for the clients that wait for them."""

    def __init__(self, service: ServiceProtocol) -> None:
        self._service = service

    async def fix(self, request: HttpRequest) -> Response:
        """Make one environment match what is declared, and report what was done."""
        query = query_of(request, EnvironmentQuery)
        asked = await body_of(request, Reconcile)
        current = self._service.status()
        chosen = (
            environments.first(current)
            if query.environment is UNSET
            else environments.named(current, query.environment)
        )
        connection = Connection.of(request.scope)
        outcome = await connection.while_open(self._outcome(chosen, asked))
        if outcome is None:
            detail = "The service is stopping. Try again when it is back."
            raise HttpProblem(503, Refusal.STOPPING, detail)
        after = environments.named(self._service.status(), chosen.name)
        return json_response(summary(after, outcome))

    async def _outcome(self, environment: EnvironmentStatus, asked: Reconcile) -> PassDetail:
        """What became of it.

        A pass that is already running may have looked before the file was saved, so only one
        that starts now reports the current state. If that one changed nothing, a pass that was
        still running when the request came may have done the work, and its outcome is reported.
        """
        came, name = time.time(), environment.name
        number = await self._service.request(name, asked)
        outcome = await self._service.wait_for_pass(name, number)
        if outcome.changes or outcome.result is Result.FAILED:
            return outcome
        with suppress(RequestRefused):  # without the history, this is still what happened
            return await asyncio.to_thread(self._joined, name, number, came) or outcome
        return outcome

    def _joined(self, name: str, number: int, came: float) -> PassDetail | None:
        """The pass before that changed something after the request had come; reads the disk."""
        for before in self._service.history(name, _JOINED, number):
            if before.changes and _end_of(before) >= came:
                return self._service.history_entry(before.id)
        return None


def _end_of(ended: PassStatus) -> float:
    """When a pass ended, in seconds since the epoch."""
    started = datetime.fromisoformat(ended.started_at).timestamp()
    return started + (ended.duration_seconds or 0.0) + _RECORDED_TO
