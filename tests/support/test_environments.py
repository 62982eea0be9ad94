"""The ground under the other tests: environments, the GPU stack, projects and processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environments import (
    assert_whole,
    damage,
    install,
    make_venv,
    pythons,
    run_python,
    run_uv,
    site_packages,
    snapshot,
    strays,
    tree_fingerprint,
    uninstall,
)
from tests.support.index import PackageIndex
from tests.support.processes import Mark, wait_until
from tests.support.projects import Project
from tests.support.torch import fake_torch, fake_triton, gpu_stack
from tests.support.universe import BAIT
from tests.support.wheels import make_wheel


@pytest.mark.parametrize("short", [f"3.{minor}" for minor in range(8, 14)])
def test_every_python_of_this_machine_takes_a_wheel(short: str, tmp_path: Path) -> None:
    if short not in pythons():
        pytest.skip(f"no Python {short} here")
    venv = make_venv(tmp_path / "venv", short)

    install(venv, make_wheel(tmp_path, "thing", "1.0"))

    assert run_python(venv, "import sys; print('%d.%d' % sys.version_info[:2])") == short
    assert run_python(venv, "import thing; print(thing.__version__)") == "1.0"
    assert_whole(venv)


def written(root: Path) -> dict[str, tuple[int, object, bool]]:
    """Everything in a folder: mode, contents, and whether uv's cache has it too."""
    shown: dict[str, tuple[int, object, bool]] = {}
    for path in root.rglob("*"):
        one = path.lstat()
        held: object = None
        if path.is_symlink():
            held = path.readlink()
        elif path.is_file():
            held = path.read_bytes().replace(bytes(root), b"HERE").splitlines()
            if path.name == "RECORD":  # uv's order is no order; `assert_whole` sees to the scripts
                held = sorted(line for line in held if not line.startswith(b"../../../bin/"))
        shown[str(path.relative_to(root))] = (
            one.st_mode,
            held,
            path.is_file() and one.st_nlink > 1,
        )
    return shown


def test_what_is_ready_made_is_what_uv_makes(tmp_path: Path, gpu_wheels: list[Path]) -> None:
    by_uv = tmp_path / "by-uv"
    run_uv("venv", "--quiet", "--no-project", "--python", sys.executable, str(by_uv))
    ready = [make_venv(tmp_path / f"ready-{number}") for number in range(4)]
    assert [written(venv) for venv in ready] == [written(by_uv)] * 4

    options = ["--no-config", "--offline", "--no-index", "--no-deps", "--python", str(by_uv)]
    run_uv("pip", "install", *options, *map(str, gpu_wheels))
    for venv in ready:
        install(venv, *gpu_wheels)
    expected = written(by_uv)
    assert any(is_cached for _, _, is_cached in expected.values())
    for venv in ready:
        assert_whole(venv)
        assert written(venv) == expected
    modules = [site_packages(venv) / "torch/__init__.py" for venv in (by_uv, *ready)]
    places = {module.stat().st_ino for module in modules}
    assert len(places) == 1, "not the file of uv's cache"


def test_fingerprint_tells_a_replaced_file_from_the_same_file(tmp_path: Path, venv: Path) -> None:
    install(venv, make_wheel(tmp_path, "thing", "1.0"), make_wheel(tmp_path, "other", "1.0"))
    before = tree_fingerprint(venv, "thing")
    module = site_packages(venv) / "thing/__init__.py"
    name = str(module.relative_to(venv))
    body = module.read_bytes()

    copy = module.with_suffix(".new")
    copy.write_bytes(body)
    copy.replace(module)
    after = tree_fingerprint(venv, "thing")

    assert before[name].sha256 == after[name].sha256
    assert before[name].inode != after[name].inode
    assert not [path for path in before if "other" in path]
    assert {path for path in before if before[path] != after[path]} == {name}


def test_damage_is_named(tmp_path: Path, venv: Path) -> None:
    install(venv, *(make_wheel(tmp_path, name, "1.0") for name in ("one", "two", "three", "four")))
    site = site_packages(venv)
    (site / "one/__init__.py").unlink()
    (site / "two/__init__.py").unlink()
    (site / "two/__init__.py").write_text("changed")
    (site / "three-1.0.dist-info/RECORD").unlink()
    (site / "four-2.0.dist-info").mkdir()

    assert damage(venv) == [
        "four: 2 dist-info folders",
        "four-2.0.dist-info: no RECORD",
        "one-1.0.dist-info: one/__init__.py is missing",
        "three-1.0.dist-info: no RECORD",
        "two-1.0.dist-info: two/__init__.py is not what RECORD says",
    ]
    assert "three/__init__.py" in strays(venv)
    with pytest.raises(AssertionError, match=r"three-1\.0\.dist-info: no RECORD"):
        assert_whole(venv)


def test_uninstall_leaves_nothing(tmp_path: Path, venv: Path) -> None:
    install(venv, make_wheel(tmp_path, "thing", "1.0", scripts={"thing": "thing:main"}))

    uninstall(venv, "thing")

    assert snapshot(venv) == {}
    assert strays(venv) == set()
    assert not (venv / "bin/thing").exists()


# The GPU stack


def test_gpu_stack_finds_its_gpu(venv: Path, tmp_path: Path) -> None:
    install(venv, *gpu_stack(tmp_path))

    assert snapshot(venv) == {
        "torch": "2.3.1+rocm5.7",
        "torchvision": "0.18.1+rocm5.7",
        "pytorch-triton-rocm": "2.3.1",
    }
    code = "import torch; print(torch.cuda.is_available(), torch.cuda.get_device_name(0))"
    assert run_python(venv, code) == "True Radeon Instinct MI25"
    assert run_python(venv, "import torch; print(torch.version.hip[:3], torch.version.cuda)") == (
        "5.7 None"
    )
    assert_whole(venv)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("2.3.1+cu121", "True 12.1 None"),
        ("2.3.1+cpu", "False None None"),
        ("2.8.0", "False None None"),
    ],
)
def test_torch_is_what_its_version_says(
    version: str, said: str, venv: Path, tmp_path: Path
) -> None:
    install(venv, fake_torch(tmp_path, version))

    code = "import torch as t; print(t.cuda.is_available(), t.version.cuda, t.version.hip)"
    assert run_python(venv, code) == said
    assert run_python(venv, "import torch; print(torch.__version__)") == version


def test_torch_that_does_not_import_says_why(venv: Path, tmp_path: Path) -> None:
    install(venv, fake_torch(tmp_path, import_error="libamdhip64.so.5: cannot open"))

    with pytest.raises(AssertionError, match=r"libamdhip64\.so\.5"):
        run_python(venv, "import torch")


def test_index_triton_overwrites_the_gpu_build_s_files(tmp_path: Path, venv: Path) -> None:
    install(venv, *gpu_stack(tmp_path))

    install(venv, fake_triton(tmp_path, "triton", "3.0.0"))

    assert run_python(venv, "import triton; print(triton.BUILD)") == "triton"
    assert any(line.startswith("pytorch_triton_rocm-2.3.1.dist-info: ") for line in damage(venv))


def test_universe_without_a_hold_replaces_torch(
    gpu_wheels: list[Path], venv: Path, universe: PackageIndex
) -> None:
    """The bait works: what the product protects against does happen without it."""
    install(venv, *gpu_wheels)

    run_uv("pip", "install", "-p", str(venv), "--index-url", universe.url, "accelerate==1.0")

    assert snapshot(venv)["torch"] == "2.8.0"
    assert snapshot(venv).keys() >= BAIT - {"torchvision"}


# Projects and processes


def test_project_asks_the_local_index_only(project: Project, universe: PackageIndex) -> None:
    venv = make_venv(project.venv)
    project.save(["numpy<2", "requests"], extra="[tool.uv]\nlink-mode = 'copy'")

    run_uv(
        "pip",
        "install",
        "-p",
        str(venv),
        "-r",
        str(project.path),
        "--project",
        str(project.directory),
    )

    assert snapshot(venv)["numpy"] == "1.26.4"
    assert universe.requests_for("requests")


def test_mark_finds_and_ends_a_detached_descendant() -> None:
    mark = Mark()
    code = (
        "import subprocess as s, sys; "
        "s.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    )
    subprocess.run([sys.executable, "-c", code], env=mark.environment(), check=True)
    wait_until(lambda: len(mark.processes()) == 1)

    mark.kill()

    assert mark.processes() == []
