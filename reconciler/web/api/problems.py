"""Errors as problem details (RFC 9457): what is wrong, one word for scripts, what to do.

An unexpected exception is never shown; it goes to the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from reconciler.daemon.actions import Refusal, RequestRefused
from reconciler.log.redact import redact

MEDIA_TYPE = "application/problem+json"


class HttpReason(StrEnum):
    """Why a request fails; part of the API, as is `Refusal`."""

    FOREIGN_HOST = "ForeignHost"
    CROSS_SITE = "CrossSite"
    FOREIGN_ORIGIN = "ForeignOrigin"
    UNKNOWN_USER = "UnknownUser"
    USER_NOT_ALLOWED = "UserNotAllowed"
    BAD_TOKEN = "BadToken"  # noqa: S105  # a word, not a token
    BAD_REQUEST = "BadRequest"
    BAD_PARAMETER = "BadParameter"
    BAD_BODY = "BadBody"
    SLOW_REQUEST = "SlowRequest"
    BODY_TOO_LARGE = "BodyTooLarge"
    ADDRESS_TOO_LONG = "AddressTooLong"
    HEADERS_TOO_LARGE = "HeadersTooLarge"
    NOT_JSON = "NotJson"
    NOT_FOUND = "NotFound"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    UNKNOWN_PASS = "UnknownPass"  # noqa: S105  # a word, not a password
    SEVERAL_ENVIRONMENTS = "SeveralEnvironments"
    TOO_MANY_SUBSCRIBERS = "TooManySubscribers"
    TOO_MANY_CONNECTIONS = "TooManyConnections"
    NOT_READY = "NotReady"
    STALLED = "Stalled"
    INTERNAL = "InternalError"


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error."""

    type: str = "about:blank"
    title: str
    """The HTTP status in words."""
    status: int
    reason: str
    """One CamelCase word."""
    detail: str
    """What is wrong and what to do, for people."""


@dataclass(slots=True, eq=False)
class HttpProblem(Exception):  # a response, not a defect
    """A request that gets an error."""

    status: int
    reason: HttpReason | Refusal
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


def body_of(problem: HttpProblem) -> bytes:
    """The problem as JSON."""
    details = ProblemDetails(
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        reason=problem.reason,
        detail=redact(problem.detail),
    )
    return msgspec.json.format(msgspec.json.encode(details)) + b"\n"


def response_of(problem: HttpProblem) -> Response:
    """The response to send."""
    return Response(body_of(problem), problem.status, dict(problem.headers), MEDIA_TYPE)


def refused_by_service(refused: RequestRefused) -> HttpProblem:
    """The service's refusal as an HTTP error."""
    match refused.reason:
        case Refusal.UNKNOWN_ENVIRONMENT | Refusal.UNKNOWN_GENERATION | Refusal.UNKNOWN_HOLD:
            code = 404
        case Refusal.STOPPING | Refusal.JOURNAL_FAILED:
            code = 503
        case _:
            code = 409
    return HttpProblem(code, refused.reason, str(refused))
