"""The API's description is true: schemathesis tries what it says, and what it forbids."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.daemon.actions import Refusal
from reconciler.web.api.problems import HttpReason
from tests.web.hosting import DEADLINE, Host
from tests.web.steered import environment

EXAMPLES = int(os.environ.get("RECONCILER_TEST_EXAMPLES", "2"))
"""How many requests are tried for each operation."""


@pytest.fixture(scope="module")
def lively() -> Iterator[Host]:
    """A server of two environments whose status changes all the time, so that waits end."""
    over = threading.Event()
    with Host() as host:
        generation = [2**63]  # above any `since`

        def change() -> None:
            generation[0] += 1
            names = ("studio", "other")
            host.service.publish(*(environment(name, generation=generation[0]) for name in names))

        def live() -> None:
            while not over.wait(0.2):
                host.do(change)

        living = threading.Thread(target=live)
        living.start()
        yield host
        over.set()
        living.join()


def test_the_description_is_true(lively: Host, tmp_path: Path) -> None:
    """All of schemathesis' checks, in all its phases; the endless stream apart."""
    tried = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"http://127.0.0.1:{lively.port}/openapi.json",
            "--exclude-path=/events",
            "--checks=all",
            f"--max-examples={EXAMPLES}",
            "--generation-deterministic",
            f"--request-timeout={DEADLINE}",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout[-20_000:] + tried.stderr
    assert not [one for one in lively.records if one["level"] in {"error", "critical"}]


def test_every_route_is_described(client: httpx.Client, host: Host) -> None:
    described = client.get("/openapi.json").json()["paths"]
    routes = {route.path for route in host.server.config.app.routes}
    pages = {"/", "/ai-models-setup", "/static/{name:path}", "/openapi.json"}
    assert routes - pages == set(described)


def test_operations_have_names_of_their_own(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()["paths"]
    names = [one["operationId"] for path in described.values() for one in path.values()]
    assert len(names) == len(set(names)) > 15


def test_http_md_has_every_route_field_and_reason(client: httpx.Client) -> None:
    text = Path("docs/http.md").read_text(encoding="utf-8")
    described = client.get("/openapi.json").json()
    missing = [path for path in described["paths"] if path not in text]
    missing += [reason for reason in (*HttpReason, *Refusal) if f"`{reason}`" not in text]
    for name, schema in described["components"]["schemas"].items():
        fields = schema.get("properties", {})
        missing += [f"{name}.{field}" for field in fields if f"`{field}`" not in text]
    assert missing == []
