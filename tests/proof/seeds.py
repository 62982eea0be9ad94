"""Changes of a library: some break what was there, the others only look as if they did.

Each seed is a library in an old and a new version, and perhaps a package that requires it and does
not change. `LIB` and `USER` in their code are the names of their modules.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.wheels import make_wheel

Code = str | Mapping[str, str | bytes]
"""The code of a package's only module, or all of its files."""

FINE = "value = 1\n"
USING_GONE = "from LIB import gone\n"


class Seed(NamedTuple):
    """A library that changes, and what requires it."""

    name: str
    new: Code
    old: Code = FINE
    user: Code | None = None
    says: str = ""
    """What the message must quote."""
    lines: Sequence[str] = ()
    """Further lines of the new METADATA."""
    requires: Sequence[str] = ()
    """What the user requires as well."""
    down: bool = False
    """Whether the change is from the new to the old version number."""

    @property
    def lib(self) -> str:
        """The library."""
        return f"lib-{self.name}"

    @property
    def user_name(self) -> str:
        """The package that requires it."""
        return f"user-{self.name}"

    def build(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Build the wheels: those that are installed first, and the change."""
        before, after = ("2.0", "1.0") if self.down else ("1.0", "2.0")
        old = make_wheel(folder, self.lib, before, files=self._files(self.old, self.lib))
        new = make_wheel(
            folder, self.lib, after, files=self._files(self.new, self.lib),
            metadata_extra=[str(self._named(line)) for line in self.lines],
        )  # fmt: skip
        if self.user is None:
            return [old], [new]
        user = make_wheel(
            folder, self.user_name, "1.0", requires=[self.lib, *self.requires],
            files=self._files(self.user, self.user_name),
        )  # fmt: skip
        return [old, user], [new]

    def _files(self, code: Code, package: str) -> dict[str, str | bytes]:
        module = package.replace("-", "_")
        files = {f"{module}/__init__.py": code} if isinstance(code, str) else code
        return {self._named(path): self._named(body) for path, body in files.items()}

    def _named(self, text):
        if isinstance(text, bytes):
            return text
        lib, user = self.lib.replace("-", "_"), self.user_name.replace("-", "_")
        return text.replace("LIB", lib).replace("USER", user)


def breaking(compiled: bytes) -> list[Seed]:
    """Changes after which something can no longer be imported.

    Args:
        compiled: An extension that needs a symbol which nobody defines.
    """
    big = "import os\nfor _ in range(1024):\n    os.write(2, b'x' * 2**20)\n"
    shadow = "import sys; sys.path.insert(0, sitedir + '/LIB_first')\n"
    return [
        Seed("removed-name", FINE, "gone = 1\n", USING_GONE, "cannot import name 'gone'"),
        Seed("renamed-module", {"LIB_now.py": FINE}, FINE, "import LIB\n", "No module named"),
        Seed("syntax", "def f(:\n", says="SyntaxError"),
        Seed("undeclared", "import not_there_at_all\n", says="not_there_at_all"),
        Seed("symbol", {"LIB.so": compiled}, {"LIB.py": FINE}, says="undefined symbol"),
        Seed("abi", "ABI = 2\n", "ABI = 1\n", "import LIB\nif LIB.ABI != 1:\n"
             "    raise ImportError('compiled against ABI 1')\n", "compiled against ABI 1"),
        Seed("pth-raises", {"LIB.pth": "import nope_nope\nLIB_home\n", "LIB_home/LIB.py": FINE},
             {"LIB.pth": "LIB_home\n", "LIB_home/LIB.py": FINE}, "import LIB\n", "LIB"),
        Seed("shadows-json", {"LIB.pth": shadow, "LIB_first/json.py": "", "LIB.py": FINE},
             {"LIB.py": FINE}, "import json\njson.loads('1')\n", "loads"),
        Seed("shadows-other", {"framework/utils/__init__.py": "", "LIB.py": FINE},
             {"LIB.py": FINE}, "from framework.utils import needed\n", "needed",
             requires=["framework"]),
        Seed("hangs", "import time\ntime.sleep(600)\n", says="does not end within"),
        Seed("forks", "import os, time\nif os.fork() == 0:\n    time.sleep(600)\nraise OSError\n",
             says="OSError"),
        Seed("gigabyte", big + "raise OSError('so much')\n", says="so much"),
        Seed("exits-at-once", "import os\nos._exit(0)\n", says="ends its process, with status 0"),
        Seed("kills-group", "import os, signal\nos.killpg(os.getpgid(os.getppid()), 9)\n"
             "signal.pause()\n", says="ends its process"),
        Seed("display", "import os\nassert os.environ.get('DISPLAY'), 'no display'\n",
             says="no display"),
        Seed("segfault", "import ctypes\nctypes.string_at(0)\n", says="SIGSEGV"),
        Seed("aborts", "import os\nos.abort()\n", says="SIGABRT"),
        Seed("exits", "import sys\nsys.exit(0)\n", says="SystemExit"),
        Seed("interrupts", "raise KeyboardInterrupt\n", says="KeyboardInterrupt"),
        Seed("no-words", "class E(Exception):\n    def __str__(self):\n        raise ValueError\n"
             "raise E\n", says="E."),
        Seed("removed-class", "", "class Base: ...\n", "import LIB\nclass A(LIB.Base): ...\n",
             "Base"),
        Seed("circle", {"LIB/__init__.py": "from LIB import a\n",
                        "LIB/a.py": "from LIB.b import y\nx = 1\n",
                        "LIB/b.py": "from LIB.a import x\ny = 1\n"}, says="circular import"),
        Seed("downgrade", FINE, "gone = 1\n", USING_GONE, "gone", down=True),
        Seed("submodule", FINE, {"LIB/__init__.py": "", "LIB/sub.py": ""}, "import LIB.sub\n",
             "LIB.sub"),
        Seed("in-core", FINE, "gone = 1\n", {"USER/__init__.py": "", "USER/core.py": USING_GONE},
             "gone"),
        Seed("namespace", {"LIB_space/part/__init__.py": "raise OSError('in a namespace')\n"},
             {"LIB_space/part/__init__.py": FINE}, says="in a namespace"),
        Seed("recursion", "def f():\n    f()\nf()\n", says="RecursionError"),
        Seed("no-data", "open(__file__ + '.data')\n", says="FileNotFoundError"),
        Seed("python-four", "import sys\nif sys.version_info < (4,):\n"
             "    raise RuntimeError('needs Python 4')\n", says="needs Python 4"),
        Seed("stated-name", {"LIB.py": "raise OSError('stated')\n", "LIB_other.py": FINE},
             {"LIB.py": FINE}, says="stated", lines=["Import-Name: LIB"]),
        Seed("closes-all", "import os\nos.closerange(0, 4096)\nraise OSError\n",
             says="ends its process"),
        Seed("emptied", "", "value = 1\n", "from LIB import value\n", "value"),
        Seed("warning", "raise DeprecationWarning('old')\n", says="old"),
        Seed("chained", "try:\n    import not_there\nexcept ImportError as e:\n"
             "    raise RuntimeError('see above') from e\n", says="see above"),
    ]  # fmt: skip


def harmless(compiled: bytes) -> list[Seed]:
    """Changes after which everything works as before.

    Args:
        compiled: An extension that is broken, where nobody imports it.
    """
    return [
        Seed("h-removed-unused", FINE, "value = 1\ngone = 1\n", "from LIB import value\n"),
        Seed("h-fails-anyway", "raise OSError('always')\n", "raise OSError('always')\n"),
        Seed("h-user-fails-anyway", FINE, FINE, "import never_was_there\n"),
        Seed("h-prints", "import sys\nprint('x' * 10**6)\nsys.stderr.write('y' * 10**6)\n"),
        Seed("h-prints-json", "print('{\"ended\": 0, \"error\": \"no\", \"seconds\": 0}')\n"),
        Seed("h-forks", "import os\npid = os.fork()\nif pid == 0:\n    os._exit(3)\n"
             "os.waitpid(pid, 0)\n"),
        Seed("h-forks-on", "import os\nos.fork()\n"),
        Seed("h-daemon", "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
             "    time.sleep(600)\n"),
        Seed("h-thread", "import threading, time\n"
             "threading.Thread(target=time.sleep, args=(600,)).start()\n", user="import LIB\n"),
        Seed("h-atexit", "import atexit, time\natexit.register(time.sleep, 600)\n"),
        Seed("h-optional", "try:\n    import cupy_is_not_there\nexcept ImportError:\n    pass\n"),
        Seed("h-stated-nonsense", FINE, lines=["Import-Name: never_there"]),
        Seed("h-private", {"LIB/__init__.py": FINE, "_LIB_private.py": "raise OSError\n"}),
        Seed("h-private-part", {"LIB/__init__.py": "", "LIB/_part.py": "raise OSError\n"}),
        Seed("h-tests", {"LIB.py": FINE, "tests/__init__.py": "raise OSError\n",
                         "test_LIB.py": "raise OSError\n"}),
        Seed("h-inner-tests", {"LIB/__init__.py": "", "LIB/tests/__init__.py": "raise OSError\n"}),
        Seed("h-stated-private", {"LIB.py": FINE, "LIB_inner.py": "raise OSError\n"},
             lines=["Import-Name: LIB", "Import-Name: LIB_inner ; private"]),
        Seed("h-new-part", {"LIB/__init__.py": "", "LIB/for_cupy.py": "import cupy_is_not_there\n"},
             {"LIB/__init__.py": ""}),
        Seed("h-new-module", {"LIB.py": FINE, "LIB_gui.py": "import gui_is_not_there\n"},
             {"LIB.py": FINE}),
        Seed("h-main", {"LIB/__init__.py": "", "LIB/__main__.py": "raise SystemExit(2)\n"}),
        Seed("h-data", {"LIB.py": FINE, "LIB_data/x-y/run.py": "raise OSError\n"}),
        Seed("h-no-modules", {"LIB_data/words.txt": "a\n"}, {"LIB_data/words.txt": "a\n"},
             "import os\n"),
        Seed("h-becomes-package", {"LIB/__init__.py": FINE}, {"LIB.py": FINE}, "import LIB\n"),
        Seed("h-becomes-module", {"LIB.py": FINE}, {"LIB/__init__.py": FINE}, "import LIB\n"),
        Seed("h-alias", {"LIB_now.py": FINE, "LIB.py": "from LIB_now import *\n"}, FINE,
             "from LIB import value\n"),
        Seed("h-home", "import os\nwith open(os.path.expanduser('~/x'), 'w') as f:\n"
             "    f.write('x')\n"),
        Seed("h-other-place", "import os\nos.chdir('/')\nos.environ.clear()\nos.umask(0)\n"),
        Seed("h-patches", "import os, select, json\nos.fork = os.waitpid = None\n"
             "select.poll = json.dumps = os.write = None\n", user="import LIB\n"),
        Seed("h-replaces-itself", "import sys, types\n"
             "sys.modules[__name__] = types.SimpleNamespace(value=1)\n",
             user="from LIB import value\n"),
        Seed("h-warns", "import warnings\nwarnings.warn('old', DeprecationWarning)\n"),
        Seed("h-signals", "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n"
             "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n", user="import LIB\n"),
        Seed("h-closes-standard", "import os\nfor one in (0, 1, 2):\n    os.close(one)\n"),
        Seed("h-slow", "import time\ntime.sleep(0.5)\n"),
        Seed("h-namespace", {"LIB_space/part.py": FINE, "LIB_space/more/__init__.py": FINE},
             {"LIB_space/part.py": FINE}, "import LIB_space.part\n"),
        Seed("h-broken-extension", {"LIB.py": FINE, "LIB_libs/_ext.so": compiled}),
        Seed("h-starts-python", "import subprocess, sys\n"
             "subprocess.run([sys.executable, '-c', 'pass'], check=True)\n"),
    ]  # fmt: skip


def extension_with_an_undefined_symbol(folder: Path) -> bytes:
    """Compile one."""
    folder.mkdir(exist_ok=True)
    source = folder / "broken.c"
    source.write_text(
        "extern void *nobody_defines_this(void);\n"
        "void *PyInit_lib_symbol(void) { return nobody_defines_this(); }\n"
    )
    library = folder / "broken.so"
    command = ["cc", "-shared", "-fPIC", "-nostdlib", "-o", library, source]
    subprocess.run(command, check=True, timeout=60)
    return library.read_bytes()
