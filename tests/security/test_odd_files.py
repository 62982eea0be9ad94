"""Pipes, devices, nesting, NULs: whatever lies where a file should be, it is said, at once.

A named pipe would be waited for, a device never ends, deep nesting exhausts the stack. Each must
end as a problem with its reason, or be left out as what is not there; never as a defect.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.requests import Request

from reconciler.config import ConfigRejected, Notify, Occasion, load
from reconciler.daemon.notifications import Undelivered, deliver
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.environment.uv_lock import uv_lock_of
from reconciler.files.parsing import json_as, json_of, toml_of
from reconciler.passes.endings import trouble_of
from reconciler.passes.reconcile import reconcile
from reconciler.passes.running import Pass
from reconciler.planning.addressed import metadata_without_addresses
from reconciler.processes import Cancellation
from reconciler.state.build_stamp import BuildStamp, ProjectFile
from reconciler.status import ExpectedEnd, Reason
from reconciler.systemd import install as installing
from reconciler.systemd.reload import ReloadOutcome
from reconciler.trees import generations
from reconciler.trees.exchange import finish_interrupted
from reconciler.trees.in_place import undo_interrupted
from reconciler.uv.discovery import sources_of_projects
from reconciler.vault.store import Store
from reconciler.web.api.parameters import body_of
from reconciler.web.api.problems import HttpProblem
from reconciler.web.api.schemas import RestoreBody
from reconciler.web.security.token import TokenUnusable, read_token
from tests.support.attacks import Attacks
from tests.support.environments import install, site_packages
from tests.support.passes import Follower, environment_for
from tests.support.projects import Project
from tests.support.wheels import make_sdist, make_wheel, unpack

SECONDS = 10.0
DEEP = 5000
EXPECTED = (ExpectedEnd, InterpreterError, ConfigRejected, OSError, Undelivered, TokenUnusable)
ODD_PATHS = ("~nosuchuser/x", "~nobody/x", "~nosuchuser", "a\\u0000b", "~\\u0000", "", " ", "~/x")


class Hung(BaseException):
    """It waited; not an Exception, so that nothing takes it for an error of a file."""


@contextmanager
def at_once() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_folder(path: Path) -> None:
    path.mkdir()


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


KINDS = (a_pipe, a_socket, a_device, a_folder, a_loop)


@contextmanager
def replaced(path: Path, kind: Callable[[Path], None]) -> Iterator[None]:
    """Something else where a file should be, and the file again afterwards."""
    aside = path.with_name(f"{path.name}.aside")
    there = os.path.lexists(path)
    if there:
        path.rename(aside)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind(path)
    try:
        yield
    finally:
        # Unless it was set aside.
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        if there:
            aside.rename(path)


def outcome(act: Callable[[], object]) -> str:
    """How it ended: "fine", an expected error, or what must not happen."""
    try:
        with at_once():
            act()
    except Hung:
        return "HUNG"
    except EXPECTED as error:
        return f"said: {error}"
    except Exception as error:  # noqa: BLE001 -- this is what is looked for
        return f"A DEFECT: {error!r}"
    return "fine"


def is_fine(found: str) -> bool:
    return not found.startswith(("HUNG", "A DEFECT"))


@pytest.fixture
def alpha(project: Project, venv: Path, tmp_path: Path) -> Environment:
    """An environment with one package, and a project that requires it."""
    wheel = make_wheel(tmp_path / "wheels", "alpha", "1.0", scripts={"alpha": "alpha:main"})
    install(venv, wheel)
    project.write(["alpha"])
    return environment_for(project)


def test_what_lies_in_the_environment_or_beside_the_project(
    alpha: Environment, project: Project, venv: Path, attacks: Attacks
) -> None:
    """What this look reads besides the files that decide, which have their own tests."""
    site = site_packages(venv)
    info = site / "alpha-1.0.dist-info"
    local = unpack(make_sdist(project.directory / "sdists", "local", "1.0"))
    (info / "direct_url.json").write_text(f'{{"url": "{local.as_uri()}", "dir_info": {{}}}}')
    (local / ".git/refs/tags").mkdir(parents=True)
    (local / ".git/HEAD").write_text("ref: refs/heads/main\n")
    text = (local / "pyproject.toml").read_text()
    keys = '[tool.uv]\ncache-keys = [{ git = { commit = true, tags = true } }, { file = "*.c" }]\n'
    (local / "pyproject.toml").write_text(text + keys)
    project.write([])  # then requirements that are declared elsewhere are looked for
    (site / "odd.pth").write_text("odd.egg\n")
    store = Store(project.directory / ".reconciler-vault")
    files = [
        info / "uv_cache.json",
        info / "entry_points.txt",
        site / "odd.egg",
        venv / "bin/activate",
        venv / "bin/alpha",
        venv / "bin/odd",
        project.directory / "uv.lock",
        project.directory / "requirements.txt",
        local / ".git/HEAD",
        local / ".git/packed-refs",
        local / ".git/refs/tags/v1",
        local / "odd.c",
        venv / ".reconciler/last-good-pyproject.toml",
        store.environment(venv) / "alpha/1.json",
        store.environment(venv) / "environment.json",
        store.copy_folder("alpha", "0" * 32) / "copy.json",
    ]
    for file in files:
        for kind in KINDS:
            with replaced(file, kind):
                fresh = environment_for(project)
                found = outcome(lambda: fresh.look(audit_files=True))  # noqa: B023
            name = f"{kind.__name__} as {file.relative_to(project.directory)}"
            attacks.tried(name, refused=is_fine(found), found=found)


def test_records_of_ours(alpha: Environment, project: Project, attacks: Attacks) -> None:
    alpha.look()
    workspace = alpha.workspace
    workspace.create()
    cases = {
        workspace.intent: lambda: finish_interrupted(workspace),
        workspace.in_place: lambda: undo_interrupted(workspace),
        workspace.live: lambda: generations.live(workspace),
        workspace.root / "last-good-pyproject.toml": lambda: alpha.remember_good(alpha.look()),
    }
    for path, act in cases.items():
        for kind in KINDS:
            with replaced(path, kind):
                found = outcome(act)
            attacks.tried(f"{kind.__name__} as {path.name}", refused=is_fine(found), found=found)


def test_files_that_the_configuration_names(tmp_path: Path, attacks: Attacks) -> None:
    secret = tmp_path / "secret"
    unit = tmp_path / "reconciler.service"
    receivers = [
        Notify(on=(Occasion.FAILED,), url_file=secret),
        Notify(on=(Occasion.FAILED,), url="http://127.0.0.1:9/", token_file=secret),
    ]
    for kind in KINDS:
        with replaced(secret, kind), replaced(unit, kind):
            cases = {
                "token": lambda: read_token(secret),
                "url_file": lambda: deliver(receivers[0], b"{}"),
                "token_file": lambda: deliver(receivers[1], b"{}"),
                "unit": lambda: installing._require_ours(unit),
            }
            for name, act in cases.items():
                found = outcome(act)
                refused = found.startswith("said: ") or (name == "unit" and kind is a_loop)
                attacks.tried(f"{kind.__name__} as {name}", refused=refused, found=found)


def test_nesting_and_numbers(tmp_path: Path, attacks: Attacks) -> None:
    toml = {
        "lists": "a = " + "[" * DEEP + "]" * DEEP,
        "just more lists than allowed": "a = " + "[" * 60 + "]" * 60,
        "tables": "a = " + "{a = " * DEEP + "1" + "}" * DEEP,
        "keys": ".".join("a" * DEEP) + " = 1",
        "headers": "[" + ".".join("a" * 300) + "]",
        "a number": "a = " + "9" * DEEP,
    }
    for name, text in toml.items():
        cases = {
            "TOML": lambda: _raises_value_error(lambda: toml_of(text)),  # noqa: B023
            "a configuration": lambda: load(_written(tmp_path / "c.toml", text), {}),  # noqa: B023
            "a local project": lambda: ProjectFile.of(text.encode()),  # noqa: B023
        }
        for what, act in cases.items():
            found = outcome(act)
            attacks.tried(f"{name} in {what}", refused=is_fine(found), found=found)
    json = {
        "lists": "[" * 100_000 + "]" * 100_000,
        "tables": '{"a":' * 100_000 + "1" + "}" * 100_000,
        "a number": "9" * 100_000,
        "an exponent": "1e999999",
        "not UTF-8": b'{"a": "\xff"}',
    }
    for name, value in json.items():
        cases = {
            "JSON": lambda: _raises_value_error(lambda: json_of(value)),  # noqa: B023
            "a record": lambda: _raises_value_error(lambda: json_as(value, ReloadOutcome)),  # noqa: B023
            "uv_cache.json": lambda: BuildStamp.from_json(_bytes(value)),  # noqa: B023
        }
        for what, act in cases.items():
            found = outcome(act)
            attacks.tried(f"{name} in {what}", refused=is_fine(found), found=found)


def _raises_value_error(act: Callable[[], object]) -> None:
    try:
        act()
    except ValueError:
        return


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_odd_values_in_a_project(alpha: Environment, project: Project, attacks: Attacks) -> None:
    """Each is declared, looked at, and reconciled in one pass."""
    uv = "[tool.uv]\n"
    source = "[tool.uv.sources]\nalpha = "
    nul, deep = "a\\u0000b", "[" * 60 + "]" * 60
    values = {
        "NUL in a requirement": (f"al{nul}", ""),
        "NUL in a URL": ("alpha @ file:///tmp/a%00b", ""),
        "NUL in a path": ("alpha", f'{source}{{ path = "{nul}" }}'),
        "NUL in a URL source": ("alpha", f'{source}{{ url = "file:///a%00{nul}" }}'),
        "NUL in a repository": ("alpha", f'{source}{{ git = "file:///a%00b", rev = "{nul}" }}'),
        "NUL in find-links": ("alpha", f'{uv}find-links = ["{nul}"]'),
        "NUL in a member": ("alpha", f'[tool.uv.workspace]\nmembers = ["{nul}"]'),
        "NUL in an extra index": ("alpha", f'{uv}extra-index-url = ["http://a/{nul}"]'),
        "NUL in a constraint": ("alpha", f'{uv}constraint-dependencies = ["a @ file:///a%00b"]'),
        "no such user in a path": ("alpha", source + '{ path = "~nosuchuser/x" }'),
        "nobody in a path": ("alpha", source + '{ path = "~nobody/x" }'),
        "no such user in find-links": ("alpha", f'{uv}find-links = ["~nosuchuser/x"]'),
        "no such user in a member": ("alpha", '[tool.uv.workspace]\nmembers = ["~nosuchuser"]'),
        "nested sources": ("alpha", f"{source}{deep}"),
        "nested settings": ("alpha", f"{uv}override-dependencies = {deep}"),
        "nested tables of others": ("alpha", f"[tool.other]\na = {deep}"),
        "a pipe as a path": ("alpha", source + '{ path = "../pipe" }'),
        "a pipe as a wheel": ("alpha @ file:///{}/alpha-1.0-py3-none-any.whl", ""),
        "a device as a path": ("alpha", source + '{ path = "/dev/zero" }'),
    }
    folder = project.directory.parent
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "alpha-1.0-py3-none-any.whl")
    for name, (requirement, extra) in values.items():
        text = project.text(["PLACEHOLDER"], extra="")
        index, _, rest = text.partition("[[tool.uv.index]]")
        written = index.replace("PLACEHOLDER", requirement.format(str(folder).lstrip("/")))
        project.write_text(f"{written}{extra}\n[[tool.uv.index]]{rest}")
        fresh = environment_for(project, timeout=SECONDS)
        found = outcome(lambda: one_pass(fresh))  # noqa: B023
        attacks.tried(name, refused=is_fine(found), found=found)


def texts_beside_the_project(folder: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Hostile requirements and versions in what is read besides the project's own lists.

    Each is a name, further lines of the project's file, and variables; files are written already.
    """
    digits, nested = "1" * 5_000, "(" * 4_000 + "os_name=='x'" + ")" * 4_000
    hostile = {"nested": f"a; {nested}", "digits": f"a=={digits}", "no URL": "a @ https://[x"}
    for kind, text in hostile.items():
        for key in ("constraint", "override", "build-constraint"):
            yield f"{kind}, {key}", f'[tool.uv]\n{key}-dependencies = ["{text}"]', {}
        file = _written(folder / f"{kind}.txt", f"{text}\n")
        yield f"{kind}, a file of constraints", "", {"UV_CONSTRAINT": str(file)}
        yield f"{kind}, a file of excludes", "", {"UV_EXCLUDE": str(file)}
    yield "the version of uv", f'[tool.uv]\nrequired-version = "=={digits}"', {}
    loop = _written(folder / "loop.txt", "a<2\n-r sub/../loop.txt\n")
    (folder / "sub").mkdir()
    yield "a file that names itself", "", {"UV_CONSTRAINT": str(loop)}
    for number in range(500):
        _written(folder / f"{number}.txt", f"-c {number + 1}.txt\n")
    yield "500 files in a chain", "", {"UV_OVERRIDE": str(folder / "0.txt")}
    many = _written(folder / "many.txt", "".join(f"-c none-{i % 500}.txt\n" for i in range(50_000)))
    for number in range(500):
        _written(folder / f"none-{number}.txt", "")
    yield "500 files in one, named again and again", "", {"UV_CONSTRAINT": str(many)}
    lines = _written(folder / "lines.txt", "a\\\n" * 200_000)
    yield "one line of 200,000", "", {"UV_CONSTRAINT": str(lines)}


def test_hostile_requirements_beside_the_project(
    alpha: Environment, project: Project, tmp_path: Path, attacks: Attacks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "files"
    folder.mkdir()
    for name, lines, environ in texts_beside_the_project(folder):
        with monkeypatch.context() as patch:
            for variable, value in environ.items():
                patch.setenv(variable, value)
            project.write(["alpha"], extra=lines)
            fresh = environment_for(project)
            found = outcome(fresh.look)
            shown = found == "fine" and fresh.look().problem
        attacks.tried(name, refused=is_fine(found) and len(str(shown)) < 2000,
                      found=str(shown or found)[:300])  # fmt: skip


def test_hostile_requirements_of_a_project_in_a_folder(
    alpha: Environment, project: Project, attacks: Attacks
) -> None:
    """And in uv.lock; a hold is what both are read for."""
    digits, nested = "1" * 5_000, "(" * 4_000 + "os_name=='x'" + ")" * 4_000
    local = project.directory / "local"
    local.mkdir()
    source = f"[tool.uv.sources]\nlocal = {{ path = {json.dumps(str(local))} }}\n"
    project.write(["local[x]"], extra=source)
    held = environment_for(project, hold=("alpha",))
    texts = {
        "nested": f'version = "1"\ndependencies = ["a; {nested}"]',
        "nested in an extra": f'version = "1"\noptional-dependencies = {{ x = ["a; {nested}"] }}',
        "digits": f'version = "1"\noptional-dependencies = {{ x = ["alpha=={digits}"] }}',
        "the version": f'version = "{digits}"\ndependencies = ["alpha @ https://a/alpha-1.0.whl"]',
    }
    for name, text in texts.items():
        (local / "pyproject.toml").write_text(f'[project]\nname = "local"\n{text}\n')
        (project.directory / "uv.lock").write_text(
            f'[[package]]\nname = "alpha"\nversion = "{digits}"\n# {name}\n'
        )
        snapshot = held.look(refresh=True)
        for what, act in {
            "its metadata": lambda: metadata_without_addresses(
                snapshot.installed,  # noqa: B023
                snapshot.desired,  # noqa: B023
                snapshot.holds,  # noqa: B023
            ),
            "its sources": lambda: list(
                sources_of_projects(snapshot.desired, snapshot.markers, os.environ)  # noqa: B023
            ),
            "uv.lock": lambda: uv_lock_of(snapshot),  # noqa: B023
        }.items():
            found = outcome(act)
            attacks.tried(f"{name}, {what}", refused=is_fine(found), found=found[:300])


def one_pass(environment: Environment) -> None:
    """A pass, with its errors in words as the service finds them."""
    environment.workspace.create()
    try:
        reconcile(Pass(environment, Cancellation(), Follower()), audit=True)
    except Exception as error:
        trouble = trouble_of(error)
        if trouble.reason is Reason.UNEXPECTED:
            raise


def test_bodies_that_are_no_text(attacks: Attacks) -> None:
    bodies = {
        "not UTF-8": b'{"reason": "\xff\xfe"}',
        "not UTF-8 at all": b"\xff\xfe{\0}\0",
        "UTF-16": '{"reason": "x"}'.encode("utf-16"),
        "half a character": b'{"reason": "\xc3"}',
        "an encoded surrogate": b'{"reason": "\xed\xa0\x80"}',
        "an escaped surrogate": b'{"reason": "\\ud800"}',
        "nested": b'{"reason": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        "a number": b'{"reason": ' + b"9" * 50_000 + b"}",
        "an exponent": b'{"reason": 1e99999}',
        "a list": b"[]",
        "not a body": b"\0",
    }
    for name, body in bodies.items():
        found = asyncio.run(_answer_to(body))
        attacks.tried(name, refused=found.startswith("400 BadBody"), found=found)


async def _answer_to(body: bytes) -> str:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"application/json")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    try:
        return f"taken: {await body_of(request, RestoreBody)}"
    except HttpProblem as problem:
        return f"{problem.status} {problem.reason}: {problem.detail}"


def test_odd_paths_in_the_configuration(tmp_path: Path, attacks: Attacks) -> None:
    for path in ODD_PATHS:
        for key in ("state_dir", "uv"):
            text = f'[service]\n{key} = "{path}"\n[environments.a]\npyproject = "{path}"\n'
            found = outcome(lambda: load(_written(tmp_path / "config.toml", text), {}))  # noqa: B023
            expected = path not in ("~nobody/x", "~/x")
            refused = found.startswith("said: ") == expected and is_fine(found)
            attacks.tried(f"{key} = {path}", refused=refused, found=found)
