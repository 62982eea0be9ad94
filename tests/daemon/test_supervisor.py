"""The supervisor by itself, on an event loop: requests, reloads and the end, with real workers.

The projects' files cannot be read as TOML, so that each pass is over in milliseconds, and fails.
"""

import asyncio
import fcntl
import os
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager

import msgspec
import pytest

from reconciler.config import Config, EnvironmentConfig, HttpConfig, Notify, Occasion, ServiceConfig
from reconciler.daemon.actions import Refusal, RequestRefused
from reconciler.daemon.requests import Pause, Reconcile, Rollback
from reconciler.daemon.supervisor import Supervisor
from reconciler.log.logger import configure, tapped
from tests.support.environments import make_venv

SECONDS = 60.0


@pytest.fixture
def folder(tmp_path):
    """Two projects whose files are not TOML, each with an environment."""
    for name in ("studio", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text("[project\n")
        make_venv(tmp_path / name / ".venv")
    return tmp_path


def config(folder, *names, **keys) -> Config:
    environments = {
        name: EnvironmentConfig(
            name=name,
            pyproject=folder / name / "pyproject.toml",
            python=folder / name / ".venv" / "bin" / "python",
            **{"interval": 3600.0, "timeout": 30.0, **keys},
        )
        for name in names
    }
    service = ServiceConfig(state_dir=folder / "state")
    return Config(path=None, service=service, http=HttpConfig(), environments=environments)


@asynccontextmanager
async def supervising(made: Config):
    supervisor = Supervisor(made, dict(os.environ))
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def until(condition) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 -- threads make it come true
            await asyncio.sleep(0.01)


async def refusal(supervisor: Supervisor, name: str, asked) -> Refusal:
    with pytest.raises(RequestRefused) as raised:
        await supervisor.request(name, asked)
    return raised.value.reason


def test_a_request_is_done_by_a_pass_that_can_be_waited_for(folder) -> None:
    async def main() -> None:
        async with supervising(config(folder, "studio")) as supervisor:
            number = await supervisor.request("studio", Reconcile(reason="to see"))
            async with asyncio.timeout(SECONDS):
                detail = await supervisor.wait_for_pass("studio", number)
            assert (detail.id, detail.trigger, detail.reason_given) == (number, "manual", "to see")
            assert detail.message.startswith("BadFile")
            (listed, *_) = supervisor.history("studio", 1, None)
            assert (listed.id, listed.reason_given) == (number, "to see")

    asyncio.run(main())


def test_what_cannot_be_done_is_refused_with_its_reason(folder) -> None:
    async def main() -> None:
        async with supervising(config(folder, "studio")) as supervisor:
            assert await refusal(supervisor, "lab", Reconcile()) is Refusal.UNKNOWN_ENVIRONMENT
            asked = Rollback(generation=7)
            assert await refusal(supervisor, "studio", asked) is Refusal.UNKNOWN_GENERATION
        assert await refusal(supervisor, "studio", Pause()) is Refusal.STOPPING

    asyncio.run(main())


@contextmanager
def pass_lock(folder, name):
    """What another process holds that is at work in this environment."""
    workspace = folder / name / ".venv" / ".reconciler"
    workspace.mkdir(exist_ok=True)
    lock = os.open(workspace / "pass.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def test_who_waits_for_a_pass_is_let_go_when_its_environment_leaves(folder) -> None:
    async def main() -> None:
        async with supervising(config(folder, "studio", "other")) as supervisor:
            with pass_lock(folder, "other"):
                # The first pass waits for the lock, and what is asked for waits for that pass.
                number = await supervisor.request("other", Reconcile())
                waiting = asyncio.create_task(supervisor.wait_for_pass("other", number))
                supervisor.apply(config(folder, "studio"))
                assert await refusal(supervisor, "other", Pause()) is Refusal.UNKNOWN_ENVIRONMENT
                assert not waiting.done()
            with pytest.raises(RequestRefused) as raised:
                async with asyncio.timeout(SECONDS):
                    await waiting
            assert raised.value.reason is Refusal.UNKNOWN_ENVIRONMENT
            assert [row.name for row in supervisor.status().environments] == ["studio"]

    asyncio.run(main())


def test_the_end_lets_everyone_go_who_waits(folder) -> None:
    async def main() -> None:
        async with supervising(config(folder, "studio")) as supervisor:
            with pass_lock(folder, "studio"):
                number = await supervisor.request("studio", Reconcile())
                waiting = asyncio.create_task(supervisor.wait_for_pass("studio", number))
                await asyncio.sleep(0)
                await supervisor.stop()
        with pytest.raises(RequestRefused) as raised:
            await waiting
        assert raised.value.reason is Refusal.STOPPING

    asyncio.run(main())


def test_requests_during_reloads_are_all_done(folder) -> None:
    """Each reload puts another worker there, in the middle of what is asked for."""

    async def main() -> None:
        async with supervising(config(folder, "studio")) as supervisor:
            numbers = []
            for count in range(10):
                supervisor.apply(config(folder, "studio", keep_generations=count + 1))
                asked = Reconcile(reason=f"round {count}")
                numbers += await asyncio.gather(
                    *(supervisor.request("studio", asked) for _ in range(3))
                )
            async with asyncio.timeout(SECONDS):
                for number in numbers:
                    await supervisor.wait_for_pass("studio", number)
            done = {row.id: row for row in supervisor.history("studio", 500, None)}
            given = "; ".join(done[number].reason_given for number in dict.fromkeys(numbers))
            assert set(given.split("; ")) == {f"round {count}" for count in range(10)}

    asyncio.run(main())


def test_requests_are_answered_while_many_passes_hold_up_a_reload(tmp_path) -> None:
    """Each wait for the end of a pass took one of the few threads that requests need."""
    names = [f"studio-{number}" for number in range(len(os.sched_getaffinity(0)) + 5)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text("[project\n")
        make_venv(tmp_path / name / ".venv")

    def made(**keys) -> Config:
        found = config(tmp_path, *names, **keys)
        service = msgspec.structs.replace(found.service, max_passes=len(names))
        return msgspec.structs.replace(found, service=service)

    async def main() -> None:
        with ExitStack() as held:
            for name in names:
                held.enter_context(pass_lock(tmp_path, name))
            async with supervising(made()) as supervisor:
                await until(lambda: all(it.worker.busy for it in supervisor._roster))
                supervisor.apply(made(keep_generations=9))
                await asyncio.sleep(0)  # each begins to wait for its pass
                async with asyncio.timeout(20):
                    await asyncio.to_thread(supervisor.history, None, 5, None)

    asyncio.run(main())


def test_a_changed_environment_begins_with_a_pass_for_the_reload(folder) -> None:
    records: list = []

    def begun() -> list[tuple[str, str]]:
        found = [it for it in records if it["event"] == "pass.started"]
        return [(it["environment"], it["trigger"]) for it in found]

    async def main() -> None:
        async with supervising(config(folder, "studio")) as supervisor:
            await until(lambda: ("studio", "start") in begun())
            supervisor.apply(config(folder, "studio", "other"))
            await until(lambda: ("other", "reload") in begun())
            assert ("studio", "reload") not in begun(), "it was not changed"
            supervisor.apply(config(folder, "studio", "other", keep_generations=1))
            await until(lambda: begun().count(("other", "reload")) == 2)
            await until(lambda: ("studio", "reload") in begun())

    configure()
    with tapped(records.append):
        asyncio.run(main())


def test_no_thread_stays_behind_after_a_reload(folder) -> None:
    """Each worker has told a command of its failure, for which it has a thread of its own."""
    tellers: set[threading.Thread] = set()

    def notice(record) -> None:
        if record["event"] == "notify.sent":
            tellers.add(threading.current_thread())

    def alive() -> int:
        return sum(teller.is_alive() for teller in tellers)

    def with_notice(count: int) -> Config:
        notify = (Notify(on=(Occasion.FAILED,), command=("true",)),)
        return config(folder, "studio", notify=notify, keep_generations=count)

    async def main() -> None:
        async with supervising(with_notice(1)) as supervisor:
            await until(lambda: len(tellers) == 1)
            before = threading.active_count()
            for count in range(2, 10):
                supervisor.apply(with_notice(count))
                await until(lambda told=count: len(tellers) == told)
            await until(lambda: alive() == 1)
            await until(lambda: threading.active_count() <= before + 2)
        await until(lambda: alive() == 0)

    configure()
    with tapped(notice):
        asyncio.run(main())
