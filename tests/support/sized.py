"""Environments of any size, written without an installer: a thousand packages in two seconds.

Each package has a module, a submodule, the files of a dist-info folder, and needs two others.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.support.environments import make_venv, site_packages

_DOTTED = "abcdefghijklmnopqrstuvwxyz"


def sized(folder: Path, count: int) -> Path:
    """A project in sync that declares `count` packages; returns its folder."""
    folder.mkdir(parents=True)
    site = site_packages(make_venv(folder / ".venv"))
    for number in range(count):
        _write(site, number, count)
    declared = "".join(f'  "{_name(number)}>=1.0,<2",\n' for number in range(count))
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "sized"\nversion = "1"\ndependencies = [\n{declared}]\n'
    )
    return folder


def real_sized(folder: Path, extras: int = 40, each: int = 60) -> Path:
    """A file as large projects have: extras that name each other, comments, markers, sources."""
    declared = [f"{_name(n)}[fast]>=1.0,<2 ; python_version >= '3.9'" for n in range(each)]
    lines = ["[project]", 'name = "sized"', 'version = "1"', "dependencies = ["]
    lines += [f'  "{text}",  # needed by everything' for text in declared]
    lines += ["]", "", "[project.optional-dependencies]"]
    for extra in range(extras):
        lines += [f"extra-{extra} = ["]
        lines += [f'  "sized[extra-{extra - 1}]",'] if extra % 4 else []
        lines += [f'  "{_name(n)}>=1.{extra % 9},<2",' for n in range(extra, extra + each)]
        lines += ["]"]
    lines += ["", "[tool.uv]", "", "[tool.uv.sources]"]
    lines += [f'{_name(n)} = [{{ index = "own", marker = "sys_platform == \'win32\'" }}]'
              for n in range(each)]  # fmt: skip
    lines += ["", "[[tool.uv.index]]", 'name = "own"', 'url = "https://packages.example/simple"']
    folder.mkdir(parents=True)
    site = site_packages(make_venv(folder / ".venv"))
    for number in range(extras + each):
        _write(site, number, extras + each)
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n")
    return folder


def _name(number: int) -> str:
    return f"package-{_DOTTED[number % 26]}{number:05}"


def _write(site: Path, number: int, count: int) -> None:
    module = _name(number).replace("-", "_")
    info = f"{module}-1.{number % 10}.dist-info"
    needed = {(number * 7 + 1) % count, (number * 13 + 5) % count} - {number}
    metadata = "".join(
        [
            f"Metadata-Version: 2.4\nName: {_name(number)}\nVersion: 1.{number % 10}\n",
            "Provides-Extra: fast\n",
            *(f"Requires-Dist: {_name(other)}>=1\n" for other in sorted(needed)),
            "\nA package of a benchmark.\n" * 40,
        ]
    )
    files = {
        f"{module}/__init__.py": "__version__ = '1'\n",
        f"{module}/inner.py": "x = 1\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/INSTALLER": "uv",
        f"{info}/REQUESTED": "",
    }
    record = "".join(f"{path},,{len(text)}\n" for path, text in files.items())
    for path, text in _with_record(files, info, record):
        target = site / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)


def _with_record(files: dict[str, str], info: str, record: str) -> Iterator[tuple[str, str]]:
    yield from files.items()
    yield f"{info}/RECORD", f"{record}{info}/RECORD,,\n"
