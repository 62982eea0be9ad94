"""What the routes need from the service. They know it only through this protocol."""

from typing import Protocol

from reconciler.daemon.events import EventHub
from reconciler.daemon.requests import Request
from reconciler.status import EnvironmentStatus, PassDetail, PassStatus, Status


class ServiceProtocol(Protocol):
    """The running service, called from the event loop. Only the `wait_*` methods wait."""

    events: EventHub

    def status(self) -> Status:
        """The latest published status: the same object until something changes."""

    def environment(self, name: str) -> EnvironmentStatus:
        """One environment of the status.

        Raises:
            KeyError: there is no environment of that name.
        """

    async def wait_for_status(self, since: int, timeout: float) -> Status:  # noqa: ASYNC109  # no error, an answer
        """The status, as soon as its generation is above `since`, or after `timeout` seconds."""

    async def request(self, environment: str, asked: Request) -> int:
        """Ask for something and return the id of the pass that does it, which looks again.

        Args:
            environment: its name.
            asked: what to do.

        Raises:
            RequestRefused: it cannot be done.
        """

    async def wait_for_pass(self, environment: str, pass_id: int) -> PassDetail:
        """The pass, once it has ended and is recorded."""

    def history(self, environment: str | None, limit: int, before: int | None) -> list[PassStatus]:
        """Recorded passes, newest first: at most `limit`, with ids below `before`."""

    def history_entry(self, pass_id: int) -> PassDetail | None:
        """One recorded pass with its log; None if there is no pass with that id."""

    def alive(self) -> bool:
        """Whether every working loop has made progress recently."""

    def ready(self) -> tuple[bool, str]:
        """Whether the service can do its job, and one sentence that says why not."""
