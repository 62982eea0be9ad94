"""The work of every parser of foreign text grows with its size, and no faster.

Each is given hostile text of one size and of four times that size. Linear work takes four times
as long, quadratic work sixteen times; the limit is between them. All offenders are listed.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from reconciler.environment.interpreter import facts_of
from reconciler.planning.failures import suspects
from reconciler.state.adjustments import Adjustments
from reconciler.state.build_stamp import BuildStamp, ProjectFile
from reconciler.state.declared import specifier_in
from reconciler.state.desired import Desired, parse
from reconciler.state.distribution import read_distribution, read_record, read_recorded_paths
from reconciler.state.drift import diff
from reconciler.state.holds import HoldSet, hold_set
from reconciler.state.installed import Installed, InstalledReader
from reconciler.state.lenient import requirement_of
from reconciler.state.locations import same_place
from reconciler.state.requires import Requires
from reconciler.state.shared_files import is_code, shared_files
from reconciler.state.sources import Source
from reconciler.state.stale_scripts import entry_points_in
from reconciler.state.variables import expanded
from reconciler.status import ExpectedEnd
from reconciler.uv.answers import failure, read_plan
from tests.state.markers import LINUX_39
from tests.state.site import Site

FILE = Path("/project/pyproject.toml")
FACTOR = 4
MOST = 9.0
"""How many times as long four times the text may take: 4 if linear, 16 if quadratic."""
FLOOR = 0.01
"""Seconds of processor time that are never worth a look."""

Parser = Callable[[str], object]
Shapes = dict[str, Callable[[int], str]]

LINES: Shapes = {
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

LOGS: Shapes = {
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

TEXTS: Shapes = {
    "names": lambda n: "a\n" * n,
    "one line": lambda n: "a" * n,
    "spaces": lambda n: "a" + " " * n,
    "lines of spaces": lambda n: (" " * 40 + "\n") * (n // 40),
    "sections": lambda n: "[a]\n" * n,
}

ADDRESSES: Shapes = {
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

JSON: Shapes = {
    "nested": lambda n: '{"url": ' + "[" * n,
    "nested and closed": lambda n: '{"url": ' + "[" * n + "]" * n + "}",
    "digits": lambda n: '{"timestamp": ' + "1" * n + "}",
    "a long address": lambda n: '{"url": "https://' + "../" * n + '"}',
    "keys": lambda n: "{" + "".join(f'"{i}": 1, ' for i in range(n)) + '"a": 1}',
}


def project(dependencies: list[str], more: str = "") -> str:
    listed = "".join(f"  {item!r},\n" for item in dependencies)
    return f"[project]\nname = 'own'\ndependencies = [\n{listed}]\n{more}"


def extras(tables: dict[str, list[str]]) -> str:
    listed = "".join(f"{name} = {items!r}\n" for name, items in tables.items())
    return f"[project.optional-dependencies]\n{listed}"


def groups(n: int, each: int) -> str:
    include = "{{include-group = 'g{}'}}"
    lines = [f"g{i} = [{', '.join([include.format(i + 1)] * each)}]\n" for i in range(n)]
    return "[dependency-groups]\n" + "".join(lines) + f"g{n} = ['a']\n"


PROJECTS: Shapes = {
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
    "texts that end in quotes": lambda n: (
        project(["a=>1"]) + "[x]\n" + "".join(f'k{i} = """a"""""\n' for i in range(n))
    ),
    "an open text": lambda n: project([]) + 'x = """' + '"" ' * n,
    "a long key": lambda n: project(["a=>1"]) + "k" * n + " = 1\n",
    "comments": lambda n: project(["a=>1"]) + "#\"'" * n + "\n",
    "requires-python": lambda n: f"[project]\nrequires-python = '>={'1' * n}'\n",
    "a long bad requirement": lambda n: project(["a" + " " * n + "!"]),
}  # fmt: skip


def parse_of(text: str) -> Desired:
    groups = ("g0",) if "dependency-groups" in text else ()
    return parse(FILE, text.encode(), LINUX_39, groups=groups)


def read_project(text: str) -> object:
    desired = parse_of(text)
    return diff(desired, Installed({}), HoldSet((), {}), {}, LINUX_39)


def metadata(*lines: str) -> str:
    return "Metadata-Version: 2.1\nName: thing\nVersion: 1\n" + "".join(f"{one}\n" for one in lines)


PARSERS_OF_LINES: dict[str, Parser] = {
    "a requirement": requirement_of,
    "Requires-Dist": lambda text: list(Requires.of([text]).with_extras(["x"])),
    "names": lambda text: list(Requires.of([text]).names()),
    "a specifier": specifier_in,
    "settings": lambda text: Adjustments.of({"override-dependencies": [text]}),
}
PARSERS_OF_TEXTS: dict[str, Parser] = {
    "a plan": lambda text: read_plan(text, text),
    "a failure": lambda text: failure(1, text),
    "suspects": lambda text: suspects(text, []),
    "entry points": lambda text: list(entry_points_in(text)),
    "an interpreter": facts_of,
    "the source's cache": lambda text: BuildStamp.from_json(text.encode()),
    "the source's project": lambda text: ProjectFile.of(text.encode()),
    "a place": lambda text: same_place(text, "https://a/b"),
    "a direct reference": Source.of_reference,
    "variables": lambda text: expanded(text, {}, FILE.parent),
}


METADATA: Shapes = {
    "one requirement": lambda n: metadata("Requires-Dist: a>=" + "1" * n),
    "the version": lambda n: f"Metadata-Version: 2.1\nName: thing\nVersion: {'1' * n}\n",
    "the name": lambda n: f"Metadata-Version: 2.1\nName: a{'-' * n}\nVersion: 1\n",
    "requirements": lambda n: metadata(*(f"Requires-Dist: p{i}>=1" for i in range(n // 8))),
    "bad requirements": lambda n: metadata(
        *(f"Requires-Dist: p{i} 1a1.1.1" for i in range(n // 32))
    ),
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

RECORDS: Shapes = {
    "rows": lambda n: "".join(f"thing/{i}.py,sha256=abc,1\n" for i in range(n)),
    "one path": lambda n: f"{'a/' * n},,\n",
    "packages in packages": lambda n: f'"{"/site-packages/tests/" * n}\nx.py",,\n',
    "quotes": lambda n: '"' * n,
    "the size": lambda n: f"a,,{'1' * n}\n",
    "commas": lambda n: "," * n + "\n",
    "dots": lambda n: "../" * n + "a,,\n",
}


class Folder:
    """A site-packages folder with one package, written again for each text."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self.info = self.site.add("thing", "1")

    def judged(self, text: str) -> object:
        """What a package with this METADATA costs in a whole comparison."""
        (self.info / "METADATA").write_text(f"{text}\n", newline="")
        installed = InstalledReader([self.site.folder]).read()
        desired = parse(FILE, project(["thing[e0]"]).encode(), LINUX_39)
        holds = hold_set(("thing",), installed, LINUX_39)
        return [diff(desired, installed, hold, {}, LINUX_39) for hold in (holds, HoldSet((), {}))]

    def recorded(self, text: str) -> object:
        (self.info / "RECORD").write_text(text, newline="")
        paths = [row.path for row in read_record(self.info)]
        return [is_code(path) for path in (*paths, *read_recorded_paths(self.info))]

    def origin(self, text: str) -> object:
        (self.info / "direct_url.json").write_text(text)
        found = read_distribution(self.info).direct_url
        return found and same_place("https://a/b", found.url)


def crowd(folder: Path, n: int) -> Installed:
    """So many packages that all claim the same files."""
    site = Site(folder)
    for i in range(n):
        rows = "".join(f"{f}.py,sha256={i:04},1\n" for f in range(40))
        site.add(f"p{i}", "1", record=rows)
    return InstalledReader([folder]).read()


def seconds(work: Callable[[], object], runs: int) -> float:
    """Processor time of the quickest of so many runs; a refusal is as good as a result."""
    spent = []
    for _ in range(runs):
        start = time.process_time()
        with suppress(ExpectedEnd, ValueError, OSError):
            work()
        spent.append(time.process_time() - start)
        if spent[-1] < FLOOR or spent[-1] > 1:
            break
    return min(spent)


class Growth:
    """Compares the time of one size with that of a larger one, and notes the offenders."""

    def __init__(self, factor: int = FACTOR, most: float = MOST) -> None:
        self.factor = factor
        self.most = most
        self.offenders: list[str] = []
        self.count = 0

    def check(self, name: str, small: Callable[[], object], large: Callable[[], object]) -> float:
        """How long the larger one takes."""
        self.count += 1
        for runs in (1, 3, 3):  # a busy machine may be slow once
            few, many = seconds(small, runs), seconds(large, runs)
            if many <= self.most * max(few, FLOOR):
                return many
            if many > 2:
                break
        self.offenders.append(f"{name}: {few * 1000:.0f} ms, {self.factor}x: {many * 1000:.0f} ms")
        return many

    def of_text(self, name: str, parser: Parser, shapes: Shapes, n: int) -> None:
        for shape, made in shapes.items():
            small, large = made(n), made(self.factor * n)
            self.check(f"{name}, {shape}", partial(parser, small), partial(parser, large))


def test_the_work_grows_with_the_text_and_no_faster(tmp_path):
    growth = Growth()
    folder = Folder(tmp_path)
    for name, parser in PARSERS_OF_LINES.items():
        growth.of_text(name, parser, LINES, 3_000)
        growth.of_text(f"{name}, within the bounds", parser, LINES, 200)
    for name, parser in PARSERS_OF_TEXTS.items():
        growth.of_text(name, parser, TEXTS | LOGS | ADDRESSES | JSON, 4_000)
    growth.of_text("pyproject.toml", read_project, PROJECTS, 150)
    growth.of_text("METADATA", folder.judged, METADATA, 2_000)
    growth.of_text("RECORD", folder.recorded, RECORDS, 2_000)
    growth.of_text("direct_url.json", folder.origin, JSON | ADDRESSES, 4_000)
    few, many = crowd(tmp_path / "few", 25), crowd(tmp_path / "many", 100)
    growth.check("shared files", lambda: shared_files(few), lambda: shared_files(many))
    print(f"{growth.count} growths measured")
    assert growth.offenders == []


def test_a_large_project_is_read_in_under_a_second():
    """4,000 requirements take half a second of processor time on an idle machine, the others less.

    The bound leaves room for a slow one; that twice as much takes twice as long holds anywhere.
    """
    growth = Growth(factor=2, most=2.6)
    shapes: Shapes = {
        "requirements": lambda n: project(
            [f"p{i}>=1.{i},<2; python_version > '3.8'" for i in range(n)]
        ),
        "chained extras": PROJECTS["chained extras"],
        "a chain of groups": PROJECTS["a chain of groups"],
    }
    for name, n in {
        "requirements": 4000,
        "chained extras": 3000,
        "a chain of groups": 3000,
    }.items():
        small, large = shapes[name](n // 2), shapes[name](n)
        assert len(parse_of(large).requirements) in (1, 4000)
        took = growth.check(name, partial(parse_of, small), partial(parse_of, large))
        assert took < 3, f"{name}: {took:.1f} s"
    assert growth.offenders == []
