"""Reading a project in a requirements file: what uv refuses is refused with its place."""

from pathlib import Path

import pytest

from reconciler.state.desired import BadFile, Desired
from reconciler.uv.requirements_project import declared_in_requirements
from tests.state.markers import LINUX_39

HASH = f"sha256:{7:064}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "pyproject.toml").write_text('[project]\nname = "The.Library"\n')
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "setup.cfg").write_text("[metadata]\nname = older\n")
    (tmp_path / "nameless").mkdir()
    (tmp_path / "nameless" / "setup.py").touch()
    (tmp_path / "pkg-1.0-py3-none-any.whl").touch()
    return tmp_path


def read(folder: Path, text: str | bytes, **environ: str) -> Desired:
    file = folder / "requirements.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return declared_in_requirements(file, LINUX_39, environ)


def shown(desired: Desired, folder: Path) -> list[str]:
    """Each requirement with where it comes from, relative to the folder."""
    lines = []
    for one in desired.requirements:
        place = f" <- {one.source.url} editable" if one.source else ""
        why = f" ! {one.unusable.reason}" if one.unusable else ""
        lines.append(f"{one.text}{place}{why}".replace(str(folder), "."))
    return lines


READ = {
    "alpha==1.0#no-comment": "not a valid requirement",
    "alpha # comment": ["alpha"],
    "#alpha\n   # beta": [],
    "alpha \\\n  --hash=" + HASH: ["alpha"],
    "alpha # no continuation \\\nbeta": ["alpha", "beta"],
    "\ufeffalpha\r\nbeta\r\n": ["alpha", "beta"],
    "alpha; python_version < '3'": [],
    "alpha\nalpha": ["alpha"],
    "./library": ["the-library @ file://./library"],
    "library/": ["the-library @ file://./library"],
    "library": ["library"],
    "-e ./library[extra] ; python_version > '3'": [
        "The.Library[extra] <- file://./library editable"
    ],
    "--editable=old": ["older <- file://./old editable"],
    "./pkg-1.0-py3-none-any.whl": ["pkg @ file://./pkg-1.0-py3-none-any.whl"],
    "pkg @ ./pkg-1.0-py3-none-any.whl": ["pkg @ file://./pkg-1.0-py3-none-any.whl"],
    "file:pkg-1.0-py3-none-any.whl": ["pkg @ file://./pkg-1.0-py3-none-any.whl"],
    "https://x.test/a_b-1.0.tar.gz": ["a-b @ https://x.test/a_b-1.0.tar.gz"],
    "git+https://x.test/r.git@v1#egg=odd": ["odd @ git+https://x.test/r.git@v1#egg=odd"],
    "./${WHERE}": ["the-library @ file://./library"],
    "-r '${WHERE}.txt'": ["inner"],
}


def test_what_is_read(folder: Path) -> None:
    (folder / "library.txt").write_text("inner\n")
    found = {}
    for text in READ:
        try:
            found[text] = shown(read(folder, text, WHERE="library"), folder)
        except BadFile as bad:
            found[text] = bad.problem.reason
    wrong = {
        text: found[text]
        for text, wanted in READ.items()
        if (wanted not in found[text] if isinstance(wanted, str) else found[text] != [
            line.replace("the-library", "The.Library") for line in wanted
        ])
    }  # fmt: skip
    assert wrong == {}


BAD = {
    "alpha=1.0": (1, 1, "not a valid requirement"),
    "alpha\n  beta, gamma": (2, 3, "not a valid requirement"),
    "--frobnicate": (1, 1, "not an option of a requirements file"),
    "-rother.txt": (1, 1, "not an option of a requirements file"),
    "alpha\n--extra-index-url": (2, 1, "`--extra-index-url` has no value"),
    "-i https://a.test\n-i https://b.test": (2, 1, "a second `--index-url`"),
    "alpha --config-settings=a=b": (1, 1, "an option that a single requirement cannot have"),
    "alpha --hash=sha256:00": (1, 1, "not a hash"),
    "-r nothere.txt": (None, None, "the file cannot be read (No such file or directory)"),
    "-r https://x.test/r.txt": (1, 1, "is not fetched"),
    "-c limits.txt": (1, 1, "a constraint without a name"),
    b"alpha\n\xff": (None, None, "not UTF-8"),
}


def test_what_uv_refuses_is_refused_with_its_place(folder: Path) -> None:
    (folder / "limits.txt").write_text("./library\n")
    wrong = {}
    for text, (line, column, reason) in BAD.items():
        try:
            wrong[text] = shown(read(folder, text), folder)
        except BadFile as bad:
            found = bad.problem
            if (found.line, found.column) != (line, column) or reason not in found.reason:
                wrong[text] = found
    assert wrong == {}


UNUSABLE = {
    "./no-such": "it is a path that does not exist",
    "-e git+https://x.test/r.git#egg=odd": "it cannot be editable",
    "./nameless": "only a build would tell the name of the package",
    "git+https://x.test/r.git": "only a build would tell the name of the package",
    "--require-hashes\nalpha==1": "it has no `--hash`",
}


def test_a_line_that_cannot_be_used_costs_only_itself(folder: Path) -> None:
    wrong = {}
    for text, reason in UNUSABLE.items():
        first, other = read(folder, f"{text}\nbeta==1 --hash={HASH}").requirements
        if reason not in str(first.unusable) or other.unusable is not None:
            wrong[text] = (first.unusable, other.unusable)
    assert wrong == {}


def test_options_become_settings_and_what_does_not_count_is_named(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "more.txt").write_text(
        "--find-links ./wheels\n--no-binary alpha,beta\n--only-binary=:all:\n--no-index\n"
        "-c ../limits.txt\n"
    )
    (folder / "limits.txt").write_text(
        "gamma<2 ; python_version > '3'\n--index-url https://no.test\n"
    )

    found = read(
        folder,
        "-i ./simple\n--extra-index-url https://${USER_}@x.test/simple\n--pre\n-r sub/more.txt\n"
        "--trusted-host x.test\n",
        USER_="me:secret",
    )

    assert found.options == {
        "pip": {
            "index-url": str(folder / "simple"),
            "extra-index-url": ["https://me:secret@x.test/simple"],
            "prerelease": "allow",
            "find-links": [str(folder / "sub" / "wheels")],
            "no-binary": ["alpha", "beta"],
            "only-binary": [":all:"],
            "no-index": True,
        },
        "constraint-dependencies": ['gamma<2; python_version > "3"'],
    }
    assert [notice.message for notice in found.notices] == [
        f"`--trusted-host` in {folder}/requirements.txt:5 does not count, as for uv"
    ]
    assert {file.name for file in found.texts} == {"requirements.txt", "more.txt", "limits.txt"}
