"""The latest status of everything, for everyone who asks: put together as soon as there is news.

Any thread may write to it and read from it; nobody ever waits for anything but a lock that
is held for microseconds.
"""

import threading
from collections.abc import Callable, Sequence

import msgspec

from reconciler.log.redact import without_secrets
from reconciler.status import (
    Condition,
    ConditionType,
    EnvironmentStatus,
    Phase,
    Problem,
    Reason,
    ServiceStatus,
    Status,
)

_CANNOT_WORK = frozenset(
    {
        Reason.UV_MISSING,
        Reason.INTERPRETER_UNUSABLE,
        Reason.NOT_WRITABLE,
        Reason.JOURNAL_FAILED,
        Reason.BUSY,
        Reason.INSECURE,
        Reason.UNEXPECTED,
    }
)
"""Reasons for which the service cannot do its job, as opposed to a failed install."""

_LONGEST_WORDS = 300
"""Characters that the sentence for `systemctl status` has for one environment."""
_SHOWN = 8
"""Environments that it tells one by one."""

OnNews = Callable[[Status, str | None], None]
"""Told of each new status, on the thread that made it, and of which environment is new in it."""


class Board:
    """Where each environment's worker puts what it knows, and where readers find all of it.

    Args:
        service: What is said of the process itself.
        names: The managed environments, in this order.
        on_news: Who is told.
    """

    def __init__(self, service: ServiceStatus, names: Sequence[str], on_news: OnNews) -> None:
        self._lock = threading.Lock()
        self._on_news = on_news
        self._names = tuple(names)
        self._known: dict[str, EnvironmentStatus] = {}
        self._stopping = False
        self._damage: Problem | None = None
        self._failing: Problem | None = None
        self._status = Status(generation=1, service=service, ready=False, environments=())

    @property
    def status(self) -> Status:
        """The latest status: the same object until something changes."""
        return self._status

    def put(self, environment: EnvironmentStatus) -> None:
        """This is the status of an environment now."""
        environment = without_secrets(environment)
        with self._lock:
            self._known[environment.name] = environment
            fresh = self._compose(self._status.service)
        self._on_news(fresh, environment.name)

    def show(self, names: Sequence[str]) -> None:
        """From now on these environments are managed, in this order."""
        with self._lock:
            self._names = tuple(names)
            self._known = {n: e for n, e in self._known.items() if n in self._names}
            fresh = self._compose(self._status.service)
        self._on_news(fresh, None)

    def found_uv(self, version: str | None) -> None:
        """The version of uv is known; None: there is no uv."""
        self._describe(lambda service: msgspec.structs.replace(service, uv=version))

    def config_is(self, problem: Problem | None) -> None:
        """The configuration was read again: this is wrong with it, or nothing."""
        self._describe(lambda service: msgspec.structs.replace(service, config_problem=problem))

    def journal_was(self, damage: Problem) -> None:
        """The history was damaged."""
        self._damage = damage
        self._describe_journal()

    def journal_is(self, failing: Problem | None) -> None:
        """The history cannot be used now, or it can be again."""
        self._failing = failing
        self._describe_journal()

    def _describe_journal(self) -> None:
        problem = self._failing or self._damage
        self._describe(lambda service: msgspec.structs.replace(service, journal_problem=problem))

    def _describe(self, change: Callable[[ServiceStatus], ServiceStatus]) -> None:
        with self._lock:
            fresh = self._compose(change(self._status.service))
        self._on_news(fresh, None)

    def stop(self) -> None:
        """The service is about to end."""
        with self._lock:
            self._stopping = True
            fresh = self._compose(self._status.service)
        self._on_news(fresh, None)

    def ready(self) -> tuple[bool, str]:
        """Whether the service can do its job, and in one sentence why not."""
        with self._lock:
            return self._readiness()

    def _compose(self, service: ServiceStatus) -> Status:
        self._status = Status(
            generation=self._status.generation + 1,
            service=service,
            ready=self._readiness()[0],
            environments=tuple(self._known[n] for n in self._names if n in self._known),
        )
        return self._status

    def _readiness(self) -> tuple[bool, str]:
        if self._stopping:
            return False, "the service is stopping"
        if self._failing is not None:
            return False, self._failing.reason
        for name in self._names:
            environment = self._known.get(name)
            ready = _ready_condition(environment) if environment else None
            if environment is None or ready is None or ready.status == "Unknown":
                return False, f"{name} has not been looked at yet"
            if environment.phase is Phase.FAILED and ready.reason in _CANNOT_WORK:
                return False, f"{name}: {ready.message}"
        return True, "every environment is managed"


def in_one_sentence(status: Status) -> str:
    """How everything is, for `systemctl status`; of many environments, what is not in sync."""
    shown: Sequence[EnvironmentStatus] = status.environments
    if len(shown) > _SHOWN:
        shown = [it for it in shown if it.phase is not Phase.IN_SYNC]
    parts = [_standing(it) for it in shown[:_SHOWN]]
    if len(shown) > _SHOWN:
        parts.append(f"{len(shown) - _SHOWN} more that are not in sync")
    if len(status.environments) > _SHOWN:
        in_sync = sum(it.phase is Phase.IN_SYNC for it in status.environments)
        parts.insert(0, f"{in_sync} of {len(status.environments)} environments are in sync")
    problem = status.service.config_problem
    if problem is not None:
        rejected = f"{problem.file}: {problem.reason}"
        parts.insert(0, f"the configuration was rejected, the one before stays ({rejected})")
    return "; ".join(parts) or "no environment has been looked at yet"


def _standing(environment: EnvironmentStatus) -> str:
    ready = _ready_condition(environment)
    words = " ".join(ready.message.split()) if ready is not None else ""
    if len(words) > _LONGEST_WORDS:
        words = f"{words[:_LONGEST_WORDS]} …"
    return f"{environment.name}: {environment.phase.value}" + (f" ({words})" if words else "")


def _ready_condition(environment: EnvironmentStatus) -> Condition | None:
    return next((c for c in environment.conditions if c.type is ConditionType.READY), None)
