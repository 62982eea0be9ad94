"""The place of a key is found as an editor shows it, whatever surrounds it."""

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from reconciler.state.position import Position, positions

DOCUMENT = '''\
# environments.a.interval = 1
top = 1
[service]
  log_level = "info"   # indented
"quoted key" = 1
'single.key' = 2
[ environments . "my studio" ]  # spaces and quotes
pyproject="x"
verify = [
  ["a", "= b"],
]
text = """
interval = "not a key"
[not.a.header]
"""
interval = 1
a.b . c = 3
other = { x = 1, y = 2 }
[[environments.a.notify]]
on = 1
[[environments.a.notify]]
on = 2
[environments.a.notify.inner]
deep = 1
literal = \'\'\'
x = 1\'\'\'
last = 1
'''


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("top",), 2, 1),
        (("service",), 3, 1),
        (("service", "log_level"), 4, 3),
        (("service", "quoted key"), 5, 1),
        (("service", "single.key"), 6, 1),
        (("environments",), 7, 1),
        (("environments", "my studio"), 7, 1),
        (("environments", "my studio", "pyproject"), 8, 1),
        (("environments", "my studio", "verify"), 9, 1),
        (("environments", "my studio", "text"), 12, 1),
        (("environments", "my studio", "interval"), 16, 1),
        (("environments", "my studio", "a", "b", "c"), 17, 1),
        (("environments", "my studio", "other"), 18, 1),
        (("environments", "my studio", "other", "y"), 18, 1),
        (("environments", "a", "notify"), 19, 1),
        (("environments", "a", "notify", 0), 19, 1),
        (("environments", "a", "notify", 0, "on"), 20, 1),
        (("environments", "a", "notify", 1), 21, 1),
        (("environments", "a", "notify", 1, "on"), 22, 1),
        (("environments", "a", "notify", 1, "inner"), 23, 1),
        (("environments", "a", "notify", 1, "inner", "deep"), 24, 1),
        (("environments", "a", "notify", 1, "inner", "last"), 27, 1),
    ],
)
def test_where_a_key_stands(path, line, column):
    assert positions(DOCUMENT).of(path) == Position(line, column)


@pytest.mark.parametrize("path", [(), ("nowhere",), ("not", "a", "header")])
def test_what_stands_nowhere(path):
    assert positions(DOCUMENT).of(path) is None


def test_a_key_that_is_missing_is_where_its_table_is():
    assert positions(DOCUMENT).of(("service", "uv")) == Position(3, 1)


@given(st.text(alphabet="ab=[]\"'\\.\n #{},", max_size=60))
def test_no_text_is_too_odd(text):
    found = positions(text)

    lines = text.split("\n")
    assert all(1 <= place.line <= len(lines) for place in found.places.values())


KEYS = st.text(alphabet="abc-_ .\"'", max_size=4)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, st.integers(), max_size=4), max_size=4))
def test_every_key_of_a_document_is_found(tables):
    def quoted(key):
        return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = "".join(
        f"[{quoted(name)}]\n" + "".join(f"{quoted(key)} = {n}\n" for key, n in table.items())
        for name, table in tables.items()
    )
    assert tomli.loads(text) == tables
    found = positions(text)
    lines = text.split("\n")
    for name, table in tables.items():
        assert lines[found.places[name,].line - 1] == f"[{quoted(name)}]"
        for key, number in table.items():
            assert lines[found.places[name, key].line - 1] == f"{quoted(key)} = {number}"
