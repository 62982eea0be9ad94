"""Headers of METADATA are read as `email` reads them, however odd they are."""

from email.parser import BytesHeaderParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.state.metadata_headers import READ, headers_of

ODD = (
    b"",
    b"\n",
    b"Name: a",
    b"Name: a\nVersion: 1\n",
    b"name:a\nNAME:\tb \nName : c\nVersion: 1",
    b"Name:\nVersion:  \t1\t",
    b" Name: a\nVersion: 1",
    b"Requires-Dist: a\n  >=1\n\t; extra == 'b'\nRequires-Dist: c\nVersion: 1",
    b"License: x\n  Name: b\n\t\n        |Version: 2\nName: a",
    b"From here\nName: a",
    b"From me: x\nName: a",
    b"Name: a\nFrom me: x\nVersion: 1",
    b"Name: a\n: empty\nVersion: 1",
    b"Name: a\nno header\nVersion: 1",
    b"\nName: a",
    b"Name: a\r\nVersion: 1\r\n",
    b"Name: a\rVersion: 1",
    b"Author: \xc3\xa9\nName: a\nVersion: 1",
    b"Name: \xc3\xa9\nVersion: 1",
    b"N\xc3\xa9: x\nName: a",
    b"Name: a\x0cVersion: 2\nVersion: 1\x0b\x85\x1c",
    b"Name: =?utf-8?q?a?=\nVersion: 1",
)


def as_email(head: bytes) -> dict[str, list[str]]:
    message = BytesHeaderParser().parsebytes(head + b"\n\n")
    return {name: [str(value) for value in message.get_all(name, [])] for name in READ}


@pytest.mark.parametrize("head", ODD)
def test_odd_headers(head: bytes) -> None:
    assert headers_of(head) == as_email(head)


PIECES = ["Name", "requires-DIST", "Version", "X", "From ", ":", ": ", " ", "a", "\x0c", "\xe9"]
PIECES += ["\n", "\n ", "\n\t", "\r", "\r\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=20))
def test_any_headers(pieces: list[str]) -> None:
    head = "".join(pieces).encode().partition(b"\n\n")[0]
    assert headers_of(head) == as_email(head)
