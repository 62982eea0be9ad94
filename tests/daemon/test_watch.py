"""Without the kernel's watches, edits are seen anyway, and someone is told why it takes longer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.config import EnvironmentConfig
from reconciler.daemon.known import Known
from reconciler.daemon.polling import Poller
from reconciler.daemon.view import environment_status
from reconciler.daemon.watched import Targets

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("limit", ["watches", "instances"])
def test_files_are_polled_while_the_watches_are_used_up(limit):
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-m"]
    answer = subprocess.run(
        [*command, "tests.support.watching", limit],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    why, restored = found["told"]
    assert "polled" in why
    assert f"sysctl fs.inotify.max_user_{limit}=" in why
    assert restored is None
    assert found["polled"] < 10, "within a few seconds, on a busy machine"
    assert found["seen"] < 5


def test_the_status_says_that_files_are_polled(tmp_path):
    config = EnvironmentConfig(
        name="studio", pyproject=tmp_path / "pyproject.toml", python=tmp_path / "bin" / "python"
    )
    known = Known(config, polled="no more watches")
    assert environment_status(known, None, 0.0).warnings == ("no more watches",)
    assert environment_status(Known(config), None, 0.0).warnings == ()


def test_polling_sees_what_matters_and_no_more(tmp_path):
    site, prefix = tmp_path / "env/lib/site-packages", tmp_path / "env"
    site.mkdir(parents=True)
    file, missing = tmp_path / "pyproject.toml", tmp_path / "uv.toml"
    file.write_text("one")
    targets = Targets(
        files=frozenset({str(file), str(missing), str(tmp_path)}),
        places=frozenset({str(prefix)}), prefix=prefix, sites=(site,),
    )  # fmt: skip
    poller = Poller(targets)
    (tmp_path / "another").write_text("not ours")
    (prefix / ".reconciler").mkdir()
    assert poller.changed() == set()
    file.write_text("other")
    missing.write_text("")
    (site / "thing.py").write_text("")
    (prefix / "pyvenv.cfg").write_text("")
    seen = {str(file), str(missing), str(site), str(prefix / "pyvenv.cfg")}
    assert poller.changed() == seen
    file.unlink()
    assert poller.changed() == {str(file)}
