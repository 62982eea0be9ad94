"""Secrets of addresses are never shown again: in any form, whoever quotes them."""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import msgspec
import pytest

from reconciler.cli.app import status_of
from reconciler.config import Notify, Occasion
from reconciler.daemon.notifications import Notices
from reconciler.environment.environment import Environment
from reconciler.holds.monitor import HoldMonitor
from reconciler.journal.history import Journal
from reconciler.log.logger import Record, configure
from reconciler.log.redact import Redactor, redact, without_secrets
from reconciler.passes.reconcile import reconcile
from reconciler.passes.runner import PassRunner
from reconciler.processes import Cancellation
from tests.support.attacks import Attacks
from tests.support.logs import logging_restored
from tests.support.passes import environment_for
from tests.support.processes import free_port
from tests.support.projects import Project

CORE = "Zq7word"
"""In every password: whatever shows it shows too much."""
PASSWORDS = {
    "slash": f"pa/ss-{CORE}",
    "quote": f"pa'ss-{CORE}",
    "at": f"pa@ss-{CORE}",
    "percent": f"pa%ss-{CORE}",
    "hash": f"pa#ss-{CORE}",
    "colon": f"pa:ss-{CORE}",
    "question mark": f"pa?ss-{CORE}",
    "brackets": f"pa[ss]-{CORE}",
    "space": f"pa ss-{CORE}",
    "a number and a slash": f"12/34-{CORE}",
    "encoded": f"p%40ss%2F{CORE}",
    "encoded twice": f"pa%2540-{CORE}",
    "not ASCII": f"pä/ss-{CORE}",
    "double quote and backslash": f'pa"ss\\{CORE}',
}
ADDRESSES = {
    "an index": "https://me:{}@host.example/simple",
    "a token as the user": "https://{}@host.example/simple",
    "a port": "http://me:{}@[::1]:8080/simple",
    "a proxy": "socks5h://me:{}@proxy.example:1080",
    "a repository": "git+https://me:{}@host.example/r.git@main",
    "a requirement": "thing @ https://me:{}@host.example/x.tar.gz#sha256=ab ; extra == 'x'",
    "a line of a file": '    "thing @ https://host.example/x-1.0.tar.gz?key={}",  # why',
    "?key=": "https://host.example/simple?key={}",
    "?auth=": "https://host.example/simple?a=1&auth={}",
    "?token=": "https://host.example/thing-1.0.tar.gz?token={}",
    "any query": "https://host.example/simple?x={}",
    "#token=": "https://host.example/simple#token={}",
}  # fmt: skip
SENTENCES = ("{}", "error: the text `{}` is bad", "x={}&y", "fatal: '{}'", "a\n  {}\nb")


def forms_of(password: str) -> Iterator[tuple[str, str]]:
    """What uv, git, Python and a browser make of a password when they quote it."""
    plain = unquote(unquote(password))
    for name, text in {"as written": password, "decoded": plain}.items():
        yield name, text
        yield f"{name}, encoded", quote(text, safe="")
        yield (
            f"{name}, encoded in lower case",
            re.sub("%..", lambda match: match[0].lower(), quote(text, safe="")),
        )
        yield f"{name}, encoded twice", quote(quote(text, safe=""), safe="")
        yield f"{name}, as a form", quote_plus(text)
        yield f"{name}, as uv's url does", quote(text, safe="!$&()*+,-._~%'")
        yield f"{name}, as JSON", json.dumps(text)[1:-1]
        yield f"{name}, as repr", repr(text)[1:-1]
        yield f"{name}, as HTML", escape(text)
        yield f"{name}, on two lines", text.replace(" ", "\n      ")
        yield f"{name}, in a box", text.replace(" ", "\n  │ ")


@pytest.fixture
def forgetful() -> Iterator[None]:
    """The process's redactor knows afterwards what it knew before."""
    before = redact._known, redact._secrets
    redact._known, redact._secrets = set(), ()
    yield
    redact._known, redact._secrets = before


def test_a_password_is_masked_in_every_form(attacks: Attacks) -> None:
    for kind, password in PASSWORDS.items():
        for place, address in ADDRESSES.items():
            if place == "a token as the user" and kind in ("slash", "a number and a slash", "colon",
                                                           "hash", "question mark"):  # fmt: skip
                continue  # nothing tells them from a host and its path, nor a user from a password
            if place == "#token=" and kind == "hash":
                continue
            redactor = Redactor()
            redactor.register_addresses(address.format(password))
            leaks = [form for form, text in forms_of(password) if _leaks(redactor, text)]
            attacks.tried(f"{kind}, {place}", refused=not leaks, found=leaks)


def _leaks(redactor: Redactor, text: str) -> bool:
    """Whether any sentence with this text, or the text line by line, shows the password."""
    sentences = [sentence.format(text) for sentence in SENTENCES]
    lines = [f"   {line}" for line in text.splitlines()]
    return any(CORE in redactor(one) for one in (*sentences, *lines))


def test_what_is_useful_of_an_address_stays() -> None:
    redactor = Redactor()
    for address in ADDRESSES.values():
        redactor.register_addresses(address.format(f"pa/ss-{CORE}"))

    assert redactor(f"https://me:pa/ss-{CORE}@host.example/simple") == (
        "https://****@host.example/simple"
    )
    assert redactor(f"https://host.example/simple?a=1&auth=pa/ss-{CORE}") == (
        "https://host.example/simple?a=****&auth=****"
    )
    for text in (
        "https://example.org/a@b", "git+https://example.org/r.git@main", "http://[::1]:80/a@b",
        "https://h.example:8080/r.git@v1.0", "git+http://forge:3000/r.git@v1.0",
        "git+ssh://git@host.example/r.git", "https://example.org/x.whl#sha256=abcdef0123456789",
    ):  # fmt: skip
        redactor.register_addresses(text)
        assert redactor(text) == text


def test_a_short_or_common_secret_does_not_destroy_the_text() -> None:
    redactor = Redactor()
    for address in (
        "https://me:a@h.example/s",
        "https://me:torch@i.example",
        "https://h.example?lang=python&v=2.1",
        "https://u:a1b2@h.example",
    ):
        redactor.register_addresses(address)

    assert redactor("a torch for python 2.1, a1b2c") == "a torch for python 2.1, a1b2c"
    assert redactor("it was a1b2.") == "it was ****."
    assert redactor("https://me:a@h.example/s?lang=python") == "https://****@h.example/s?lang=****"


@pytest.mark.parametrize(
    "unit",
    ["://a:/", "token=", "?a_", "//@:", "secret-Zq7", "%25%25", "bearer ", "pa ss", " ", "\\\\",
     "authorization", "password \t", "://'", "?key=", "%2", "pa@", "pa%40pa%2540", "│ \n"],
)  # fmt: skip
def test_the_work_grows_with_the_text_and_not_faster(unit: str) -> None:
    redactor = Redactor()
    for address in ADDRESSES.values():
        for password in (*PASSWORDS.values(), "secret-Zq7-secret-Zq7", "pa pa pa pa", "pa@pa@pa@"):
            redactor.register_addresses(address.format(password))

    def seconds(text: str) -> float:
        started = time.process_time()
        redactor(text)
        return time.process_time() - started

    short, long = (min(seconds(unit * n) for _ in range(3)) for n in (1_000, 8_000))
    assert long < 32 * short + 0.02, "eight times the text takes more than four times as long again"


def test_the_registry_has_a_bound() -> None:
    redactor = Redactor()
    redactor.register("the-first-secret")
    for number in range(5_000):
        redactor.register(f"secret-number-{number}")
    started = time.process_time()

    assert redactor("the-first-secret") == "****"
    assert time.process_time() - started < 0.5


def test_what_is_looked_up_again_keeps_its_name(forgetful: None) -> None:
    redact.register("studio")

    shown = without_secrets({"name": "studio", "message": "studio", "of": ["x studio"]})

    assert shown == {"name": "studio", "message": "****", "of": ["x ****"]}


@pytest.fixture
def records() -> Iterator[list[Record]]:
    heard: list[Record] = []
    restore = logging_restored()
    next(restore)
    configure(sink=heard.append, env={})
    yield heard
    next(restore, None)


class Listener:
    """Hears what a pass says while it runs."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, name: str) -> None: ...

    def planned(self, changes: object) -> None:
        self.lines.append(str(changes))

    def line(self, text: str) -> None:
        self.lines.append(text)


def declared(password: str, port: int) -> tuple[list[str], str]:
    """Requirements and tables with the password in every place that has an address."""
    requirements = [
        f"first @ http://me:{password}@127.0.0.1:{port}/first-1.0.tar.gz",
        f"second @ http://127.0.0.1:{port}/second-1.0.tar.gz?key={password}",
        f"third @ git+http://me:{password}@127.0.0.1:{port}/third.git@main",
        "fourth",
    ]
    source = f"http://127.0.0.1:{port}/fourth-1.0.tar.gz?auth={password}"
    tables = f"""
        [tool.uv.sources]
        fourth = {{ url = {json.dumps(source)} }}

        [[tool.uv.index]]
        url = {json.dumps(f"http://me:{password}@127.0.0.1:{port}/simple")}
        """
    return requirements, tables


ENCODED = ("slash", "quote", "at", "space", "encoded twice")
"""Also tried as a careful user writes them."""


def cases() -> Iterator[tuple[str, str]]:
    for kind in ("slash", "quote", "at", "percent", "question mark", "space", "encoded"):
        yield kind, PASSWORDS[kind]
    for kind in ENCODED:
        yield f"{kind}, encoded", quote(PASSWORDS[kind], safe="")


def shown_by_a_pass(
    environment: Environment, journal: Journal, records: list[Record], notice: Path
) -> dict[str, str]:
    """One pass; everything that shows it afterwards."""
    listener = Listener()
    recorded = PassRunner(environment, journal, HoldMonitor(environment)).run(
        reconcile, trigger="requested", pass_id=None, cancel=Cancellation(), listener=listener
    )
    command = ("sh", "-c", f"cat >> '{notice}'")
    notices = Notices("studio", (Notify(on=(Occasion.FAILED,), command=command),))
    notices.tell(Occasion.FAILED, {"pass": msgspec.to_builtins(recorded.detail)})
    notices.close()
    if notices._thread is not None:
        notices._thread.join(30)
    entry = journal.entry(recorded.detail.id)
    return {
        "history": msgspec.json.encode(entry).decode(),
        "state": msgspec.json.encode(journal.state(environment.key)).decode(),
        "the journal's bytes": "".join(
            path.read_bytes().decode("latin-1") for path in journal.path.parent.glob("*sqlite*")
        ),
        "lines": "\n".join(listener.lines),
        "log": "\n".join(map(str, records)),
        "notice": notice.read_text() if notice.exists() else "",
    }


def test_no_way_out_shows_a_password(
    project: Project, venv: Path, tmp_path: Path, records: list[Record], attacks: Attacks,
    capfd: pytest.CaptureFixture[str], forgetful: None,
) -> None:  # fmt: skip
    port = free_port()
    for number, (kind, password) in enumerate(cases()):
        requirements, tables = declared(password, port)
        project.write(requirements, extra=tables)
        journal = Journal(tmp_path / f"{number}" / "journal.sqlite3")
        environment = environment_for(project)
        told = shown_by_a_pass(environment, journal, records, tmp_path / f"notice-{number}")
        journal.close()
        for command in ("check", "plan") if number % 4 == 0 else ("check",):
            status_of([command, "--json", "--pyproject", str(project.path)])
            captured = capfd.readouterr()
            told[command] = captured.out + captured.err
        for place, text in told.items():
            attacks.tried(f"{kind} in {place}", refused=CORE not in text,
                          found=_around(text))  # fmt: skip
        assert "fail" in told["history"].lower(), "nothing was tried"
        records.clear()


def _around(text: str) -> str:
    at = text.find(CORE)
    return text[max(0, at - 200) : at + 60]


def test_variables_and_other_files_are_sources_as_well(
    project: Project, venv: Path, tmp_path: Path, attacks: Attacks, forgetful: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    user = Path(tmp_path, "config", "uv", "uv.toml")
    user.parent.mkdir(parents=True)
    user.write_text('[[index]]\nurl = "https://me:user-file-Zq7@host.example/simple"\n')
    constraint = tmp_path / "constraint.txt"
    constraint.write_text("thing @ https://me:constraint-Zq7@host.example/thing-1.0.tar.gz\n")
    info = next(venv.glob("lib/python*/site-packages")) / "placed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: placed\nVersion: 1.0\n")
    (info / "RECORD").touch()
    recorded = {"url": "https://me:recorded-Zq7@host.example/x.whl", "archive_info": {}}
    (info / "direct_url.json").write_text(json.dumps(recorded))
    for name, value in {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "UV_CONSTRAINT": str(constraint),
        "UV_INDEX_LAB_PASSWORD": "lab-password-Zq7",
        "UV_INDEX_LAB_USERNAME": "glpat-0123456789abcdefZq7",
        "UV_DEFAULT_INDEX": "https://me:default-Zq7@host.example/simple",
        "HTTPS_PROXY": "me:proxy-Zq7@proxy.example:3128",
        "ALL_PROXY": "socks5://me:every-Zq7@proxy.example:3128",
        "NOT_TELLING": "expanded-Zq7",
    }.items():
        monkeypatch.setenv(name, value)
    project.write(["thing @ https://me:${NOT_TELLING}@host.example/thing-1.0.tar.gz"])

    environment_for(project).look()

    for secret in ("user-file-Zq7", "constraint-Zq7", "recorded-Zq7", "lab-password-Zq7",
                   "glpat-0123456789abcdefZq7", "default-Zq7", "proxy-Zq7", "every-Zq7",
                   "expanded-Zq7"):  # fmt: skip
        shown = redact(f"it is {secret}")
        attacks.tried(secret, refused=shown == "it is ****", found=shown)


def test_a_configuration_that_is_refused_shows_no_password(
    tmp_path: Path, attacks: Attacks, capfd: pytest.CaptureFixture[str], forgetful: None
) -> None:
    cases: dict[str, Callable[[str], str]] = {
        "an address": lambda it: f"notify = [{{ on = ['failed'], url = {_address(it)} }}]",
        "no TOML": lambda it: f'notify = "https://me:{it}@host.example" "',
        "an unknown key": lambda it: f"hook = {json.dumps(f'https://host.example/?key={it}')}",
    }
    commands = itertools.cycle((("check",), ("run",), ("doctor", "--json"), ("hold", "list"),
                                ("rollback",), ("service", "show"), ("history",)))  # fmt: skip
    for kind, password in PASSWORDS.items():
        for place, line in cases.items():
            config = tmp_path / "config.toml"
            config.write_text(f'[environments.studio]\npyproject = "x"\n{line(password)}\n')
            redact._known, redact._secrets = set(), ()
            status_of([*next(commands), "--config", str(config)])
            captured = capfd.readouterr()
            shown = captured.out + captured.err
            attacks.tried(f"{kind}, {place}", refused=CORE not in shown and shown,
                          found=shown)  # fmt: skip


def _address(password: str) -> str:
    return json.dumps(f"https://me:{password}@host.example")
