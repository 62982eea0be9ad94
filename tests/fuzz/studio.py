"""An environment with one of every file that is read in it, and a whole look at it.

Each file can be replaced by anything. A look goes as far as the status page and uv's input.
"""

import itertools
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from reconciler.config import EnvironmentConfig
from reconciler.daemon.known import Known
from reconciler.daemon.view import environment_status
from reconciler.environment.environment import Environment
from reconciler.environment.interpreter import InterpreterCache
from reconciler.environment.snapshot import Snapshot
from reconciler.holds.standing import holds_and_notices, holds_found
from reconciler.log.redact import without_secrets
from reconciler.planning.addressed import metadata_without_addresses
from reconciler.state.holds import HoldSet
from reconciler.state.scripts import BESIDE_ITSELF
from reconciler.trees.generations import kept, listed, live
from reconciler.trees.workspace import Workspace
from reconciler.uv.discovery import sources_of_projects
from reconciler.uv.effective import EffectiveProject, items_of, items_of_holds
from reconciler.vault.store import Store
from tests.state.site import Site
from tests.support.environments import make_venv, site_packages

PROJECT = b"""\
[project]
name = "Studio_App"
requires-python = ">=3.8"
dependencies = [
    "numpy>=1.24,<2",
    "torch>=2.1",
    "local-thing[web] ; python_version >= '3.8'",
    "near @ https://index.example/near-1.0-py3-none-any.whl",
    "from-git",
]

[project.optional-dependencies]
gpu = ["accelerate>=0.30", "studio.app[web]"]
web = ["fastapi"]

[dependency-groups]
test = ["pytest>=8"]
dev = [{include-group = "test"}, "ruff"]

[tool.uv]
constraint-dependencies = ["scipy<2"]
override-dependencies = ["pillow>=10"]
no-binary-package = ["numpy"]
cache-keys = [{file = "src/**/*.py"}, {git = {commit = true}}, {env = "HOME"}]
default-groups = ["dev"]
dependency-metadata = [{name = "scipy", version = "1.0", requires-dist = ["numpy"]}]

[tool.uv.pip]
extra = ["gpu"]
only-binary = ["scipy"]

[tool.uv.sources]
local-thing = {path = "thing", editable = true}
from-git = {git = "https://git.example/it.git", tag = "v1", subdirectory = "sub"}
numpy = [{index = "own", marker = "sys_platform == 'linux'"}]

[tool.uv.workspace]
members = ["thing"]

[[tool.uv.index]]
name = "own"
url = "https://index.example/simple"
explicit = true
"""
UV_TOML = b"""\
index-url = "https://index.example/simple"
extra-index-url = ["https://user:sesame@other.example/simple"]
find-links = ["wheels"]
constraint-dependencies = ["scipy<3"]
no-build = true
exclude-newer = "2025-01-01"
required-version = ">=0.5"
no-sources-package = ["torch"]
[extra-build-dependencies]
numpy = ["setuptools"]
[pip]
no-binary = ["numpy"]
upgrade = true
"""
LOCK = b"""\
version = 1
requires-python = ">=3.8"
[[package]]
name = "torch"
version = "2.3.1"
source = { registry = "https://index.example/simple" }
[[package]]
name = "numpy"
version = "1.26.4"
"""
METADATA = b"""\
Metadata-Version: 2.1
Name: numpy
Version: 1.26.4
Requires-Dist: scipy>=1.0 ; extra == 'more'
Requires-Dist: pillow>=9
Provides-Extra: more
Summary: An array
  that is folded

About it.
"""
RECORD = b"""\
numpy.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0
"odd, name.py",,
../../../bin/f2py,,
numpy-1.26.4.dist-info/METADATA,,200
numpy-1.26.4.dist-info/RECORD,,
"""
DIRECT_URL = b"""\
{"url": "file:///srv/thing", "dir_info": {"editable": true}, "subdirectory": "sub",
 "vcs_info": {"vcs": "git", "requested_revision": "v1", "commit_id": "abc"}}
"""
UV_CACHE = b"""\
{"timestamp": {"secs_since_epoch": 1, "nanos_since_epoch": 2}, "commit": "abc",
 "tags": {"v1": "abc"}, "env": {"HOME": "/root"},
 "directories": {"src": {"secs_since_epoch": 1, "nanos_since_epoch": 2}}}
"""
ENTRY_POINTS = b"[console_scripts]\nf2py = numpy.f2py:main\n[other]\na.b = c:d [extra]\n"
SCRIPT = b"#!/nowhere/bin/python3\nimport sys\n"
SCRIPT_OF_SHELL = b"#!/bin/sh\n'''exec' \"/no where/bin/python\" \"$0\" \"$@\"\n' '''\nimport sys\n"
SCRIPT_BESIDE = BESIDE_ITSELF + b"'python' \"$0\" \"$@\"\n' '''\n"
CONSTRAINTS = b"""\
# what is known to work
scipy<2 ; python_version > '3.8'
-r more.txt
--index-url https://index.example/simple
pillow==10.0 --hash=sha256:abc \\
    --hash=sha256:def
-e ./thing
"""
MANIFEST = json.dumps(
    {
        "name": "torch", "version": "2.3.1", "copy": "ab" * 16, "pinned_by": None, "links": {},
        "number": 1, "slim": True, "seen": [[1, 1]], "omitted": ["lib/x.py"],
    }
).encode()  # fmt: skip
COPY = json.dumps(
    {
        "id": "ab" * 16, "name": "torch", "version": "2.3.1", "tags": ["cp311-cp311-linux_x86_64"],
        "target": {"python": "3.11", "library": "lib/python3.11/site-packages"}, "links": {},
        "files": [["lib/torch.py", "ab" * 32, 2, 1, 1, 420]], "omitted": ["lib/x.py"],
    }
).encode()  # fmt: skip
LABEL = (
    b'{"number": 3, "created_at": "2026-01-01T00:00:00Z", "packages": 4, "revision": null, '
    b'"previous": 2, "activation": 5}'
)
_TIMES = itertools.count(1_700_000_000)


@dataclass
class Studio:
    """One environment, and its files by what they are called in a report."""

    folder: Path
    interpreters: InterpreterCache = field(init=False)
    files: dict[str, tuple[Path, tuple[bytes, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make it, whole."""
        self.project = self.folder / "project"
        self.venv = make_venv(self.project / ".venv")
        site = Site(site_packages(self.venv))
        site.add("torch", "2.3.1", requires=["numpy<2", "local-thing==1.0"])
        numpy = site.add("numpy", "1.26.4", files={})
        thing = site.add("local-thing", "1.0", extras=["web"])
        self._write_files(site.folder, numpy, thing)
        for path, (document, *_) in self.files.values():
            self.write(path, document)
        (self.project / "more.txt").write_text("certifi\n")
        self.interpreters = InterpreterCache(self.venv / "bin/python")
        self.interpreters.get()

    def _write_files(self, site: Path, numpy: Path, thing: Path) -> None:
        root, bin_ = self.venv / ".reconciler", self.venv / "bin"
        store = Store(self.project / ".reconciler-vault")
        here = DIRECT_URL.replace(b"file:///srv", self.project.as_uri().encode())
        here = here.replace(b', "commit_id": "abc"', b"").replace(b'"subdirectory": "sub",', b"")
        member = b'[project]\nname = "local-thing"\nversion = "1"\ndependencies = ["numpy<2"]\n'
        member += (
            b'optional-dependencies.web = ["torch @ https://h/torch-2.3.1-py3-none-any.whl"]\n'
        )
        member += b'[tool.uv]\ncache-keys = [{file = "*.py"}, '
        member += b'{git = {commit = true, tags = true}}, {dir = "src"}]\n'
        self.files = {
            "pyproject.toml": (self.project / "pyproject.toml", (PROJECT,)),
            "uv.toml": (self.folder / "uv.toml", (UV_TOML,)),
            "uv.lock": (self.project / "uv.lock", (LOCK,)),
            "a member's pyproject.toml": (self.project / "thing/pyproject.toml", (member,)),
            "a member's HEAD": (self.project / "thing/.git/HEAD", (b"ref: refs/heads/main\n",)),
            "packed-refs": (self.project / "thing/.git/packed-refs", (b"abc refs/heads/main\n",)),
            "constraints": (self.project / "constraints.txt", (CONSTRAINTS,)),
            "METADATA": (numpy / "METADATA", (METADATA,)),
            "RECORD": (numpy / "RECORD", (RECORD,)),
            "INSTALLER": (numpy / "INSTALLER", (b"uv\n",)),
            "direct_url.json": (thing / "direct_url.json", (here, DIRECT_URL)),
            "uv_cache.json": (thing / "uv_cache.json", (UV_CACHE,)),
            "entry_points.txt": (numpy / "entry_points.txt", (ENTRY_POINTS,)),
            "a script": (bin_ / "f2py", (SCRIPT, SCRIPT_OF_SHELL, SCRIPT_BESIDE)),
            "activate": (bin_ / "activate", (b"VIRTUAL_ENV='/old place'\nexport VIRTUAL_ENV\n",)),
            "a .pth file": (site / "eggs.pth", (b"./old.egg\nimport os\n/nowhere\n# x\n",)),
            "an egg-link": (site / "linked.egg-link", (f"{self.project}\n.\n".encode(),)),
            "PKG-INFO": (site / "torch.egg/EGG-INFO/PKG-INFO", (METADATA,)),
            "an egg-info": (site / "old-1.0.egg-info", (METADATA.replace(b"numpy", b"old"),)),
            "the manifest": (store.environment(root.parent) / "torch/1.json", (MANIFEST,)),
            "a copy": (store.copy_folder("torch", "ab" * 16) / "copy.json", (COPY,)),
            "live.json": (root / "live.json", (LABEL,)),
            "generation.json": (root / "generations/2/generation.json", (LABEL,)),
            "the last good file": (root / "last-good-pyproject.toml", (PROJECT,)),
        }  # fmt: skip

    def write(self, path: Path, content: bytes) -> None:
        """Write a file that no cache can take for the one before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        moment = next(_TIMES)
        os.utime(path, (moment, moment))

    def restore(self, name: str) -> None:
        """Make a file what it was."""
        path, (document, *_) = self.files[name]
        self.write(path, document)

    def look_at(self, name: str, content: bytes) -> None:
        """Replace one file, look at the environment, and say everything that is said of it."""
        self.write(self.files[name][0], content)
        self.look()

    def look(self) -> None:
        """Look at the environment, as a worker does and then some."""
        environ = {
            "HOME": str(self.folder / "home"), "PATH": os.environ["PATH"],
            "UV_CONSTRAINT": "constraints.txt",
        }  # fmt: skip
        config = EnvironmentConfig(
            name="studio",
            pyproject=self.project / "pyproject.toml",
            python=self.venv / "bin/python",
            extras=("web",),
        )
        environment = Environment(config, environ)
        environment.interpreters = self.interpreters
        snapshot = environment.look(audit_files=True)
        workspace = Workspace(self.venv)
        kept(workspace), live(workspace)
        holds = holds_found(snapshot)
        known = Known(config, snapshot=snapshot, holds=holds, generations=listed(workspace))
        status = environment_status(known, None, time.time())
        said = (status, holds_and_notices(snapshot))
        msgspec.json.encode(without_secrets(said))
        self._ask_uv(environment, snapshot)

    def _ask_uv(self, environment: Environment, snapshot: Snapshot) -> None:
        """Write uv's input, as a plan does."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        declared = snapshot.desired.requirements if snapshot.desired else ()
        items = items_of(declared, snapshot.holds, snapshot.markers)
        items = (*items, *items_of_holds(snapshot.holds, snapshot.markers))
        desired = snapshot.desired
        metadata = metadata_without_addresses(snapshot.installed, desired, snapshot.holds)
        nested = sources_of_projects(snapshot.desired, snapshot.markers, environment.environ)
        for holds in (snapshot.holds, HoldSet((), {})):
            project = EffectiveProject(
                folder, self.venv / "bin/python", snapshot.settings, holds, frozenset(),
                wheels=folder, nested=dict(nested), metadata=metadata,
            )  # fmt: skip
            project.to_plan(items)
        shutil.rmtree(folder)
