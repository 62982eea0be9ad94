"""How fast `/status` answers while many environments are edited at once.

Beside a server that does nothing else, asked in turn by the same client, so that what else the
machine does falls on both.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from tests.support.environments import install, make_venv
from tests.support.index import PackageIndex
from tests.support.processes import free_port
from tests.support.projects import Project
from tests.support.service import ServiceProcess
from tests.support.wheels import make_wheel

MANY = 50
_BEFORE = 20
"""Packages that each environment has before the edit."""
_LONGEST = 600.0
_ASK = """
import http.client, json, os, sys, time
stop, *ports = sys.argv[1:]
sides = [(http.client.HTTPConnection("127.0.0.1", int(port)), []) for port in ports]
while not os.path.exists(stop):
    for client, took in sides:
        began = time.perf_counter()
        client.request("GET", "/status")
        client.getresponse().read()
        took.append(time.perf_counter() - began)
        time.sleep(0.01)
print(json.dumps([took for _, took in sides]))
"""
"""In a process of its own: what the benchmark does meanwhile must not count."""
_CONTROL = """
import http.server, sys
body = sys.stdin.buffer.read()
class Control(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Control).serve_forever()
"""


def many_at_once(work: Path) -> list[Row]:
    """Fifty small environments in one service, all edited within a moment."""
    folder = work / "many"
    index = PackageIndex()
    names = [f"package-{number}" for number in range(_BEFORE)]
    wheels = [make_wheel(folder / "wheels", name, "1.0") for name in (*names, "added")]
    index.add(*wheels)
    projects = [_made(folder / f"e{n:02}", index, names, wheels[:-1]) for n in range(MANY)]
    tables = {p.directory.name: {"pyproject": str(p.path), "interval": "1h"} for p in projects}
    service, control = ServiceProcess(folder / "service", tables), free_port()
    beside = None
    try:
        service.start(timeout=_LONGEST)
        _wait_until_in_sync(service, _BEFORE)
        beside = _control(control, service.client.get("/status").content)
        idle = _asked(service, control, lambda: time.sleep(5))
        began = time.perf_counter()
        busy = _asked(service, control, lambda: _edit(service, projects, names))
        took = time.perf_counter() - began
    finally:
        if beside is not None:
            beside.kill()
        service.close()
        index.close()
        shutil.rmtree(folder)
    return [
        _row(f"`/status` of an idle service with {MANY} environments", idle, None),
        _row(f"`/status` while all {MANY} are edited at once", busy, 10.0),
        Row(f"from the edit until all {MANY} are in sync", f"{took:.1f} s", "", None),
    ]


def _made(folder: Path, index: PackageIndex, names: list[str], wheels: list[Path]) -> Project:
    project = Project(folder, index.url)
    project.write(names)
    install(make_venv(project.venv), *wheels)
    return project


def _edit(service: ServiceProcess, projects: Sequence[Project], names: list[str]) -> None:
    for project in projects:
        project.save([*names, "added"])
    _wait_until_in_sync(service, len(names) + 1)


def _wait_until_in_sync(service: ServiceProcess, packages: int) -> None:
    def in_sync(row: dict[str, Any]) -> bool:
        return row["phase"] == "InSync" and len(row["packages"]) == packages

    deadline = time.monotonic() + _LONGEST
    while not all(map(in_sync, service.status()["environments"])):
        if time.monotonic() > deadline:
            raise TimeoutError(service.log.read_text())
        time.sleep(1.0)


def _control(port: int, body: bytes) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-c", _CONTROL, str(port)]
    beside = subprocess.Popen(words, stdin=subprocess.PIPE)
    assert beside.stdin is not None
    with beside.stdin as given:
        given.write(body)
    time.sleep(2)
    return beside


def _asked(
    service: ServiceProcess, control: int, meanwhile: Callable[[], None]
) -> list[list[float]]:
    """How long each answer took meanwhile, in seconds: the service's, and the control's."""
    stop = service.directory / "stop"
    stop.unlink(missing_ok=True)
    words = [sys.executable, "-c", _ASK, str(stop), service.url.rpartition(":")[2], str(control)]
    asking = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        meanwhile()
    finally:
        stop.touch()
        out, _ = asking.communicate()
    return [sorted(took) for took in json.loads(out)]


def _row(what: str, sides: Sequence[Sequence[float]], more_at_most: float | None) -> Row:
    """The two medians, and by how much the service's is slower, in milliseconds."""
    (ours, worst, most), (theirs, theirs_worst, _) = (
        [took[int(len(took) * share)] * 1000 for share in (0.5, 0.99)] + [took[-1] * 1000]
        for took in sides
    )
    value = (
        f"p50 {ours:.1f} ms, p99 {worst:.0f} ms, max {most:.0f} ms of {len(sides[0])} "
        f"(beside it: p50 {theirs:.1f} ms, p99 {theirs_worst:.0f} ms)"
    )
    if more_at_most is None:
        return Row(what, value, "", None)
    target = f"p50 at most {more_at_most:g} ms more than beside it"
    return Row(what, value, target, ours - theirs <= more_at_most)
