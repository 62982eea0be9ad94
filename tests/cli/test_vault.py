"""`reconciler vault` as its users have it: what is there, carried elsewhere, and made less."""

import json
import os
import shutil
from pathlib import Path

from tests.cli.conftest import Studio
from tests.support.environments import delete, make_venv, snapshot, tree_fingerprint, uninstall
from tests.support.vaults import contents_in, description_of, held_in

HELD = {"torch", "torchvision", "pytorch-triton-rocm"}


def test_list_export_import_and_restore_without_anything_else(
    applied: Studio, tmp_path: Path
) -> None:
    vault = applied.home / "state" / "vault"
    (document,) = applied.json("vault", "list")["vaults"]
    assert document["path"] == str(vault)
    assert {copy["package"] for copy in document["copies"]} == HELD
    for copy in document["copies"]:
        assert copy["uses"] == [{"environment": str(applied.venv), "held": True}]
        assert copy["build"] == "py3-none-any"
        assert copy["target"].startswith("cpython 3.")
        assert copy["size"] > 0
        assert copy["imported"] is False
    shown = applied.ok("vault", "list")
    assert "torchvision" in shown
    assert str(applied.venv) in shown

    file = tmp_path / "torch.vault"
    exported = applied.json("vault", "export", str(file), "torch")
    assert {p.partition("==")[0] for p in exported["packages"]} == {"torch", "pytorch-triton-rocm"}
    assert exported["size"] == file.stat().st_size
    before = applied.run("vault", "export", str(file), "torch")
    assert before.returncode == 1
    assert "exists" in before.stderr
    assert applied.run("vault", "export", str(tmp_path / "x"), "trch").returncode == 1

    whole = {path: s.sha256 for path, s in tree_fingerprint(applied.venv, "torch").items()}
    shutil.rmtree(vault)
    uninstall(applied.venv, "torch", "pytorch-triton-rocm")
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    refused = applied.run("vault", "import", str(tmp_path / "damaged"))
    assert refused.returncode == 1
    assert "VaultDamaged" in refused.stderr or "is damaged" in refused.stderr
    assert contents_in(vault) == []

    applied.ok("vault", "import", str(file))
    (document,) = applied.json("vault", "list")["vaults"]
    assert all(copy["imported"] and not copy["uses"] for copy in document["copies"])
    assert "imported" in applied.ok("vault", "list")
    applied.ok("apply")  # nobody has them, and they stay
    assert description_of(vault, "torch").exists()
    described = json.loads(description_of(vault, "torch").read_text())["files"]
    assert {path: sha for path, sha, *_ in described} == whole


def test_prune_never_takes_what_is_held_unless_it_is_told_to(applied: Studio) -> None:
    vault = applied.home / "state" / "vault"
    usage = applied.run("vault", "prune")
    assert usage.returncode == 1
    assert "--keep" in usage.stderr
    for way in (("--keep", "0"), ("--max-size", "0"), ("--older-than", "1s")):
        assert applied.json("vault", "prune", *way)["vaults"][0]["copies"] == [], way
    delete(applied.venv)  # it may be recreated: its copies stay
    assert applied.json("vault", "prune", "--keep", "0")["vaults"][0]["copies"] == []
    make_venv(applied.venv)

    planned = applied.json("vault", "prune", "--keep", "0", "--held", "--dry-run")
    assert {copy["package"] for copy in planned["vaults"][0]["copies"]} == HELD
    assert set(held_in(vault, applied.venv)) == HELD
    gone = applied.json("vault", "prune", "--max-size", "0", "--held")
    assert {copy["package"] for copy in gone["vaults"][0]["copies"]} == HELD
    assert contents_in(vault) == []
    assert held_in(vault, applied.venv) == {}
    assert "no copies" in applied.ok("vault", "list")
    assert "torch" not in snapshot(applied.venv)


def test_of_an_environment_whose_project_is_gone_the_copies_may_go(applied: Studio) -> None:
    vault = applied.home / "state" / "vault"
    for owner in vault.glob("environments/*/environment.json"):
        owner.write_text(json.dumps({"path": "/gone/project/.venv"}))
    gone = applied.json("vault", "prune", "--older-than", "1d")
    assert gone["vaults"][0]["copies"] == []
    for described in vault.glob("packages/*/copies/*/copy.json"):
        text = json.loads(described.read_text())
        described.write_text(json.dumps({**text, "made": 1.0}))
    gone = applied.json("vault", "prune", "--older-than", "1d")
    assert {copy["package"] for copy in gone["vaults"][0]["copies"]} == HELD
    assert contents_in(vault) == []


def test_doctor_says_where_the_vault_is_and_whether_links_work(applied: Studio) -> None:
    def finding(check: str = "vault") -> dict[str, object]:
        findings = json.loads(applied.run("doctor", "--json").stdout)["findings"]
        return next(dict(it) for it in findings if it["check"] == check)

    assert finding()["verdict"] == "ok"
    assert str(applied.home / "state" / "vault") in str(finding()["message"])
    elsewhere = Path("/dev/shm") / f"reconciler-vault-{os.getpid()}"
    applied.config.write_text(
        applied.config.read_text().replace("[service]\n", f'[service]\nvault = "{elsewhere}"\n')
    )
    found = finding()
    assert found["verdict"] == "warning"
    assert "take space" in str(found["message"])
    assert "[service]" in str(found["mend"])
    elsewhere.mkdir(mode=0o700, exist_ok=True)
    try:
        os.chown(elsewhere, 65534, 65534)
        assert str(elsewhere) in str(finding("permissions")["message"]), "root acts on it"
    finally:
        shutil.rmtree(elsewhere)
