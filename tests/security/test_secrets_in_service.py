"""No way out of a running service, nor of any command, shows a secret, wherever it was written."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import tomli_w

from reconciler.cli.app import status_of
from reconciler.log.redact import redact
from tests.security.test_secrets import CORE, PASSWORDS, forgetful
from tests.support.attacks import Attacks
from tests.support.environments import make_venv, site_packages
from tests.support.index import PackageIndex
from tests.support.logs import logging_restored
from tests.support.processes import free_port, wait_until
from tests.support.projects import Project
from tests.support.service import ServiceProcess, Table
from tests.support.thorough import sample
from tests.support.wheels import make_wheel

__all__ = ["forgetful"]

KINDS = ("slash", "quote", "at", "percent", "question mark", "space", "encoded", "encoded twice",
         "colon", "brackets", "a number and a slash", "double quote and backslash")  # fmt: skip


class Secrets:
    """Hands out secrets, each with a word of its own, and finds those words again."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def __call__(self, place: str, kind: str, *, encoded: bool = False) -> str:
        """A secret of this kind for this place."""
        word = f"{CORE}x{len(self._words):03}y"
        self._words[word] = f"{kind}{', encoded' if encoded else ''} in {place}"
        secret = PASSWORDS.get(kind, f"{CORE}-plain").replace(CORE, word)
        return quote(secret, safe="") if encoded else secret

    def __len__(self) -> int:
        return len(self._words)

    def judge(self, attacks: Attacks, way_out: str, text: str) -> None:
        """Note for each secret whether the text shows it."""
        for word, name in self._words.items():
            at = text.find(word)
            around = text[max(0, at - 150) : at + 40]
            attacks.tried(f"{name} by {way_out}", refused=at < 0, found=around)


def write_project(project: Project, number: int, index: PackageIndex, secrets: Secrets) -> None:
    """A project that has a secret in every place that has an address.

    In every second one, whatever uv needs before it looks at any package is written carefully, so
    that it comes as far as the other places.
    """
    careful = number % 2 == 0
    host = index.url.removeprefix("http://").removesuffix("/simple/")
    gone = host if number == 0 else f"127.0.0.1:{free_port()}"  # nothing is tried without a network

    def secret(place: str, *, needed: bool = False) -> str:
        kind = KINDS[(len(secrets) + number) % len(KINDS)]
        return secrets(f"{place} of {project.directory.name}", kind, encoded=needed and careful)

    requirements = [
        "alpha",
        f"first @ http://me:{secret('a requirement')}@{host}/files/first-1.0.tar.gz",
        f"second @ http://{host}/files/second-1.0.tar.gz?key={secret('?key=')}",
        f"third @ git+http://me:{secret('a repository')}@{gone}/third.git@main",
        f"fifth @ http://{gone}/fifth-1.0.tar.gz#token={secret('#token=')}",
        f"placed @ http://me:{secret('what is wanted instead')}@{host}/files/placed-2.0.tar.gz",
        "fourth", "private", "missing==9",
    ]  # fmt: skip
    source = f"http://{host}/files/fourth-1.0.tar.gz?auth={secret('a source')}"
    index_url = f"http://me:{secret('an index', needed=True)}@{host}/simple"
    queried = f"http://{host}/simple?x=1&auth={secret('an index ?auth=', needed=True)}"
    links = f"http://me:{secret('find-links', needed=True)}@{host}/files/links"
    tables = f"""
        [tool.uv]
        {"" if number % 4 == 0 else f"find-links = [{json.dumps(links)}]"}

        [tool.uv.sources]
        fourth = {{ url = {json.dumps(source)} }}
        private = {{ index = "lab" }}

        [[tool.uv.index]]
        url = {json.dumps(index_url)}

        [[tool.uv.index]]
        name = "lab"
        url = {json.dumps(queried)}
        explicit = true
        """
    make_venv(project.venv)
    place(project.venv, f"http://me:{secret('direct_url.json')}@{host}/files/placed-1.0.tar.gz")
    project.write(requirements, extra=tables)


def place(venv: Path, url: str) -> None:
    """A package that was installed from there."""
    info = site_packages(venv) / "placed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: placed\nVersion: 1.0\n")
    (info / "RECORD").write_text("placed-1.0.dist-info/METADATA,,\n")
    (info / "direct_url.json").write_text(json.dumps({"url": url, "archive_info": {}}))


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[str]]]:
    """A webhook's server: its address, and what it got."""
    received: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


class Stream:
    """Follows `/events` until the service ends."""

    def __init__(self, url: str) -> None:
        self.text = ""
        self._url = url
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        with httpx.stream("GET", f"{self._url}/events", timeout=60, trust_env=False) as answer:
            try:
                for part in answer.iter_text():
                    self.text += part
            except httpx.TransportError:
                return

    def end(self) -> str:
        """Everything that came; the service must have ended."""
        self._thread.join(60)
        return self.text


def receivers(number: int, folder: Path, hook: str, secrets: Secrets) -> str:
    """Who is told by an environment, as TOML: a command, a webhook, and one that is not there."""
    on, place = ["changed", "failed", "hold-broken"], f"a webhook of env{number}"
    lost = folder / f"lost-{number}"
    lost.write_text(f"http://me:{secrets(place, 'encoded')}@127.0.0.1:{free_port()}/x\n")
    key = quote(secrets(place, KINDS[number]), safe="/?'@")
    told: list[dict[str, object]] = [
        {"on": on, "command": ["sh", "-c", f"cat >> '{folder}/notice-{number}'"]},
        {"on": on, "url": f"{hook}/?key={key}"},
        {"on": on, "url_file": str(lost)},
    ]
    return tomli_w.dumps({"environments": {f"env{number}": {"notify": told}}})


def variables(index: PackageIndex, folder: Path, secrets: Secrets) -> dict[str, str]:
    """Variables and files of uv's that hold secrets."""
    host = index.url.removeprefix("http://")
    default = secrets("UV_DEFAULT_INDEX", "slash", encoded=True)
    netrc = folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {secrets('netrc', 'plain')}\n")
    netrc.chmod(0o600)
    return {
        "UV_DEFAULT_INDEX": f"http://me:{default}@{host}",
        "UV_INDEX": f"http://{host}?key={secrets('UV_INDEX', 'quote', encoded=True)}",
        "UV_INDEX_LAB_PASSWORD": secrets("UV_INDEX_LAB_PASSWORD", "at"),
        "UV_INDEX_LAB_USERNAME": "me",
        "NETRC": str(netrc),
    }


def documents(service: ServiceProcess, names: list[str]) -> Iterator[tuple[str, str]]:
    """Everything that the service answers over HTTP."""
    get, post = service.client.get, service.client.post
    for path in ("/status", "/metrics", "/history?limit=100", "/livez", "/readyz"):
        yield path.partition("?")[0], get(path).text
    for name in names:
        yield "/status/NAME", get(f"/status/{name}").text
        for action in ("rollback", "pause", "reconcile"):
            yield action, post(f"/environments/{name}/{action}", json={}).text
        yield "a hold", post(f"/environments/{name}/holds/placed/restore", json={}).text
    for one in get("/history?limit=100").json()["passes"]:
        yield "/history/ID", get(f"/history/{one['id']}").text


QUOTING = ["sh", "-c", "echo cannot reach $UV_DEFAULT_INDEX >&2; exit 1"]
"""A `verify` command that quotes what it was given."""
SERVED = (["doctor"], ["check"], ["status"], ["history"], ["hold", "list"], ["rollback"],
          ["hold", "restore", "placed"], ["plan", "--json"])  # fmt: skip
ALONE = (["doctor", "--json"], ["apply"], ["history", "1", "--json"], ["status", "--json"],
         ["hold", "accept", "placed"], ["rollback"], ["pause"], ["resume"])  # fmt: skip
"""Commands, with a service and without one."""

Ran = Callable[..., str]


@pytest.fixture
def ran(capfd: pytest.CaptureFixture[str], forgetful: None) -> Iterator[Ran]:
    """Run a command here, which knows no secret yet; what it prints."""

    def run(*arguments: str) -> str:
        redact._known, redact._secrets = set(), ()
        status_of(arguments)
        captured = capfd.readouterr()
        return captured.out + captured.err

    restore = logging_restored()
    next(restore)
    yield run
    next(restore, None)


@pytest.mark.parametrize("environments", sample([2, len(KINDS)], every=2))
def test_no_way_out_of_the_service_or_a_command_shows_a_secret(
    environments: int, index: PackageIndex, wheelhouse: Path, tmp_path: Path,
    receiver: tuple[str, list[str]], attacks: Attacks, ran: Ran, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    index.add(make_wheel(wheelhouse, "alpha", "1.0"))
    secrets = Secrets()
    hook, received = receiver
    tables: dict[str, Table] = {}
    told = ""
    for number in range(environments):
        project = Project(tmp_path / f"project-{number}", index.url)
        project.directory.mkdir()
        write_project(project, number, index, secrets)
        paths = {"pyproject": str(project.path), "python": str(project.venv)}
        tables[f"env{number}"] = {**paths, "interval": "1h", "hold": ["placed"]}
        if number == 0:
            tables["env0"] = {**tables["env0"], "verify": [QUOTING]}
        told += receivers(number, tmp_path, hook, secrets)
    for name, value in variables(index, tmp_path, secrets).items():
        monkeypatch.setenv(name, value)
    service = ServiceProcess(tmp_path / "service", tables)
    service.config.write_text(f"{service.config.read_text()}\n{told}")

    shown: dict[str, str] = {}
    try:
        service.start(until="/livez")
        stream = Stream(service.url)
        for name in tables:
            service.wait_for_environment(lambda row: row["last_pass"], name=name)
        wait_until(lambda: len(received) >= environments, what="the webhooks")
        for way_out, text in documents(service, list(tables)):
            shown[way_out] = shown.get(way_out, "") + text
        shown |= commands(ran, service, list(tables), SERVED, "served")
        service.stop()
        shown["/events"] = stream.end()
    finally:
        service.close()
    shown |= commands(ran, service, list(tables), ALONE, "alone")
    shown["webhooks"] = "".join(received)
    shown["the log"] = service.log.read_text() + (service.directory / "stdout").read_text()
    shown["commands"] = "".join(it.read_text() for it in sorted(tmp_path.glob("notice-*")))
    for file in sorted((service.directory / "state").rglob("*")):
        if file.is_file():
            shown[f"state: {file.name}"] = file.read_bytes().decode("latin-1")
    for way_out, text in shown.items():
        assert text or way_out.startswith("state: "), f"nothing was shown by {way_out}"
        secrets.judge(attacks, way_out, text)


def commands(
    ran: Ran, service: ServiceProcess, names: list[str], asked: Sequence[list[str]], how: str
) -> Iterator[tuple[str, str]]:
    """What each command prints; they share the environments among them."""
    for number, words in enumerate(asked):
        name = names[number % len(names)]
        shown = ran(*words, "--config", str(service.config), "--environment", name)
        yield f"{' '.join(words)}, {how}", shown
