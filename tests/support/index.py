"""A package index on the loopback interface that a test fills, watches and breaks.

It speaks the simple API as HTML (PEP 503) and JSON (PEP 691) with metadata beside the
files (PEP 658); it never serves anything that a test did not add.
"""

import base64
import hashlib
import http.server
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from tests.support.simple_api import (
    JSON_TYPE,
    ServedFile,
    html_page,
    json_page,
    project_of,
    served_file,
)


class Request(NamedTuple):
    """One request as it arrived: the path is relative to the index's own root."""

    method: str
    path: str


@dataclass(slots=True)
class Stall:
    """Holds requests back from when it is set up until it is released."""

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait_reached(self, timeout: float = 60) -> None:
        """Return once a request is being held back; fail the test if none comes."""
        assert self.reached.wait(timeout), f"no request came within {timeout} s"

    def release(self) -> None:
        """Let what is held back, and what follows, go on."""
        self.released.set()


@dataclass(frozen=True, slots=True)
class _Faults:
    status: int | None = None
    only: NormalizedName | None = None
    delay: float = 0.0
    stall: Stall | None = None
    stall_only: NormalizedName | None = None
    garbled: bool = False


class PackageIndex:
    """A running index; use it as a context manager, or `close` it.

    Args:
        credentials: User and password that every request must bring (HTTP basic).
    """

    def __init__(self, *, credentials: tuple[str, str] | None = None) -> None:
        self.credentials = credentials
        self.requests: list[Request] = []
        self._files: dict[str, ServedFile] = {}
        self._faults = _Faults()
        # Unlike a port, this is never used twice: uv's cache is keyed by the address.
        self._root = f"/{uuid.uuid4().hex}"
        self._server: _Server | None = None
        self._port = 0
        self.up()

    @property
    def url(self) -> str:
        """The simple API's address, without credentials."""
        return f"http://127.0.0.1:{self._port}{self._root}/simple/"

    @property
    def url_with_credentials(self) -> str:
        """The address as a user with a password writes it."""
        assert self.credentials is not None, "this index asks for no credentials"
        return self.url.replace("//", "//{}:{}@".format(*self.credentials), 1)

    def add(self, *paths: Path, yanked: bool = False, uploaded: str | None = None) -> None:
        """Offer wheels or sdists; the same file name again replaces what was offered.

        Args:
            paths: The files.
            yanked: Offer them as yanked (PEP 592).
            uploaded: The upload time, RFC 3339, for `exclude-newer`.
        """
        for path in paths:
            self._files[path.name] = served_file(path, yanked=yanked, uploaded=uploaded)

    def remove(self, name: str, version: str | None = None) -> None:
        """Take a version, or the whole project, off the index."""
        gone = [
            key
            for key, file in self._files.items()
            if file.name == canonicalize_name(name)
            and (version is None or file.version == Version(version))
        ]
        assert gone, f"{name} {version or ''} is not on the index"
        for key in gone:
            del self._files[key]

    def file_url(self, filename: str) -> str:
        """The address of one file, for direct references."""
        return f"http://127.0.0.1:{self._port}{self._root}/files/{filename}"

    def requests_for(self, name: str) -> list[Request]:
        """Return the requests that concern one project: its page, metadata and files."""
        return [request for request in list(self.requests) if project_of(request.path) == name]

    def downloads(self) -> list[str]:
        """Return the names of the files that were asked for, metadata apart."""
        paths = [request.path for request in list(self.requests)]
        return [
            path.removeprefix("/files/")
            for path in paths
            if path.startswith("/files/") and not path.endswith(".metadata")
        ]

    def down(self) -> None:
        """Close the socket: connections are refused from now on."""
        if self._server is not None:
            self.heal()
            self._server.stop()
            self._server = None

    def up(self) -> None:
        """Listen (again, on the same port)."""
        assert self._server is None, "the index is up"
        self._server = _Server(self._port, self._answer)
        self._port = self._server.server_address[1]

    def fail(self, status: int = 500, *, for_name: str | None = None) -> None:
        """Answer with this status, for everything or for one project."""
        only = None if for_name is None else canonicalize_name(for_name)
        self._faults = _Faults(status=status, only=only)

    def slow(self, seconds: float) -> None:
        """Wait so long before each answer."""
        self._faults = _Faults(delay=seconds)

    def garble(self) -> None:
        """Answer every page with 200 and a page of someone else, as a captive portal does."""
        self._faults = _Faults(garbled=True)

    def stall_downloads(self, *, for_name: str | None = None) -> Stall:
        """Hold back every file from now on (metadata and pages are answered).

        Args:
            for_name: Only files of this project.
        """
        stall = Stall()
        only = None if for_name is None else canonicalize_name(for_name)
        self._faults = _Faults(stall=stall, stall_only=only)
        return stall

    def heal(self) -> None:
        """End all faults, and let go of what is held back."""
        faults, self._faults = self._faults, _Faults()
        if faults.stall is not None:
            faults.stall.release()

    def close(self) -> None:
        """Stop for good."""
        self.down()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, handler: "_Handler") -> None:
        path = unquote(urlsplit(handler.path).path)
        if not path.startswith(f"{self._root}/"):
            handler.answer(HTTPStatus.NOT_FOUND)
            return
        path = path.removeprefix(self._root)
        self.requests.append(Request(handler.command, path))
        if not self._permitted(handler):
            handler.answer(
                HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": 'Basic realm="index"'}
            )
            return
        faults = self._faults
        name = project_of(path)
        time.sleep(faults.delay)
        if faults.status is not None and faults.only in (None, name):
            handler.answer(HTTPStatus(faults.status), b"the test wants this to fail")
            return
        if faults.garbled:
            page = b"<html><body>Please log in to this network.</body></html>"
            handler.answer(HTTPStatus.OK, page, headers={"Content-Type": JSON_TYPE})
            return
        if (
            self._is_download(path)
            and faults.stall is not None
            and faults.stall_only in (None, name)
        ):
            faults.stall.reached.set()
            faults.stall.released.wait()
        self._serve(handler, path)

    def _permitted(self, handler: "_Handler") -> bool:
        if self.credentials is None:
            return True
        wanted = base64.b64encode(":".join(self.credentials).encode()).decode()
        return handler.headers.get("Authorization") == f"Basic {wanted}"

    @staticmethod
    def _is_download(path: str) -> bool:
        return path.startswith("/files/") and not path.endswith(".metadata")

    def _serve(self, handler: "_Handler", path: str) -> None:
        parts = path.strip("/").split("/")
        match parts:
            case ["simple", name] if files := self._of(canonicalize_name(name)):
                self._serve_page(handler, name, files)
            case ["files", filename] if filename in self._files:
                body = self._files[filename].path.read_bytes()
                handler.answer(HTTPStatus.OK, body, headers={"Cache-Control": "max-age=31536000"})
            case ["files", filename] if (
                file := self._files.get(filename.removesuffix(".metadata"))
            ) and file.metadata:
                handler.answer(HTTPStatus.OK, file.metadata)
            case _:
                handler.answer(HTTPStatus.NOT_FOUND)

    def _of(self, name: NormalizedName) -> list[ServedFile]:
        return [file for file in list(self._files.values()) if file.name == name]

    def _serve_page(self, handler: "_Handler", name: str, files: list[ServedFile]) -> None:
        wants_json = JSON_TYPE in handler.headers.get("Accept", "")
        body = json_page(name, files) if wants_json else html_page(name, files)
        # A test that changes the index must see the change at once.
        headers = {
            "Content-Type": JSON_TYPE if wants_json else "text/html",
            "Cache-Control": "no-cache",
            "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
        }
        if handler.headers.get("If-None-Match") == headers["ETag"]:
            handler.answer(HTTPStatus.NOT_MODIFIED, headers=headers)
        else:
            handler.answer(HTTPStatus.OK, body, headers=headers)


class _Server(http.server.ThreadingHTTPServer):
    """The listening socket and its thread; stopping it also cuts open connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, answer: "Callable[[_Handler], None]") -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that was killed in the middle is what tests are about."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.answer(self)

    def do_HEAD(self) -> None:
        self.server.answer(self)

    def answer(
        self, status: HTTPStatus, body: bytes = b"", *, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != HTTPStatus.NOT_MODIFIED:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet: the index has its own list of requests."""
