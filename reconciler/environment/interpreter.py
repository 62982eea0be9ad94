"""Facts about the target interpreter: its PEP 508 environment and its folders.

The interpreter itself reports them, in one process. They are remembered until the
interpreter or its `pyvenv.cfg` changes. None of our code is imported there.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from reconciler.files.parsing import json_as
from reconciler.processes import NotStarted, Program, TookTooLong, run
from reconciler.state.bounds import LONGEST_PATH, version_in
from reconciler.state.held_modules import ImportLayout
from reconciler.status import ExpectedEnd, Reason

QUERY_TIMEOUT_SECONDS = 60.0
_MOST_KEPT = 100_000
_LONGEST_ERROR = 600

# Works on Python 3.8 and newer, isolated from PYTHON* variables and the current folder. `platform`
# and `json` take longer to import than everything else takes, so they are only a fall-back.
_QUERY = """
import importlib.machinery, os, site, sys, sysconfig
v = sys.implementation.version
iv = "%d.%d.%d" % v[:3] + ("" if v.releaselevel == "final" else v.releaselevel[0] + str(v.serial))
paths = sysconfig.get_paths()
if sys.platform == "linux" and sys.implementation.name == "cpython":
    system, _, release, version, machine = os.uname()
    implementation, full = "CPython", sys.version.split()[0]
else:
    import platform
    system, _, release, version, machine = platform.uname()[:5]
    implementation, full = platform.python_implementation(), platform.python_version()

def shown(value):
    if isinstance(value, dict):
        return "{%s}" % ",".join(shown(k) + ":" + shown(v) for k, v in value.items())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[%s]" % ",".join(map(shown, value))
    if isinstance(value, str) and ascii(value) == "'%s'" % value and '"' not in value:
        return '"%s"' % value
    import json
    return json.dumps(value)

print(shown({
    "markers": {
        "implementation_name": sys.implementation.name,
        "implementation_version": iv,
        "os_name": os.name,
        "platform_machine": machine,
        "platform_python_implementation": implementation,
        "platform_release": release,
        "platform_system": system,
        "platform_version": version,
        "python_full_version": full,
        "python_version": ".".join(full.split(".")[:2]),
        "sys_platform": sys.platform,
    },
    "prefix": sys.prefix,
    "is_venv": sys.prefix != sys.base_prefix,
    "purelib": paths["purelib"], "platlib": paths["platlib"], "scripts": paths["scripts"],
    "base": [p for p in site.getsitepackages([sys.base_prefix, sys.base_exec_prefix])
             if p in sys.path and sys.prefix != sys.base_prefix],
    "suffixes": importlib.machinery.all_suffixes(),
    "externally_managed": os.path.exists(
        os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")),
}))
"""


class InterpreterError(ExpectedEnd):
    """The environment's interpreter cannot be used; says why, and what to do."""

    reason = Reason.INTERPRETER_UNUSABLE

    def __init__(self, executable: Path, defect: str, fix: str) -> None:
        super().__init__(f"{executable}: {defect}. {fix}")
        self.executable = executable
        self.defect = defect
        self.fix = fix


class Interpreter(msgspec.Struct, frozen=True):
    """The Python of an environment.

    `markers` is the environment that PEP 508 markers are evaluated in. All paths are absolute
    and free of symbolic links, except `executable`: scripts are started by that name.
    """

    executable: Path
    prefix: Path
    is_venv: bool
    externally_managed: bool
    markers: Mapping[str, str]
    purelib: Path
    platlib: Path
    scripts: Path
    base_directories: tuple[Path, ...] = ()
    """The folders of the base environment that it also imports from (`--system-site-packages`)."""
    suffixes: tuple[str, ...] = ()
    """The endings of the files that it imports, as `.abi3.so`."""

    @property
    def version(self) -> str:
        """The full version, as `platform.python_version()` returns it."""
        return self.markers["python_full_version"]

    @property
    def platform(self) -> str:
        """`sys.platform` of the target."""
        return self.markers["sys_platform"]

    @property
    def site_directories(self) -> tuple[Path, ...]:
        """The folders with distributions: purelib, and platlib if it differs."""
        return tuple(dict.fromkeys((self.purelib, self.platlib)))

    @property
    def layout(self) -> ImportLayout:
        """Where it imports from, relative to its environment."""
        inside = [d for d in self.site_directories if d.is_relative_to(self.prefix)]
        sites = tuple(str(d.relative_to(self.prefix)) for d in inside)
        scripts = os.path.relpath(self.scripts, self.prefix)
        return ImportLayout(sites, scripts, self.suffixes)


def _identity(executable: Path) -> tuple[object, ...]:
    """What changes when the interpreter, or the environment around it, is replaced."""
    seen: list[object] = []
    for path in (executable, executable.parent.parent / "pyvenv.cfg"):
        try:
            found = path.stat()
        except OSError:  # gone, a loop of links, or unreadable: starting it will tell
            seen.append(None)
        else:
            seen.append((found.st_ino, found.st_mtime_ns, found.st_size))
    return tuple(seen)


def inspect(executable: Path) -> Interpreter:
    """Run `executable` and read what it reports about itself.

    Raises:
        InterpreterError: It is missing, does not start, is not Python 3.8 or newer, or links to
                a Python elsewhere.
    """
    try:
        program = Program([executable, "-I", "-c", _QUERY], folder=Path("/"))
        answer = run(program, limit=QUERY_TIMEOUT_SECONDS, keep=_MOST_KEPT)
        facts = facts_of(answer.out)
    except (NotStarted, TookTooLong) as error:
        raise InterpreterError(
            executable,
            f"the interpreter does not start ({error})",
            "Recreate the environment (delete its folder), or point `python` at another one.",
        ) from error
    except (ValueError, IndexError) as error:
        said = answer.err.strip()[-_LONGEST_ERROR:] or error
        raise InterpreterError(
            executable,
            f"the interpreter does not behave like Python 3.8 or newer ({said})",
            "Point `python` at an environment whose interpreter works.",
        ) from error
    prefix = Path(os.path.realpath(facts.prefix))
    _refuse_stray(executable, prefix)
    return Interpreter(
        executable=executable,
        prefix=prefix,
        is_venv=facts.is_venv,
        externally_managed=facts.externally_managed and not facts.is_venv,
        markers=facts.markers,
        purelib=Path(os.path.realpath(facts.purelib)),
        platlib=Path(os.path.realpath(facts.platlib)),
        scripts=Path(os.path.realpath(facts.scripts)),
        base_directories=tuple(dict.fromkeys(Path(p) for p in facts.base)),
        suffixes=tuple(facts.suffixes),
    )


_NEEDED = ("python_version", "sys_platform")


class _Facts(msgspec.Struct):
    """What the interpreter prints; anything could be in its place."""

    markers: dict[str, str]
    prefix: str
    is_venv: bool
    purelib: str
    platlib: str
    scripts: str
    base: list[str]
    externally_managed: bool
    suffixes: list[str]


def facts_of(out: str) -> _Facts:
    """The facts in what an interpreter printed.

    Raises:
        ValueError: It printed something else.
        IndexError: It printed nothing.
    """
    facts = json_as(out.splitlines()[-1], _Facts)
    if version_in(facts.markers.get("python_full_version", "")) is None:
        raise ValueError("it has no version")
    missing = [name for name in _NEEDED if name not in facts.markers]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    paths = (facts.prefix, facts.purelib, facts.platlib, facts.scripts, *facts.base)
    if any("\0" in path or len(path) > LONGEST_PATH for path in paths):
        raise ValueError("one of its folders is not a path")
    return facts


def _refuse_stray(executable: Path, prefix: Path) -> None:
    """Refuse a bare link to a Python: a change there would change that Python.

    A virtual environment looks like this for a moment while it is created or removed: `bin/python`
    exists, but `pyvenv.cfg` does not.

    Raises:
        InterpreterError: The interpreter's packages are not in the folder around it.
    """
    root = Path(os.path.realpath(executable.parent.parent))
    if prefix != root:
        raise InterpreterError(
            executable,
            f"this is not an environment but a link to the Python in {prefix} (there is no "
            "usable pyvenv.cfg)",
            f"Recreate the environment (delete {root}), or set `python` to that Python itself.",
        )


class InterpreterCache:
    """Remembers one interpreter until it, or its environment, is replaced.

    Args:
        executable: The interpreter.
        may_start: Called before it is started; raises `InterpreterError` to refuse.
    """

    def __init__(self, executable: Path, may_start: Callable[[], None] = lambda: None) -> None:
        self._executable = executable
        self._may_start = may_start
        self._identity: tuple[object, ...] | None = None
        self._interpreter: Interpreter | None = None

    def get(self) -> Interpreter:
        """The interpreter as it is now; starts a process only if something changed.

        Raises:
            InterpreterError: As for `inspect`.
        """
        identity = _identity(self._executable)
        if self._interpreter is None or identity != self._identity:
            self._may_start()
            self._interpreter = inspect(self._executable)
            self._identity = identity
        return self._interpreter
