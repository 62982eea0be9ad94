"""What others wrote cannot control the terminal that a command runs on."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from reconciler.cli import app
from reconciler.cli.app import status_of
from reconciler.cli.client import RefusedByService
from reconciler.cli.options import Options
from reconciler.cli.terminal.output import Output, complain, tell
from reconciler.log.visible import visible_in_json
from reconciler.status import Failure, Reason
from tests.cli.terminal import Terminal
from tests.support.attacks import Attacks
from tests.support.logs import logging_restored
from tests.support.projects import Project

SEQUENCES = {
    "colour": "\x1b[31m",
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;b3duZWQ=\x1b\\",
    "C1 CSI": "\x9b31m",
    "C1 OSC": "\x9d0;owned\x9c",
    "return": "fine\rbad",
    "backspace": "bad\b\b\bgood",
    "delete": "a\x7fb",
    "form feed": "a\x0cb",
    "NUL": "a\x00b",
    "override": "\u202egnp.exe\u202c",
    "isolate": "\u2066a\u2069",
    "mark": "a\u200fb\u061cc",
    "line separator": "a\u2028b\u2029c",
}
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
WITHOUT_NUL = {kind: text for kind, text in SEQUENCES.items() if kind != "NUL"}


@pytest.fixture(autouse=True)
def logging() -> Iterator[None]:
    yield from logging_restored()


@pytest.fixture
def ran(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command here; what it prints, decoded without losing a byte."""

    def run(*arguments: str) -> str:
        status_of(arguments)
        captured = capfd.readouterr()
        return captured.out + captured.err

    return run


def command_lines(text: str) -> Iterator[list[str]]:
    """Command lines with the text in each place that a command quotes back."""
    yield [f"no{text}command"]
    yield ["check", f"--{text}"]
    yield ["check", "--config", f"/nowhere/{text}"]
    yield ["check", "--pyproject", f"/nowhere/{text}"]
    yield ["plan", "--python", f"/nowhere/{text}"]
    yield ["check", "--environment", text]
    yield ["check", f"extra{text}"]
    yield ["status", "--environment", text]
    yield ["rollback", text]
    yield ["pause", "--for", text]
    yield ["hold", "restore", text]
    yield ["hold", f"no{text}"]
    yield ["history", text]
    yield ["completion", text]
    yield ["service", "show", "--for", text]
    yield ["service", "show", "--config", f"/nowhere/{text}"]
    yield ["run", "--config", f"/nowhere/{text}"]


def test_no_command_line_comes_back_as_an_escape(
    ran: Callable[..., str], attacks: Attacks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, text in WITHOUT_NUL.items():
        for arguments in command_lines(text):
            shown = ran(*arguments)
            attacks.tried(f"{kind} in {' '.join(arguments)!r}",
                          refused=shown and not FORBIDDEN.search(shown), found=shown)  # fmt: skip


def test_a_byte_that_is_not_utf_8_is_shown(ran: Callable[..., str]) -> None:
    assert r"/nowhere/\xff" in ran("check", "--config", "/nowhere/\udcff")


def files(text: str) -> Iterator[tuple[str, str, str]]:
    """Files with the text in them: what it is about, the project's and the configuration's."""
    quoted = json.dumps(text)
    project = '[project]\nname = "studio"\nversion = "1"\n'
    yield "a requirement", f"{project}dependencies = [{json.dumps(f'alpha {text}')}]\n", ""
    yield "an unknown key", "", f"[service]\n{quoted} = 1\n"
    yield "a value", "", f"[http]\nlisten = {quoted}\n"
    yield "a name", "", f"[environments.{quoted}]\npyproject = 'x'\n"
    yield "a list", "", f"[environments.studio]\npyproject = 'x'\nhold = [{quoted}]\n"
    yield "a broken line", f"{project}dependencies = [ {text}\n", ""
    yield "a broken configuration", "", f"[service]\nstate_dir = {text}\n"


def test_no_file_comes_back_as_an_escape(
    ran: Callable[..., str], attacks: Attacks, project: Project, venv: Path, tmp_path: Path
) -> None:
    configuration = tmp_path / "config.toml"
    for kind, text in SEQUENCES.items():
        for about, of_project, of_config in files(text):
            if of_config:
                configuration.write_text(of_config)
                arguments = ["--config", str(configuration)]
            else:
                project.write_text(of_project)
                arguments = ["--pyproject", str(project.path)]
            for command in (("check",), ("run",)) if of_config else (("check",),):
                shown = ran(*command, *arguments)
                refused = shown and not FORBIDDEN.search(shown)
                attacks.tried(f"{kind} in {about}, {command[0]}", refused=refused, found=shown)


def raising(error: Exception) -> Callable[..., None]:
    def command(*_: object, **__: object) -> None:
        raise error

    return command


@pytest.mark.parametrize("error", [ValueError, OSError, click.ClickException, click.UsageError,
                                   lambda text: RefusedByService(409, "Reason", text)])  # fmt: skip
def test_no_error_is_an_escape_not_even_a_defect(
    ran: Callable[..., str], attacks: Attacks, monkeypatch: pytest.MonkeyPatch,
    error: Callable[[str], Exception],
) -> None:  # fmt: skip
    for kind, text in SEQUENCES.items():
        monkeypatch.setattr(app.reconciler, "main", raising(error(f"it is {text}!")))
        shown = ran("check")
        attacks.tried(kind, refused="it is" in shown and not FORBIDDEN.search(shown), found=shown)


def printing(text: str) -> dict[str, Callable[[], None]]:
    """Everything that prints, with this text."""
    people, machine = Output(Options()), Output(Options(json=True))
    failure = Failure(name="a", requirement=text, reason=Reason.UNUSABLE, message=text)
    return {
        "say": lambda: people.say(text, "red"),
        "note": lambda: people.note(text),
        "table": lambda: people.table(("A", "B"), [(f"{text}\nforged row", text)]),
        "complain": lambda: complain(text),
        "tell": lambda: tell(text),
        "json": lambda: machine.json(failure),
        "json line": lambda: machine.json_line(failure),
    }


def test_whatever_prints_is_harmless_and_json_stays_json(
    capfd: pytest.CaptureFixture[str], attacks: Attacks
) -> None:
    for kind, text in SEQUENCES.items():
        for place, act in printing(text).items():
            act()
            captured = capfd.readouterr()
            shown = captured.out + captured.err
            attacks.tried(f"{kind} in {place}", refused=shown and not FORBIDDEN.search(shown),
                          found=shown)  # fmt: skip
            if place.startswith("json"):
                assert json.loads(shown)["message"] == text
            if place == "table":
                assert "\nforged row" not in shown


def test_json_is_escaped_in_its_own_way() -> None:
    text = "".join(map(chr, (*range(0xD800), *range(0xE000, 0xFFFF))))

    assert json.loads(visible_in_json(json.dumps(text, ensure_ascii=False))) == text


def test_on_a_terminal_only_our_own_colours_are_sent(tmp_path: Path, attacks: Attacks) -> None:
    lines = "\n".join(f'"{kind} {json.dumps(text)[1:-1]}" = 1' for kind, text in SEQUENCES.items())
    configuration = tmp_path / "config.toml"
    configuration.write_text(f"[service]\n{lines}\n")
    terminal = Terminal("check", "--config", str(configuration), cwd=tmp_path, env=dict(os.environ),
                        width=400)  # fmt: skip
    assert terminal.end() == 1
    for kind in SEQUENCES:
        line = next(line for line in terminal.raw.split("\r\n") if f'service."{kind} ' in line)
        attacks.tried(kind, refused=not FORBIDDEN.search(line), found=line)
