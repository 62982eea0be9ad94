"""The HTTP application: every route behind one guard, and every error as problem details."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.config import HttpConfig
from reconciler.daemon.actions import RequestRefused
from reconciler.daemon.metrics import Metrics
from reconciler.log.logger import get_logger
from reconciler.web.api.backend import ServiceProtocol
from reconciler.web.api.documents import Document
from reconciler.web.api.openapi import describe
from reconciler.web.api.problems import HttpProblem, HttpReason, refused_by_service, response_of
from reconciler.web.routes.acting import Acting
from reconciler.web.routes.fixing import Fixing
from reconciler.web.routes.looking import Looking
from reconciler.web.routes.page import Page
from reconciler.web.routes.streaming import HEARTBEAT, Streaming
from reconciler.web.routes.table import operations
from reconciler.web.security.access import AccessGuard, refusal, warn_of_unknown_users
from reconciler.web.security.headers import protective_headers

_LOG = get_logger(__name__)
_HTTP_REASONS = {
    404: (HttpReason.NOT_FOUND, "There is nothing here. /openapi.json lists the paths."),
    405: (
        HttpReason.METHOD_NOT_ALLOWED,
        "This method is not allowed here. The Allow header lists the ones that are.",
    ),
}


def create_app(
    service: ServiceProtocol,
    http: HttpConfig,
    *,
    token: str | None,
    metrics: Metrics | None = None,
    heartbeat: float = HEARTBEAT,
) -> Starlette:
    """Make the application.

    Args:
        service: the service that it shows and passes requests to.
        http: who may do what.
        token: the bearer token (`read_token`), or None.
        metrics: the service's counters.
        heartbeat: seconds between two comments in the event stream.
    """
    warn_of_unknown_users(http.allowed_users)
    table = operations(
        Looking(service, metrics or Metrics()),
        Acting(service),
        Fixing(service),
        Streaming(service.events, heartbeat),
    )
    page = Page.shipped()
    app = Starlette(
        routes=[
            *(operation.route() for operation in table),
            Route("/openapi.json", _serving(Document.of_json(describe(table)))),
            Route("/", page.index),
            Route("/ai-models-setup", page.index),
            Route("/static/{name:path}", page.asset),
        ],
        middleware=[Middleware(AccessGuard, http=http, token=token)],
        exception_handlers={
            HttpProblem: _problem,
            RequestRefused: _refused,
            HTTPException: _http_error,
            Exception: _unexpected,
        },
    )
    app.router.redirect_slashes = False
    return app


def _serving(document: Document) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return document.response(request)

    return serve


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpProblem)  # noqa: S101  # Starlette chose this handler by type
    return await refusal(request.scope, error)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)  # noqa: S101
    return response_of(refused_by_service(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    reason, detail = _HTTP_REASONS.get(error.status_code, (HttpReason.BAD_REQUEST, error.detail))
    return await refusal(
        request.scope, HttpProblem(error.status_code, reason, detail, error.headers or {})
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    _LOG.error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    detail = "An unexpected error occurred. Please report it with the traceback in the log."
    # uvicorn closes the connection after an error. Without this header the next request would be
    # reset.
    headers = {**protective_headers(), "Connection": "close"}
    problem = HttpProblem(500, HttpReason.INTERNAL, detail, headers)
    return response_of(problem)
