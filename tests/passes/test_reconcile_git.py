"""A package from git is in sync once it is installed, whatever leads to its commit."""

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.status import Result
from tests.support.environments import dist_infos, snapshot
from tests.support.passes import Follower, environment_for, reconcile
from tests.support.thorough import sample
from tests.support.wheels import make_sdist, unpack

WHO = dict.fromkeys(
    ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"),
    "test@example.org",
)


class Repository:
    """A project that can be built without a network, in a repository of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch", "main")

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        answer = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **WHO}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    def release(self, version: str, *requires: str) -> str:
        """A commit with a tag; the commit."""
        work = self.folder.parent / "sdists"
        sdist = unpack(make_sdist(work, "thing", version, requires=requires))
        for name in ("backend.py", "pyproject.toml", "PKG-INFO"):
            (sdist / name).replace(self.folder / name)
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", version)
        self.git("tag", f"v{version}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "repository")


def source(**keys: str) -> str:
    inner = ", ".join(f'{key} = "{value}"' for key, value in keys.items())
    return f"[tool.uv.sources]\nthing = {{ {inner} }}\n"


@pytest.mark.parametrize("by", ["reference", "source"])
@pytest.mark.parametrize("kind", sample(["branch", "tag", "short", "commit", "none"], every=2))
def test_what_is_installed_from_git_is_in_sync(project, venv, repository, by, kind):
    commit = repository.release("1.0")
    word = {"branch": "main", "tag": "v1.0", "short": commit[:9], "commit": commit}.get(kind)
    if by == "reference":
        project.write([f"thing @ git+{repository.url}" + (f"@{word}" if word else "")])
    else:
        key = kind if kind in ("branch", "tag") else "rev"
        given = source(git=repository.url, **({key: word} if word else {}))
        project.write_text(project.text(["thing"]) + given)
    environment = environment_for(project)
    outcome = reconcile(environment)
    assert (outcome.result, outcome.snapshot.drift.in_sync) == (Result.CHANGED, True)
    follower = Follower()
    assert reconcile(environment, follower=follower).result is Result.UNCHANGED
    assert follower.steps == ["look"]


def test_another_tag_of_the_same_project_is_installed(project, venv, repository):
    repository.release("1.0")
    repository.release("2.0")
    repository.git("tag", "again", "v1.0")
    environment = environment_for(project)
    for tag, version in (("v1.0", "1.0"), ("v2.0", "2.0"), ("v1.0", "1.0"), ("again", "1.0")):
        project.write([f"thing @ git+{repository.url}@{tag}"])
        outcome = reconcile(environment)
        assert (outcome.result, outcome.snapshot.drift.in_sync) == (Result.CHANGED, True)
        assert snapshot(venv) == {"thing": version}
        [info] = dist_infos(venv, "thing")
        assert f'"{tag}"' in (info / "direct_url.json").read_text()


def test_what_was_installed_by_its_commit_comes_to_be_known_by_its_branch(
    project, venv, repository
):
    commit = repository.release("1.0")
    environment = environment_for(project)
    for word in (commit, "main"):
        project.write([f"thing @ git+{repository.url}@{word}"])
        assert reconcile(environment).snapshot.drift.in_sync
