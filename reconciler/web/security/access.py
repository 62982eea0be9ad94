"""Decides who may read and who may change things: the guard in front of every route.

Every refusal is counted, and logged with its reason, the user and the path, unless there are many.
A token is never logged.
"""

import asyncio
import hmac
import os
import pwd
from collections.abc import Iterable
from functools import partial

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.config.configuration import HttpConfig
from reconciler.log.logger import get_logger
from reconciler.web.api.problems import HttpProblem, HttpReason, response_of
from reconciler.web.security import rules
from reconciler.web.security.connection import Connection
from reconciler.web.security.headers import protective_headers
from reconciler.web.security.peers import Peer

_LOG = get_logger(__name__)
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_SUSPICIOUS = frozenset({401, 403, 408, 413, 414, 415, 421, 431})


class AccessGuard:
    """Lets allowed requests through, and adds the protective headers to every response.

    Args:
        app: the application behind it.
        http: the allowed host names and users.
        token: the bearer token that allows every change; None: there is none.
    """

    def __init__(self, app: ASGIApp, *, http: HttpConfig, token: str | None) -> None:
        self._app = app
        self._http = http
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(protective_headers())
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._admit(scope)
        except HttpProblem as problem:
            response = await refusal(scope, problem, suspicious=True)
            await response(scope, receive, protected)
        else:
            await self._app(scope, receive, protected)

    async def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        rules.within_bounds(scope["raw_path"] + scope["query_string"], headers)
        rules.one_end(scope["http_version"], headers)
        rules.plain_path(scope["raw_path"])
        rules.own_host(headers, self._http.allowed_hosts)
        if scope["method"] in _SAFE_METHODS:
            rules.not_embedded(headers)
            return
        rules.same_origin(headers)
        peer = Connection.of(scope).peer
        by_token = self._has_token(headers)
        uid = await asyncio.to_thread(peer.uid if by_token else partial(self._admit_user, peer))
        granted = {"method": scope["method"], "path": _shown(scope), "uid": uid}
        _LOG.info("access.granted", by="token" if by_token else "user", **granted)

    def _has_token(self, headers: Headers) -> bool:
        """Whether the right token was sent.

        Raises:
            HttpProblem: a wrong token was sent.
        """
        sent = headers.getlist("authorization")
        if not sent:
            return False
        scheme, _, credential = sent[0].partition(" ")
        expected = (self._token or "").encode()
        right = hmac.compare_digest(credential.strip().encode("latin-1"), expected)
        if len(sent) == 1 and scheme.lower() == "bearer" and self._token and right:
            return True
        detail = "The token is wrong. Send the first line of http.token_file, or none at all."
        raise HttpProblem(401, HttpReason.BAD_TOKEN, detail, {"WWW-Authenticate": "Bearer"})

    def _admit_user(self, peer: Peer) -> int:
        uid = peer.uid()
        if uid is None:
            detail = (
                "The service cannot tell which local user sent this. Use loopback or the unix "
                "socket, or send the token (http.token_file) as Authorization: Bearer."
            )
            raise HttpProblem(403, HttpReason.UNKNOWN_USER, detail)
        if uid not in {0, os.geteuid(), *user_ids(self._http.allowed_users)}:
            detail = (
                f"The user with uid {uid} may read but not change anything. Add the user to "
                "http.allowed_users in the configuration, or send the token."
            )
            raise HttpProblem(403, HttpReason.USER_NOT_ALLOWED, detail)
        return uid


async def refusal(scope: Scope, problem: HttpProblem, *, suspicious: bool = False) -> Response:
    """The response to a refused request, logged if it may be an attack."""
    if suspicious or problem.status in _SUSPICIOUS:
        connection = Connection.of(scope)
        found = (problem.reason, connection, scope["method"], _shown(scope))
        connection.refusals.note(str(problem.reason), partial(log_refusal, *found))
    return response_of(problem)


def log_refusal(
    reason: HttpReason | str, connection: Connection, method: str | None, path: str | None
) -> None:
    """Log a refusal, with the user if known; reads files.

    A client that is refused may be gone by now: what was found when it connected counts.
    """
    user = connection.user
    uid = user if isinstance(user, int) else connection.peer.uid()
    _LOG.warning("access.refused", reason=str(reason), uid=uid, method=method, path=path)


def _shown(scope: Scope) -> str:
    """The path as it was sent, for the log, without the query, which may contain secrets."""
    return scope["raw_path"][:200].decode("ascii", "backslashreplace")  # type: ignore[no-any-return]


def user_ids(users: Iterable[str | int]) -> set[int]:
    """The uids of the users that exist."""
    return {uid for user in users if (uid := _user_id(user)) is not None}


def warn_of_unknown_users(users: Iterable[str | int]) -> None:
    """Log the users that do not exist, once rather than at each request."""
    for user in users:
        if _user_id(user) is None:
            fix = "Correct http.allowed_users, or create the user."
            _LOG.warning("access.user-unknown", user=user, mend=fix)


def _user_id(user: str | int) -> int | None:
    if isinstance(user, int):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
