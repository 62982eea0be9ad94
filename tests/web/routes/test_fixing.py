"""Fix Dependencies over HTTP: the guide's shape, its words, and who waits for which pass."""

import threading

import httpx
import pytest

from reconciler.config import Mode
from reconciler.daemon.actions import Refusal, RequestRefused
from reconciler.daemon.requests import Reconcile
from tests.support.processes import wait_until
from tests.web.hosting import DEADLINE, Host
from tests.web.routes.conftest import MakeReal
from tests.web.steered import environment

FIX = "/api/v1/setup/ai-models/fix-dependencies"
GUIDE = {
    "success",
    "message",
    "packages_installed",
    "packages_failed",
    "failed_packages",
    "stdout",
    "stderr",
}


def test_the_answer_is_that_of_the_guide(client: httpx.Client) -> None:
    answer = client.post(FIX)
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() >= GUIDE
    assert body["success"] is True
    assert body["message"] == (
        "Successfully installed/upgraded all 2 packages (torch/torchvision preserved)"
    )
    assert (body["packages_installed"], body["packages_failed"]) == (2, 0)
    assert body["failed_packages"] == []
    assert body["stdout"] == (
        "=== Installing diffusers>=0.28.0 ===\n"
        "Requirement already satisfied: diffusers>=0.28.0 (0.35.1)\n"
        "=== Installing numpy>=1.24.0,<2.0 ===\n"
        "Successfully installed numpy-1.26.4\n"
    )
    assert body["stderr"] == ""
    assert (body["environment"], body["pass"]) == ("studio", 12)
    assert "torch==2.3.1+rocm5.7" in body["held"]


def test_a_second_time_there_is_nothing_to_do(client: httpx.Client) -> None:
    client.post(FIX)
    body = client.post(FIX).json()
    assert body["success"] is True
    assert body["message"].startswith("Nothing to do: all 2 packages are installed")
    assert body["packages_installed"] == 2


class _Caller(threading.Thread):
    """Presses the button and waits."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._address = f"http://127.0.0.1:{host.port}{FIX}"
        self.answer: httpx.Response
        self.start()

    def run(self) -> None:
        self.answer = httpx.post(self._address, timeout=DEADLINE)


def test_one_who_presses_during_a_pass_joins_it(host: Host) -> None:
    host.service.hold_passes = True
    first = _Caller(host)
    wait_until(lambda: len(host.service.asked) == 1)
    second = _Caller(host)
    wait_until(lambda: len(host.service.asked) == 2)
    host.do(lambda: host.service.release("studio", 12))
    first.join(DEADLINE)
    host.do(lambda: host.service.release("studio", 13))
    second.join(DEADLINE)
    for caller in (first, second):
        assert caller.answer.json()["pass"] == 12
        assert "Successfully installed numpy-1.26.4" in caller.answer.json()["stdout"]


def test_without_the_history_the_answer_is_that_of_its_own_pass(
    client: httpx.Client, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RequestRefused(Refusal.JOURNAL_FAILED, "The history is locked.", "End what locks it.")

    client.post(FIX)
    monkeypatch.setattr(host.service, "history", refuse)
    answer = client.post(FIX)
    assert answer.status_code == 200
    assert answer.json()["message"].startswith("Nothing to do")


def test_an_environment_can_be_named(client: httpx.Client, host: Host) -> None:
    host.do(lambda: host.service.publish(environment(), environment("other")))
    assert client.post(FIX).json()["environment"] == "studio"
    assert client.post(FIX, params={"environment": "other"}).json()["environment"] == "other"
    assert client.post(FIX, params={"environment": "x"}).status_code == 404
    assert host.service.asked == [("studio", Reconcile()), ("other", Reconcile())]


@pytest.mark.parametrize("mode", ["apply", "observe"])
def test_what_is_only_observed_is_changed_only_when_asked_with_apply(
    client: httpx.Client, host: Host, mode: str
) -> None:
    host.do(lambda: host.service.publish(environment(mode=mode)))
    assert client.post(FIX).status_code == 200
    assert client.post(FIX, json={"apply": True, "reason": "by hand"}).status_code == 200
    assert client.post(FIX, json={"applly": True}).status_code == 400
    plain, forced = host.service.asked
    assert plain == ("studio", Reconcile())
    assert forced == ("studio", Reconcile(apply=True, reason="by hand"))


def test_a_service_that_will_not_says_why(client: httpx.Client, host: Host) -> None:
    host.service.refuse = RequestRefused(Refusal.OBSERVING, "It is only observed", "Change mode.")
    answer = client.post(FIX)
    assert (answer.status_code, answer.json()["reason"]) == (409, "Observing")


def test_the_end_of_the_service_does_not_wait_for_the_pass(host: Host) -> None:
    host.service.hold_passes = True
    caller = _Caller(host)
    wait_until(lambda: len(host.service.asked) == 1)
    host.stop()
    caller.join(DEADLINE)
    assert caller.answer.status_code == 503
    assert caller.answer.json()["reason"] == "Stopping"
    assert not [one for one in host.records if one["level"] == "error"]


# The same by the real supervisor


def test_the_real_service_answers_as_the_guide_says(make_real: MakeReal) -> None:
    """Installed, a second time, as it is declared anew, and once more while one waits."""
    with make_real(mode=Mode.OBSERVE) as real:
        observed = real.client.post(FIX).json()
        done = real.client.post(FIX, json={"apply": True, "reason": "by hand"}).json()
        again = real.client.post(FIX, json={"apply": True}).json()
        entry = real.finished(done["pass"])

        assert observed["success"] is False
        assert observed["message"].startswith("Nothing was changed: studio is only observed")
        assert done["success"] is True, done
        assert done["message"] == (
            "Successfully installed/upgraded all 1 package (torch/torchvision preserved)"
        )
        assert done.keys() >= GUIDE
        assert done["stdout"] == ("=== Installing alpha ===\nSuccessfully installed alpha-1.0\n")
        assert (done["failed_packages"], done["stderr"]) == ([], "")
        assert "torch==2.3.1+rocm5.7" in done["held"]
        assert (entry["trigger"], entry["reason_given"]) == ("manual", "by hand")
        assert again["message"].startswith("Nothing to do: all 1 package")


@pytest.mark.parametrize("nowhere", [[], ["nowhere>=9"]], ids=["all", "one fails"])
def test_who_presses_while_the_real_service_is_at_it_hears_what_it_did(
    make_real: MakeReal, nowhere: list[str]
) -> None:
    with make_real() as real:
        real.in_sync()
        stall = real.index.stall_downloads(for_name="beta")
        real.project.save([*real.project_dependencies, "beta", *nowhere])
        stall.wait_reached()
        callers = [_Caller(real.host), _Caller(real.host)]
        requested = lambda: [r for r in real.host.records if r["event"] == "pass.requested"]  # noqa: E731
        wait_until(lambda: len(requested()) == 2, what="both requests")
        real.index.heal()
        for caller in callers:
            caller.join(DEADLINE)
        for caller in callers:
            answer = caller.answer.json()
            assert answer["success"] is not bool(nowhere), answer
            assert "Successfully installed beta-1.0" in answer["stdout"]
        assert len({record["pass"] for record in requested()}) == 1
