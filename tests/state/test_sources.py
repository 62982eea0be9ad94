"""Where a requirement is to come from, by [tool.uv.sources]."""

import pytest

from tests.state.reading import read

# Sources

INDEXES = "".join(
    f'\n        [[tool.uv.index]]\n        name = "{name}"\n        url = "../{name}"'
    for name in ("rocm", "win", "old", "new", "gpu", "dev", "any", "odd")
)


def source_of(table: str, *, requirement="thing", extras=(), groups=()):
    desired = read(
        f"""
        [project]
        dependencies = ["{requirement}"]
        [project.optional-dependencies]
        gpu = ["thing"]
        "odd.name" = ["thing"]
        [dependency-groups]
        dev = ["thing"]
        [tool.uv.sources]
        {table}
        {INDEXES}
        """,
        extras=extras,
        groups=groups,
    )
    return desired.requirements[-1].source


@pytest.mark.parametrize(
    ("table", "url", "editable"),
    [
        ('thing = { path = "../thing" }', "file:///srv/thing", False),
        ('thing = { path = "/opt/thing", editable = true }', "file:///opt/thing", True),
        ('Thing = { url = "https://x.test/t.whl" }', "https://x.test/t.whl", False),
        ('thing = { git = "https://x.test/t", tag = "v1" }', "https://x.test/t", False),
        ('thing = { index = "rocm" }', None, False),
    ],
)
def test_sources_have_absolute_places(table, url, editable):
    source = source_of(table)
    assert source.url == url
    assert source.is_editable is editable
    assert source.is_direct is (url is not None)
    assert (source.index is None) is source.is_direct


def test_an_index_has_an_absolute_place():
    assert source_of('thing = { index = "rocm" }').index == {"name": "rocm", "url": "/srv/rocm"}


@pytest.mark.parametrize(
    ("rev", "expected"),
    [('tag = "v1"', "v1"), ('branch = "main"', "main"), ('rev = "abc"', "abc"), ("", None)],
)
def test_a_git_source_has_its_revision(rev, expected):
    comma = ", " if rev else ""
    assert source_of(f'thing = {{ git = "https://x.test/t"{comma}{rev} }}').revision == expected


MANY = """thing = [
            { index = "win", marker = "sys_platform == 'win32'" },
            { index = "old", marker = "python_version < '3.10'" },
            { index = "new" },
        ]"""


def test_of_several_sources_the_first_that_applies_to_the_target_counts():
    assert source_of(MANY).table == {"index": "old"}


@pytest.mark.parametrize(
    ("options", "index"),
    [({}, "any"), ({"extras": ("gpu",)}, "gpu"), ({"groups": ("dev",)}, "dev")],
)
def test_a_source_may_belong_to_an_extra_or_a_group(options, index):
    table = """thing = [
            { index = "gpu", extra = "GPU" },
            { index = "dev", group = "Dev" },
            { index = "any" },
        ]"""
    assert source_of(table, **options).table == {"index": index}


def test_a_source_belongs_to_an_extra_with_a_dot_in_its_name():
    table = 'thing = [{ index = "odd", extra = "odd.name" }]'
    assert source_of(table, extras=("odd.name",)).table == {"index": "odd"}


def test_a_source_of_an_extra_is_not_that_of_a_group_of_the_same_name():
    table = 'thing = [{ index = "gpu", extra = "dev" }]'
    assert source_of(table, groups=("dev",)) is None


def test_without_a_source_there_is_none():
    assert source_of('other = { index = "rocm" }') is None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('thing = "rocm"', "`tool.uv.sources.thing` must be a table"),
        ("thing = [3]", "`tool.uv.sources.thing` must be a table"),
        ("thing = { index = 'a', marker = 'sys_platform' }", "marker"),
        ("thing = { index = 'a', marker = 3 }", "marker"),
        ("thing = { index = 'a', marker = \"sys_platform ~= 'l'\" }", "marker"),
    ],
)
def test_a_source_that_cannot_be_understood_is_no_reason_to_look_elsewhere(table, words):
    # To ignore it would be to install another package of that name, from another index.
    text = f"[project]\ndependencies = ['thing']\n[tool.uv.sources]\n{table}\n"
    [declared] = read(text).requirements
    assert declared.source is None
    assert words in declared.unusable.reason
    assert declared.unusable.line == 4
