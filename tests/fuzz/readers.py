"""Every reader of what others write, with a valid document for each, and its documented errors."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import tomli_w
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reconciler.config.load import load
from reconciler.config.problem import ConfigRejected
from reconciler.environment.gpu import probe
from reconciler.environment.interpreter import InterpreterError, inspect
from reconciler.files.parsing import toml_of
from reconciler.files.shared_objects import read_shared_object
from reconciler.journal.history import Journal, State
from reconciler.log.redact import redact, without_secrets
from reconciler.planning.failures import (
    build_failure,
    failure_of,
    failures_of_sources,
    suspects,
)
from reconciler.processes import Cancellation
from reconciler.state.adjustments import Adjustments
from reconciler.state.build_stamp import BuildStamp, ProjectFile
from reconciler.state.culprits import Core
from reconciler.state.declared import specifier_in
from reconciler.state.desired import BadFile, parse
from reconciler.state.distribution import read_distribution, read_record, read_recorded_paths
from reconciler.state.drift import diff
from reconciler.state.holds import HoldSet
from reconciler.state.installed import Installed, missing_files
from reconciler.state.lenient import requirement_of
from reconciler.state.locations import same_place
from reconciler.state.markers import applies
from reconciler.state.requires import Requires
from reconciler.state.scripts import interpreter_of, starts_python
from reconciler.state.stale_scripts import entry_points_in
from reconciler.state.words import message_of
from reconciler.status import ExpectedEnd, PassDetail
from reconciler.trees.exchange import finish_interrupted
from reconciler.trees.generations import set_aside_unusable
from reconciler.trees.in_place import undo_interrupted
from reconciler.trees.mount_points import mount_point_below
from reconciler.trees.relocatable import rewrite_scripts
from reconciler.trees.workspace import Workspace
from reconciler.uv.answers import BuildFailed, UvError, UvMissing, failure, read_plan
from reconciler.uv.cached import pack_cached
from reconciler.uv.effective import Item
from reconciler.uv.program import Uv
from reconciler.uv.settings import settings_for
from reconciler.uv.unsupported import unsupported
from tests.fuzz.studio import (
    DIRECT_URL,
    ENTRY_POINTS,
    LABEL,
    METADATA,
    PROJECT,
    RECORD,
    SCRIPT,
    SCRIPT_BESIDE,
    SCRIPT_OF_SHELL,
    UV_CACHE,
    Studio,
)
from tests.state.markers import LINUX_39
from tests.support.elf import shared_library

LOG = b"""\
Resolved 3 packages in 12ms
Would download 2 packages
Would install 2 packages
 + near==1.0 (from https://index.example/near-1.0-py3-none-any.whl)
 + numpy @ git+https://git.example/it.git@abc
"""
"""What uv prints beside a plan."""
PLAN = (
    b'{"changes": [{"name": "numpy", "version": "1.26.4", "action": "installed"}, '
    b'{"name": "near", "version": null, "action": "reinstalled"}, '
    b'{"name": "old", "version": "1", "action": "removed"}]}'
)
FAILURES = (
    (
        b"error: No solution found when resolving dependencies\n  cause: Because numpy was not "
        b"found and you require numpy>=9, your requirements are unsatisfiable.\n"
    ),
    b"error: Failed to build `numpy==1.0`\n  cause: The backend returned an error\n[stderr]\n",
    b"error: Failed to download `numpy @ https://h/n.whl`\n  cause: HTTP status (404)\n",
    b"error: Failed to read metadata from: `/a/b/numpy-1.0.dist-info/METADATA`\n",
    b"error: Failed to parse entry: `numpy`\n  cause: no such file\n",
    b"error: No space left on device (os error 28)\n",
)
STATE = msgspec.json.encode(State(failures=2, retry_at=1.5, suspended_until=2.5))
PASS = msgspec.json.encode(
    PassDetail(id=3, trigger="manual", result=None, started_at="2026-01-01T00:00:00Z", log="x")
)
FACTS = (
    b'{"markers": {"python_full_version": "3.9.5", "python_version": "3.9", "sys_platform": '
    b'"linux"}, "prefix": "%s", "is_venv": true, "purelib": '
    b'"%s/lib", "platlib": "%s/lib", "scripts": "%s/bin", "base": ["/usr/lib"], '
    b'"externally_managed": false, "suffixes": [".so"]}'
)
TORCH = b'{"torch": "2.3.1", "backend": "rocm", "available": true, "name": "RX", "error": null}'
INTENT = (
    b'{"stage": "stage-1", "roots": [["lib", 1, 2]], "live": {"number": 4}, "old": {"number": 3}, '
    b'"archive": "9"}'
)
IN_PLACE = (
    b'{"aside": "aside", "new": ["lib/new.py"], "copied": ["lib/new.py"], "folders": ["lib/a"]}'
)
REQUIREMENTS = (
    b"numpy[a,b]>=1.24,<2; python_version > '3.8' and extra == 'x'",
    b"near @ git+https://git.example/it.git@v1#subdirectory=sub ; os_name == 'posix'",
    b"torch==2.3.1+rocm5.7",
)
MOUNTS = b"36 35 98:0 /mnt1 /mnt2\\040x rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: What it reads.
        read: Reads it, and does with the result what the program does.
        documents: Valid ones.
        errors: The errors that it documents.
        share: How many of the inputs it gets: 1 if a reading takes under a millisecond.
        done: Leaves everything as it was.
    """

    name: str
    read: Callable[[bytes], object]
    documents: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = ()
    share: float = 1.0
    done: Callable[[], None] = lambda: None


def readers(folder: Path) -> Iterator[Reader]:
    """All of them; each leaves the folder as it was for the next."""
    yield from _of_texts()
    yield from _of_uv()
    yield from _of_a_project(folder / "project")
    yield from _of_a_distribution(folder / "site")
    yield from _of_an_environment(Studio(folder / "studio"))
    yield from _of_our_files(folder / "own")
    yield from _of_programs(folder / "programs")
    yield _of_configuration(folder / "configuration")


def _said(value: object) -> bytes:
    """As it is written to the journal or shown to people."""
    return msgspec.json.encode(without_secrets(value))


def _of_texts() -> Iterator[Reader]:
    yield Reader("a requirement", _requirement, REQUIREMENTS)
    yield Reader("a secret", lambda raw: redact(raw.decode("utf-8", "replace")), (LOG, *FAILURES))


def _requirement(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    found = requirement_of(text)
    if found is not None:
        applies(found.marker, LINUX_39)
    specifier_in(text)
    requires = Requires.of([text])
    list(requires.with_extras(["x"])), list(requires.names())
    Adjustments.of({"override-dependencies": [text], "exclude-dependencies": [text]})


def _of_uv() -> Iterator[Reader]:
    plan = partial(_plan, log=LOG)
    yield Reader("uv's plan", plan, (PLAN,), (UvError,))
    yield Reader("uv's words beside a plan", lambda raw: _plan(PLAN, raw), (LOG,), (UvError,))
    yield Reader("uv's failure", _failure, FAILURES)


def _plan(out: bytes, log: bytes) -> None:
    plan = read_plan(_text(out), _text(log))
    for planned in plan.install.values():
        _said([planned.name, str(planned.version), planned.url, planned.commit])
    _said([[name, str(version)] for name, version in plan.remove.items()])


def _text(raw: bytes) -> str:
    """As `processes` decodes what a program prints."""
    return raw.decode("utf-8", "replace")


def _failure(raw: bytes) -> None:
    refused = failure(1, _text(raw))
    items = [Item(canonicalize_name(n), n, "[project]") for n in ("numpy", "near")]
    core = Core(suspects(refused.message, items), refused.message)
    _said([refused.message, refused.log, failure_of(items[0], core, items, {})])
    if isinstance(refused, BuildFailed):
        _said(build_failure(refused, {}, HoldSet((), {})))


def _of_a_project(folder: Path) -> Iterator[Reader]:
    file = folder / "pyproject.toml"
    yield Reader("a project by itself", partial(_project, file), (PROJECT,), (BadFile,))
    yield Reader("uv's settings by themselves", partial(_settings, file), (PROJECT,), (BadFile,))
    yield Reader("cache keys", ProjectFile.of, (PROJECT,))
    yield Reader("a build stamp", BuildStamp.from_json, (UV_CACHE,))
    yield Reader("entry points", lambda raw: list(entry_points_in(_text(raw))), (ENTRY_POINTS,))


def _project(file: Path, content: bytes) -> None:
    try:
        desired = parse(file, content, LINUX_39, extras=["web"], groups=["dev"])
    except BadFile as bad:
        _said(bad.problem)
        raise
    nothing = HoldSet((), {})
    drift = diff(desired, Installed({}), nothing, {}, LINUX_39)
    _said([[row.name, row.required, message_of(row), row.origins] for row in drift.rows])
    _said(failures_of_sources(desired, nothing))


def _settings(file: Path, content: bytes) -> None:
    try:
        table = toml_of(content.decode()).get("tool")
    except ValueError:
        return
    uv = table.get("uv") if isinstance(table, dict) else None
    if not isinstance(uv, dict):
        return
    _said([str(notice) for notice in unsupported(file, uv, {"UV_NO_SOURCES": "1"})])
    settings = settings_for(file, uv, HoldSet((), {}), {})
    Adjustments.of(settings)
    tomli_w.dumps(settings)


def _of_a_distribution(site: Path) -> Iterator[Reader]:
    info, project = site / "numpy-1.26.4.dist-info", site / "numpy-1.26.4.egg-info"
    info.mkdir(parents=True)
    files = {
        "METADATA": METADATA, "RECORD": RECORD, "direct_url.json": DIRECT_URL, "INSTALLER": b"uv\n"
    }  # fmt: skip
    for name, document in files.items():
        (info / name).write_bytes(document)
    for name, document in files.items():
        read = partial(_distribution, info / name, document)
        yield Reader(f"a distribution's {name}", read, (document,))
    read = partial(_distribution, project, None)
    yield Reader("an egg-info by itself", read, (METADATA,))
    library = shared_library(soname="a.so", needed=["b.so.1", "c.so"], runpath=["$ORIGIN/../b"])
    yield Reader("a shared library", partial(_library, site / "numpy.so"), (library,))
    script = partial(_script, site / "script")
    yield Reader("a script by itself", script, (SCRIPT, SCRIPT_OF_SHELL, SCRIPT_BESIDE))


def _library(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    _said(read_shared_object(file))


def _distribution(file: Path, document: bytes | None, content: bytes) -> None:
    """Read one distribution with this file, and everything that is asked of it."""
    file.write_bytes(content)
    found = read_distribution(file if document is None else file.parent)
    _said([found.name, str(found.version), found.defect, found.installer, found.direct_url])
    list(found.requires.with_extras(["more"])), list(found.requires.names())
    if document is not None:
        with suppress(ValueError):
            _said([len(read_record(file.parent)), len(read_recorded_paths(file.parent))])
        _said(missing_files(found)[:3])
        file.write_bytes(document)
    same_place("https://a/b", found.direct_url.url) if found.direct_url else None


def _script(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    interpreter_of(file), starts_python(file)


def _of_an_environment(studio: Studio) -> Iterator[Reader]:
    for name, (_, documents) in studio.files.items():
        yield Reader(
            name,
            partial(studio.look_at, name),
            documents,
            (ExpectedEnd, OSError),
            share=0.1,
            done=partial(studio.restore, name),
        )
    yield Reader(
        "WHEEL in uv's cache", _Cache(studio).pack, (b"Wheel-Version: 1.0\nTag: py3-none-any\n",)
    )
    yield Reader(
        "uv's version",
        partial(_version, studio.folder / "uv"),
        (b"uv 0.13.9 (abc)\n",),
        (UvMissing,),
        share=0.1,
    )
    yield Reader("a script that arrives", _Incoming(studio).rewrite, (SCRIPT_BESIDE,))


def _version(program: Path, content: bytes) -> None:
    program.with_name("answer").write_bytes(content)
    program.write_text(f"#!/bin/sh\nexec cat {program.with_name('answer')}\n")
    program.chmod(0o755)
    _said(Uv(program, {}).version())


class _Cache:
    """uv's cache, with one wheel."""

    def __init__(self, studio: Studio) -> None:
        self.folder = studio.folder / "cache"
        self.wheels = studio.folder / "wheels"
        self.wheels.mkdir()
        info = self.folder / "archive-v0/abc/numpy-1.26.4.dist-info"
        info.mkdir(parents=True)
        (info.parent / "numpy.py").touch()
        (info / "METADATA").write_bytes(METADATA)
        (info / "RECORD").write_bytes(RECORD.splitlines(keepends=True)[0])
        self.wheel = info / "WHEEL"
        self.installed = studio.files["METADATA"][0].parent

    def pack(self, content: bytes) -> None:
        self.wheel.write_bytes(content)
        pack_cached(read_distribution(self.installed), self.folder, self.wheels)


class _Incoming:
    """What uv installed into a folder of its own."""

    def __init__(self, studio: Studio) -> None:
        self.prefix = studio.venv
        self.folder = studio.folder / "incoming"
        (self.folder / "bin").mkdir(parents=True)

    def rewrite(self, content: bytes) -> None:
        (self.folder / "bin/tool").write_bytes(content)
        rewrite_scripts(self.folder, self.prefix / "bin", self.prefix, [])


def _of_our_files(folder: Path) -> Iterator[Reader]:
    folder.mkdir()
    workspace = Workspace(folder)
    workspace.create()
    yield Reader("a label that is set aside", partial(_label, workspace), (LABEL,), (OSError,))
    yield Reader("the intent", partial(_intent, workspace), (INTENT,), (OSError,))
    yield Reader("a change in place", partial(_in_place, workspace), (IN_PLACE,), (OSError,))
    journal = Journal(folder / "journal.sqlite3")
    yield Reader("a state in the journal", partial(_state, journal), (STATE,), share=0.5)
    yield Reader("a pass in the journal", partial(_pass, journal), (PASS,), share=0.5)
    mounts = folder / "mounts"
    yield Reader("the table of mounts", partial(_mounts, mounts), (MOUNTS,))


def _label(workspace: Workspace, content: bytes) -> None:
    workspace.live.write_bytes(content)
    set_aside_unusable(workspace)


def _intent(workspace: Workspace, content: bytes) -> None:
    workspace.intent.write_bytes(content)
    finish_interrupted(workspace)


def _in_place(workspace: Workspace, content: bytes) -> None:
    workspace.in_place.write_bytes(content)
    undo_interrupted(workspace)


def _state(journal: Journal, content: bytes) -> None:
    statement = "INSERT OR REPLACE INTO environments VALUES ('studio', ?)"
    journal._database.write(lambda c: c.execute(statement, (content,)))
    _said(journal.state("studio"))


def _pass(journal: Journal, content: bytes) -> None:
    statement = "INSERT OR REPLACE INTO passes VALUES (1, 'studio', 1.5, 'failed', ?, '')"
    journal._database.write(lambda c: c.execute(statement, (content,)))
    _said([journal.history("studio", 5), journal.entry(1)])


def _mounts(table: Path, content: bytes) -> None:
    table.write_bytes(content)
    mount_point_below(Path("/mnt2 x"), table)


def _of_programs(folder: Path) -> Iterator[Reader]:
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f"#!/bin/sh\nexec cat {folder}/answer\n")
    python.chmod(0o755)
    facts = FACTS.replace(b"%s", str(folder).encode())
    errors = (InterpreterError,)
    yield Reader("an interpreter", partial(_interpreter, python), (facts,), errors, share=0.1)
    yield Reader("torch's words", partial(_torch, python), (TORCH,), share=0.1)


def _interpreter(python: Path, content: bytes) -> None:
    (python.parent.parent / "answer").write_bytes(content)
    found = inspect(python)
    _said([found.version, found.platform, str(found.purelib)])
    applies(Requirement("a; python_version > '3'").marker, found.markers)


def _torch(python: Path, content: bytes) -> None:
    (python.parent.parent / "answer").write_bytes(content)
    _said(probe(python, {}, 20, Cancellation()))


def _of_configuration(folder: Path) -> Reader:
    folder.mkdir()
    file = folder / "config.toml"
    example = Path("config.example.toml").read_bytes()
    small = b"""\
[service]
log_level = "debug"
[http]
listen = "127.0.0.1:8765"
allowed_hosts = ["status.example.org"]
allowed_users = ["root", 1000]
[defaults]
hold = ["torch", "nvidia-*"]
interval = "10m"
[environments.studio]
pyproject = "studio/pyproject.toml"
python = "venv/bin/python"
extras = ["gpu"]
update = "latest"
"""

    def read(content: bytes) -> None:
        file.write_bytes(content)
        try:
            _said(repr(load(file, {"HOME": str(folder)})))
        except ConfigRejected as rejected:
            _said([str(rejected), rejected.problems])
            raise

    return Reader("the configuration", read, (small, example), (ConfigRejected,))
