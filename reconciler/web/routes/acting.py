"""The routes for actions: each passes the request on and returns the pass to watch."""

import msgspec
from packaging.utils import canonicalize_name
from starlette.requests import Request
from starlette.responses import Response

from reconciler.daemon.actions import Action, Refusal
from reconciler.web.api.backend import ServiceProtocol
from reconciler.web.api.documents import json_response
from reconciler.web.api.operations import Endpoint
from reconciler.web.api.parameters import body_of
from reconciler.web.api.problems import HttpProblem
from reconciler.web.api.schemas import (
    Accepted,
    Nothing,
    PackageName,
    Pause,
    Reconcile,
    Restore,
    Rollback,
    Why,
)
from reconciler.web.routes import environments

FORMS: dict[Action, type[msgspec.Struct]] = {
    Action.RECONCILE: Reconcile,
    Action.PAUSE: Pause,
    Action.RESUME: Why,
    Action.ROLLBACK: Rollback,
    Action.RESTORE: Restore,
    Action.ACCEPT: Why,
    Action.GPU: Nothing,
}
"""What the body of each request may say; its fields are those of `ServiceProtocol.request`."""


class Acting:
    """Passes requests on to `service`."""

    def __init__(self, service: ServiceProtocol) -> None:
        self._service = service

    def endpoint(self, action: Action) -> Endpoint:
        """The route for `action` on the environment and the hold in its path."""

        async def act(request: Request) -> Response:
            name = request.path_params.get("environment")
            current = self._service.status()
            if name is None:
                instead = "/environments/NAME/holds/PACKAGE/" + action
                name = environments.only(current, instead).name
            else:
                environments.named(current, name)
            form = await body_of(request, FORMS[action])
            return await self._ask(name, action, form, request.path_params.get("package"))

        return act

    async def _ask(
        self, environment: str, action: Action, form: msgspec.Struct, package: str | None
    ) -> Response:
        wanted = msgspec.structs.asdict(form)
        if package is not None:
            wanted["package"] = _package(package)
        number = await self._service.request(environment, action, **wanted)
        accepted = Accepted(pass_=number, environment=environment)
        return json_response(accepted, 202, {"Location": f"/history/{number}"})


def _package(name: str) -> str:
    """The name of a package, normalised (PEP 503)."""
    try:
        return canonicalize_name(msgspec.convert(name, PackageName))
    except msgspec.ValidationError as error:
        detail = f"{name[:100]!r} is no name of a package. /status lists the holds."
        raise HttpProblem(404, Refusal.UNKNOWN_HOLD, detail) from error
