"""Requirements are parsed only when they matter, and mean just what `packaging` says they mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import default_environment
from packaging.requirements import Requirement

from reconciler.state.requires import Requires

ENVIRONMENT = {**default_environment(), "sys_platform": "linux", "python_version": "3.9"}
EXTRAS = ("gpu", "web-ui", "x")

LAZY = (
    'a; extra == "gpu"',
    "a>=1; extra=='gpu'",
    'a[b]>=1,<2 ; sys_platform == "linux" and extra == "gpu"',
    'a; (sys_platform == "linux" or sys_platform == "win32") and extra == "Web_UI"',
    'a; python_version < "3.10" and sys_platform == "linux" and extra == "x"',
    'a @ https://example.org/a.whl ; extra == "gpu"',
)
EAGER = (
    "a",
    'a; sys_platform == "linux"',
    'a; extra != "gpu"',
    'a; sys_platform == "win32" or extra == "gpu"',
    'a; extra == "gpu" or extra == "x"',
    'a; extra == "gpu" and sys_platform == "linux"',
    'a; sys_platform == "linux" or python_version < "3" and extra == "gpu"',
    'a; (sys_platform == "linux" and extra == "gpu") or extra == "x"',
    'a; (sys_platform == "win32") or (sys_platform == "linux") and extra == "gpu"',
)


def meant(lines: list[str], *extras: str) -> list[str]:
    environments = [{**ENVIRONMENT, "extra": extra} for extra in ("", *extras)]
    found = map(Requirement, lines)
    return sorted(
        str(r) for r in found if r.marker is None or any(r.marker.evaluate(e) for e in environments)
    )


def kept(requires: Requires, *extras: str) -> list[str]:
    return meant([str(r) for r in requires.with_extras(extras)], *extras)


def test_a_line_for_one_extra_alone_stays_text():
    assert [line for line in LAZY if Requires.of([line]).always] == []
    assert [[str(r) for r in Requires.of([line])] for line in LAZY] == [
        [str(Requirement(line))] for line in LAZY
    ]


def test_any_other_line_is_parsed_at_once():
    assert [Requires.of([line]).always for line in EAGER] == [(Requirement(it),) for it in EAGER]


def test_what_applies_is_what_the_markers_say():
    asked = [(), ("gpu",), ("web-ui",), ("x", "gpu"), ("unknown",)]
    misread = [
        (line, extras)
        for line in (*LAZY, *EAGER)
        for extras in asked
        if kept(Requires.of([line]), *extras) != meant([line], *extras)
    ]

    assert misread == []


CLAUSES = st.sampled_from(
    [
        'extra == "gpu"',
        "extra == 'x'",
        'extra != "gpu"',
        'sys_platform == "linux"',
        'sys_platform == "win32"',
        '"3" in python_version',
        'python_version < "3.10"',
    ]
)
MARKERS = st.recursive(
    CLAUSES,
    lambda inner: st.builds(
        lambda one, word, other, around: (
            f"({one} {word} {other})" if around else f"{one} {word} {other}"
        ),
        inner,
        st.sampled_from(["and", "or"]),
        inner,
        st.booleans(),
    ),
    max_leaves=5,
)


@given(st.lists(MARKERS, max_size=4), st.sets(st.sampled_from(EXTRAS)))
def test_no_marker_is_misread(markers, extras):
    lines = [f"package-{n}>=1; {marker}" for n, marker in enumerate(markers)]
    assert kept(Requires.of(lines), *extras) == meant(lines, *extras)


def test_names_are_known_without_parsing():
    lines = ["Foo_Bar>=1", 'a.b[c] ; extra == "gpu"', 'x@https://example.org ; extra == "gpu"']
    assert list(Requires.of(lines).names()) == ["foo-bar", "a-b", "x"]


def test_what_is_no_requirement_is_left_out_whenever_it_is_parsed():
    requires = Requires.of(["a (>1", "b~=1; extra == 'gpu'", "c"])
    assert [r.name for r in requires] == ["c"]
    assert [r.name for r in requires.with_extras(["gpu"])] == ["c"]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("torch (>=1.7.*)", "torch>=1.7"),
        ("pytz (>dev)", "pytz>0.0.0dev"),
        ("a>=7.2.0<8.0.0", "a<8.0.0,>=7.2.0"),
        ("a!=~5.0,>=4.12", "a!=5.0.*,>=4.12"),
        ("a!=3.0*", "a!=3.0.*"),
        ("a>=9.0.0a1.0", "a>=9.0.0a1"),
        ("a>='2.0'; python_version > '3'", 'a>=2.0; python_version > "3"'),
        ("a>=1.*; extra == 'gpu'", 'a>=1; extra == "gpu"'),
    ],
)
def test_old_mistakes_are_mended_as_uv_does(line, meant):
    assert [str(r) for r in Requires.of([line])] == [meant]
