"""Responses as bytes with their ETag, encoded once per change for any number of requests."""

import hashlib
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from reconciler.status import Status

JSON = "application/json"


class Document(msgspec.Struct, frozen=True):
    """A document to serve."""

    body: bytes
    media_type: str
    etag: str
    """As in the header, with its quotes."""

    @classmethod
    def of(cls, body: bytes, media_type: str) -> "Document":
        """Make a document; its ETag is a hash of the body."""
        digest = hashlib.blake2b(body, digest_size=12, usedforsecurity=False).hexdigest()
        return cls(body, media_type, f'"{digest}"')

    @classmethod
    def of_json(cls, value: object) -> "Document":
        """Make a document from a value, as JSON that people can read too."""
        return cls.of(json_bytes(value), JSON)

    def response(self, request: Request, headers: Mapping[str, str] | None = None) -> Response:
        """Respond with it, or with 304 if the client already has it."""
        known = {"ETag": self.etag, **(headers or {})}
        if _matches(request.headers.getlist("if-none-match"), self.etag):
            return Response(status_code=304, headers=known)
        return Response(self.body, headers={**known, "Content-Type": self.media_type})


class StatusDocuments:
    """The whole status and each environment, encoded when first requested."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._known: dict[str | None, Document] = {}

    def whole(self, current: Status) -> Document:
        """The whole status."""
        return self._document(current, None, current)

    def environment(self, current: Status, name: str) -> Document | None:
        """One environment; None if there is no environment of that name."""
        for environment in current.environments:
            if environment.name == name:
                return self._document(current, name, environment)
        return None

    def _document(self, current: Status, key: str | None, value: object) -> Document:
        if current is not self._status:
            self._status = current
            self._known = {}
        if key not in self._known:
            self._known[key] = Document.of_json(value)
        return self._known[key]


def json_bytes(value: object) -> bytes:
    """The value as JSON, indented and with a final newline, for `curl` and for programs."""
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"


def json_response(
    value: object, code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Respond with a value."""
    return Response(json_bytes(value), code, headers, JSON)


def _matches(conditions: list[str], etag: str) -> bool:
    """Whether a condition matches (RFC 9110, 13.1.2): any of the list, compared weakly, or `*`."""
    tags = [tag.strip() for condition in conditions for tag in condition.split(",")]
    return "*" in tags or etag in (tag.removeprefix("W/") for tag in tags)
