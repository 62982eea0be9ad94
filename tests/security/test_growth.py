"""The work of every parser of foreign text grows with its size, and no faster.

Each is given hostile text of one size and of four times that size. Linear work takes four times
as long, quadratic work sixteen times; the limit is between them. All offenders are listed.
"""

from collections.abc import Callable
from pathlib import Path

from reconciler.state.desired import parse
from reconciler.state.distribution import read_record, read_recorded_paths
from reconciler.state.drift import diff
from reconciler.state.holds import HoldSet, hold_set
from reconciler.state.installed import Installed, InstalledReader
from reconciler.state.shared_files import is_code
from tests.state.markers import LINUX_39
from tests.state.site import Site

FILE = Path("/project/pyproject.toml")
FACTOR = 4
MOST = 9.0
"""How many times as long four times the text may take: 4 if linear, 16 if quadratic."""
FLOOR = 0.01
"""Seconds of processor time that are never worth a look."""

Parser = Callable[[str], object]

LINES = {
    "digits": lambda n: "a>=" + "1" * n,
    "dots": lambda n: "a>=" + "1." * n,
    "dots and a stray letter": lambda n: "a>=" + "1." * n + "x",
    "digits between dots": lambda n: "a>=" + "1.1" * n + "x",
    "spaces": lambda n: "a" + " " * n + "x",
    "spaces and an address": lambda n: "a" + " " * n + "@ x",
    "spaces before a marker": lambda n: "a;" + " " * n + "x",
    "and, and, and": lambda n: "a; " + "and " * n,
    "spaces between and": lambda n: "a; " + ("and" + " " * 50) * (n // 50),
    "parentheses": lambda n: "a; " + "(" * n,
    "closed parentheses": lambda n: "a; " + "(" * n + "os_name=='x'" + ")" * n,
    "clauses": lambda n: "a" + ">=1," * n + "!",
    "commas": lambda n: "a>=1" + ", " * n,
    "operators": lambda n: "a" + "<" * n,
    "pre-releases": lambda n: "a>=" + "1a1" * n,
    "quotes": lambda n: "a>='" * n,
    "dashes": lambda n: "a" + "-" * n,
    "extras": lambda n: "a[" + "b," * n + "b]",
    "open extras": lambda n: "a" + "[" * n,
    "markers": lambda n: "a; " + "os_name=='x' and " * n + "extra == 'y'",
    "extra and extra": lambda n: "a; " + "extra == 'x' and " * n,
    "semicolons": lambda n: "a" + ";" * n,
    "addresses": lambda n: "a @ " + "https://" * n,
}
"""Requirements, and what looks like one, by size."""

LOGS = {
    "one word": lambda n: "a" * n,
    "installs": lambda n: " + " + "=" * n,
    "errors": lambda n: "error: " * n,
    "builds": lambda n: "error: " + "Failed to build `a==" * n,
    "downloads": lambda n: "error: " + "Failed to download `" + "a" * n,
    "unreadable": lambda n: "error: " + "Failed to read metadata from: " * n,
    "unreadable folders": lambda n: "error: Failed to read metadata from: " + "/a." * n,
    "mentions": lambda n: "error: No solution found " + "reconciler-effective depends on " * n,
    "lines": lambda n: "error: x\n" * n,
    "spaces": lambda n: "error: " + " " * n + "x",
    "would download": lambda n: "Would download " + "1" * n + " packages",
}

TEXTS = {
    "names": lambda n: "a\n" * n,
    "one line": lambda n: "a" * n,
    "spaces": lambda n: "a" + " " * n,
    "lines of spaces": lambda n: (" " * 40 + "\n") * (n // 40),
    "sections": lambda n: "[a]\n" * n,
}

ADDRESSES = {
    "slashes": lambda n: "https://a" + "/" * n,
    "dots": lambda n: "https://a/" + "../" * n,
    "escapes": lambda n: "https://a/" + "%2e" * n,
    "at signs": lambda n: "git+https://a/" + "@" * n,
    "fields": lambda n: "https://a#" + "subdirectory=x&" * n,
    "brackets": lambda n: "https://" + "[" * n,
    "variables": lambda n: "https://a/" + "${A" * n,
    "words": lambda n: "a" * n,
    "secrets": lambda n: "token= " * n,
    "bearers": lambda n: "bearer " * n,
}

NAMES = [f"p{i}" for i in range(10)]


def project(dependencies: list[str], more: str = "") -> str:
    listed = "".join(f"  {item!r},\n" for item in dependencies)
    return f"[project]\nname = 'own'\ndependencies = [\n{listed}]\n{more}"


def extras(tables: dict[str, list[str]]) -> str:
    listed = "".join(f"{name} = {items!r}\n" for name, items in tables.items())
    return f"[project.optional-dependencies]\n{listed}"


def groups(n: int, each: int) -> str:
    lines = [
        f"g{i} = [{', '.join(['{include-group = %r}' % f'g{i + 1}'] * each)}]\n" for i in range(n)
    ]
    return "[dependency-groups]\n" + "".join(lines) + f"g{n} = ['a']\n"


PROJECTS = {
    "requirements": lambda n: project([f"p{i}>=1" for i in range(n)]),
    "the same requirement": lambda n: project(["numpy>=1"] * n),
    "bounds of one package": lambda n: project([f"numpy>=1.{i}" for i in range(n)]),
    "escaped strings": lambda n: project([]) + "\n[x]\ny = [" + '"\\u0041", ' * n + "]",
    "chained extras": lambda n: project(
        ["own[e0]"],
        extras({**{f"e{i}": [f"own[e{i + 1}]"] for i in range(n)}, f"e{n}": ["numpy"]}),
    ),
    "extras for everyone": lambda n: project(
        ["own[e0]"], extras({f"e{i}": [f"own[e{i // 2}]", "own[e1]"] for i in range(n)})
    ) + "".join(f"\n[tool.x{i}]" for i in range(n)),
    "extras from everywhere": lambda n: project(
        [f"own[e{i}]" for i in range(n)], extras({f"e{i}": ["numpy"] for i in range(n)})
    ),
    "a chain of groups": lambda n: project([], groups(n, 1)),
    "groups included twice": lambda n: project([], groups(n, 2)),
    "sources": lambda n: project(
        [f"p{i}" for i in range(n)],
        "[tool.uv.sources]\n" + "".join(f"p{i} = {{path = 'p{i}'}}\n" for i in range(n)),
    ),
    "sources that are wrong": lambda n: project(
        [f"p{i}" for i in range(n)],
        "[tool.uv.sources]\n" + "".join(f"p{i} = {{path = 3}}\n" for i in range(n)),
    ),
    "indexes": lambda n: project(
        [f"p{i}" for i in range(n)],
        "[tool.uv.sources]\n" + "".join(f"p{i} = {{index = 'i{i}'}}\n" for i in range(n))
        + "".join(f"[[tool.uv.index]]\nname = 'i{i}'\nurl = 'https://a'\n" for i in range(n)),
    ),
    "nested lists": lambda n: project([]) + "x = " + "[" * n,
    "nested tables": lambda n: project([]) + "x = " + "{a = " * n,
    "a dotted key": lambda n: project([]) + ".".join("a" * n) + " = 1\n",
    "headers": lambda n: project([]) + "".join(f"[x.y{i}]\n" for i in range(n)) + "\n[project]",
    "a number": lambda n: project([]) + "\nx = " + "1" * n,
    "quotes": lambda n: project(["a=>1"]) + "x = '''" + '"' * n + "'''\n",
    "texts that end in quotes": lambda n: project(["a=>1"]) + "[x]\n" + "".join(f'k{i} = """a"""""\n' for i in range(n)),
    "an open text": lambda n: project([]) + 'x = """' + '"" ' * n,
    "a long key": lambda n: project(["a=>1"]) + "k" * n + " = 1\n",
    "comments": lambda n: project(["a=>1"]) + "#\"'" * n + "\n",
    "requires-python": lambda n: f"[project]\nrequires-python = '>={'1' * n}'\n",
    "a long bad requirement": lambda n: project(["a" + " " * n + "!"]),
}  # fmt: skip


def read_project(text: str) -> object:
    options = {"groups": ("g0",)} if "dependency-groups" in text else {}
    desired = parse(FILE, text.encode(), LINUX_39, **options)
    return diff(desired, Installed({}), HoldSet((), {}), {}, LINUX_39)


def metadata(*lines: str) -> str:
    return "Metadata-Version: 2.1\nName: thing\nVersion: 1\n" + "".join(f"{one}\n" for one in lines)


METADATA = {
    "one requirement": lambda n: metadata("Requires-Dist: a>=" + "1" * n),
    "the version": lambda n: f"Metadata-Version: 2.1\nName: thing\nVersion: {'1' * n}\n",
    "the name": lambda n: f"Metadata-Version: 2.1\nName: a{'-' * n}\nVersion: 1\n",
    "requirements": lambda n: metadata(*(f"Requires-Dist: p{i}>=1" for i in range(n // 8))),
    "bad requirements": lambda n: metadata(*(f"Requires-Dist: p{i} 1a1.1.1" for i in range(n // 32))),
    "chained extras": lambda n: metadata(
        *(f"Requires-Dist: thing[e{i + 1}]; extra == 'e{i}'" for i in range(n // 8)),
        *(f"Provides-Extra: e{i}" for i in range(n // 8)),
    ),
    "all extras at once": lambda n: metadata(
        f"Requires-Dist: thing[{','.join(f'e{i}' for i in range(n // 16))}]",
        *(f"Requires-Dist: p{i}; extra == 'e{i}' or extra == 'f'" for i in range(n // 16)),
    ),
    "folded": lambda n: metadata("Requires-Dist: a" + "\n " * n),
    "headers": lambda n: metadata(*(f"X{i}: y" for i in range(n))),
    "no end": lambda n: metadata("Summary: x" + "\r\r " * n),
}  # fmt: skip

RECORDS = {
    "rows": lambda n: "".join(f"thing/{i}.py,sha256=abc,1\n" for i in range(n)),
    "one path": lambda n: f"{'a/' * n},,\n",
    "packages in packages": lambda n: f'"{"/site-packages/tests/" * n}\nx.py",,\n',
    "quotes": lambda n: '"' * n,
    "the size": lambda n: f"a,,{'1' * n}\n",
    "commas": lambda n: "," * n + "\n",
    "dots": lambda n: "../" * n + "a,,\n",
}


def judged(text: str) -> object:
    """What a package with this METADATA costs in a whole comparison."""
    installed = InstalledReader([_written(f"{text}\n", "METADATA").parent]).read()
    desired = parse(FILE, project(["thing[e0]"]).encode(), LINUX_39)
    holds = hold_set(("thing",), installed, LINUX_39)
    return diff(desired, installed, holds, {}, LINUX_39)


def recorded(text: str) -> object:
    info = _written(text, "RECORD")
    paths = [row.path for row in read_record(info)]
    return [is_code(path) for path in (*paths, *read_recorded_paths(info))]


def sharing(n: int) -> object:
    """So many packages that all claim the same files."""
    for i in range(n):
        info = Site(SITE).dist(f"p{i}", "1")
        rows = "".join(f"{f}.py,sha256={i:04},1\n" for f in range(40))
        (info / "RECORD").write_text(rows)
    return None
