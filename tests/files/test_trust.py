"""Root does not act on files that somebody else may write: real owners, real modes."""

import os
import pwd
import time
from pathlib import Path

import pytest

from reconciler.environment.deciding import environment_paths
from reconciler.files import trust
from reconciler.files.trust import Safe, check_trust, problems_of

ROOT, NOBODY = 0, 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.fixture
def project(tmp_path):
    """A project of root's: folder 0755, file 0644, environment with an interpreter."""
    project = tmp_path / "project"
    packages = project / ".venv/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (project / ".venv/bin").mkdir()
    (project / ".venv/bin/python").symlink_to("/bin/true")
    (project / ".venv/pyvenv.cfg").touch()
    (project / "pyproject.toml").touch()
    for folder, _, files in os.walk(project):
        Path(folder).chmod(0o755)
        for name in files:
            if not Path(folder, name).is_symlink():
                Path(folder, name).chmod(0o644)
    return project


def paths(project):
    venv = project / ".venv"
    return environment_paths(project / "pyproject.toml", venv, venv / "bin/python")


def found(project, uid=ROOT):
    return [(each.file, each.reason, each.fix) for each in check_trust(paths(project), uid)]


def test_a_project_of_root_in_a_sticky_folder_is_trusted(project):
    """The test's own folder lies in /tmp, which is 1777."""
    assert found(project) == []


@pytest.mark.parametrize(
    "entry",
    [
        "pyproject.toml",
        ".",
        ".venv",
        ".venv/pyvenv.cfg",
        ".venv/bin",
        ".venv/lib",
        ".venv/lib/python3.11",
        ".venv/lib/python3.11/site-packages",
    ],
)
@pytest.mark.parametrize(("mode", "who"), [(0o775, "its group"), (0o777, "everyone")])
def test_what_others_may_write_is_refused_with_path_and_mend(project, entry, mode, who):
    path = project / entry
    path.chmod(mode)

    ((file, reason, mend),) = found(project)

    assert file == str(path)
    assert reason.startswith(f"{path} is writable by {who} (mode {mode:04o})")
    assert mend.startswith(f"`chmod go-w {path}`")


def test_the_mend_mends(project):
    (project / "pyproject.toml").chmod(0o666)
    ((_, _, mend),) = found(project)

    assert os.system(mend.split("`")[1]) == 0

    assert found(project) == []


def test_a_file_of_another_user_is_refused_and_the_way_out_is_named(project):
    os.chown(project / "pyproject.toml", NOBODY, NOBODY)

    ((_, reason, mend),) = found(project)

    assert reason.startswith(f"{project}/pyproject.toml belongs to nobody")
    file = f"{project}/pyproject.toml"
    assert mend == (
        f"`chown root:root {file} && chmod go-w {file}` once you have read it, or delete it. Or "
        "act as that user: `reconciler service install --for nobody` for the service, "
        "`sudo -u nobody reconciler ...` for a command."
    )


def test_the_sticky_bit_excuses_a_folder_above_but_not_the_folder_itself(project):
    project.chmod(0o1777)
    assert found(project) == []

    (project / ".venv").chmod(0o1777)
    assert [file for file, _, _ in found(project)] == [str(project / ".venv")]


def test_a_sticky_folder_of_another_user_is_refused(project):
    """Its owner may rename what others put there."""
    project.chmod(0o1777)
    os.chown(project, NOBODY, NOBODY)

    assert [file for file, _, _ in found(project)] == [str(project)]


def test_links_are_followed_to_their_targets_and_the_folders_above(project, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "python").touch()
    (project / ".venv/bin/python").unlink()
    (project / ".venv/bin/python").symlink_to("../../../shared/python")

    assert [file for file, _, _ in found(project)] == [str(shared)]


def test_a_link_of_another_user_is_refused(project):
    os.chown(project / ".venv/bin/python", NOBODY, NOBODY, follow_symlinks=False)

    assert [file for file, _, _ in found(project)] == [str(project / ".venv/bin/python")]


def test_links_in_a_circle_end(project):
    (project / "pyproject.toml").unlink()
    (project / "pyproject.toml").symlink_to("pyproject.toml")

    assert found(project) == []


def test_what_is_not_there_yet_is_no_problem(tmp_path):
    assert check_trust([tmp_path / "later/pyproject.toml"], ROOT) == []


def test_each_path_to_mend_is_named_once(project):
    project.chmod(0o777)

    assert len(found(project)) == 1


def test_other_users_answer_for_themselves(project):
    project.chmod(0o777)

    assert found(project, uid=1000) == []


class Remembering:
    """A folder of packages that is checked again and again, as before each pass."""

    def __init__(self, folder, packages=3):
        self.folder = folder
        folder.mkdir(parents=True)
        for number in range(packages):
            (folder / f"package{number}").mkdir(mode=0o755)
        self.known = Safe()
        assert self.found() == []

    def found(self, known=True):
        known = self.known if known else None
        return [it.file for it in problems_of([], ROOT, folders=[self.folder], known=known)]

    def seconds(self, known=True):
        spent = []
        for _ in range(5):
            started = time.process_time()
            assert self.found(known) == []
            spent.append(time.process_time() - started)
        return min(spent)


@pytest.fixture
def settled(monkeypatch):
    """Every folder counts as one that was not changed just now."""
    monkeypatch.setattr(trust, "_SETTLED_NS", -(10**18))


def test_a_folder_that_was_safe_is_looked_at_again_once_anything_is_changed(settled, tmp_path):
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    changes = {
        "a new entry": lambda it: os.chown(_touched(it / "new.pth"), NOBODY, NOBODY),
        "a renamed entry": lambda it: (
            os.chown(_touched(tmp_path / "x"), NOBODY, NOBODY)
            or (tmp_path / "x").rename(it / "package1.pth")
        ),
        "its mode": lambda it: it.chmod(0o777),
        "its owner": lambda it: os.chown(it, NOBODY, NOBODY),
        "the folder above": lambda it: it.parent.chmod(0o777),
        "another folder in its place": _replace,
        "what a link leads to": lambda _: os.chown(_touched(target), NOBODY, NOBODY),
    }
    unseen = []
    for number, (name, change) in enumerate(changes.items()):
        remembering = Remembering(tmp_path / str(number) / "packages")
        (remembering.folder / "link").symlink_to(target)
        assert remembering.found() == remembering.found() == []
        change(remembering.folder)
        if not remembering.found():
            unseen.append(name)
        target.unlink(missing_ok=True)
    assert unseen == []


def _touched(path):
    path.touch()
    return path


def _replace(folder):
    folder.rename(f"{folder}-old")
    folder.mkdir()
    os.chown(_touched(folder / "x"), NOBODY, NOBODY)


def test_a_folder_that_was_changed_just_now_is_not_remembered(tmp_path):
    """A second change may come with the same time stamp."""
    remembering = Remembering(tmp_path / "packages")

    assert remembering.known.links_in((tmp_path / "packages").stat()) is None


def test_what_root_itself_gives_away_is_seen_without_the_memory(settled, tmp_path):
    remembering = Remembering(tmp_path / "packages")
    given = tmp_path / "packages" / "package1"
    os.chown(given, NOBODY, NOBODY)

    assert remembering.found(known=False) == [str(given)]


def test_a_check_of_what_is_known_does_not_grow_with_the_packages(settled, tmp_path):
    few, many = Remembering(tmp_path / "few", 100), Remembering(tmp_path / "many", 3000)

    assert many.seconds(known=False) > 5 * many.seconds()
    assert many.seconds() < 3 * few.seconds() + 0.001


def test_a_home_folder_is_not_given_away(project, monkeypatch):
    """Everything of its owner's would become root's: the fix is another one."""
    os.chown(project, NOBODY, NOBODY)
    user = pwd.struct_passwd(("ana", "x", NOBODY, NOBODY, "", str(project), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [user])

    ((_, _, fix),) = found(project)

    assert "Move what root acts on out of the home folder of nobody." in fix
    assert "chown" not in fix
