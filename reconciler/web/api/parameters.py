"""What a request says beside its address: query and body, checked against their types.

Reads no more of a body than is allowed, and does not wait for it for ever.
"""

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from reconciler.web.api.problems import HttpProblem, HttpReason

LARGEST_BODY = 64 * 1024
BODY_WITHIN = 10.0
"""Seconds in which the whole body has to arrive."""
LARGEST_INTEGER = 2**63 - 1
"""What SQLite holds."""

T = TypeVar("T", bound=msgspec.Struct)


def query_of(request: Request, kind: type[T]) -> T:
    """The query, of the type `kind`.

    Raises:
        HttpProblem: a parameter is unknown, twice there, or not what it should be.
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
    """The JSON body, of the type `kind`; none is the same as an empty object.

    Raises:
        HttpProblem: it is too large, too slow, no JSON, or not what it should be.
    """
    body = await _read(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body:
        return kind()
    if media_type != "application/json":
        detail = "The body has to be JSON. Send it with Content-Type: application/json."
        raise HttpProblem(415, HttpReason.NOT_JSON, detail, {"Accept-Post": "application/json"})
    try:
        return msgspec.convert(_with_whole_numbers(msgspec.json.decode(body)), kind)
    except (msgspec.DecodeError, RecursionError) as error:
        detail = f"The body does not fit: {error}. /openapi.json has its fields."
        raise HttpProblem(400, HttpReason.BAD_BODY, detail) from error


def _with_whole_numbers(decoded: object) -> object:
    """The same, with 6.0 as 6: to JSON both are one integer (JSON Schema, 4.2.2)."""
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
        detail = f"The body did not arrive within {BODY_WITHIN:.0f} s. Send it at once."
        raise HttpProblem(408, HttpReason.SLOW_REQUEST, detail) from error
    return bytes(body)


def _unfit_query(why: str) -> HttpProblem:
    detail = f"The query does not fit: {why}. /openapi.json has the parameters."
    return HttpProblem(400, HttpReason.BAD_PARAMETER, detail)


def _too_large() -> HttpProblem:
    detail = f"The body has more than {LARGEST_BODY} bytes. A few fields are all that is read."
    return HttpProblem(413, HttpReason.BODY_TOO_LARGE, detail)
