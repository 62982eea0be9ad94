"""The numbers for Prometheus: right, checked by promtool, and without package names."""

import re
import subprocess
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.daemon.requests import Reconcile
from reconciler.status import PassDetail, Result
from tests.web.hosting import Host
from tests.web.steered import STARTED, environment


def _samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(client: httpx.Client, name: str, **labels: str) -> float | None:
    return _samples(client.get("/metrics").text).get((name, frozenset(labels.items())))


def _busy(host: Host) -> None:
    host.do(lambda: host.service.publish(environment(), environment("other", suspended=True)))
    host.wait(host.service.request("studio", Reconcile()))
    host.service.metrics.observe_uv_failure("Network")
    failed = PassDetail(
        id=99, trigger="file", result=Result.FAILED, started_at=STARTED, duration_seconds=0.5
    )
    host.service.metrics.observe_pass("studio", failed)


def test_promtool_has_nothing_to_say(client: httpx.Client, host: Host) -> None:
    _busy(host)
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=answer.content, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_passes_are_counted_by_result(client: httpx.Client, host: Host) -> None:
    assert _value(client, "reconciler_passes_total", environment="studio", result="changed") is None
    _busy(host)
    counted = {
        result: _value(client, "reconciler_passes_total", environment="studio", result=result)
        for result in Result
    }
    assert counted == {"unchanged": 0, "changed": 1, "partial": 0, "failed": 1}
    seconds = "reconciler_pass_duration_seconds"
    assert _value(client, f"{seconds}_count", environment="studio") == 2
    assert _value(client, f"{seconds}_sum", environment="studio") == 2.6
    assert _value(client, f"{seconds}_bucket", environment="studio", le="1.0") == 1


def test_only_a_success_moves_the_last_success(client: httpx.Client, host: Host) -> None:
    name = "reconciler_last_success_timestamp_seconds"
    assert _value(client, name, environment="studio") is None
    _busy(host)
    succeeded = next(it for it in host.service.passes.values() if it.result == "changed")
    began = datetime.fromisoformat(succeeded.started_at).timestamp()
    assert _value(client, name, environment="studio") == pytest.approx(began + 2.1, abs=0.01)
    assert _value(client, name, environment="other") is None


def test_after_a_restart_the_status_knows_the_last_success(
    client: httpx.Client, host: Host
) -> None:
    last = PassDetail(
        id=3, trigger="file", result=Result.UNCHANGED, started_at=STARTED, duration_seconds=1
    )
    host.do(lambda: host.service.publish(environment(last_pass=last)))
    name = "reconciler_last_success_timestamp_seconds"
    assert _value(client, name, environment="studio") == 1767268801


def test_each_environment_stands_there(client: httpx.Client, host: Host) -> None:
    _busy(host)
    for (name, labels), expected in {
        ("reconciler_packages", (("status", "held"),)): 1,
        ("reconciler_packages", (("status", "ok"),)): 2,
        ("reconciler_packages", (("status", "missing"),)): 0,
        ("reconciler_holds", (("state", "intact"),)): 3,
        ("reconciler_holds", (("state", "broken"),)): 0,
        ("reconciler_holds_intact", ()): 1,
        ("reconciler_suspended", ()): 0,
        ("reconciler_atomic", ()): 1,
        ("reconciler_generation", ()): 8,
        ("reconciler_next_check_timestamp_seconds", ()): 1767269400,
        ("reconciler_condition", (("type", "Ready"), ("status", "False"))): 1,
        ("reconciler_condition", (("type", "Ready"), ("status", "True"))): 0,
        ("reconciler_condition", (("type", "Stalled"), ("status", "Unknown"))): 1,
    }.items():
        found = _value(client, name, environment="studio", **dict(labels))
        assert found == expected, (name, labels)
    assert _value(client, "reconciler_suspended", environment="other") == 1
    assert _value(client, "reconciler_uv_failures_total", reason="Network") == 1
    assert _value(client, "reconciler_ready") == 1
    assert _value(client, "reconciler_build_info", version="0.1.0", uv_version="0.13.9") == 1


def test_no_package_is_named(client: httpx.Client, host: Host) -> None:
    _busy(host)
    text = client.get("/metrics").text
    assert not re.search("numpy|torch|diffusers", text)
    assert "_created" not in text


def test_http_md_has_every_metric(client: httpx.Client, host: Host) -> None:
    _busy(host)
    text = Path("docs/http.md").read_text(encoding="utf-8")
    names = re.findall(r"^# TYPE (\S+)", client.get("/metrics").text, re.MULTILINE)
    assert len(names) > 12
    assert [name for name in names if f"`{name}" not in text] == []
