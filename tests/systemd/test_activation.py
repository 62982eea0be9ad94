"""Sockets handed over by systemd: by the real hand-over where one is to be had."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from reconciler.systemd.activation import ActivationError, inherited_sockets
from tests.support.processes import reconciler_command


@pytest.fixture
def handed_over():
    """Put sockets on consecutive descriptors, as systemd does from 3 on."""
    placed = []

    def place(*sockets, first=200):
        for number, each in enumerate(sockets, first):
            os.dup2(each.fileno(), number, inheritable=True)
            placed.append(number)
        return first

    yield place
    for number in placed:
        with contextlib.suppress(OSError):
            os.close(number)


def environ(count, pid=None):
    pid = os.getpid() if pid is None else pid
    return {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid), "LISTEN_FDNAMES": "x", "HOME": "/"}


def test_a_port_and_a_unix_socket_are_taken_over_in_order(tmp_path, handed_over):
    port = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "s"))
    unix.listen()
    variables = environ(2)

    taken = inherited_sockets(variables, first=handed_over(port, unix))

    assert [each.family for each in taken] == [socket.AF_INET, socket.AF_UNIX]
    assert taken[0].getsockname() == port.getsockname()
    assert not any(each.get_inheritable() for each in taken)
    assert variables == {"HOME": "/"}
    with socket.create_connection(port.getsockname(), 5) as client:
        peer, _ = port.accept()
        peer.sendall(b"hello")
        assert client.recv(5) == b"hello"
    for each in (*taken, peer, port, unix):
        each.close()


@pytest.mark.parametrize(
    "variables",
    [{}, {"LISTEN_FDS": "1"}, environ(1, pid=1), {"LISTEN_FDS": "x", "LISTEN_PID": "1"}],
)
def test_sockets_of_another_process_are_left_alone(variables):
    assert inherited_sockets(dict(variables), first=250) == ()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(socket.SOCK_STREAM, "it does not listen"), (socket.SOCK_DGRAM, "it is not a stream socket")],
)
def test_a_socket_that_cannot_be_served_is_named(handed_over, kind, reason):
    with socket.socket(type=kind) as idle:
        first = handed_over(idle)
        with pytest.raises(ActivationError, match=rf"unit x .*descriptor 200: {reason}") as raised:
            inherited_sockets(environ(1), first=first)
    assert "Accept=no" in raised.value.fix


@pytest.mark.parametrize("directive", ["--datagram", "--seqpacket"])
def test_the_service_says_what_is_wrong_with_the_socket_unit(directive, project, tmp_path):
    """By the real hand-over; the service ends at once, and nobody reads a traceback."""
    project.write([])
    path = tmp_path / "socket"
    command = [
        "systemd-socket-activate", directive, "--fdname=studio.socket", "-l", str(path),
        "-E", f"PYTHONPATH={os.pathsep.join(sys.path)}", "-E", f"HOME={tmp_path}",
        "-E", f"STATE_DIRECTORY={tmp_path}/state",
        *reconciler_command(["run", "--pyproject", str(project.path)]),
    ]  # fmt: skip
    kind = socket.SOCK_DGRAM if directive == "--datagram" else socket.SOCK_SEQPACKET
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as activator:
        assert "Listening on" in activator.stderr.readline()
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(str(path))
            if kind == socket.SOCK_DGRAM:
                client.send(b"hello")
            _, said = activator.communicate(timeout=60)
    assert activator.returncode == 1, said
    records = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (failed,) = [record for record in records if record["event"] == "service.failed"]
    assert failed["message"].startswith(
        "the socket unit studio.socket passes a descriptor that cannot be served"
    )
    assert "it is not a stream socket" in failed["message"]
    assert "Use ListenStream= and Accept=no" in failed["mend"]
    assert "Traceback" not in said


def test_a_closed_descriptor_is_named():
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)

    with pytest.raises(ActivationError, match=rf"descriptor {closed}: Bad file descriptor"):
        inherited_sockets(environ(1), first=closed)


def test_systemd_hands_its_socket_to_a_program(tmp_path):
    """The real hand-over, by systemd-socket-activate."""
    path = tmp_path / "socket"
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            from reconciler.systemd.activation import inherited_sockets
            (listener,) = inherited_sockets()
            listener.setblocking(True)
            peer, _ = listener.accept()
            peer.sendall(b"taken over")
        """)
    )
    command = ["systemd-socket-activate", "-l", str(path), sys.executable, str(program)]
    command[3:3] = ["-E", f"PYTHONPATH={os.pathsep.join(sys.path)}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as activator:
        assert b"Listening on" in activator.stderr.readline()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            assert client.recv(64) == b"taken over"
        activator.wait(20)
