"""Asking torch about the GPU: a real interpreter, a torch that behaves as it likes."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reconciler.environment.gpu import probe
from reconciler.processes import Cancellation, Cancelled
from reconciler.status import Gpu
from tests.support.environments import (
    install,
    make_venv,
    pythons,
    site_packages,
    tree_fingerprint,
)
from tests.support.torch import fake_torch


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    return make_venv(tmp_path / "venv")


def ask(venv: Path, timeout: float = 60, **variables: str) -> Gpu:
    environ = {**os.environ, **variables}
    return probe(venv / "bin" / "python", environ, timeout, Cancellation(), clock=lambda: 0.5)


def put_torch(venv: Path, init: str) -> None:
    """A torch that does what `init` says when it is imported."""
    folder = site_packages(venv) / "torch"
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text(init)


class TestBuilds:
    @pytest.mark.parametrize(
        ("version", "backend", "name"),
        [
            ("2.3.1+rocm5.7", "rocm", "Radeon Instinct MI25"),
            ("2.4.0+cu121", "cuda", "NVIDIA H100"),
        ],
    )
    def test_a_gpu_that_torch_can_use(self, venv, tmp_path, version, backend, name):
        install(venv, fake_torch(tmp_path, version))
        assert ask(venv) == Gpu(
            available=True, name=name, backend=backend, torch=version, error=None,
            checked_at="1970-01-01T00:00:00.500Z",
        )  # fmt: skip

    def test_a_build_for_the_cpu_is_no_error(self, venv, tmp_path):
        install(venv, fake_torch(tmp_path, "2.4.0"))
        found = ask(venv)
        assert (found.available, found.backend, found.torch) == (False, "cpu", "2.4.0")
        assert (found.name, found.error) == (None, None)

    def test_a_build_for_a_gpu_that_is_not_there_says_why(self, venv):
        put_torch(
            venv,
            "import warnings\nfrom types import SimpleNamespace as N\n"
            "def available():\n    warnings.warn('the driver is too old')\n    return False\n"
            "version = N(__version__='2.4.0+cu121', cuda='12.1', hip=None)\n"
            "cuda = N(is_available=available)\n",
        )
        found = ask(venv)
        assert (found.available, found.backend, found.name) == (False, "cuda", None)
        assert "built for cuda, but finds no GPU (the driver is too old)" in found.error
        assert "device files" in found.error

    @pytest.mark.parametrize(
        ("body", "backend"),
        [
            ("xpu = N(is_available=lambda: True, get_device_name=lambda n: 'Arc')", "xpu"),
            ("backends = N(mps=N(is_available=lambda: True))", "mps"),
            ("backends = N(mps=N(is_available=lambda: False))", "cpu"),
        ],
    )
    def test_backends_that_only_show_when_asked(self, venv, body, backend):
        put_torch(
            venv,
            "from types import SimpleNamespace as N\n"
            f"version = N(__version__='2.8.0', cuda=None, hip=None)\n{body}\n",
        )
        found = ask(venv)
        assert found.backend == backend
        assert found.available is (backend != "cpu")
        assert bool(found.name) is (backend != "cpu")
        assert found.error is None

    def test_a_gpu_whose_name_cannot_be_had_is_still_there(self, venv):
        put_torch(
            venv,
            "from types import SimpleNamespace as N\n"
            "def name(number):\n    raise RuntimeError('out of memory')\n"
            "version = N(__version__='2.4.0', cuda='12.4', hip=None)\n"
            "cuda = N(is_available=lambda: True, get_device_name=name)\n",
        )
        found = ask(venv)
        assert found.available
        assert found.name is None
        assert "out of memory" in found.error

    def test_an_unusual_torch_is_asked_in_every_way(self, venv):
        """Builds of vendors, and of people: what one attribute lacks, another may tell."""
        gpu = "cuda = N(is_available=lambda: True, get_device_name=lambda n: 'MI25')"
        broken = "class Broken:\n    def __getattr__(self, name): raise RuntimeError('not ' + name)"
        rows = {
            "no version.__version__": (
                f"version = N(hip='5.7')\n__version__ = '2.3.1+rocm5.7'\n{gpu}",
                ("2.3.1+rocm5.7", "rocm", True, "MI25", None),
            ),
            "no version at all": (
                f"__version__ = '2.3.1+rocm5.7'\n{gpu}",
                ("2.3.1+rocm5.7", "rocm", True, "MI25", None),
            ),
            "no version, and no label that says what it is built for": (
                f"__version__ = '2.4.0'\n{gpu}",
                ("2.4.0", "cuda", True, "MI25", None),
            ),
            "a version that is text": (
                f"version = '2.4.0'\n__version__ = '2.4.0+cu121'\n{gpu}",
                ("2.4.0+cu121", "cuda", True, "MI25", None),
            ),
            "neither hip nor cuda in version": (
                "version = N(__version__='2.4.0')",
                ("2.4.0", "cpu", False, None, None),
            ),
            "no torch.cuda": (
                "version = N(__version__='2.4.0', cuda='12.1')",
                ("2.4.0", "cuda", False, None, "torch.cuda is missing"),
            ),
            "a version that cannot be asked": (
                f"{broken}\nversion = Broken()\n__version__ = '2.3.1+rocm5.7'\n{gpu}",
                ("2.3.1+rocm5.7", "rocm", True, "MI25", "RuntimeError: not __version__"),
            ),
            "backends that cannot be asked": (
                f"{broken}\nversion = N(__version__='2.4.0')\nbackends = xpu = Broken()",
                ("2.4.0", "cpu", False, None, "RuntimeError: not is_available"),
            ),
            "a GPU that cannot be asked": (
                f"{broken}\nversion = N(__version__='2.4.0', hip='5.7')\ncuda = Broken()",
                ("2.4.0", "rocm", False, None, "RuntimeError: not is_available"),
            ),
        }  # fmt: skip
        wrong = {}
        for name, (body, expected) in rows.items():
            put_torch(venv, f"from types import SimpleNamespace as N\n{body}\n")
            found = ask(venv)
            told = (found.torch, found.backend, found.available, found.name)
            error = expected[-1]
            explained = found.error is None if error is None else error in (found.error or "")
            if told != expected[:-1] or not explained:
                wrong[name] = (told, found.error)

        assert wrong == {}

    def test_the_drivers_variables_are_seen(self, venv):
        put_torch(
            venv,
            "import os\nfrom types import SimpleNamespace as N\n"
            "version = N(__version__='2.3.1', cuda=None, hip='5.7')\n"
            "cuda = N(is_available=lambda: True,\n"
            "         get_device_name=lambda n: os.environ['HIP_VISIBLE_DEVICES'])\n",
        )
        assert ask(venv, HIP_VISIBLE_DEVICES="3").name == "3"


class TestTrouble:
    def test_no_torch(self, venv):
        found = ask(venv)
        assert (found.available, found.torch, found.backend) == (False, None, None)
        assert found.error.startswith("torch is not installed. ")

    def test_an_import_that_fails_still_tells_the_version(self, venv, tmp_path):
        words = "libamdhip64.so.5: cannot open shared object file"
        install(venv, fake_torch(tmp_path, import_error=words))
        found = ask(venv)
        assert (found.available, found.torch) == (False, "2.3.1+rocm5.7")
        assert f"torch fails to import (ImportError: {words})" in found.error
        assert "reconciler hold restore torch" in found.error

    def test_a_dependency_of_torch_that_is_missing_is_not_taken_for_torch(self, venv):
        put_torch(venv, "import sympy\n")
        assert "No module named 'sympy'" in ask(venv).error

    def test_the_rest_of_a_removed_torch(self, venv):
        (site_packages(venv) / "torch" / "lib").mkdir(parents=True)
        found = ask(venv)
        assert not found.available
        assert "torch fails to report the GPU" in found.error

    def test_noise_is_no_answer(self, venv, tmp_path):
        install(venv, fake_torch(tmp_path))
        init = site_packages(venv) / "torch" / "__init__.py"
        noise = (
            "import os, sys\n"
            'print(\'{"torch": "9", "available": false}\')\n'
            "os.write(1, b'hello from C')\n"
            "sys.stderr.write('x' * 300_000)\n"
            "sys.stdout.write('y' * 300_000)\n"
            "import atexit\natexit.register(print, 'goodbye')\n"
        )
        init.write_text(noise + init.read_text())
        found = ask(venv)
        assert (found.available, found.torch, found.error) == (True, "2.3.1+rocm5.7", None)

    @pytest.mark.parametrize(
        ("init", "said"),
        [
            ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
            ("print('bad luck')\nimport os, sys\nsys.stdout.flush()\nos._exit(3)", "bad luck"),
            ("import os\nos._exit(0)", "exited with 0 and no answer"),
            ("raise SystemExit('not today')", "not today"),
            ("import os\nos.write(3, b'x')\nos.closerange(3, 64)", "the GPU probe exited with 1"),
        ],
        ids=["crash", "exit", "silent-exit", "sys-exit", "spoiled-answer"],
    )
    def test_an_import_that_ends_the_process(self, venv, init, said):
        put_torch(venv, init)
        found = ask(venv)
        assert not found.available
        assert said in found.error

    def test_an_import_that_hangs_is_given_up_with_all_it_started(self, venv, tmp_path):
        marker = tmp_path / "pid"
        put_torch(
            venv,
            "import subprocess, time\n"
            "child = subprocess.Popen(['sleep', '600'])\n"
            f"open({str(marker)!r}, 'w').write(str(child.pid))\n"
            "print('initializing', flush=True)\n"
            "time.sleep(600)\n",
        )
        started = time.monotonic()
        found = ask(venv, timeout=2)
        assert time.monotonic() - started < 10
        assert "did not answer within 2 s (its last output: initializing)" in found.error
        _assert_gone(int(marker.read_text()))

    def test_a_child_that_stays_is_not_waited_for(self, venv, tmp_path):
        install(venv, fake_torch(tmp_path))
        init = site_packages(venv) / "torch" / "__init__.py"
        stays = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        marker = tmp_path / "pid"
        stays = stays.replace("subprocess.Popen", "child = subprocess.Popen")
        stays += f"open({str(marker)!r}, 'w').write(str(child.pid))\n"
        init.write_text(stays + init.read_text())
        started = time.monotonic()
        assert ask(venv).available
        assert time.monotonic() - started < 20
        with pytest.raises(ProcessLookupError):  # it has been ended
            os.kill(int(marker.read_text()), 9)

    def test_no_interpreter(self, tmp_path):
        found = ask(tmp_path)
        assert not found.available
        assert "No such file" in found.error

    def test_secrets_are_kept_and_words_are_bounded(self, venv):
        put_torch(venv, "raise ImportError('https://me:hunter22@host/' + 'z' * 5000)")
        found = ask(venv)
        assert "hunter22" not in found.error
        assert len(found.error) < 1000

    def test_a_cancelled_probe_ends_at_once(self, venv, tmp_path):
        marker = tmp_path / "began"
        put_torch(venv, f"open({str(marker)!r}, 'w')\nimport time\ntime.sleep(600)")
        cancel = Cancellation()
        ended: list[BaseException] = []

        def run() -> None:
            try:
                probe(venv / "bin" / "python", dict(os.environ), 60, cancel)
            except Cancelled as error:
                ended.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        _wait_until(marker.exists)
        cancel.cancel()
        thread.join(10)
        assert not thread.is_alive()
        assert len(ended) == 1


class TestIsolation:
    def test_the_environment_stays_as_it_was(self, venv, tmp_path):
        install(venv, fake_torch(tmp_path))
        before = tree_fingerprint(venv), sorted(venv.rglob("*"))
        assert ask(venv).available
        assert (tree_fingerprint(venv), sorted(venv.rglob("*"))) == before

    def test_another_torch_on_the_path_is_not_asked(self, venv, tmp_path):
        install(venv, fake_torch(tmp_path))
        (tmp_path / "torch.py").write_text("raise ImportError('the wrong one')")
        found = ask(venv, PYTHONPATH=str(tmp_path), PYTHONSTARTUP=str(tmp_path / "torch.py"))
        assert found.torch == "2.3.1+rocm5.7"

    @pytest.mark.parametrize("python", ["3.8", "3.13"])
    def test_the_target_may_be_another_python(self, tmp_path, python):
        if python not in pythons():
            pytest.skip(f"there is no Python {python} here")
        venv = make_venv(tmp_path / "venv", python)
        install(venv, fake_torch(tmp_path))
        assert ask(venv).name == "Radeon Instinct MI25"


def test_a_machine_without_file_descriptors_is_an_answer_too():
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from reconciler.environment.gpu import probe\n"
        "from reconciler.processes import Cancellation\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "found = probe(Path(sys.executable), {}, 60, Cancellation())\n"
        "print(found.error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert "cannot be asked" in answer.stdout, answer.stderr


@pytest.mark.real_torch
def test_the_real_torch_answers(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    command = [tmp_path / "venv/bin/pip", "install", "--quiet", "torch==2.13.0"]
    subprocess.run(command, check=True, timeout=1200)
    found = ask(tmp_path / "venv", timeout=180)
    assert found.torch.startswith("2.13.0")
    assert found.backend in ("cpu", "cuda", "rocm")
    assert found.available or found.backend == "cpu" or "finds no GPU" in found.error


def _wait_until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _assert_gone(pid: int) -> None:
    def gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    _wait_until(gone)
