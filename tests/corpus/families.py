"""Random small families of packages: what a project asks of them, and what is installed.

A family is a package, a dependency of it, and one that only an extra brings. Families know nothing
of each other, so that many of them make one project, and each is an example of its own.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from packaging.specifiers import InvalidSpecifier, SpecifierSet

VERSIONS = (
    "0.9", "1.0.dev1", "1.0a1", "1.0rc2", "1.0", "1.0.0", "1.0+cpu", "1.0+cu121", "1.0.post1",
    "1.0.post1.dev2", "1.0.1", "1.1", "1.10", "2.0.dev3", "2.0rc1", "2.0rc1+cpu", "2.0", "2!1.0",
)  # fmt: skip
_BOUNDS = tuple(version for version in VERSIONS if "+" not in version)

_TEXTS = {
    "os_name": ("posix", "nt"),
    "sys_platform": ("linux", "win32", "darwin", "linux2"),
    "platform_system": ("Linux", "Windows", "linux"),
    "platform_machine": ("x86_64", "aarch64", "arm64"),
    "platform_python_implementation": ("CPython", "PyPy"),
    "implementation_name": ("cpython", "pypy"),
}
_NUMBERS = {
    "python_version": ("3", "3.8", "3.9", "3.11", "3.12", "3.13", "4.0", "3.11.0"),
    "python_full_version": ("3.8", "3.11.0", "3.12.0rc1", "3.13.5", "4"),
    "implementation_version": ("3.8", "3.12.0", "4"),
}


@dataclass(frozen=True)
class Copy:
    """An installed copy; `place` is where it came from, if not from an index."""

    version: str
    place: str | None = None
    editable: bool | None = None
    """What uv notes of a folder: nothing if it was a reference, else what the source says."""


@dataclass(frozen=True)
class Family:
    """One example. `{p}`, `{a}` and `{b}` stand for its names."""

    asked: tuple[str, ...]
    source: dict[str, Any] | None
    parent: Copy | None
    """The installed package; it requires `needs`, and `extra` under its extra x."""
    needs: str
    extra: str
    child: Copy | None
    other: Copy | None
    settings: dict[str, str]
    changed: bool
    """Whether the folder that the package came from has another version since."""

    def named(self, text: str, number: int) -> str:
        """The text with the names of the family of that number."""
        return (
            text.replace("{p}", f"fam{number}").replace("{a}", f"fam{number}-a")
            .replace("{b}", f"fam{number}-b").replace("{n}", str(number))
        )  # fmt: skip

    def names(self, number: int) -> set[str]:
        """The packages of the family of that number."""
        return {self.named(word, number) for word in ("{p}", "{a}", "{b}")}


@st.composite
def specifiers(draw: st.DrawFn) -> str:
    """Zero to three clauses, all operators."""
    clauses = draw(st.lists(_clause(), max_size=3, unique=True))
    text = ",".join(clauses)
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return ""
    return text


@st.composite
def _clause(draw: st.DrawFn) -> str:
    operator = draw(st.sampled_from(("==", "!=", "<=", ">=", "<", ">", "~=", "===", "==*", "!=*")))
    if operator in ("==*", "!=*"):
        stem = draw(st.sampled_from(("0", "1", "1.0", "2", "2.0", "1.1", "1.0.1", "2!1")))
        return f"{operator[:2]}{stem}.*"
    if operator == "~=":
        return f"~={draw(st.sampled_from(_BOUNDS))}"
    exact = operator in ("==", "!=", "===")
    return f"{operator}{draw(st.sampled_from(VERSIONS if exact else _BOUNDS))}"


def _leaf() -> st.SearchStrategy[str]:
    return st.one_of(_text_marker(), _number_marker())


@st.composite
def _text_marker(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(_TEXTS)))
    value = draw(st.sampled_from(_TEXTS[name]))
    forms = ("{n} == '{v}'", "{n} != '{v}'", "'{v}' == {n}", "{n} in '{v}'", "{n} not in '{v}'",
             "'{v}' in {n}", "{n} in 'x {v}'")  # fmt: skip
    form = draw(st.sampled_from(forms))
    return form.format(n=name, v=value)


@st.composite
def _number_marker(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(_NUMBERS)))
    value = draw(st.sampled_from(_NUMBERS[name]))
    operator = draw(st.sampled_from(("==", "!=", "<", "<=", ">", ">=", "~=")))
    if operator == "~=" and "." not in value:
        operator = ">="
    if draw(st.booleans()) or operator == "~=":
        return f"{name} {operator} '{value}'"
    return f"'{value}' {operator} {name}"


def markers() -> st.SearchStrategy[str]:
    """A marker, or none."""
    joined = st.recursive(
        _leaf(),
        lambda inner: st.tuples(inner, st.sampled_from(("and", "or")), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        max_leaves=3,
    )
    return st.one_of(st.just(""), st.just(""), joined.map(lambda text: f" ; {text}"))


def _copies(*places: str) -> st.SearchStrategy[Copy | None]:
    version = st.sampled_from(VERSIONS)
    plain = version.map(Copy)
    if not places:
        return st.one_of(st.none(), plain, plain)
    placed = st.builds(_placed, version, st.sampled_from(places),
                       st.sampled_from((None, False, True)))  # fmt: skip
    return st.one_of(st.none(), plain, placed, placed)


def _placed(version: str, place: str, editable: bool | None) -> Copy:
    if place.startswith("folder"):
        return Copy(version, place, editable)
    return Copy(WHEELS[place], place)


WHEELS = {"wheel": "1.0", "other-wheel": "1.1"}
PLACES = (*WHEELS, "folder", "folder-elsewhere")
_SETTINGS = ("constraint-dependencies", "override-dependencies", "exclude-dependencies")


@st.composite
def _settings(draw: st.DrawFn) -> dict[str, str]:
    if draw(st.integers(0, 3)):
        return {}
    key = draw(st.sampled_from(_SETTINGS))
    name = draw(st.sampled_from(("{p}", "{a}", "{b}")))
    if key == "exclude-dependencies":
        return {key: name}
    return {key: f"{name}{draw(specifiers())}{draw(markers())}"}


@st.composite
def _from_an_index(draw: st.DrawFn) -> tuple[tuple[str, ...], None, Copy | None]:
    name = draw(st.sampled_from(("{p}", "{p}", "{p}[x]", "{p}[X]", "{p}[unknown]")))
    asked = [f"{name}{draw(specifiers())}{draw(markers())}"]
    if not draw(st.integers(0, 4)):
        asked.append(f"{{p}}{draw(specifiers())}{draw(markers())}")
    return tuple(asked), None, draw(_copies("wheel", "other-wheel", "folder"))


@st.composite
def _from_a_place(draw: st.DrawFn) -> tuple[tuple[str, ...], dict[str, Any] | None, Copy | None]:
    place = draw(st.sampled_from(PLACES))
    copy = draw(_copies(*PLACES))
    if draw(st.booleans()):
        before, after = draw(st.sampled_from((("", ""), ("localhost", ""), ("", "#egg={p}"))))
        return (f"{{p}} @ file://{before}{{at:{place}}}{after}",), None, copy
    source: dict[str, Any] = {"path": place}
    if place.startswith("folder") and (editable := draw(st.sampled_from((None, True, False)))):
        source["editable"] = editable
    extra = draw(st.sampled_from(("", "[x]")))
    return (f"{{p}}{extra}{draw(markers())}",), source, copy


@st.composite
def families(draw: st.DrawFn) -> Family:
    """One random family."""
    asked, source, parent = draw(st.one_of(_from_an_index(), _from_an_index(), _from_a_place()))
    return Family(
        asked=asked,
        source=source,
        parent=parent,
        needs=f"{{a}}{draw(specifiers())}{draw(markers())}" if draw(st.booleans()) else "",
        extra=f"{{b}}{draw(specifiers())}",
        child=draw(_copies()),
        other=draw(_copies()),
        settings=draw(_settings()),
        changed=draw(st.integers(0, 5)) == 0,
    )
