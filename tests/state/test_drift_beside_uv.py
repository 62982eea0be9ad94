"""What counts as drift is what uv would change: both are asked the same of one environment."""

import functools
import subprocess
from pathlib import Path

import pytest

from reconciler.environment.interpreter import inspect
from reconciler.state.adjustments import Adjustments
from reconciler.state.desired import parse
from reconciler.state.drift import diff
from reconciler.state.holds import HoldSet
from reconciler.state.installed import InstalledReader, audit
from tests.state.site import Site
from tests.support.environments import install, make_venv, site_packages, uv_binary
from tests.support.wheels import make_sdist, make_wheel

INSTALLED = {
    "plain": "1.26.4",
    "local": "2.3.1+rocm5.7",
    "candidate": "2.0rc1",
    "dev": "2.0.dev1",
    "post": "2.0.post1",
    "epoch": "1!1.0",
}
OLD_MISTAKES = (
    "absent (>=1.7.*)", "absent (>dev)", "absent>=1<2", "absent>='1.0'", "absent!=3.0*",
    "plain (>=1.7.*)", "plain (>dev)", "plain>=1<2", "plain>='1.0'", "plain!=3.0*",
)  # fmt: skip

looked_at = functools.cache(inspect)


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    venv = make_venv(folder / "venv")
    wheels = [make_wheel(folder, name, version) for name, version in INSTALLED.items()]
    wheels += [
        make_wheel(folder, "parent", "1.0", requires=["plain>=1", "absent; extra == 'more'"],
                   extras={"empty": []}),
        make_wheel(folder, "orphan", "1.0", requires=["absent"]),
        make_wheel(folder, "picky", "1.0", requires=["plain<1"]),
        make_wheel(folder, "elsewhere", "1.0", requires=["absent; sys_platform == 'win32'"]),
        make_wheel(folder, "apart", "1.0", extras={"more": ["absent; sys_platform == 'win32'"]}),
        make_wheel(folder, "extended", "1.0", extras={"gpu": ["absent"], "ok": ["plain"]}),
    ]  # fmt: skip
    install(venv, *wheels)
    _add_old_mistakes(Site(site_packages(venv)))
    return venv


def _add_old_mistakes(site: Site) -> None:
    """What only old tools have installed."""
    for number, line in enumerate(OLD_MISTAKES):
        site.add(f"mistaken{number}", requires=[line])
    site.add("zeroed", metadata=bytes(500))
    site.add("stranger", metadata=b"Name: plain\nVersion: 1.0\n\n")
    for form in ("egg-info", "egg-link"):
        project = site.folder if form == "egg-info" else site.folder.parent / "project"
        info = project / f"by_{form.replace('-', '_')}.egg-info"
        info.mkdir(parents=True)
        (info / "PKG-INFO").write_text(f"Name: by-{form}\nVersion: 1.5\n\n")
    (site.folder / "by-egg-link.egg-link").write_text(f"{site.folder.parent / 'project'}\n.")


def uv_would_change(venv: Path, folder: Path, text: str) -> bool:
    project = folder / "pyproject.toml"
    project.write_text(text)
    command = [str(uv_binary()), "pip", "install", "--python", str(venv), "--dry-run", "--no-index",
               "--offline", "-r", str(project), "--output-format", "json"]  # fmt: skip
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    unread = "Failed to read metadata from installed package" in answer.stderr
    assert answer.returncode in (0, 1) or unread, answer.stderr
    return answer.returncode != 0 or '"name"' in answer.stdout


def we_would_change(venv: Path, folder: Path, text: str) -> bool:
    interpreter = looked_at(venv / "bin" / "python")
    desired = parse(folder / "pyproject.toml", text.encode(), interpreter.markers)
    installed = InstalledReader(interpreter.site_directories).read()
    adjustments = Adjustments.of(desired.uv)
    holds = HoldSet((), {})
    drift = diff(desired, installed, holds, audit(installed), interpreter.markers, adjustments)
    return not drift.in_sync


def disagreement(venv: Path, folder: Path, requirements: str, settings: str = "") -> list[str]:
    """What only one of both would change, and who."""
    text = f'[project]\nname = "studio"\nversion = "1"\ndependencies = [{requirements}]\n{settings}'
    uv, we = uv_would_change(venv, folder, text), we_would_change(venv, folder, text)
    return [] if uv is we else [f"only {'uv' if uv else 'we'}: {requirements} {settings}"]


REQUIREMENTS = (
    "plain", "plain>=1.24.0,<2.0", "plain<1.26", "plain==1.26.*", "plain!=1.26.4",
    "plain~=1.26.0", "plain===1.26.4", "plain>1.26.4", "plain>=1.27rc1", "Plain",
    "local==2.3.1", "local==2.3.1+rocm5.7", "local==2.3.1+cu121", "local>2.3.1",
    "local>=2.3.1", "local<=2.3.1", "local<2.3.1", "local!=2.3.1", "local==2.3.*",
    "local===2.3.1", "local===2.3.1+rocm5.7",
    "candidate", "candidate>=1.0", "candidate>=2.0", "candidate<2.0", "candidate>=2.0rc1",
    "candidate==2.0rc1", "candidate<2.1", "candidate>=1.0,<3",
    "dev>=1.0", "dev", "dev<2.0", "dev>=2.0.dev0", "dev~=2.0",
    "post==2.0", "post>2.0", "post>=2.0", "post<2.0.1", "post<=2.0",
    "epoch>=2020", "epoch<2020", "epoch==1!1.0",
    "absent", "absent; sys_platform == 'win32'", "plain>=9; python_version < '3'",
    "parent", "parent[more]", "parent[empty]", "parent[unknown]", "orphan", "picky",
    "elsewhere", "extended", "extended[gpu]", "extended[ok]", "extended[GPU]",
    *(f"mistaken{number}" for number in range(len(OLD_MISTAKES))), "zeroed", "stranger",
    "by-egg-info", "by-egg-info>=2", "by-egg-link", "by-egg-link>=2",
)  # fmt: skip


def test_uv_and_we_agree_on_every_requirement(environment, tmp_path):
    wrong = [line for it in REQUIREMENTS for line in disagreement(environment, tmp_path, f'"{it}"')]

    assert wrong == []


SETTINGS = (
    "override-dependencies = [\"absent ; sys_platform == 'win32'\"]",
    'override-dependencies = ["absent>=1"]',
    'override-dependencies = ["plain<1"]',
    'override-dependencies = ["absent ; sys_platform == \'win32\'", "plain>=1"]',
    'exclude-dependencies = ["absent"]',
    'exclude-dependencies = ["plain"]',
    'constraint-dependencies = ["plain<1"]',
    'constraint-dependencies = ["orphan<1"]',
    "constraint-dependencies = [\"orphan<1 ; sys_platform == 'win32'\"]",
    'constraint-dependencies = ["unknown<1"]',
    'dependency-metadata = [{ name = "orphan", version = "1.0", requires-dist = [] }]',
    'dependency-metadata = [{ name = "orphan", requires-dist = ["plain"] }]',
    'dependency-metadata = [{ name = "orphan", version = "2.0", requires-dist = [] }]',
    'dependency-metadata = [{ name = "orphan", requires-dist = ["plain<1"] }]',
)


def test_uv_and_we_agree_on_what_the_user_tells_uv(environment, tmp_path):
    wrong = [
        line
        for it in SETTINGS
        for line in disagreement(environment, tmp_path, '"orphan", "plain"', f"[tool.uv]\n{it}\n")
    ]

    assert wrong == []


def test_uv_and_we_agree_that_an_override_takes_the_extras_too(environment, tmp_path):
    settings = ('override-dependencies = ["extended"]', 'exclude-dependencies = ["extended"]')
    wrong = [
        line
        for it in settings
        for line in disagreement(environment, tmp_path, '"extended[gpu]"', f"[tool.uv]\n{it}\n")
    ]

    assert wrong == []


OVERRIDDEN = (
    ('"elsewhere"', 'override-dependencies = ["absent>=1"]'),
    ('"elsewhere"', "override-dependencies = [\"absent>=1 ; sys_platform == 'win32'\"]"),
    ('"elsewhere"', 'override-dependencies = ["plain"]'),
    ('"apart"', 'override-dependencies = ["absent>=1"]'),
    ('"apart[more]"', 'override-dependencies = ["absent>=1"]'),
    ("\"absent ; sys_platform == 'win32'\"", 'override-dependencies = ["absent"]'),
    ("\"absent ; sys_platform == 'win32'\"", "override-dependencies = [\"absent ; extra=='x'\"]"),
    ('"plain"', 'override-dependencies = ["plain"]\nsources = { plain = { path = "/nowhere" } }'),
)


def test_uv_and_we_agree_that_an_override_takes_the_marker_and_the_source_too(
    environment, tmp_path
):
    wrong = [
        line
        for asked, it in OVERRIDDEN
        for line in disagreement(environment, tmp_path, asked, f"[tool.uv]\n{it}\n")
    ]

    assert wrong == []


@pytest.fixture(scope="module")
def placed(tmp_path_factory) -> tuple[Path, Path]:
    """An environment whose packages came from places, and the folder of those places."""
    folder = tmp_path_factory.mktemp("placed")
    venv = make_venv(folder / "venv")
    wheel = make_wheel(folder, "wheeled", "1.0")
    make_wheel(folder, "wheeled", "2.0")
    sdist = make_sdist(folder, "sourced", "1.0")
    make_wheel(folder, "indexed", "1.0")
    install(venv, f"wheeled @ {wheel.as_uri()}", f"sourced @ {sdist.as_uri()}")
    install(venv, "indexed", "--find-links", folder)
    return venv, folder


PLACES = (
    ("wheeled", "wheeled-1.0-py3-none-any.whl"),
    ("wheeled", "wheeled-2.0-py3-none-any.whl"),
    ("sourced", "sourced-1.0.tar.gz"),
    ("indexed", "indexed-1.0-py3-none-any.whl"),
)


def test_uv_and_we_agree_on_places(placed, tmp_path):
    venv, folder = placed
    asked = [('"wheeled"', ""), ('"sourced>=1"', ""), ('"wheeled>=2"', "")]
    for name, file in PLACES:
        asked.append((f'"{name} @ {(folder / file).as_uri()}"', ""))
        source = f'{name} = {{ path = "{folder / file}" }}'
        asked.append((f'"{name}"', f"[tool.uv.sources]\n{source}\n"))
    wrong = [line for it in asked for line in disagreement(venv, tmp_path, *it)]

    assert wrong == []
