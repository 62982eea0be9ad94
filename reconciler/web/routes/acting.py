"""The routes for actions: each passes the request on and returns the pass to watch."""

from typing import TypeAlias

import msgspec
from packaging.utils import canonicalize_name
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from reconciler.daemon.actions import Action, Refusal
from reconciler.daemon.requests import (
    Accept,
    CheckGpu,
    Pause,
    Reconcile,
    Request,
    Restore,
    Resume,
    Rollback,
)
from reconciler.web.api.backend import ServiceProtocol
from reconciler.web.api.documents import json_response
from reconciler.web.api.operations import Endpoint
from reconciler.web.api.parameters import body_of
from reconciler.web.api.problems import HttpProblem
from reconciler.web.api.schemas import AcceptBody, Accepted, PackageName, RestoreBody
from reconciler.web.routes import environments

Body: TypeAlias = Reconcile | Pause | Resume | Rollback | RestoreBody | AcceptBody | CheckGpu
BODIES: dict[Action, type[Body]] = {
    Action.RECONCILE: Reconcile,
    Action.PAUSE: Pause,
    Action.RESUME: Resume,
    Action.ROLLBACK: Rollback,
    Action.RESTORE: RestoreBody,
    Action.ACCEPT: AcceptBody,
    Action.GPU: CheckGpu,
}
"""The type of each request's body."""


class Acting:
    """Passes requests on to `service`."""

    def __init__(self, service: ServiceProtocol) -> None:
        self._service = service

    def endpoint(self, action: Action) -> Endpoint:
        """The route for `action` on the environment and the hold in its path."""

        async def act(request: HttpRequest) -> Response:
            name = request.path_params.get("environment")
            current = self._service.status()
            if name is None:
                instead = "/environments/NAME/holds/PACKAGE/" + action
                name = environments.only(current, instead).name
            else:
                environments.named(current, name)
            body = await body_of(request, BODIES[action])
            return await self._ask(name, _request(body, request.path_params.get("package", "")))

        return act

    async def _ask(self, environment: str, asked: Request) -> Response:
        number = await self._service.request(environment, asked)
        accepted = Accepted(pass_=number, environment=environment)
        return json_response(accepted, 202, {"Location": f"/history/{number}"})


def _request(body: Body, package: str) -> Request:
    """The request; for a hold, the path names the package."""
    match body:
        case RestoreBody():
            return Restore(package=_package(package), reason=body.reason, apply=body.apply)
        case AcceptBody():
            return Accept(package=_package(package), reason=body.reason)
    return body


def _package(name: str) -> str:
    """The name of a package, normalised (PEP 503)."""
    try:
        return canonicalize_name(msgspec.convert(name, PackageName))
    except msgspec.ValidationError as error:
        detail = f"{name[:100]!r} is not the name of a package. /status lists the holds."
        raise HttpProblem(404, Refusal.UNKNOWN_HOLD, detail) from error
