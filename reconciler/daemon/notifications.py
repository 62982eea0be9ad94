"""Tells commands and webhooks what happened: changed, failed, a hold broken.

On a thread of its own, each with a time limit for all of it. A notice that cannot be delivered is
logged and never fails a pass; secrets come from files and are never logged.
"""

import http.client
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from reconciler.config import Notify, Occasion
from reconciler.daemon.webhook import Exchange, Overdue
from reconciler.files.bounded import read_text
from reconciler.log.logger import get_logger
from reconciler.log.redact import redact, register_secret, without_secrets
from reconciler.processes import NotStarted, Program, TookTooLong, run

log = get_logger(__name__)

_WAITING = 100
_SHOWN = 500


class Undelivered(Exception):
    """A notice did not reach its receiver."""


class Notices:
    """The notices of one environment, delivered one after the other."""

    def __init__(self, environment: str, receivers: tuple[Notify, ...]) -> None:
        self._environment = environment
        self._receivers = receivers
        self._queue: queue.SimpleQueue[tuple[Notify, bytes] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def tell(self, occasion: Occasion, data: Mapping[str, Any]) -> None:
        """Queue a notice for everyone who wants to hear of this; returns at once.

        Args:
            occasion: What happened.
            data: What to say, as JSON knows it.
        """
        for receiver in self._receivers:
            if occasion in receiver.on:
                notice = {"occasion": occasion, "environment": self._environment, **data}
                self._put(receiver, msgspec.json.encode(without_secrets(notice)))

    def _put(self, receiver: Notify, body: bytes) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._deliver_all, name="notices", daemon=True)
            self._thread.start()
        if self._queue.qsize() < _WAITING:
            self._queue.put((receiver, body))
            return
        log.warning("notify.failed", environment=self._environment, receiver=_name(receiver),
                    reason="too many notices wait already")  # fmt: skip

    def close(self) -> None:
        """Take no more notices; those that wait are still delivered, then the thread ends."""
        if self._thread is not None:
            self._queue.put(None)

    def _deliver_all(self) -> None:
        while (item := self._queue.get()) is not None:
            receiver, body = item
            try:
                deliver(receiver, body)
            except Undelivered as error:
                log.warning("notify.failed", environment=self._environment,
                            receiver=_name(receiver), reason=redact(str(error)))  # fmt: skip
            else:
                log.info("notify.sent", environment=self._environment, receiver=_name(receiver))


def deliver(receiver: Notify, body: bytes) -> None:
    """Hand one notice over.

    Args:
        receiver: Where to, and how long it may take.
        body: The notice, JSON.

    Raises:
        Undelivered: It did not get there.
    """
    if receiver.command is not None:
        _run(receiver.command, body, receiver.timeout)
    else:
        _post(receiver, body)


def _run(command: tuple[str, ...], body: bytes, timeout: float) -> None:
    try:
        ended = run(Program(command, given=body.decode()), limit=timeout, keep=_SHOWN)
    except NotStarted as error:
        raise Undelivered(f"it does not start ({error})") from error
    except TookTooLong as error:
        raise Undelivered(str(error)) from error
    if ended.status != 0:
        raise Undelivered(f"it ended with {ended.status}: {ended.err.strip()}")


def _post(receiver: Notify, body: bytes) -> None:
    address = receiver.url or _secret(receiver.url_file)
    headers = {"Content-Type": "application/json", "User-Agent": "reconciler"}
    if receiver.token_file is not None:
        headers["Authorization"] = f"Bearer {_secret(receiver.token_file)}"
    if not address.startswith(("https://", "http://")):
        raise Undelivered("the address is neither https:// nor http://")
    try:
        request = urllib.request.Request(address, body, headers, method="POST")  # noqa: S310 -- checked
        Exchange(request, receiver.timeout).run()
    except Overdue as error:
        raise Undelivered(str(error)) from error
    except urllib.error.HTTPError as error:
        with error:
            raise Undelivered(f"it answered {error.code} {error.reason}") from error
    except (ValueError, http.client.InvalidURL) as error:
        # Not in its own words, which would show the address or the token.
        raise Undelivered("its address or its token cannot be sent as they are") from error
    except (OSError, http.client.HTTPException) as error:  # the last: not an HTTP server
        raise Undelivered(f"it cannot be reached ({error or type(error).__name__})") from error


def _secret(path: Path | None) -> str:
    try:
        value = read_text(path or Path("/nonexistent")).partition("\n")[0].strip()
    except OSError as error:
        raise Undelivered(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise Undelivered(f"{path} is not text") from error
    if not value:
        raise Undelivered(f"the first line of {path} is empty")
    register_secret(value)
    redact.register_addresses(value)
    return value


def _name(receiver: Notify) -> str:
    return (receiver.command or (receiver.url or str(receiver.url_file),))[0]
