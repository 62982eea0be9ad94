"""Changes that break imports never go live, each is named, and everything else goes live."""

import pytest

from reconciler.status import Reason
from tests.proof.seeds import breaking, extension_with_an_undefined_symbol, harmless
from tests.support.environments import assert_whole, install, snapshot
from tests.support.passes import environment_for, reconcile
from tests.support.wheels import make_wheel


@pytest.fixture
def seeded(project, venv, index, tmp_path):
    """Build the seeds, install what was there, and ask for the changes."""

    def seed(seeds):
        first = [make_wheel(tmp_path, "framework", "1.0", files={
            "framework/__init__.py": "", "framework/utils.py": "needed = 1\n"})]  # fmt: skip
        wanted = []
        for one in seeds:
            old, new = one.build(tmp_path / "wheels")
            first += old
            index.add(*old, *new)
            wanted.append(f"{one.lib}{'<2' if one.down else '>=2'}")
            wanted += [one.user_name] if one.user is not None else []
        index.add(first[0])
        install(venv, *first)
        project.write(wanted)
        return environment_for(project, proof_budget=32.0)

    return seed


def test_what_breaks_an_import_is_left_out_and_everything_else_goes_live(seeded, venv, tmp_path):
    """One pass with all of them, since each alone would cost a second of processor time."""
    compiled = extension_with_an_undefined_symbol(tmp_path / "c")
    bad, good = breaking(compiled), harmless(compiled)
    assert len(bad) >= 30
    assert len(good) >= 30
    outcome = reconcile(seeded([*bad, *good]))
    failed = {failure.name: failure for failure in outcome.failed}
    installed = snapshot(venv)
    wrong = [
        f"{one.lib}: {installed[one.lib]} is live, {failed.get(one.lib)}"
        for one in bad
        if installed[one.lib] != ("2.0" if one.down else "1.0")
        or one.lib not in failed
        or failed[one.lib].reason != Reason.IMPORT_BROKEN
        or one.says.replace("LIB", one.lib.replace("-", "_")) not in failed[one.lib].message
        or (one.user is not None and one.user_name not in failed[one.lib].message)
    ]
    refused = [f"{one.lib}: {failed.get(one.lib)}" for one in good if installed[one.lib] != "2.0"]
    assert (wrong, refused) == ([], [])
    assert failed.keys() == {one.lib for one in bad}
    assert_whole(venv)
