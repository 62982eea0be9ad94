"""Fix Dependencies, as in the guide: runs a pass, and responds when it is done."""

from msgspec import UNSET
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from reconciler.daemon.actions import Refusal
from reconciler.daemon.requests import Reconcile
from reconciler.status import EnvironmentStatus, PassDetail, Result
from reconciler.web.api.backend import ServiceProtocol
from reconciler.web.api.documents import json_response
from reconciler.web.api.parameters import body_of, query_of
from reconciler.web.api.problems import HttpProblem
from reconciler.web.api.schemas import EnvironmentQuery
from reconciler.web.routes import environments
from reconciler.web.routes.fixed import summary
from reconciler.web.security.connection import Connection


class Fixing:
    """Runs passes of `service` for the clients that wait for them."""

    def __init__(self, service: ServiceProtocol) -> None:
        self._service = service
        self._awaited: dict[str, int] = {}
        """The pass that someone is already waiting for, by environment; it may not show yet."""

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
        that starts now reports the current state. If that one changed nothing, the running
        pass did the work, and its outcome is reported.
        """
        name = environment.name
        shown = environment.current_pass
        running = self._awaited.get(name) if shown is None else shown.id
        number = await self._service.request(name, asked)
        self._awaited[name] = number
        try:
            outcome = await self._service.wait_for_pass(name, number)
        finally:
            if self._awaited.get(name) == number:
                del self._awaited[name]
        idle = not outcome.changes and outcome.result is not Result.FAILED
        if running is None or running == number or not idle:
            return outcome
        joined = await self._service.wait_for_pass(name, running)
        return joined if joined.changes else outcome
