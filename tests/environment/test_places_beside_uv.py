"""Where a package came from, and whether that has changed: uv and we say the same of each case.

uv itself is the judge: it installs from one spelling of a place, and what it would then do about
another spelling, or after a change, is what our drift has to say. All cases of a test are
packages of one environment, so that uv is asked once about all of them.
"""

import functools
import http.server
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.environments import make_venv, site_packages, uv_binary
from tests.support.local_project import write_local_project
from tests.support.passes import environment_for
from tests.support.projects import Project
from tests.support.wheels import make_wheel


class Asked(NamedTuple):
    """One package of the project, and its entry in `[tool.uv.sources]`, if it has one."""

    requirement: str
    source: str = ""


class Scene(NamedTuple):
    """An environment, its project and the places that packages come from."""

    folder: Path
    project: Project

    def declare(self, asked: Iterable[Asked]) -> None:
        asked = list(asked)
        sources = "".join(f"{a.requirement} = {a.source}\n" for a in asked if a.source)
        self.project.write_text(
            '[project]\nname = "studio"\nversion = "1"\n'
            f"dependencies = {json.dumps([a.requirement for a in asked])}\n"
            f"[tool.uv.sources]\n{sources}"
        )

    def uv(self, *more: str) -> subprocess.CompletedProcess[str]:
        command = [str(uv_binary()), "pip", "install", "--python", str(self.project.venv),
                   "--no-index", "--no-config", "-r", str(self.project.path), *more]  # fmt: skip
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.project.directory
        )

    def install(self, asked: Iterable[Asked]) -> None:
        self.declare(asked)
        answer = self.uv()
        assert answer.returncode == 0, answer.stderr

    def uv_would_change(self) -> set[str]:
        answer = self.uv("--dry-run", "--output-format", "json")
        assert answer.returncode == 0, answer.stderr
        return {change["name"] for change in json.loads(answer.stdout)["changes"]}

    def we_would_change(self) -> set[str]:
        return {str(row.name) for row in environment_for(self.project).look().drift.drifted}

    def disagreements(self, cases: Iterable[tuple[str, object]]) -> list[str]:
        """The cases, by package, that only uv or only we would change."""
        uv, we = self.uv_would_change(), self.we_would_change()
        return [
            f"{'uv' if name in uv else 'we'}: {case}" for name, case in cases
            if (name in uv) is not (name in we)
        ]  # fmt: skip


@pytest.fixture
def scene(tmp_path) -> Scene:
    project = Project(tmp_path / "project", "")
    project.directory.mkdir()
    make_venv(project.venv)
    return Scene(tmp_path, project)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(scene) -> Iterator[str]:
    """The address of a server that has what is in the folder `served`."""
    (scene.folder / "served").mkdir()
    handler = functools.partial(_Quiet, directory=str(scene.folder / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asked(name: str, place: str) -> Asked:
    """A direct reference, or a source if the place is a table."""
    return Asked(name, place) if place.startswith("{") else Asked(f"{name} @ {place}")


def compare_spellings(
    scene: Scene, rows: Iterable[tuple[str, str]], write: Callable[[str], Callable[[str], str]]
) -> list[str]:
    """Install each package from the first spelling, and ask for it from the second.

    Args:
        scene: Where.
        rows: Pairs of spellings.
        write: Writes a package of that name, and returns what completes a spelling.
    """
    cases = [(f"p{number}", row) for number, row in enumerate(rows)]
    complete = {name: write(name) for name, _ in cases}
    scene.install(asked(name, complete[name](row[0])) for name, row in cases)
    scene.declare(asked(name, complete[name](row[1])) for name, row in cases)
    return scene.disagreements(cases)


FILES = (
    "file://HERE/FILE", "file://localhostHERE/ESCAPED", "file:HERE/FILE", "file://HERE/./FILE",
    "file://HERE//FILE", "file:///HERE/FILE", "file://HERE/other/../FILE", "file://HERE/%70REST",
    "file://HERE/FILE#egg=thing", "file://HERE/link/FILE", "HERE/FILE", "file://${PLACES}/FILE",
    "${PLACES}/FILE", "file://${PROJECT_ROOT}/../FILE", "file://HERE/${UNSET}/../FILE",
    "file://HERE/hard/FILE", "file://HERE/other/FILE", '{ path = "../FILE" }',
    '{ path = "HERE/link/FILE" }', '{ path = "HERE/other/FILE" }',
)  # fmt: skip
FIRST_FILES = (FILES[0], "file://HERE/link/FILE", '{ path = "../FILE" }')


def test_each_spelling_of_a_file(scene, monkeypatch):
    here = str(scene.folder)
    monkeypatch.setenv("PLACES", here)
    (scene.folder / "link").symlink_to(scene.folder)
    (scene.folder / "hard").mkdir()

    def write(name: str) -> Callable[[str], str]:
        wheel = make_wheel(scene.folder, name, "1.0+cpu")
        make_wheel(scene.folder / "other", name, "1.0+cpu", requires=["none; python_version<'3'"])
        os.link(wheel, scene.folder / "hard" / wheel.name)
        file, escaped = wheel.name, wheel.name.replace("+", "%2b")
        return lambda text: (
            text.replace("HERE", here).replace("FILE", file).replace("ESCAPED", escaped)
            .replace("REST", file[1:])
        )  # fmt: skip

    rows = [(first, again) for first in FIRST_FILES for again in FILES]
    assert compare_spellings(scene, rows, write) == []


FOLDERS = (
    "file://HERE/my%20NAME", "file://HERE/my%20NAME/", "file://HERE/to-NAME",
    "file://localhostHERE/my%20NAME//", "file://HERE/my%20NAME/.", '{ path = "../my NAME" }',
    '{ path = "../to-NAME" }', '{ path = "../my NAME", editable = true }',
    '{ path = "../my NAME", editable = false }',
)  # fmt: skip


def test_each_spelling_of_a_folder(scene):
    def write(name: str) -> Callable[[str], str]:
        folder = write_local_project(scene.folder / f"my {name}", name)
        (scene.folder / f"to-{name}").symlink_to(folder)
        return lambda text: text.replace("HERE", str(scene.folder)).replace("NAME", name)

    rows = [(FOLDERS[0], again) for again in FOLDERS]
    rows += [(FOLDERS[2], FOLDERS[0]), (FOLDERS[6], FOLDERS[5])]
    rows += [(FOLDERS[7], again) for again in (FOLDERS[0], *FOLDERS[5:])]
    assert compare_spellings(scene, rows, write) == []


SERVED = (
    "AT/FILE", "AT/ESCAPED", "AT//FILE", "AT/x/../FILE", "AT/./FILE", "AT/%2E/FILE",
    "AT/x/%2e%2e/FILE", "AT/FILE#egg=thing", "AT/FILE?x=1", "AT/%70REST",
    "http://someone:secret@127.0.0.1:PORT/FILE", "http://localhost:PORT/FILE",
)  # fmt: skip


def test_each_spelling_of_a_place_on_a_server(scene, server):
    served, port = scene.folder / "served", server.rpartition(":")[2]

    def write(name: str) -> Callable[[str], str]:
        wheel = make_wheel(served, name, "1.0+cpu")
        inner = write_local_project(scene.folder / name / "inner", name)
        with tarfile.open(served / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(inner.parent, arcname="top")
        file, escaped = wheel.name, wheel.name.replace("+", "%2B")
        return lambda text: (
            text.replace("AT", server).replace("PORT", port).replace("FILE", file)
            .replace("ESCAPED", escaped).replace("REST", file[1:]).replace("NAME", name)
        )  # fmt: skip

    rows = [(SERVED[0], again) for again in SERVED]
    rows += [("http://localhost:PORT/FILE", "http://LocalHost:PORT/FILE")]
    archive = "AT/NAME.tar.gz#subdirectory=inner"
    rows += [
        (archive, again)
        for again in (archive, "AT/NAME.tar.gz#egg=x&subdirectory=inner", "AT/FILE",
                      "AT/y/../NAME.tar.gz#subdirectory=inner")
    ]  # fmt: skip
    assert compare_spellings(scene, rows, write) == []


Change = Callable[[Path], object]


def touch(name: str) -> Change:
    return lambda folder: os.utime(folder / name)


def write(name: str) -> Change:
    return lambda folder: (folder / name).write_text("")


def commit(folder: Path) -> None:
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "more")


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def nothing(_: Path) -> None: ...


def keys(*entries: str) -> str:
    return f"[tool.uv]\ncache-keys = [{', '.join(entries)}]\n"


CHANGES: tuple[tuple[str, str, Change], ...] = (
    ("nothing", "", nothing),
    ("its pyproject.toml", "", touch("pyproject.toml")),
    ("a module", "", touch("content.py")),
    ("a new setup.py", "", write("setup.py")),
    ("a new setup.cfg", "", write("setup.cfg")),
    ("a new README", "", write("README.md")),
    ("a new src", "", lambda folder: (folder / "src").mkdir()),
    ("a file that matters", keys('"content.py"'), touch("content.py")),
    ("a file that does not", keys('"content.py"'), touch("pyproject.toml")),
    ("a glob, new file", keys('{ file = "*.py" }'), write("new.py")),
    ("a glob in any folder", keys('"**/*.py"'), lambda f: (f / "d").mkdir() or write("d/x.py")(f)),
    ("a glob with choices", keys('"*.{py,toml}"'), touch("content.py")),
    ("a glob, other file", keys('"*.py"'), write("new.txt")),
    ("a folder, new", keys('{ dir = "d" }'), lambda folder: (folder / "d").mkdir()),
    ("a folder, as it was", keys('{ dir = "." }'), write("new.txt")),
    ("a variable", keys('{ env = "PLACES_KEY" }'), nothing),
    ("a variable, the same", keys('{ env = "PLACES_SAME" }'), touch("pyproject.toml")),
    ("a variable that is not set", keys('{ env = "PLACES_UNSET" }'), nothing),
)  # fmt: skip

COMMITS: tuple[tuple[str, str, Change], ...] = (
    ("a commit", keys("{ git = true }"), commit),
    ("a commit that counts", keys("{ git = { commit = true } }"), commit),
    ("a commit that does not", keys("{ git = false }", '"content.py"'), commit),
    ("no commit", keys("{ git = true }"), touch("content.py")),
    ("a tag", keys("{ git = { commit = true, tags = true } }"), lambda f: git(f, "tag", "v1")),
    ("packed references", keys("{ git = true }"), lambda f: git(f, "pack-refs", "--all")),
    ("a detached head", keys("{ git = true }"), lambda f: git(f, "checkout", "--detach")),
)


def test_each_change_of_a_folder(scene, monkeypatch):
    monkeypatch.setenv("PLACES_KEY", "1")
    monkeypatch.setenv("PLACES_SAME", "1")
    changes = (*CHANGES, *COMMITS)
    cases = [(f"p{number}", what) for number, (what, _, _) in enumerate(changes)]
    folders = []
    for number, (_, settings, _) in enumerate(changes):
        folders.append(
            write_local_project(scene.folder / f"p{number}", f"p{number}", extra=settings)
        )
        if "git" in settings:
            git(folders[-1], "init", "--quiet")
            commit(folders[-1])
    wrong = []
    scene.install(
        Asked(folder.name, f'{{ path = "../{folder.name}", editable = {word} }}')
        for folder, word in zip(folders, ["true", "false"] * len(folders), strict=False)
    )
    wrong += scene.disagreements((name, f"before {what}") for name, what in cases)
    monkeypatch.setenv("PLACES_KEY", "2")
    for folder, (_, _, change) in zip(folders, changes, strict=True):
        change(folder)
    wrong += scene.disagreements(cases)
    assert wrong == []


def test_a_project_that_another_one_takes_from_its_folder(scene):
    wheel = make_wheel(scene.folder, "built", "1.0")
    inner = write_local_project(scene.folder / "inner", "inner")
    alone = write_local_project(scene.folder / "alone", "alone")
    placed = '[tool.uv.sources]\ninner = { path = "../inner" }\n'
    outer = write_local_project(scene.folder / "outer", "outer", requires=["inner"], extra=placed)
    names = [(name, name) for name in ("built", "inner", "outer", "alone")]
    everything = [asked("built", wheel.as_uri()), asked("outer", outer.as_uri())]
    wrong = []
    scene.install([*everything, asked("alone", alone.as_uri())])
    scene.declare([*everything, Asked("alone")])  # now from anywhere
    for touched in (inner, alone, outer, wheel):
        os.utime(touched / "pyproject.toml" if touched.is_dir() else touched)
        wrong += [f"{touched.name}: {line}" for line in scene.disagreements(names)]
    assert wrong == []
    assert scene.we_would_change() == {"built", "inner", "outer"}


def test_a_new_requirement_of_a_local_project(scene):
    folder = write_local_project(scene.folder / "growing", "growing")
    make_wheel(scene.folder, "needed", "1.0")
    growing = Asked("growing", '{ path = "../growing", editable = true }')
    scene.install([growing])
    assert scene.we_would_change() == set()
    write_local_project(
        folder,
        "growing",
        requires=[f"needed @ {scene.folder.as_uri()}/needed-1.0-py3-none-any.whl"],
    )
    assert scene.uv_would_change() == {"growing", "needed"}
    assert scene.we_would_change() == {"growing"}


def test_what_uv_did_not_record_is_not_known_to_be_up_to_date(scene):
    write_local_project(scene.folder / "piped", "piped")
    scene.install([Asked("piped", '{ path = "../piped", editable = true }')])
    (record,) = site_packages(scene.project.venv).glob("piped-*.dist-info/uv_cache.json")
    record.unlink()
    assert scene.uv_would_change() == scene.we_would_change() == {"piped"}


def test_a_source_that_is_gone(scene):
    wheel = make_wheel(scene.folder, "built", "1.0")
    folder = write_local_project(scene.folder / "folder", "folder")
    scene.install([asked("built", wheel.as_uri()), asked("folder", folder.as_uri())])
    wheel.unlink()
    shutil.rmtree(folder)
    assert "Distribution not found" in scene.uv("--dry-run").stderr
    assert scene.we_would_change() == {"built", "folder"}
