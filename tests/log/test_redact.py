"""No secret leaves the process in a text, and no ordinary word is taken for one."""

import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.log.redact import Redactor, is_secret_name, plain, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@example.org/simple", "https://****@example.org/simple"),
        ("see https://t0ken@example.org.", "see https://****@example.org."),
        ("https://a:b@c:d@example.org/x", "https://****@example.org/x"),
        ("https://me:p%40w@[::1]:8080/x", "https://****@[::1]:8080/x"),
        ("git+https://me:pw@example.org/r.git@main", "git+https://****@example.org/r.git@main"),
        ("socks5h://me:pw@127.0.0.1:1080", "socks5h://****@127.0.0.1:1080"),
        ("a http://x:y@b http://z@c", "a http://****@b http://****@c"),
        ("https://example.org/x?token=abc&n=1", "https://example.org/x?token=****&n=1"),
        ("https://example.org/x?a=1&X-Amz-Signature=ab", "https://example.org/x?a=1&X-Amz-Signature=****"),
        ("https://example.org/x?sig=ab%2F#f", "https://example.org/x?sig=****#f"),
        ("Authorization: Basic bWU6cHc=", "Authorization: ****"),
        ("authorization: bearer abc.def", "authorization: ****"),
        ('{"Authorization": "Bearer abc"}', '{"Authorization": "****"}'),
        ("Proxy-Authorization: Basic abc", "Proxy-Authorization: ****"),
        ("sent Bearer abcdefghijklmnop1234 along", "sent Bearer **** along"),
        ("UV_INDEX_LAB_PASSWORD=hunter2 uv pip", "UV_INDEX_LAB_PASSWORD=**** uv pip"),
        ("--password=hunter2", "--password=****"),
        ('password = "hunter 2"', "password = ****"),
        ("'api_key': 'abc'", "'api_key': ****"),
        ('"client_secret": "abc"', '"client_secret": ****'),
        ("HF_TOKEN='abc def'", "HF_TOKEN=****"),
    ],
)  # fmt: skip
def test_a_secret_is_known_by_its_place(text, shown):
    assert Redactor()(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "tokenizers==0.19.1",
        "tokenizers>=0.19,<0.20",
        'tokenizers = "0.19"',
        "token==1.0",
        "secretstorage = '3.3'",
        "https://example.org/a@b",
        "git+ssh://git@example.org/r.git",
        "torch @ https://example.org/torch-2.3.1%2Brocm5.7-cp39.whl#sha256=abc",
        "mail me@example.org",
        "the bearer of this is alice",
        "Basic requirements are met",
        "expected a token, found a password",
        "password: none was asked for",
        "a://",
        "",
    ],
)
def test_ordinary_text_stays(text):
    assert Redactor()(text) == text


def test_a_registered_secret_is_masked_wherever_it_occurs():
    redactor = Redactor()
    redactor.register("s3cr/t value")

    shown = redactor("x s3cr/t value, s3cr%2Ft%20value")

    assert shown == "x ****, ****"


def test_a_longer_secret_wins_over_its_beginning():
    redactor = Redactor()
    redactor.register("hunter")
    redactor.register("hunter22")

    assert redactor("hunter22 hunter23") == "**** ****23"


def test_a_short_secret_does_not_blank_ordinary_words():
    redactor = Redactor()
    redactor.register("a")
    redactor.register("")

    assert redactor("a package") == "a package"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("UV_INDEX_LAB_PASSWORD", "hunter22", "hunter22"),
        ("UV_PUBLISH_TOKEN", "pypi-abcdef", "pypi-abcdef"),
        ("HF_TOKEN", "hf_abcdef", "hf_abcdef"),
        ("AWS_SECRET_ACCESS_KEY", "abcdefgh", "abcdefgh"),
        ("UV_DEFAULT_INDEX", "https://me:hunter22@example.org/simple", "hunter22"),
        ("UV_INDEX", "https://a lab=https://me:hunter%4022@example.org/", "hunter@22"),
        ("PIP_EXTRA_INDEX_URL", "https://tok3n99@example.org/ https://b", "tok3n99"),
        ("UV_HTTP_PROXY", "http://me:hunter22@proxy:3128", "hunter22"),
        ("https_proxy", "http://me:hunter22@proxy:3128", "hunter22"),
    ],
)
def test_the_environments_secrets_are_masked_later(name, value, secret):
    redactor = Redactor()
    redactor.register_environment({"PATH": "/usr/bin", name: value})

    assert redactor(f"it was {secret} in /usr/bin") == "it was **** in /usr/bin"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UV_INDEX_LAB_USERNAME", "alice-b"),
        ("TOKENIZERS_PARALLELISM", "enabled"),
        ("UV_INDEX", "https://[broken"),
        ("SSH_AUTH_SOCK", "/run/agent"),
    ],
)
def test_the_environments_other_values_stay(name, value):
    redactor = Redactor()
    redactor.register_environment({name: value})

    assert redactor(f"it was {value}") == f"it was {value}"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("token", True),
        ("index_password", True),
        ("Authorization", True),
        ("Set-Cookie", True),
        ("x-api-key", True),
        ("UV_INDEX_LAB_PASSWORD", True),
        ("tokenizers", False),
        ("token_file", False),
        ("package", False),
        ("pass", False),
        ("key", False),
    ],
)
def test_names_that_say_they_are_secret(name, secret):
    assert is_secret_name(name) is secret


class Point(msgspec.Struct):
    path: Path
    token: str


def test_anything_becomes_plain():
    value = {
        "path": Path("/x"),
        "error": ValueError("https://me:pw@example.org"),
        "nested": [{"password": "hunter2", "n": 1}, (2.5, None, True)],
        "headers": {"Authorization": "Bearer x", 3: "three"},
        "struct": Point(path=Path("/y"), token="t"),
        "undecodable": "a\udcffb",
        "names": {"one"},
    }

    assert plain(value) == {
        "path": "/x",
        "error": "https://****@example.org",
        "nested": [{"password": "****", "n": 1}, [2.5, None, True]],
        "headers": {"Authorization": "****", "3": "three"},
        "struct": {"path": "/y", "token": "****"},
        "undecodable": "a\\udcffb",
        "names": ["one"],
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_plain_can_be_written_and_stays_plain(value):
    once = plain(value)

    written = msgspec.json.encode(once)
    assert msgspec.json.encode(plain(once)) == written


@given(st.text(), st.text(alphabet="abc123:%", min_size=1), st.text())
def test_credentials_never_survive_in_an_address(before, credentials, after):
    secret = f"{credentials}Zq7"

    assert "Zq7" not in redact(f"{before} https://{secret}@example.org/{after}").replace(after, "")


def test_a_long_text_takes_no_long_time():
    text = "a-b_c.token:" * 20_000 + "://" * 20_000 + "authorization " * 20_000
    done = threading.Event()
    thread = threading.Thread(target=lambda: (redact(text), done.set()), daemon=True)
    thread.start()

    assert done.wait(10), "the patterns take more than linear time"
