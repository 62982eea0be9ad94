"""Paths and names that would become something else in a unit: root's units are root's only."""

import json
import os
import pwd
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from reconciler.config import ConfigRejected, TcpAddress, UnixAddress, for_project, load
from reconciler.config.locate import for_nothing
from reconciler.systemd import installation as installing
from reconciler.systemd.installation import CannotInstall, Wanted, plan
from reconciler.systemd.units import Service, Unit, Unquotable, machine_units, named_units
from tests.support.attacks import Attacks

CONTROL = {
    "NUL": "\0", "line feed": "\n", "carriage return": "\r", "tab": "\t", "escape": "\x1b",
    "unit separator": "\x1f", "DEL": "\x7f", "NEL": "\x85", "CSI": "\x9b", "C1": "\x80",
    "line separator": "\u2028", "paragraph separator": "\u2029",
}  # fmt: skip
FORGED = "ExecStartPre=+/bin/id"
LEGAL = [
    "plain", "with space", "100%", "%h/%u", 'quo"te', "apo'strophe", "back\\slash", "end\\",
    "-minus",
    "$HOME", "${HOME}", "semi;colon", "#hash", "@at", "+plus", "!bang", "~", "{a,b}", "*", "été",
    "\\x0aUser=root", "\\n", " lead", "trail ", "a \\", '"', "=", "[Service]",
]  # fmt: skip
PROGRAM = ("/opt/reconciler/bin/reconciler",)


def toml(value: str) -> str:
    """A basic string with every control character as an escape, as TOML allows."""
    return '"' + "".join(_escaped(one) for one in value) + '"'


def _escaped(one: str) -> str:
    return one if one.isalnum() or one in "/._-" else f"\\U{ord(one):08X}"


@pytest.fixture
def alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a user, whose configuration root reads on `service install --for`."""
    home = tmp_path / "alice"
    (home / ".config/reconciler").mkdir(parents=True)
    project = home / "studio"
    (project / ".venv/bin").mkdir(parents=True)
    (project / "pyproject.toml").write_text('[project]\nname = "studio"\nversion = "1"\n')
    (project / ".venv/bin/python").touch()
    nobody = pwd.getpwnam("nobody")
    record = pwd.struct_passwd((*nobody[:5], str(home), *nobody[6:]))
    monkeypatch.setattr(installing.pwd, "getpwnam", lambda _: record)
    return home


def configured(home: Path, text: str) -> None:
    (home / ".config/reconciler/config.toml").write_text(text, encoding="utf-8")


def table(**keys: str) -> str:
    """A whole configuration in which these keys have these TOML values."""
    place = {"state_dir": "service", "uv": "service", "listen": "http", "token_file": "http"}
    tables: dict[str, list[str]] = {"service": [], "http": [], "environments.studio": []}
    given = {"pyproject": '"~/studio"', **keys}
    for name, value in given.items():
        tables[place.get(name, "environments.studio")].append(f"{name} = {value}")
    return "".join("\n".join([f"[{name}]", *lines, ""]) for name, lines in tables.items())


def test_control_characters_in_the_configuration_of_another_user(
    alice: Path, attacks: Attacks
) -> None:
    for name, character in CONTROL.items():
        path = toml(f"/srv/x{character}{FORGED}")
        values = {
            "state_dir": path, "uv": path, "token_file": path, "pyproject": path, "python": path,
            "listen": toml(f"unix:/run/x{character}y"),
            "verify": f"[{path}]",
        }  # fmt: skip
        for key, value in values.items():
            configured(alice, table(**{key: value}))
            found = refusal(Wanted(named="alice"))
            good = found.startswith(str(alice)) and f".{key}: expected" in found and "U+" in found
            attacks.tried(f"{name} in {key}", refused=good and "\n" not in found, found=found)
        configured(alice, table(verify=f'["true", {toml(f"a{character}b")}]'))
        if character not in "\n\t":
            attacks.tried(f"{name} in an argument", refused=refusal(Wanted(named="alice")))
        configured(alice, table() + f'[environments.{toml(f"x{character}y")}]\npyproject = "~"\n')
        attacks.tried(f"{name} in a name", refused=refusal(Wanted(named="alice")))
    for value in ('"[::1%\\rUser=root]:80"', '"[fe80::1%\\u0085x]:80"', '"[fe80::1% ]:80"'):
        configured(alice, table(listen=value))
        attacks.tried(f"listen = {value}", refused=refusal(Wanted(named="alice")))


def refusal(wanted: Wanted) -> str:
    """Why it is not installed; empty if it would be."""
    try:
        units = plan(wanted, {}).units
    except (CannotInstall, ConfigRejected) as error:
        return str(error)
    assert not any(FORGED in line for unit in units for line in re.split(r"[\r\n]", unit.text))
    return ""


def test_folders_and_variables(tmp_path: Path, attacks: Attacks) -> None:
    """What is in no configuration file: the folder of a project or of the file, and variables."""
    odd = {name: it for name, it in CONTROL.items() if it != "\0"}
    odd["not UTF-8"] = os.fsdecode(b"\xff")
    for name, character in odd.items():
        folder = tmp_path / f"x{character}{FORGED.replace('/', '_')}"
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1"\n')
        (folder / "config.toml").write_text('[environments.studio]\npyproject = "."\n')
        (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1"\n')
        cases = {
            "the project": lambda: for_project(folder, None, {}),  # noqa: B023
            "--python": lambda: for_project(tmp_path, folder / ".venv", {}),  # noqa: B023
            "VIRTUAL_ENV": lambda: for_project(tmp_path, None, {"VIRTUAL_ENV": str(folder)}),  # noqa: B023
            "STATE_DIRECTORY": lambda: for_nothing({"STATE_DIRECTORY": str(folder)}),  # noqa: B023
            "the configuration's folder": lambda: load(folder / "config.toml", {}),  # noqa: B023
        }
        for what, act in cases.items():
            try:
                act()
                found = ""
            except ConfigRejected as rejected:
                found = str(rejected)
                json.dumps([it.file for it in rejected.problems]).encode()
                str(rejected).encode()
            attacks.tried(f"{name} in {what}", refused=found and "\n" not in found, found=found)


def test_users_that_systemd_would_misread(attacks: Attacks) -> None:
    for user in ("0", "1000", "a b", "a\nUser=root", "%h", "a/../b", "-a", "+a", "", "a\\b", "é"):
        for make in (
            lambda: named_units(Service(PROGRAM, (), ()), user, None),  # noqa: B023
            lambda: machine_units(Service(PROGRAM, (), ()), user),  # noqa: B023
        ):
            try:
                make()
                refused = False
            except Unquotable:
                refused = True
            attacks.tried(repr(user), refused=refused)


def test_what_a_unit_cannot_say_is_refused(attacks: Attacks) -> None:
    """Even if the configuration had not refused it."""
    for name, character in {**CONTROL, "not UTF-8": "\udcff"}.items():
        path = Path(f"/srv/x{character}{FORGED}")
        for what, service in {
            "writable": Service(PROGRAM, (), (path,)),
            "arguments": Service(PROGRAM, ("--config", str(path)), ()),
            "program": Service((str(path),), (), ()),
            "listen": Service(PROGRAM, (), (), UnixAddress(path)),
            "zone": Service(PROGRAM, (), (), TcpAddress(f"::1%{character}", 1)),
        }.items():
            attacks.tried(f"{name} in {what}", refused=not made(service))
    for path in ("/run/x\\", "/run/x "):
        service = Service(PROGRAM, (), (), UnixAddress(Path(path)))
        attacks.tried(f"listen {path!r}", refused=not made(service))
    for program in ("+/bin/x", "!/bin/x", "-/bin/x", "@/bin/x", "reconciler", "%h/x", ""):
        attacks.tried(f"program {program!r}", refused=not made(Service((program,), (), ())))


def made(service: Service) -> tuple[Unit, ...]:
    try:
        return (*machine_units(service, "alice"), *named_units(service, "alice", None))
    except Unquotable:
        return ()


def test_systemd_reads_back_the_paths_that_were_meant(tmp_path: Path, attacks: Attacks) -> None:
    """All odd but legal names at once; systemd itself splits the words and expands specifiers."""
    writable = tuple(Path(f"/srv/{name}") for name in LEGAL)
    arguments = tuple(name for name in LEGAL if name)
    units = made(Service(PROGRAM, arguments, writable))
    main = units[0]
    plain = set(machine_units(Service(PROGRAM, (), ()), "alice")[0].text.splitlines())
    added = [line for line in main.text.splitlines() if line not in plain]
    attacks.tried(
        "no line that is not one of ours",
        refused={line.partition("=")[0] for line in added} == {"ExecStart", "ReadWritePaths"},
        found=added,
    )
    said = verified(tmp_path, main)
    attacks.tried("systemd-analyze verify", refused=said == "", found=said)
    values = [it.partition("=")[2] for it in added if it.startswith("ReadWritePaths=")]
    for path, value in zip(writable, values, strict=True):
        (word,) = read_by_systemd(value)
        attacks.tried(f"writable {path}", refused=word == f"-{path}", found=word)
    (command,) = [it.partition("=")[2] for it in added if it.startswith("ExecStart=")]
    words = read_by_systemd(command.replace("$$", "$"))
    attacks.tried("the command", refused=words == [*PROGRAM, "run", *arguments], found=words)


def read_by_systemd(value: str) -> list[str]:
    """Words, quotes and specifiers as in systemd.syntax(7) and systemd.unit(5)."""
    assert not re.search(r"(?<!%)(%%)*%(?!%)", value), f"a specifier is expanded in {value}"
    return [word.replace("%%", "%") for word in shlex.split(value)]


def verified(folder: Path, unit: Unit) -> str:
    path = folder / "reconciler.service"
    path.write_text(re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", unit.text, flags=re.MULTILINE))
    answer = subprocess.run(
        ["systemd-analyze", "verify", str(path)],
        capture_output=True, text=True, check=False,
        env={"XDG_RUNTIME_DIR": str(folder), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    said = answer.stdout + answer.stderr
    return "\n".join(line for line in said.splitlines() if "alice" not in line)
