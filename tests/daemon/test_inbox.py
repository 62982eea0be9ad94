"""What waits for a worker: which order comes next, when, and what one pass does for several."""

import itertools
import threading

import pytest

from reconciler.daemon.inbox import Emptied, Inbox, Order
from reconciler.daemon.requests import (
    Accept,
    CheckGpu,
    Pause,
    Reconcile,
    Restore,
    Resume,
    Rollback,
)
from reconciler.status import Trigger

DEBOUNCE = 2.0
REQUESTS = {
    "reconcile": (Trigger.MANUAL, Reconcile()),
    "apply": (Trigger.MANUAL, Reconcile(apply=True)),
    "pause": (Trigger.MANUAL, Pause()),
    "resume": (Trigger.RESUME, Resume()),
    "gpu": (Trigger.MANUAL, CheckGpu()),
    "rollback": (Trigger.ROLLBACK, Rollback()),
    "restore": (Trigger.RESTORE, Restore(package="torch")),
    "accept": (Trigger.ACCEPT, Accept(package="torch")),
}
DONE_BY = {
    "reconcile": {"reconcile"},
    "apply": {"apply"},
    "pause": {"reconcile", "pause", "resume", "gpu"},
    "resume": {"reconcile", "pause", "resume", "gpu"},
    "gpu": {"reconcile", "pause", "resume", "gpu"},
}
"""Which waiting orders do for a new one; what is not here gets a pass of its own."""


class Clock:
    """A time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(clock: Clock) -> Inbox:
    return Inbox(DEBOUNCE, clock, clock)


def order(name: str, reason: str | None = None) -> Order:
    trigger, request = REQUESTS[name]
    made = Order(trigger, request, audit=name in ("reconcile", "apply"))
    made.reasons = [reason] if reason else []
    return made


def never() -> tuple[float, Trigger]:
    return 10_000.0, Trigger.INTERVAL


def trigger_of(found: Order | float) -> Trigger:
    assert isinstance(found, Order), f"nothing for another {found} s"
    return found.trigger


def test_requests_come_first_and_in_order(inbox: Inbox) -> None:
    inbox.wake(Trigger.START)
    inbox.put(order("resume"))
    inbox.put(order("restore"))

    found = [trigger_of(inbox.poll(never)) for _ in range(3)]

    assert found == [Trigger.RESUME, Trigger.RESTORE, Trigger.START]
    assert inbox.poll(never) == 9000.0


def test_without_events_a_pass_begins_when_it_is_due(inbox: Inbox, clock: Clock) -> None:
    assert inbox.poll(lambda: (1007.0, Trigger.RETRY)) == 7.0
    clock.now = 1007.0
    assert trigger_of(inbox.poll(lambda: (1007.0, Trigger.RETRY))) is Trigger.RETRY


@pytest.mark.parametrize("event", [Trigger.FILE, Trigger.ENVIRONMENT])
def test_events_that_come_in_bursts_settle_first(
    inbox: Inbox, clock: Clock, event: Trigger
) -> None:
    inbox.wake(event)
    clock.now += 1.5
    inbox.wake(event)
    assert inbox.poll(never) == DEBOUNCE, "it begins again with each event"
    clock.now += DEBOUNCE
    assert trigger_of(inbox.poll(never)) is event
    assert isinstance(inbox.poll(never), float), "all of them made one pass"


def test_the_quiet_that_was_observed_already_counts(inbox: Inbox) -> None:
    inbox.wake(Trigger.FILE, quiet=0.5)
    assert inbox.poll(never) == DEBOUNCE - 0.5


def test_a_stream_of_events_cannot_put_a_pass_off_for_ever(inbox: Inbox, clock: Clock) -> None:
    began = clock.now
    inbox.wake(Trigger.FILE)
    while isinstance(inbox.poll(never), float):
        clock.now += DEBOUNCE / 2
        inbox.wake(Trigger.FILE)
        assert clock.now - began <= 20 * DEBOUNCE
    assert clock.now - began == 20 * DEBOUNCE


@pytest.mark.parametrize("event", [Trigger.START, Trigger.RELOAD, Trigger.INTERVAL])
def test_other_events_need_not_settle(inbox: Inbox, event: Trigger) -> None:
    inbox.wake(event)
    assert trigger_of(inbox.poll(never)) is event


def test_of_several_events_the_most_telling_names_the_pass(inbox: Inbox, clock: Clock) -> None:
    telling = [
        Trigger.START, Trigger.RELOAD, Trigger.FILE, Trigger.ENVIRONMENT, Trigger.INTERVAL,
    ]  # fmt: skip
    for more, less in itertools.combinations(telling, 2):
        for pair in ((more, less), (less, more)):
            for event in pair:
                inbox.wake(event)
            clock.now += DEBOUNCE
            assert trigger_of(inbox.poll(never)) is more


@pytest.mark.parametrize(
    ("event", "audit"),
    [
        (Trigger.START, True),
        (Trigger.ENVIRONMENT, True),
        (Trigger.FILE, False),
        (Trigger.INTERVAL, False),
    ],
)
def test_files_are_audited_where_others_may_have_touched_them(
    inbox: Inbox, clock: Clock, event: Trigger, audit: bool
) -> None:
    inbox.wake(event)
    clock.now += DEBOUNCE
    found = inbox.poll(never)
    assert isinstance(found, Order)
    assert found.audit is audit


def test_like_requests_share_a_pass_and_others_do_not() -> None:
    for waiting, asked in itertools.product(REQUESTS, repeat=2):
        inbox = Inbox(DEBOUNCE)
        first = order(waiting)
        inbox.put(first)

        shared = inbox.share(order(asked)) is first

        assert shared is (waiting in DONE_BY.get(asked, set())), (waiting, asked)


def test_a_shared_pass_remembers_every_reason_once(inbox: Inbox) -> None:
    waiting = order("reconcile", "first")
    inbox.put(waiting)
    for reason in ("second", "first", None, "second"):
        assert inbox.share(order("reconcile", reason)) is waiting
    assert waiting.reason == "first; second"
    for number in range(50):
        inbox.share(order("reconcile", f"another {number}"))
    assert len(waiting.reasons) == 10, "a script that asks all day long fills no memory"


def test_what_has_begun_is_not_shared(inbox: Inbox) -> None:
    inbox.put(order("reconcile"))
    inbox.poll(never)
    assert inbox.share(order("reconcile")) is None


def test_a_request_ends_the_waiting(inbox: Inbox) -> None:
    there: list[bool] = []
    waiting = threading.Thread(target=lambda: there.append(inbox.wait(never)))
    waiting.start()
    asked = order("pause")
    inbox.put(asked)
    waiting.join(30)
    assert there == [True]
    assert inbox.poll(never) is asked


def test_the_end_ends_the_waiting_whatever_is_left(inbox: Inbox) -> None:
    there: list[bool] = []
    waiting = threading.Thread(target=lambda: there.append(inbox.wait(never)))
    waiting.start()
    inbox.close()
    waiting.join(30)
    inbox.put(order("pause"))
    assert there == [False]
    assert inbox.wait(never) is False


def test_a_successor_does_what_is_left_and_is_asked_from_then_on(inbox: Inbox) -> None:
    left = [order("reconcile"), order("restore")]
    for each in left:
        inbox.put(each)
    successor = Inbox(DEBOUNCE)

    successor.fill(inbox.empty())

    assert [successor.poll(never) for _ in left] == left
    with pytest.raises(Emptied):
        inbox.put(order("pause"))
    with pytest.raises(Emptied):
        inbox.share(order("pause"))
