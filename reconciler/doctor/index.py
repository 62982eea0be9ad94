"""Checks that the indexes answer uv, with the same settings, credentials and certificates."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace
from packaging.utils import NormalizedName

from reconciler.doctor.finding import Finding, fine, problem, warning
from reconciler.environment.environment import Environment
from reconciler.environment.snapshot import Snapshot
from reconciler.planning.resolver import project_for
from reconciler.processes import Cancellation
from reconciler.uv.effective import Item
from reconciler.uv.program import NoSolution, TimedOut, Uv, UvError
from reconciler.uv.settings import environ_for_uv

TIMEOUT_SECONDS = 20.0
_ASKED_ALWAYS = NormalizedName("packaging")
"""What to ask for if nothing is declared; it does not matter whether the index has it."""


def check_indexes(environment: Environment, snapshot: Snapshot) -> Iterator[Finding]:
    """Each index that the declared packages come from answers within a time limit."""
    if snapshot.settings.get("offline") or _is_set(environment.environ.get("UV_OFFLINE")):
        yield fine("index", "not checked: uv is configured to be offline")
        return
    for item in _one_for_each_index(snapshot):
        yield _ask(environment, snapshot, item)


def _is_set(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "on")


def _one_for_each_index(snapshot: Snapshot) -> list[Item]:
    """One package from the default indexes, and one from each index that a source names."""
    items: dict[object, Item] = {}
    for declared in snapshot.desired.requirements if snapshot.desired else ():
        if snapshot.holds.covers(declared.name) or declared.requirement.url:
            continue
        source = declared.source
        if source is None or not source.is_direct:
            table = source.table if source else None
            key = table.get("index") if table else None
            items.setdefault(key, Item(declared.name, declared.name, "doctor", table))
    return list(items.values()) or [Item(_ASKED_ALWAYS, _ASKED_ALWAYS, "doctor")]


def _ask(environment: Environment, snapshot: Snapshot, item: Item) -> Finding:
    """Ask for one package with a dry run that does not trust the cache."""
    environ = environ_for_uv(environment.environ)
    environ |= {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "10"}
    uv = Uv(environment.uv.executable, environ)
    where = f"index {item.source['index']}" if item.source and "index" in item.source else "index"
    with tempfile.TemporaryDirectory(prefix="reconciler-") as folder:
        ask = project_for(environment, snapshot, Path(folder)).to_plan([item], free=True)
        more = (f"--refresh-package={item.name}", f"--reinstall-package={item.name}", "--no-deps")
        ask = replace(ask, timeout=TIMEOUT_SECONDS, arguments=(*ask.arguments, *more))
        try:
            uv.plan(ask, Cancellation())
        except NoSolution:
            return fine("index", f"{where} answers (asked for {item.name})")
        except TimedOut:
            return warning(
                "index",
                f"{where} has not answered within {TIMEOUT_SECONDS:.0f} s",
                "Check the network and its proxies; `uv pip install --dry-run` shows more.",
            )
        except UvError as error:
            return problem(
                "index",
                f"{where} cannot be asked for {item.name}: {error.message}",
                "Check the network, its proxies and certificates, and uv's index settings.",
            )
    return fine("index", f"{where} answers (asked for {item.name})")
