"""The API as a table: each operation once, for the router and for the description alike."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.web.api.documents import JSON

Endpoint = Callable[[Request], Awaitable[Response]]

LOOK_PROBLEMS = (400, 403, 414, 421, 431)
"""What may be answered to any request."""
CHANGE_PROBLEMS = (*LOOK_PROBLEMS, 401, 408, 409, 413, 415, 503)
"""What may be answered to any request that changes something."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a status code comes with."""

    words: str
    type: Any = None
    """The type of a JSON body; None: another body, or none."""
    media_type: str | None = JSON
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be asked.

    Attributes:
        path: with parameters in braces, as Starlette and OpenAPI both write them.
        id: a name for generated clients.
        parameters: what each parameter of the path is.
        query, body: the types of both; None: there is none.
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
        """For Starlette, which adds HEAD to GET."""
        return Route(self.path, self.endpoint, methods=[self.method])


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of a path that varies, or a header that is read."""

    name: str
    type: Any
    """With its description, and what it may be."""
    place: Literal["path", "header"] = "path"
