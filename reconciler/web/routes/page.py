"""The page and its assets, from memory: no request ever names a file on the disk."""

import mimetypes
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from reconciler.web.api.documents import Document
from reconciler.web.api.problems import HttpProblem, HttpReason

INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
"""Our own table, so that the machine's does not decide whether a script runs."""
_REVALIDATE = {"Cache-Control": "no-cache"}


class Page:
    """Serves `documents` by name."""

    def __init__(self, documents: Mapping[str, Document]) -> None:
        self._documents = documents

    @classmethod
    def shipped(cls) -> "Page":
        """The page that ships with this package."""
        root = files("reconciler.web").joinpath("static")
        return cls({name: _document(name, file) for name, file in _files(root)})

    async def index(self, request: Request) -> Response:
        """The page itself."""
        return self._serve(INDEX, request)

    async def asset(self, request: Request) -> Response:
        """A script, a style sheet or an image."""
        return self._serve(request.path_params["name"], request)

    def _serve(self, name: str, request: Request) -> Response:
        document = self._documents.get(name)
        if document is None:
            raise HttpProblem(404, HttpReason.NOT_FOUND, "There is no such file. The page is at /.")
        return document.response(request, _REVALIDATE)


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif not entry.name.startswith("."):
            yield prefix + entry.name, entry


def _document(name: str, file: Traversable) -> Document:
    suffix = name[name.rfind(".") :]
    guessed = mimetypes.guess_type(name, strict=True)[0] or "application/octet-stream"
    return Document.of(file.read_bytes(), _TYPES.get(suffix, guessed))
