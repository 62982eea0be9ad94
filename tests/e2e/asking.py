"""Asks a running service for something, and reads what its status says."""

from collections.abc import Iterable
from typing import Any

from tests.support.processes import DEADLINE, wait_until
from tests.support.service import Json, ServiceProcess


def post(service: ServiceProcess, path: str, /, **body: Any) -> int:
    """Ask for something about the environment `studio`, and return the pass's id."""
    answer = service.client.post(f"/environments/studio/{path}", json=body)
    assert answer.status_code == 202, answer.text
    number: int = answer.json()["pass"]
    return number


def finished(service: ServiceProcess, number: int, timeout: float = DEADLINE) -> Json:
    """Wait for the end of a pass, and return its entry in the history."""
    entry: Json = {}

    def over() -> bool:
        answer = service.client.get(f"/history/{number}")
        entry.clear()
        entry.update(answer.json() if answer.status_code == 200 else {})
        return entry.get("result") is not None

    wait_until(over, timeout=timeout, what=f"the end of pass {number}")
    return entry


def ask(service: ServiceProcess, path: str, /, **body: Any) -> Json:
    """Ask for something, wait until it is done, and return its entry in the history."""
    return finished(service, post(service, path, **body))


def condition(row: Json, kind: str) -> Json:
    """Return one condition of an environment."""
    return next(found for found in row["conditions"] if found["type"] == kind)


def statuses(row: Json) -> dict[str, str]:
    """Return the package table as name to status."""
    return {package["name"]: package["status"] for package in row["packages"]}


def versions(row: Json) -> dict[str, str | None]:
    """Return the package table as name to installed version."""
    return {package["name"]: package["installed"] for package in row["packages"]}


def holds(row: Json) -> dict[str, Json]:
    """Return the holds by name."""
    return {hold["name"]: hold for hold in row["holds"]}


def in_sync_with(row: Json, names: Iterable[str]) -> bool:
    """Whether the table has just these packages, and all is as declared."""
    return row["phase"] == "InSync" and versions(row).keys() == set(names)


def passes(service: ServiceProcess, *triggers: str) -> list[Json]:
    """Return the records of the passes that began, of these triggers or of all."""
    return [
        record
        for record in service.events("pass.started")
        if not triggers or record["trigger"] in triggers
    ]
