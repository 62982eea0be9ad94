"""What the service manager hears, on real datagram sockets."""

import asyncio
import os
import select
import socket
import time
import uuid
from pathlib import Path

import pytest

from reconciler.daemon.watchdog import feed_watchdog
from reconciler.systemd.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A socket that listens as systemd does, and its address as NOTIFY_SOCKET writes it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0"))
        listener.settimeout(5)
        yield listener, address


def heard(listener):
    return listener.recv(4096).decode().split("\n")


def test_ready_and_stopping_carry_one_line_of_status(manager):
    listener, address = manager
    notifier = Notifier(address)

    notifier.ready("studio: in sync\nsecond line\tand more")
    notifier.stopping("Waiting for uv")

    assert heard(listener) == ["READY=1", "STATUS=studio: in sync second line and more"]
    assert heard(listener) == ["STOPPING=1", "STATUS=Waiting for uv"]


def test_status_has_no_secret_and_no_control_character(manager):
    listener, address = manager

    Notifier(address).status("cannot reach http://me:pa-Zq7@host.example/ \x1b[31m\udcff")

    assert heard(listener) == [r"STATUS=cannot reach http://****@host.example/ \x1b[31m\xff"]


def test_ready_is_heard_however_long_the_status_is(manager):
    """systemd ignores a whole message above PIPE_BUF: the service would never be ready."""
    listener, address = manager

    Notifier(address).ready("studio: Failed (" + "größer als \udcff " * 1000 + ")")

    message = listener.recv(1 << 20)
    assert len(message) <= select.PIPE_BUF
    state, status = message.decode().split("\n")
    assert state == "READY=1"
    assert status.startswith("STATUS=studio: Failed (größer als")
    assert status.endswith(" …")


def test_reloading_carries_the_time_that_notify_reload_compares(manager):
    listener, address = manager
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    Notifier(address).reloading("Reading")

    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    state, usec, status = heard(listener)
    assert (state, status) == ("RELOADING=1", "STATUS=Reading")
    assert before <= int(usec.removeprefix("MONOTONIC_USEC=")) <= after


def test_the_address_is_taken_out_of_the_environment(manager):
    listener, address = manager
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "PATH": "/bin"}
    environ["WATCHDOG_PID"] = str(os.getpid())

    notifier = Notifier.from_environment(environ)
    notifier.status("hello")

    assert environ == {"PATH": "/bin"}
    assert notifier.connected
    assert notifier.watchdog_interval == 1.5
    assert heard(listener) == ["STATUS=hello"]


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "3000000"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "@x"},
    ],
)
def test_no_watchdog_unless_it_watches_this_process(environ):
    assert Notifier.from_environment(environ).watchdog_interval is None


def test_without_a_manager_nothing_happens(tmp_path):
    Notifier.from_environment({}).ready("nobody listens")
    Notifier(str(tmp_path / "gone")).ready("it went away")

    assert list(tmp_path.iterdir()) == []
    assert not Notifier.from_environment({}).connected


def test_the_watchdog_hears_of_a_living_loop_and_not_of_a_hung_one(manager):
    listener, address = manager
    alive = True

    async def live_then_hang():
        nonlocal alive
        feeding = asyncio.create_task(feed_watchdog(Notifier(address, 0.01), lambda: alive))
        loop = asyncio.get_running_loop()
        first = await loop.run_in_executor(None, heard, listener)
        second = await loop.run_in_executor(None, heard, listener)
        alive = False
        await asyncio.sleep(0)
        listener.setblocking(False)
        drain(listener)
        await asyncio.sleep(0.1)
        feeding.cancel()
        return first, second

    first, second = asyncio.run(live_then_hang())

    assert first == second == ["WATCHDOG=1"]
    with pytest.raises(BlockingIOError):
        listener.recv(4096)


def drain(listener):
    while True:
        try:
            listener.recv(4096)
        except BlockingIOError:
            return


def test_nothing_is_fed_where_nothing_watches():
    asyncio.run(asyncio.wait_for(feed_watchdog(Notifier("@x"), lambda: True), 5))


def test_no_descriptor_is_left_behind(manager):
    _, address = manager
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(5):
        Notifier(address).status("x")

    assert len(list(Path("/proc/self/fd").iterdir())) == before
