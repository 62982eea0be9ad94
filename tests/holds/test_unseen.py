"""A torch that Python imports and uv does not see is held too: in the base Python, or an egg."""

import shutil

from reconciler.state.words import message_of
from tests.holds.stand import HELD, Stand
from tests.support.environments import (
    dist_infos,
    install,
    make_base,
    make_venv,
    run_python,
    site_packages,
    tree_fingerprint,
    uninstall,
)
from tests.support.wheels import make_wheel

DECLARED = ["accelerate", "numpy>=1.24,<2.0", "torch>=2.0"]


def assert_counted(stand: Stand, where: str) -> None:
    """A pass fits everything to that torch and installs no other; then nothing is left to do."""
    stand.project.write(DECLARED)
    outcome = stand.reconcile()
    assert outcome.failed == ()
    assert {c.name: c.to for c in outcome.changes} == {
        "accelerate": "0.9",  # 1.0 needs torch>=2.4
        "mpmath": "1.3.0", "numpy": "1.26.4", "packaging": "24.1",
        "sympy": "1.12.1",  # torch itself needs sympy<1.13
    }  # fmt: skip
    assert dist_infos(stand.venv, "torch") == []
    assert stand.torch_requests() == []
    assert run_python(stand.venv, "import torch; print(torch.__version__)") == HELD["torch"]
    again = stand.reconcile()
    assert again.changes == ()
    [row] = [r for r in again.snapshot.drift.rows if r.name == "torch"]
    assert (row.status, row.installed) == ("held", HELD["torch"])
    assert where in message_of(row)


def test_torch_in_the_base_environment(stand, stack, tmp_path):
    base = make_base(tmp_path / "base")
    install(base, *stack, make_wheel(tmp_path, "numpy", "1.25.0"))
    before = tree_fingerprint(tmp_path / "base")
    shutil.rmtree(stand.venv)
    make_venv(stand.venv, base, "--system-site-packages")
    assert_counted(stand, "(from the base environment)")
    assert tree_fingerprint(tmp_path / "base") == before
    shutil.rmtree(stand.venv)
    make_venv(stand.venv, base)  # without it, that torch is somebody else's
    row = next(r for r in stand.environment().look().drift.rows if r.name == "torch")
    assert row.status == "held-missing"


def test_torch_in_an_egg(stand):
    site = site_packages(stand.venv)
    egg = site / f"torch-{HELD['torch']}-py3.egg"
    [info] = dist_infos(stand.venv, "torch")
    metadata = (info / "METADATA").read_bytes()
    shutil.copytree(site / "torch", egg / "torch")
    (egg / "EGG-INFO").mkdir()
    (egg / "EGG-INFO" / "PKG-INFO").write_bytes(metadata)
    uninstall(stand.venv, "torch")
    assert "torch" not in stand.environment().look().holds.held  # nor does Python import it
    (site / "easy-install.pth").write_text(f"./{egg.name}\n")
    assert_counted(stand, "(from an egg)")
