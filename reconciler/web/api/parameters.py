"""Reads the query and the body of a request, checked against their types.

Limits both the size of a body and the time it may take to arrive.
"""

import asyncio
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from reconciler.files.parsing import json_as
from reconciler.web.api.problems import HttpProblem, HttpReason

LARGEST_BODY = 64 * 1024
BODY_WITHIN = 10.0
"""Seconds in which the whole body has to arrive."""
LARGEST_INTEGER = 2**63 - 1
"""The largest that SQLite stores."""

T = TypeVar("T", bound=msgspec.Struct)
_JSON: Any = Any


def query_of(request: Request, kind: type[T]) -> T:
    """The query as a `kind`.

    Raises:
        HttpProblem: a parameter is unknown, repeated, or invalid.
    """
    pairs = request.query_params.multi_items()
    given = dict(pairs)
    if len(given) != len(pairs):
        raise _unfit_query("A parameter is given twice")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _unfit_query(str(error)) from error


async def body_of(request: Request, kind: type[T]) -> T:
    """The JSON body as a `kind`; no body counts as an empty object.

    Raises:
        HttpProblem: it is too large, too slow, not JSON, or invalid.
    """
    body = await _read(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body:
        return kind()
    if media_type != "application/json":
        detail = "The body must be JSON. Send it with Content-Type: application/json."
        raise HttpProblem(415, HttpReason.NOT_JSON, detail, {"Accept-Post": "application/json"})
    try:
        return msgspec.convert(_with_whole_numbers(json_as(body, _JSON)), kind)
    except msgspec.DecodeError as error:
        detail = f"The body is not valid: {error}. /openapi.json lists its fields."
        raise HttpProblem(400, HttpReason.BAD_BODY, detail) from error


def _with_whole_numbers(decoded: object) -> object:
    """The same, with 6.0 as 6: in JSON both are the same integer (JSON Schema, 4.2.2)."""
    if not isinstance(decoded, dict):
        return decoded
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in decoded.items()
    }


async def _read(request: Request) -> bytes:
    if int(request.headers.get("content-length", "0")) > LARGEST_BODY:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise _too_large()
    except (TimeoutError, ClientDisconnect) as error:
        detail = f"The body did not arrive within {BODY_WITHIN:.0f} s. Send it faster."
        raise HttpProblem(408, HttpReason.SLOW_REQUEST, detail) from error
    return bytes(body)


def _unfit_query(why: str) -> HttpProblem:
    detail = f"The query is not valid: {why}. /openapi.json lists the parameters."
    return HttpProblem(400, HttpReason.BAD_PARAMETER, detail)


def _too_large() -> HttpProblem:
    detail = f"The body has more than {LARGEST_BODY} bytes. Send only the fields you need."
    return HttpProblem(413, HttpReason.BODY_TOO_LARGE, detail)
