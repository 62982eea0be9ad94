"""Talks to the running service over HTTP, on its TCP port or its unix socket.

Sends the bearer token only if the configuration names one, and never shows it.
"""

import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from reconciler.cli.listener import listener_uid, name_of, uids_of
from reconciler.config import Address, Config, TcpAddress, UnixAddress
from reconciler.daemon.actions import Action
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
from reconciler.files.bounded import read_text
from reconciler.files.parsing import json_as
from reconciler.log.redact import register_secret
from reconciler.status import PassDetail, PassStatus, Status

T = TypeVar("T")

_TIMEOUT = 30.0
_SILENCE = 60.0
"""Seconds without even a heartbeat after which an event stream counts as dead."""
_ACTIONS: dict[type[Request], Action] = {
    Reconcile: Action.RECONCILE,
    Pause: Action.PAUSE,
    Resume: Action.RESUME,
    Rollback: Action.ROLLBACK,
    Restore: Action.RESTORE,
    Accept: Action.ACCEPT,
    CheckGpu: Action.GPU,
}
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- to connect, not to bind


_MOST_BYTES = 64 * 1024 * 1024
"""Of an answer: another program may listen there, and say anything without an end."""


class NotRunning(Exception):
    """Nothing answers at the configured address."""

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(
            f"the service does not answer at {address} ({reason}). Start it with `reconciler run`, "
            "or install it to start at boot with `reconciler service install`."
        )


class RefusedByService(Exception):
    """The service returned an error."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


class Foreign(Exception):
    """Another program answers at the configured address."""

    def __init__(self, address: Address) -> None:
        super().__init__(
            f"what answers at {address} is not Reconciler. Set another address as `listen` in "
            "[http], or name the right configuration with --config."
        )


class Untrusted(Exception):
    """What answers may not have the token."""

    def __init__(self, address: Address, user: str) -> None:
        super().__init__(
            f"what answers at {address} belongs to {user}, so the token was not sent. The service "
            "has to run as root, as you, as the owner of token_file, or as one of allowed_users in "
            "[http]: end that program, or add the service's user there."
        )


class ServerEvent(msgspec.Struct, frozen=True):
    """One server-sent event; `data` is JSON."""

    id: str
    kind: str
    data: dict[str, Any]


class _Problem(msgspec.Struct):
    reason: str
    detail: str


class _Accepted(msgspec.Struct):
    pass_: int = msgspec.field(name="pass")


class _History(msgspec.Struct):
    passes: tuple[PassStatus, ...]
    next: str | None = None


class Client:
    """A client for the service at one address."""

    def __init__(self, config: Config) -> None:
        self.address = config.http.listen
        self._token_file = config.http.token_file
        self._allowed_users = config.http.allowed_users

    def status(self) -> Status:
        """The whole status."""
        return self._get("/status", Status)

    def history(self, environment: str | None, limit: int) -> tuple[PassStatus, ...]:
        """Past passes, newest first."""
        which = f"&environment={quote(environment)}" if environment else ""
        passes: list[PassStatus] = []
        before = ""
        while len(passes) < limit:  # a page has a limit in bytes as well
            place = f"/history?limit={limit - len(passes)}{which}{before}"
            page = self._get(place, _History)
            passes += page.passes
            if page.next is None or not page.passes:
                break
            before = f"&before={passes[-1].id}"
        return tuple(passes)

    def entry(self, number: int) -> PassDetail:
        """One pass in full."""
        return self._get(f"/history/{number}", PassDetail)

    def ask(self, environment: str, asked: Request) -> int:
        """Ask for something; the id of the pass that does it.

        Args:
            environment: its name, as the service knows it.
            asked: what to do.
        """
        path = f"/environments/{quote(environment)}/{_place(asked)}"
        given = msgspec.to_builtins(asked)
        given.pop("package", None)  # the path has it
        return self._request("POST", path, _Accepted, given).pass_

    def events(self, last_id: str | None) -> Iterator[ServerEvent]:
        """Events until the connection ends; the first is always `connected`."""
        headers = {"Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        with self._answer("GET", "/events", headers, _SILENCE) as response:
            self._refuse_errors(response)
            yield ServerEvent("", "connected", {})
            try:
                yield from _events(response)
            except ValueError as error:
                raise Foreign(self.address) from error

    def _get(self, path: str, kind: type[T]) -> T:
        return self._request("GET", path, kind, None)

    def _request(self, method: str, path: str, kind: type[T], body: object) -> T:
        with self._answer(method, path, {}, _TIMEOUT, body) as response:
            self._refuse_errors(response)
            try:
                return json_as(response.read(_MOST_BYTES), kind)
            except msgspec.DecodeError as error:
                raise Foreign(self.address) from error

    def _refuse_errors(self, response: http.client.HTTPResponse) -> None:
        if response.status < http.client.BAD_REQUEST:
            return
        try:
            problem = json_as(response.read(_MOST_BYTES), _Problem)
        except msgspec.DecodeError as error:
            raise Foreign(self.address) from error
        raise RefusedByService(response.status, problem.reason, problem.detail)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        timeout: float,
        body: object = None,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _connection(self.address, timeout)
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers = {**headers, "Content-Type": "application/json"}
        try:
            if content is not None:
                headers |= self._authorization(connection)
            # The service accepts this name at any address.
            connection.request(method, path, content, {"Host": "localhost", **headers})
            response = connection.getresponse()
        except PermissionError as error:
            raise NotRunning(self.address, "permission denied") from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NotRunning(self.address, _reason(error)) from error
        try:
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise NotRunning(self.address, _reason(error)) from error
        except OverflowError as error:  # http.client does not check the size of a chunk
            raise Foreign(self.address) from error
        finally:
            connection.close()

    def _authorization(self, connection: http.client.HTTPConnection) -> dict[str, str]:
        """The token, if there is one that this user may read; only for who may have it.

        Raises:
            Untrusted: Another user's program answers.
        """
        token = self._token()
        if token is None or self._token_file is None:
            return {}
        trusted = {0, os.geteuid(), self._token_file.stat().st_uid, *uids_of(self._allowed_users)}
        try:
            uid = listener_uid(connection)
        except LookupError:
            connection.close()
            raise Untrusted(self.address, "an unknown user") from None
        if uid is not None and uid not in trusted:
            connection.close()
            raise Untrusted(self.address, name_of(uid))
        return {"Authorization": f"Bearer {token}"}

    def _token(self) -> str | None:
        if self._token_file is None:
            return None
        with suppress(OSError, UnicodeDecodeError):
            token = read_text(self._token_file).partition("\n")[0].strip()
            register_secret(token)
            return token
        return None


def _place(asked: Request) -> str:
    """The path of a request, below its environment."""
    if isinstance(asked, Restore | Accept):
        return f"holds/{quote(asked.package)}/{_ACTIONS[type(asked)]}"
    return _ACTIONS[type(asked)]


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the socket does not exist"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _connection(address: Address, timeout: float) -> http.client.HTTPConnection:
    match address:
        case UnixAddress():
            return _UnixConnection(address.path, timeout)
        case TcpAddress():
            host = _ANYWHERE.get(address.host, address.host)
            return http.client.HTTPConnection(host, address.port, timeout=timeout)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _events(response: http.client.HTTPResponse) -> Iterator[ServerEvent]:
    """Read a stream of server-sent events (WHATWG HTML, 9.2.6).

    Raises:
        ValueError: A line is too long or not UTF-8, or its data is not a JSON object.
    """
    fields: dict[str, str] = {}
    while line := response.readline(_MOST_BYTES):
        if len(line) == _MOST_BYTES:
            raise ValueError("a line of the stream is too long")
        text = line.decode().rstrip("\r\n")
        if text:
            name, _, value = text.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            data = json_as(fields["data"], dict[str, Any])
            yield ServerEvent(fields.get("id", ""), fields.get("event", "message"), data)
            fields = {}
        else:
            fields = {}
