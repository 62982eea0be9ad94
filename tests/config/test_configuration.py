"""Every key of [service] and [http]: good values become final, bad ones are named."""

from pathlib import Path

import pytest

from reconciler.config import HttpConfig, LogFormat, LogLevel, TcpAddress, UnixAddress
from tests.config.tables import cases


def test_service_and_http_have_defaults(read, file):
    config = read('[environments.a]\npyproject = "p"')

    assert config.path == file
    assert config.service.state_dir == Path("/state")
    assert config.service.log_format is LogFormat.AUTO
    assert config.service.log_level is LogLevel.INFO
    assert config.service.uv is None
    assert config.http == HttpConfig(
        listen=TcpAddress("127.0.0.1", 8765), allowed_hosts=(), allowed_users=(), token_file=None
    )


@pytest.mark.parametrize(
    ("section", "line", "name", "expected"),
    [
        ("service", 'state_dir = "~/state"', "state_dir", Path("/home/alice/state")),
        ("service", 'log_format = "json"', "log_format", LogFormat.JSON),
        ("service", 'log_level = "debug"', "log_level", LogLevel.DEBUG),
        ("service", 'uv = "/usr/bin/uv"', "uv", Path("/usr/bin/uv")),
        ("http", 'listen = "[::1]:80"', "listen", TcpAddress("::1", 80)),
        ("http", 'listen = "localhost:0"', "listen", TcpAddress("localhost", 0)),
        ("http", 'listen = "127.0.0.2:65535"', "listen", TcpAddress("127.0.0.2", 65535)),
        ("http", 'listen = "unix:/run/r.sock"', "listen", UnixAddress(Path("/run/r.sock"))),
        ("http", 'listen = "unix:~/r.sock"', "listen", UnixAddress(Path("/home/alice/r.sock"))),
        (
            "http",
            'listen = "0.0.0.0:80"\ntoken_file = "/t"',
            "listen",
            TcpAddress("0.0.0.0", 80),
        ),
        (
            "http",
            'allowed_hosts = ["Status.Example.org", "gpu-box", "192.0.2.7", "2001:db8::1"]',
            "allowed_hosts",
            ("status.example.org", "gpu-box", "192.0.2.7", "[2001:db8::1]"),
        ),
        (
            "http",
            'allowed_users = ["alice", 1000, "svc$"]',
            "allowed_users",
            ("alice", 1000, "svc$"),
        ),
        ("http", 'token_file = "/t"', "token_file", Path("/t")),
    ],
)
def test_a_good_value_of_the_service(read, section, line, name, expected):
    config = read(f'[{section}]\n{line}\n[environments.a]\npyproject = "p"')

    assert getattr(getattr(config, section), name) == expected


BAD_SERVICE = r"""
state_dir = 1
    state_dir: expected a path, found 1. Write state_dir = "/var/lib/reconciler".

log_format = "text"
    log_format: expected "auto", "json" or "console", found "text". Write log_format =
    "auto".

log_level = "warn"
    log_level: expected "debug", "info", "warning" or "error", found "warn". Write log_level
    = "info".

uv = false
    uv: expected a path, found false. Write uv = "/usr/local/bin/uv".

interval = "1m"
    interval: unknown key. It belongs in [environments.NAME] or [defaults].
"""

BAD_HTTP = r"""
listen = 8765
    listen: expected an address like "127.0.0.1:8765", "[::1]:8765" or "unix:PATH", found
    8765. Write listen = "127.0.0.1:8765".

listen = "8765"
    listen: expected an address like "127.0.0.1:8765", "[::1]:8765" or "unix:PATH", found
    "8765". Write listen = "127.0.0.1:8765".

listen = "127.0.0.1:65536"
    listen: expected a port between 0 and 65535, found "127.0.0.1:65536". Write listen =
    "127.0.0.1:8765".

listen = "example.org:80"
    listen: expected an IPv4 address before the port, found "example.org:80". Write an IP
    address of this machine, or "localhost".

listen = "[127.0.0.1]:80"
    listen: expected an IPv6 address before the port, found "[127.0.0.1]:80". Write an IP
    address of this machine, or "localhost".

listen = "unix:"
    listen: expected a path, found "unix:". Write listen = "127.0.0.1:8765".

listen = "0.0.0.0:8765"
    listen: 0.0.0.0:8765 can be reached from other machines, and there is no token_file.
    Write listen = "127.0.0.1:8765", or set token_file as well.

listen = "[::]:8765"
    listen: [::]:8765 can be reached from other machines, and there is no token_file. Write
    listen = "127.0.0.1:8765", or set token_file as well.

allowed_hosts = "x"
    allowed_hosts: expected a list of host names, found "x". Write allowed_hosts =
    ["status.example.org"].

allowed_hosts = ["*.example.org"]
    allowed_hosts: expected a host name without a port, found the entry "*.example.org". Write
    each name out; a wildcard would give any web page access.

allowed_hosts = ["example.org:80"]
    allowed_hosts: expected a host name without a port, found the entry "example.org:80".
    Leave out the port.

allowed_hosts = ["https://example.org/"]
    allowed_hosts: expected a host name without a port, found the entry
    "https://example.org/". Write allowed_hosts = ["status.example.org"].

allowed_users = [-1]
    allowed_users: expected a user id from 0 to 4294967294, found the entry -1. Write
    allowed_users = ["alice", 1000].

allowed_users = ["1000"]
    allowed_users: expected a user name or a numeric user id, found the entry "1000". Write
    1000, without quotes.

allowed_users = [true]
    allowed_users: expected a list of user names and numeric user ids, found [true]. Write
    allowed_users = ["alice", 1000].

allowed_users = ["a b"]
    allowed_users: expected a user name or a numeric user id, found the entry "a b". Write
    allowed_users = ["alice", 1000].

token_file = []
    token_file: expected a path, found []. Write token_file = "/etc/reconciler/token".
"""

BAD = [("service", *case) for case in cases(BAD_SERVICE)]
BAD += [("http", *case) for case in cases(BAD_HTTP)]


@pytest.mark.parametrize(("section", "line", "message"), BAD)
def test_a_bad_value_of_the_service(problems, section, line, message):
    text = f'[{section}]\n{line}\n[environments.a]\npyproject = "p"'

    assert problems(text) == [f"2:1: {section}.{message}"]


def test_an_open_address_needs_a_token_however_it_is_made():
    with pytest.raises(ValueError, match="can be reached from other machines"):
        HttpConfig(listen=TcpAddress("192.0.2.1", 80))


def test_a_socket_path_that_the_kernel_cannot_take(problems):
    path = "/" + "x" * 107

    (problem,) = problems(f'http.listen = "unix:{path}"\n[environments.a]\npyproject = "p"')

    assert problem.startswith("1:1: http.listen: expected a socket path of at most 107 bytes, ")
