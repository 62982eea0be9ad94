"""Twelve projects of the kind that people have, for the real registry: small and pure packages."""

from typing import NamedTuple


class RealProject(NamedTuple):
    """A project around a held torch: its tables, what is asked for, and what must come."""

    name: str
    text: str
    wanted: frozenset[str]
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    failed: frozenset[str] = frozenset()
    """What cannot be installed beside the held torch."""


def _project(dependencies: str, more: str = "") -> str:
    return f'[project]\nname = "app"\nversion = "1"\ndependencies = [{dependencies}]\n{more}\n'


PROJECTS = (
    RealProject("plain", _project('"torch", "einops", "tqdm"'), frozenset({"einops", "tqdm"})),
    RealProject(
        "ranges",
        _project('"torch>=2", "packaging>=23,<25", "idna~=3.6", "click==8.1.*"'),
        frozenset({"packaging", "idna", "click"}),
    ),
    RealProject(
        "extras",
        _project(
            '"rich"',
            "[project.optional-dependencies]\n"
            'web = ["httpx[http2]"]\nall = ["app[web]", "tomli-w"]',
        ),
        frozenset({"rich", "httpx", "h2", "tomli-w"}),
        extras=("all",),
    ),
    RealProject(
        "groups",
        _project(
            '"attrs"',
            '[dependency-groups]\ntest = ["pytest"]\ndev = [{ include-group = "test" }, "ruff"]',
        ),
        frozenset({"attrs", "pytest", "ruff"}),
        groups=("dev",),
    ),
    RealProject(
        "needs-torch",
        _project('"torch", "accelerate", "safetensors[torch]"'),
        frozenset({"accelerate", "safetensors", "huggingface-hub"}),
    ),
    RealProject(
        "needs-a-newer-torch",
        _project('"torch>=2.6", "torchaudio==2.8.0", "humanize"'),
        frozenset({"humanize"}),
        failed=frozenset({"torchaudio"}),
    ),
    RealProject(
        "torch-from-an-index",
        _project(
            '"torch==2.3.1", "torchvision", "more-itertools"',
            "[tool.uv.sources]\n"
            'torch = [{ index = "pytorch", marker = "sys_platform == \'linux\'" }]\n'
            "[[tool.uv.index]]\n"
            'name = "pytorch"\nurl = "https://wheels.example/rocm5.7"\nexplicit = true',
        ),
        frozenset({"more-itertools"}),
    ),
    RealProject(
        "settings",
        _project(
            '"requests", "jinja2"',
            "[tool.uv]\n"
            'constraint-dependencies = ["urllib3<2"]\n'
            "override-dependencies = [\"charset-normalizer ; sys_platform == 'never'\"]\n"
            'exclude-dependencies = ["idna"]',
        ),
        frozenset({"requests", "urllib3", "jinja2", "markupsafe"}),
    ),
    RealProject(
        "markers",
        _project(
            "\"tomli; python_version >= '3.8'\", \"colorama; sys_platform == 'win32'\", "
            "\"typing-extensions; platform_machine not in 'riscv64'\""
        ),
        frozenset({"tomli", "typing-extensions"}),
    ),
    RealProject(
        "impossible-beside-good",
        _project('"sortedcontainers", "wcwidth==0.0.999", "toolz<0.1"'),
        frozenset({"sortedcontainers"}),
        failed=frozenset({"wcwidth", "toolz"}),
    ),
    RealProject(
        "built-from-source",
        _project('"docopt==0.6.2", "six"', '[tool.uv]\nno-binary-package = ["docopt"]'),
        frozenset({"docopt", "six"}),
    ),
    RealProject(
        "conflicting-extras",
        _project(
            '"zipp"',
            '[project.optional-dependencies]\nold = ["pluggy<1.3"]\nnew = ["pluggy>=1.5"]\n'
            '[tool.uv]\nconflicts = [[{ extra = "old" }, { extra = "new" }]]',
        ),
        frozenset({"zipp", "pluggy"}),
        extras=("old",),
    ),
)
