"""Fix Dependencies, as in the guide: runs a pass, and responds when it is done."""

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from reconciler.daemon.actions import Action, Refusal
from reconciler.status import EnvironmentStatus, PassDetail, Result
from reconciler.web.api.backend import ServiceProtocol
from reconciler.web.api.documents import json_response
from reconciler.web.api.parameters import body_of, query_of
from reconciler.web.api.problems import HttpProblem
from reconciler.web.api.schemas import EnvironmentQuery, Fix
from reconciler.web.routes import environments
from reconciler.web.routes.fixed import summary
from reconciler.web.security.connection import Connection


class Fixing:
    """Runs passes of `service` for whoever waits for them."""

    def __init__(self, service: ServiceProtocol) -> None:
        self._service = service
        self._awaited: dict[str, int] = {}
        """The pass that someone is already waiting for, by environment; it may not show yet."""

    async def fix(self, request: Request) -> Response:
        """Bring one environment in order and say what was done."""
        query = query_of(request, EnvironmentQuery)
        form = await body_of(request, Fix)
        current = self._service.status()
        chosen = (
            environments.first(current)
            if query.environment is UNSET
            else environments.named(current, query.environment)
        )
        connection = Connection.of(request.scope)
        outcome = await connection.while_open(self._outcome(chosen, form))
        if outcome is None:
            detail = "The service is stopping. Try again when it is back."
            raise HttpProblem(503, Refusal.STOPPING, detail)
        after = environments.named(self._service.status(), chosen.name)
        return json_response(summary(after, outcome))

    async def _outcome(self, environment: EnvironmentStatus, form: Fix) -> PassDetail:
        """Run a pass and return the outcome to report.

        A pass that is already running may have looked before the file was saved, so only one
        that starts now reports the current state. If that one had nothing left to do, the
        running pass did the work, and its outcome is reported.
        """
        name = environment.name
        shown = environment.current_pass
        running = self._awaited.get(name) if shown is None else shown.id
        asked = await self._service.request(
            name, Action.RECONCILE, reason=form.reason, apply=form.apply
        )
        self._awaited[name] = asked
        try:
            outcome = await self._service.wait_for_pass(name, asked)
        finally:
            if self._awaited.get(name) == asked:
                del self._awaited[name]
        if running is None or running == asked or outcome.result is not Result.UNCHANGED:
            return outcome
        joined = await self._service.wait_for_pass(name, running)
        return joined if joined.result is Result.CHANGED else outcome
