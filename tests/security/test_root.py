"""As root, nothing that another user may change decides: real owners, modes and interpreters."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig, Notify, Occasion
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterError
from reconciler.files.trust import Insecure
from tests.support.attacks import Attacks
from tests.support.environments import make_venv, site_packages
from tests.support.processes import run_cli
from tests.support.service import ServiceProcess, Table
from tests.support.wheels import make_wheel

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@dataclass
class Site:
    """A project of root's with its environment, in a sticky folder that everyone may write."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    extra: str = ""

    @property
    def project(self) -> Path:
        return self.folder / "sticky" / "project"

    @property
    def venv(self) -> Path:
        return self.project / ".venv"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def build(self) -> "Site":
        self.project.mkdir(parents=True)
        self.project.parent.chmod(0o1777)
        self.home.mkdir()
        self.declare("")
        make_venv(self.venv)
        return self

    def declare(self, requirement: str, tables: str = "") -> None:
        listed = json.dumps([requirement] if requirement else [])
        text = f'[project]\nname = "p"\nversion = "1"\ndependencies = {listed}\n{tables}'
        (self.project / "pyproject.toml").write_text(text)

    def environment(self) -> Environment:
        config = EnvironmentConfig(
            name="studio",
            pyproject=self.project / "pyproject.toml",
            python=self.venv / "bin/python",
            **self.settings,
        )
        inherited = {k: v for k, v in os.environ.items() if k != "XDG_CONFIG_HOME"}
        inherited = {k: v for k, v in inherited.items() if k not in ("UV_CACHE_DIR", "HOME")}
        at_home = {"HOME": str(self.home), "UV_CACHE_DIR": str(self.folder / "cache")}
        environ = {**inherited, **at_home, **self.environ}
        return Environment(config, {k: v for k, v in environ.items() if v})

    def look(self) -> str | None:
        """What was refused; None if everything was trusted."""
        try:
            self.environment().look()
        except Insecure as insecure:
            return insecure.message
        except InterpreterError:  # trusted, though the attack has left it without a Python
            return None
        return None


def given(path: Path, text: str | None = None) -> Path:
    """A path that is another user's; a file if there is a text."""
    if text is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site").build()


UV = "no-index = true\n"


def uv_toml_above(site: Site) -> Path:
    return given(site.project.parent / "uv.toml", UV)


def pyproject_above(site: Site) -> Path:
    return given(site.project.parent / "pyproject.toml", f"[tool.uv]\n{UV}")


def workspace_above(site: Site) -> Path:
    text = '[tool.uv.workspace]\nmembers = ["project"]\n[tool.uv.sources]\nx = { path = "/tmp" }\n'
    return given(site.project.parent / "pyproject.toml", text)


def workspace_member(site: Site) -> Path:
    site.declare("", '[tool.uv.workspace]\nmembers = ["packages/*"]\n')
    return given(site.project / "packages/m/pyproject.toml", '[project]\nname = "m"\n')


def uv_toml_beside(site: Site) -> Path:
    return given(site.project / "uv.toml", UV)


def uv_toml_writable(site: Site) -> Path:
    file = site.project / "uv.toml"
    file.write_text(UV)
    file.chmod(0o666)
    return file


def link_to_settings(site: Site) -> Path:
    (site.folder / "real.toml").write_text(UV)
    link = site.project.parent / "uv.toml"
    link.symlink_to(site.folder / "real.toml")
    return given(link)


def pyproject_itself(site: Site) -> Path:
    return given(site.project / "pyproject.toml")


def home_of_another(site: Site) -> Path:
    (site.home / ".config/uv").mkdir(parents=True)
    (site.home / ".config/uv/uv.toml").write_text(UV)
    return given(site.home)


def settings_in_home(site: Site) -> Path:
    return given(site.home / ".config/uv/uv.toml", UV)


def systems_settings(site: Site) -> Path:
    site.environ["XDG_CONFIG_DIRS"] = str(site.folder / "etc")
    return given(site.folder / "etc/uv/uv.toml", UV)


def config_file(site: Site) -> Path:
    file = given(site.folder / "named.toml", UV)
    site.environ["UV_CONFIG_FILE"] = str(file)
    return file


def constraint(site: Site) -> Path:
    file = given(site.folder / "constraint.txt", "six==1.0\n")
    site.environ["UV_CONSTRAINT"] = str(file)
    return file


def included_constraint(site: Site) -> Path:
    (site.folder / "first.txt").write_text("-r second.txt\n")
    site.environ["UV_OVERRIDE"] = str(site.folder / "first.txt")
    return given(site.folder / "second.txt", "six==1.0\n")


def pyvenv_cfg(site: Site) -> Path:
    return given(site.venv / "pyvenv.cfg")


def home_of_pyvenv(site: Site) -> Path:
    base = site.folder / "base/bin"
    base.mkdir(parents=True)
    file = site.venv / "pyvenv.cfg"
    lines = [f"home = {base}" if x.startswith("home") else x for x in file.read_text().splitlines()]
    file.write_text("\n".join(lines))
    return given(base)


def pyvenv_cfg_beside_python(site: Site) -> Path:
    return given(site.venv / "bin/pyvenv.cfg", "home = /tmp\n")


def interpreter_link(site: Site) -> Path:
    return given(site.venv / "bin/python")


def interpreter_chain(site: Site) -> Path:
    python, between = site.venv / "bin/python", site.folder / "python"
    between.symlink_to(python.readlink())
    python.unlink()
    python.symlink_to(between)
    return given(between)


def pth_file(site: Site) -> Path:
    return given(site_packages(site.venv) / "evil.pth", "import os\n")


def folder_in_pth(site: Site) -> Path:
    (site.folder / "added").mkdir()
    (site_packages(site.venv) / "mine.pth").write_text(f"{site.folder / 'added'}\n")
    return given(site.folder / "added")


def package_folder(site: Site) -> Path:
    (site_packages(site.venv) / "pkg").mkdir()
    return given(site_packages(site.venv) / "pkg")


def module_in_package(site: Site) -> Path:
    return given(site_packages(site.venv) / "pkg/inner/evil.py", "")


def linked_package(site: Site) -> Path:
    (site.folder / "checkout").mkdir()
    (site_packages(site.venv) / "pkg").symlink_to(site.folder / "checkout")
    return given(site.folder / "checkout")


def own_folder(site: Site) -> Path:
    (site.venv / ".reconciler").mkdir()
    return given(site.venv / ".reconciler")


def saved_project(site: Site) -> Path:
    return given(site.venv / ".reconciler/last-good-pyproject.toml", "")


def cache(site: Site) -> Path:
    (site.folder / "cache").mkdir()
    return given(site.folder / "cache")


def cache_bucket(site: Site) -> Path:
    (site.folder / "cache/wheels-v5").mkdir(parents=True)
    return given(site.folder / "cache/wheels-v5")


def cache_in_settings(site: Site) -> Path:
    (site.folder / "other").mkdir()
    site.environ["UV_CACHE_DIR"] = ""
    site.declare("", f'[tool.uv]\ncache-dir = "{site.folder / "other"}"\n')
    return given(site.folder / "other")


def find_links(site: Site) -> Path:
    (site.folder / "links").mkdir()
    site.declare("", f'[tool.uv]\nfind-links = ["{site.folder / "links"}"]\n')
    return given(site.folder / "links")


def wheel_in_find_links(site: Site) -> Path:
    (site.folder / "links").mkdir()
    site.environ["UV_FIND_LINKS"] = str(site.folder / "links")
    return given(make_wheel(site.folder / "links", "evil", "1.0"))


def index_on_the_disk(site: Site) -> Path:
    (site.folder / "simple").mkdir()
    site.declare("", f'[[tool.uv.index]]\nurl = "file://{site.folder / "simple"}"\n')
    return given(site.folder / "simple")


def path_source(site: Site) -> Path:
    source = site.folder / "source"
    source.mkdir()
    site.declare("source", f'[tool.uv.sources]\nsource = {{ path = "{source}" }}\n')
    return given(source)


def file_in_path_source(site: Site) -> Path:
    site.declare(f"source @ file://{site.folder / 'source'}")
    return given(site.folder / "source/setup.py", "")


def wheel_source(site: Site) -> Path:
    wheel = given(make_wheel(site.folder, "source", "1.0"))
    site.declare(f"source @ file://{wheel}")
    return wheel


def repository_source(site: Site) -> Path:
    (site.folder / "repo").mkdir()
    site.declare(f"source @ git+file://{site.folder / 'repo'}@main")
    return given(site.folder / "repo")


def verify_command(site: Site) -> Path:
    program = given(site.folder / "check", "#!/bin/sh\n")
    site.settings["verify"] = ((str(program),),)
    return program


def command_in_path(site: Site) -> Path:
    program = site.folder / "bin/check"
    given(program, "#!/bin/sh\n").chmod(0o755)
    site.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    site.settings["verify"] = (("check",),)
    return program


def package_of_the_base(site: Site) -> Path:
    """An environment that sees the packages of the Python that it was made from."""
    base = site.folder / "base"
    (base / "bin").mkdir(parents=True)
    file = site.venv / "pyvenv.cfg"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("home")]
    lines = [line for line in lines if not line.startswith("include-system")]
    lines += [f"home = {base / 'bin'}", "include-system-site-packages = true"]
    file.write_text("\n".join(lines))
    packages = base / site_packages(site.venv).relative_to(site.venv)
    return given(packages / "evil.pth", "import os\n")


def notify_command(site: Site) -> Path:
    program = given(site.folder / "tell", "#!/bin/sh\n")
    site.settings["notify"] = (Notify(on=(Occasion.FAILED,), command=(str(program),)),)
    return program


ATTACKS: tuple[Callable[[Site], Path], ...] = (
    uv_toml_above, pyproject_above, workspace_above, workspace_member, uv_toml_beside,
    uv_toml_writable, link_to_settings, pyproject_itself, home_of_another, settings_in_home,
    systems_settings, config_file, constraint, included_constraint, pyvenv_cfg, home_of_pyvenv,
    pyvenv_cfg_beside_python, interpreter_link, interpreter_chain, pth_file, folder_in_pth,
    package_folder, module_in_package, linked_package, own_folder, saved_project, cache,
    cache_bucket, cache_in_settings, find_links, wheel_in_find_links, index_on_the_disk,
    path_source, file_in_path_source, wheel_source, repository_source, verify_command,
    command_in_path, package_of_the_base, notify_command,
)  # fmt: skip


def test_a_machine_of_roots_own_is_trusted(site: Site) -> None:
    """Settings, sources and folders of wheels of one's own, in a sticky folder."""
    (site.folder / "links").mkdir()
    make_wheel(site.folder / "links", "alpha", "1.0")
    (site.folder / "cache").mkdir()
    (site.folder / "cache/.lock").touch()
    (site.folder / "cache/.lock").chmod(0o666)  # as uv creates it
    source = site.folder / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text('[project]\nname = "source"\nversion = "1"\n')
    (site_packages(site.venv) / "conda").mkdir()
    (site_packages(site.venv) / "conda/left.py").touch()
    (site_packages(site.venv) / "conda/left.py").chmod(0o664)  # by the group root only
    sources = f'[tool.uv.sources]\nsource = {{ path = "{source}" }}\n'
    site.declare("source", f'{sources}[tool.uv]\nfind-links = ["{site.folder / "links"}"]\n')
    site.settings["verify"] = (("python", "-c", ""), ("true",))

    environment = site.environment()

    assert environment.look(audit_files=True).problem is None
    assert environment.insecure is None


def test_nothing_of_another_user_decides_until_the_fix_makes_it_safe(
    tmp_path: Path, attacks: Attacks
) -> None:
    """A real shell does what each message says; then nothing of the old owner's is left."""
    for attack in ATTACKS:
        site = Site(tmp_path / attack.__name__).build()
        path = attack(site)
        if path.is_dir() and not path.is_symlink():  # what the old owner had put there
            given(path / "left.pth", "import os\n")
            given(path / "deep/er/left.py", "")
            (path / "link").symlink_to("left.pth")
            given(path / "link")
        first = message = site.look()
        for _ in range(3):  # one after another, as a person would
            if message is not None:
                commands = [c for c in message.split("`")[1::2] if c.startswith("ch")]
                subprocess.run(commands[0], shell=True, check=True)
                message = site.look()
        attacks.tried(attack.__name__, refused=first and str(path) in first, found=first)
        left = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
        foreign = [str(it) for it in left if it.lstat().st_uid != 0]
        attacks.tried(f"{attack.__name__}, fixed", refused=not foreign and message is None,
                      found=foreign or message)  # fmt: skip


def test_what_became_anothers_after_a_look_is_seen_by_the_next_pass(
    site: Site, attacks: Attacks
) -> None:
    """Files that were read are checked again, though nothing has changed in them."""
    given_later = {
        "pyproject.toml": site.project / "pyproject.toml",
        "uv.toml": site.project / "uv.toml",
        "constraint": site.folder / "constraint.txt",
        "find-links": site.folder / "links",
        "cache": site.folder / "cache",
    }
    (site.folder / "links").mkdir()
    (site.folder / "cache").mkdir()
    given_later["uv.toml"].write_text(f'find-links = ["{site.folder / "links"}"]\n')
    given_later["constraint"].write_text("six<2\n")
    site.environ["UV_CONSTRAINT"] = str(given_later["constraint"])
    environment = site.environment()
    environment.look()
    for name, path in given_later.items():
        os.chown(path, NOBODY, NOBODY)
        found = environment.insecure
        attacks.tried(name, refused=found is not None and found.file == str(path), found=found)
        os.chown(path, 0, 0)
    assert environment.insecure is None


def test_the_fix_says_that_the_old_owner_chose_the_content(site: Site) -> None:
    (site.venv / ".reconciler").mkdir()
    given(site.venv)

    message = site.look()

    assert message is not None
    assert "Everything in it was chosen by nobody: recreate it as root" in message
    assert f"`chown -hR root:root {site.venv} && chmod -R go-w {site.venv}`" in message
    assert "`sudo -u nobody reconciler ...`" in message


COMMANDS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("check",), 1),
    (("plan",), 1),
    (("apply",), 1),
    (("doctor",), 1),
    (("history",), 0),
    (("hold", "list"), 1),
    (("hold", "restore", "torch"), 1),
    (("hold", "accept", "torch"), 1),
    (("rollback",), 1),
    (("pause",), 0),
    (("resume",), 0),
    (("status",), 1),
    (("trigger",), 1),
    (("service", "show"), 0),
    (("completion", "bash"), 0),
    (("check", "--json"), 1),
)


WITHOUT_A_LOOK = ("status", "trigger", "service", "pause", "resume", "completion")
COMPLETED = ("hold restore ", "rollback ", "check --environment ")
"""Command lines that a shell asks to be completed."""


def test_no_command_starts_an_interpreter_of_another_user(
    site: Site, tmp_path: Path, attacks: Attacks
) -> None:
    mark = tmp_path / "started-as-root"
    python = site.venv / "bin/python"
    real = python.readlink()
    python.unlink()
    python.write_text(f'#!/bin/sh\ntouch "{mark}"\nexec {real} "$@"\n')
    python.chmod(0o755)
    given(python)
    home = tmp_path / "home"
    home.mkdir()
    for arguments, status in COMMANDS:
        environ = {"HOME": str(home), "XDG_STATE_HOME": str(home), "STATE_DIRECTORY": str(home)}
        done = run_cli(*arguments, cwd=site.project, env=environ)
        said = done.stdout + done.stderr
        names = str(python) in said or arguments[0] in WITHOUT_A_LOOK
        attacks.tried(
            " ".join(arguments),
            refused=not mark.exists() and done.returncode == status and names
            and "Traceback" not in said,
            found=f"status {done.returncode}, started {mark.exists()}: {said[-600:]}",
        )  # fmt: skip
        mark.unlink(missing_ok=True)
    for line in COMPLETED:
        words = {"COMP_WORDS": f"reconciler {line}", "COMP_CWORD": str(len(line.split()) + 1)}
        environ = {"HOME": str(home), "_RECONCILER_COMPLETE": "bash_complete", **words}
        done = run_cli(cwd=site.project, env=environ)
        attacks.tried(f"complete {line}", refused=not mark.exists() and not done.stderr,
                      found=done.stderr)  # fmt: skip


def test_the_service_starts_nothing_and_reads_nothing_of_another_user(
    site: Site, tmp_path: Path, attacks: Attacks
) -> None:
    """Its folder of records and the file of its token are checked before the first look."""
    environment: Table = {"pyproject": str(site.project / "pyproject.toml"),
                          "python": str(site.venv / "bin/python")}  # fmt: skip
    token = given(tmp_path / "token", "0123456789abcdef\n")
    state = tmp_path / "state-of-another"
    state.mkdir()
    given(state)
    for name, service, http, path in (
        ("state_dir", {"state_dir": str(state)}, {}, state),
        ("token_file", {}, {"token_file": str(token)}, token),
    ):
        process = ServiceProcess(tmp_path / name, {"studio": environment}, service=service,
                                 http=http)  # fmt: skip
        for command in ("run", "pause", "apply") if path == state else ("run",):
            done = run_cli(command, "--config", process.config, cwd=site.project)
            said = done.stdout + done.stderr
            attacks.tried(f"{name}, {command}", refused=str(path) in said and done.returncode,
                          found=f"{done.returncode}: {said[-500:]}")  # fmt: skip
        process.close()
    assert list(state.iterdir()) == []
