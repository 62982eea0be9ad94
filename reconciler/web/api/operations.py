"""The API as a table: each operation once, for both the router and the description."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.web.api.documents import JSON

Endpoint = Callable[[Request], Awaitable[Response]]

LOOK_PROBLEMS = (400, 403, 414, 421, 431)
"""The errors that any request may get."""
CHANGE_PROBLEMS = (*LOOK_PROBLEMS, 401, 408, 409, 413, 415, 503)
"""The errors that any request for a change may get."""


class Answer(msgspec.Struct, frozen=True):
    """The response that comes with a status code."""

    words: str
    type: Any = None
    """The type of a JSON body; None: the body is not JSON, or there is none."""
    media_type: str | None = JSON
    headers: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One request that the service answers.

    Attributes:
        path: with parameters in braces, as in both Starlette and OpenAPI.
        id: a name for generated clients.
        parameters: the parameters in the path.
        query, body: their types; None: there is none.
        problems: the status codes that come with problem details.
    """

    method: Literal["GET", "POST"]
    path: str
    id: str
    summary: str
    endpoint: Endpoint
    answers: dict[int, Answer]
    problems: tuple[int, ...]
    parameters: tuple["Parameter", ...] = ()
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None

    def route(self) -> Route:
        """The route for Starlette, which adds HEAD to GET."""
        return Route(self.path, self.endpoint, methods=[self.method])


class Parameter(msgspec.Struct, frozen=True):
    """A variable part of a path, or a header."""

    name: str
    type: Any
    """With its description and constraints."""
    place: Literal["path", "header"] = "path"
