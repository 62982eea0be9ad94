"""Makes git repositories of folders, without asking the machine who its user is."""

import os
import subprocess
from pathlib import Path

WHO = dict.fromkeys(
    ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"),
    "test@example.org",
)
_WHEN = {"GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z"}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it printed; fail the test with its words."""
    answer = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **WHO, **_WHEN}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def commit_folder(folder: Path, *, tag: str) -> None:
    """Make the folder a repository with one commit, on the branch main, under a tag."""
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", tag)
    git(folder, "tag", tag)
