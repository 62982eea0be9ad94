"""Reading the metadata of a script (PEP 723)."""

from pathlib import Path

from reconciler.state.desired import BadFile
from reconciler.uv.script_project import declared_in_script
from tests.state.markers import LINUX_39

SCRIPT = b"""#!/usr/bin/env python
# /// script
# requires-python = ">=3.9"
# dependencies = ["alpha", "library[fast]"]
# [tool.uv.sources]
# library = { path = "library" }
# [tool.uv]
# prerelease = "allow"
# ///
import alpha
"""


def test_what_a_script_declares(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()

    found = declared_in_script(tmp_path / "a.py", SCRIPT.replace(b"\n", b"\r\n"), LINUX_39, {})

    assert [one.text for one in found.requirements] == ["alpha", "library[fast]"]
    assert found.requirements[1].source is not None
    assert found.requirements[1].source.url == (tmp_path / "library").as_uri()
    assert found.requirements[1].line == 4
    assert str(found.requires_python) == ">=3.9"
    assert found.options == {"prerelease": "allow"}
    assert found.files == (tmp_path / "pyproject.toml",)


BAD = {
    b"import alpha\n": (None, None, "no `# /// script` block"),
    b"# /// script\n# dependencies = []\n\n# ///\n": (1, 1, "no end"),
    SCRIPT + b"\n# /// script\n# ///\n": (12, 1, "a second"),
    b"\n# /// script\n# dependencies = [\n#   'alpha=1',\n# ]\n# ///\n": (4, 5, "not a valid"),
    b"# /// script\n# dependencies = 'alpha'\n# ///\n": (2, 3, "must be a list"),
    b"# /// script\n# dependencies = [}\n# ///\n": (2, 19, "not valid TOML"),
    b"# /// script\n# requires-python = 'x'\n# ///\n": (2, 3, "not a version specifier"),
}


def test_a_bad_block_is_told_with_its_place(tmp_path: Path) -> None:
    wrong = {}
    for text, (line, column, reason) in BAD.items():
        try:
            wrong[text] = declared_in_script(tmp_path / "a.py", text, LINUX_39, {}).requirements
        except BadFile as bad:
            found = bad.problem
            if (found.line, found.column) != (line, column) or reason not in found.reason:
                wrong[text] = found
    assert wrong == {}
