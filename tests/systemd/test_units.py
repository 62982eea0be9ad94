"""The unit files: what the templates promise, and what installing changes in them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from reconciler.config import TcpAddress, UnixAddress
from reconciler.systemd.units import (
    MARK,
    Service,
    machine_units,
    named_units,
    own_units,
    quoted,
    set_directive,
    template,
)

STUDIO = Path("/srv/studio/.venv")
PROGRAM = ("/opt/reconciler/bin/reconciler",)
SYSTEM = ("reconciler.service", "reconciler@.service")
ALL = (*SYSTEM, "user/reconciler.service", "reconciler.socket", "user/reconciler.socket")


def service(**changes):
    given = {"program": PROGRAM, "arguments": ("--config", "/etc/r.toml"), "writable": (STUDIO,)}
    return Service(**{**given, **changes})


def values(text, key):
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.fixture
def analyze(tmp_path):
    """Run systemd-analyze on a unit, with a program that exists."""

    def run(verb, name, text, *options):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", text, flags=re.MULTILINE))
        command = ["systemd-analyze", verb, *options, str(path)]
        runtime = {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=runtime)

    return run


def test_every_template_is_verified_clean(analyze):
    complaints = {}
    for name in ALL:  # each service before its socket, which needs it beside itself
        own = ["--user"] if name.startswith("user/") else []
        answer = analyze("verify", name, template(name), *own)
        if answer.returncode or answer.stdout or answer.stderr:
            complaints[name] = answer.stdout + answer.stderr

    assert complaints == {}


@pytest.mark.parametrize("name", SYSTEM)
def test_the_exposure_is_at_most_1_8_and_what_it_comes_from_is_explained(analyze, name):
    """Every directive that systemd-analyze misses is spoken of in a comment or set on purpose."""
    answer = analyze("security", name, template(name), "--offline=true", "--no-pager")
    report = answer.stdout
    exposure = re.search(r"Overall exposure level for .*: ([\d.]+)", report)
    assert exposure, report + answer.stderr
    assert float(exposure[1]) <= 1.8

    directives = {
        word
        for line in report.splitlines()
        if line.startswith("✗")
        for word in re.findall(r"(\w+)=", line.split("  ")[0])
    }

    comments_and_settings = template(name)
    unexplained = {it for it in directives if f"{it}=" not in comments_and_settings}
    assert unexplained == {"RootImage"}  # goes with RootDirectory=, which is
    assert directives


def test_the_two_system_units_differ_in_nothing_but_whose_they_are():
    particular = {"Description", "ExecStart", "EnvironmentFile", "User", "StateDirectory"}
    particular |= {"RuntimeDirectory", "ConfigurationDirectory", "CacheDirectory", "Environment"}
    particular |= {"ReadWritePaths", "ReadOnlyPaths"}

    def shared(name):
        lines = template(name).splitlines()
        directives = [line for line in lines if re.match(r"\w+=", line)]
        return [line for line in directives if line.partition("=")[0] not in particular]

    assert shared("reconciler.service") == shared("reconciler@.service")


def test_the_machine_s_unit_names_program_user_and_every_environment():
    other = Path("/srv/my lab/.venv")

    (unit,) = machine_units(service(writable=(STUDIO, other)), "studio")

    assert unit.path == Path("/etc/systemd/system/reconciler.service")
    assert unit.text.startswith(f"{MARK}\n")
    assert values(unit.text, "ExecStart") == [
        "/opt/reconciler/bin/reconciler run --config /etc/r.toml"
    ]
    assert values(unit.text, "ExecReload") == ["/opt/reconciler/bin/reconciler service reload"]
    assert values(unit.text, "User") == ["studio"]
    assert values(unit.text, "ReadWritePaths") == ["-/srv/studio/.venv", '"-/srv/my lab/.venv"']
    assert values(unit.text, "PrivateTmp") == ["yes"]


def test_an_environment_in_tmp_is_not_hidden_by_a_private_one():
    (unit,) = machine_units(service(writable=(Path("/tmp/lab/.venv"),)), "studio")

    assert values(unit.text, "PrivateTmp") == ["no"]


def test_a_user_s_unit_takes_the_home_as_a_whole_and_what_lies_elsewhere():
    home = Path("/home/alice")
    wanted = service(writable=(home / "studio/.venv", STUDIO))

    shared, own = named_units(wanted, "alice", home)

    assert shared.path == Path("/etc/systemd/system/reconciler@.service")
    assert values(shared.text, "ExecStart") == ["/opt/reconciler/bin/reconciler run"]
    assert values(shared.text, "User") == ["%i"]
    assert own.path == Path("/etc/systemd/system/reconciler@alice.service.d/50-paths.conf")
    assert values(own.text, "ReadWritePaths") == ["", "-/home/alice", "-/srv/studio/.venv"]
    assert values(own.text, "ExecStart") == [
        "",
        "/opt/reconciler/bin/reconciler run --config /etc/r.toml",
    ]


def test_a_user_without_a_home_is_given_a_cache():
    _, own = named_units(service(), "robot", None)

    assert values(own.text, "ReadWritePaths") == ["", "-/srv/studio/.venv"]
    assert values(own.text, "CacheDirectory") == ["reconciler-robot"]
    assert values(own.text, "Environment") == ["UV_CACHE_DIR=%C/reconciler-robot/uv"]


def test_the_user_s_own_unit_has_no_path_of_the_machine(tmp_path):
    (unit,) = own_units(service(), tmp_path)

    assert unit.path == tmp_path / "reconciler.service"
    assert values(unit.text, "User") == values(unit.text, "ReadWritePaths") == []
    assert values(unit.text, "WantedBy") == ["default.target"]


@pytest.mark.parametrize(
    ("listen", "streams", "mode"),
    [
        (TcpAddress("127.0.0.1", 8765), ["127.0.0.1:8765"], []),
        (TcpAddress("localhost", 9000), ["127.0.0.1:9000"], []),
        (TcpAddress("::1", 8765), ["[::1]:8765"], []),
        (UnixAddress(Path("/run/reconciler.sock")), ["/run/reconciler.sock"], ["0666"]),
    ],
)
def test_the_socket_listens_where_the_configuration_says(listen, streams, mode, analyze):
    unit, socket = machine_units(service(listen=listen), "studio")

    analyze("verify", unit.path.name, unit.text)
    answer = analyze("verify", socket.path.name, socket.text)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert socket.path.name == "reconciler.socket"
    assert values(socket.text, "ListenStream") == streams
    assert values(socket.text, "SocketMode") == mode


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/opt/reconciler", "/opt/reconciler"),
        ("/srv/my lab", '"/srv/my lab"'),
        ("/srv/100%", "/srv/100%%"),
        ("/srv/$HOME", "/srv/$$HOME"),
        ('/srv/a"b\\c', '"/srv/a\\"b\\\\c"'),
        ("", '""'),
        ("/srv/a\\", '"/srv/a\\\\"'),
    ],
)
def test_words_are_written_so_that_systemd_reads_them_back(word, written):
    assert quoted(word, command=True) == written


def test_all_lines_of_a_directive_are_replaced_where_the_first_stood():
    text = "[A]\nX=1\n# why\nY=2\nX=3\n[B]\n"

    assert set_directive(text, "X", ["a", "b"]) == "[A]\nX=a\nX=b\n# why\nY=2\n[B]\n"
    assert set_directive(text, "X", []) == "[A]\n# why\nY=2\n[B]\n"
