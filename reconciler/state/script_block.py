"""The metadata of a single-file script (PEP 723): a TOML document in its comments. Pure."""

from pathlib import Path

from reconciler.state.toml_reading import BadFile
from reconciler.status import Problem

_FIRST, _LAST = "# /// script", "# ///"
_FIX = "Write the block as in PEP 723, for example with `uv add --script`."


def document_in(file: Path, text: bytes) -> bytes:
    """The TOML document of a script, each character where it is in the script.

    Args:
        file: The script, for the error.
        text: Its content.

    Raises:
        BadFile: It has no such block, more than one, or one without an end.
    """
    lines = [line.rstrip(b"\r") for line in text.split(b"\n")]
    begins = [number for number, line in enumerate(lines) if line.rstrip() == _FIRST.encode()]
    if not begins:
        reason = "the script has no `# /// script` block, which would list its dependencies"
        raise BadFile(Problem(file=str(file), reason=reason, fix=_FIX))
    begin = begins[0]
    last = _end_of(lines, begin)
    if last is None:
        raise _bad(file, begin, "the block has no end, `# ///`")
    again = next((number for number in begins if number > last), None)
    if again is not None:
        raise _bad(file, again, "a second `# /// script` block")
    inside = [b" " + line[1:] for line in lines[begin + 1 : last]]
    return b"\n".join([b""] * (begin + 1) + inside)


def _end_of(lines: list[bytes], begin: int) -> int | None:
    """The last line that ends the block, within the comments that follow each other."""
    last = None
    for number, line in enumerate(lines[begin + 1 :], start=begin + 1):
        if line != b"#" and not line.startswith(b"# "):
            break
        if line.rstrip() == _LAST.encode():
            last = number
    return last


def _bad(file: Path, number: int, reason: str) -> BadFile:
    return BadFile(Problem(file=str(file), line=number + 1, column=1, reason=reason, fix=_FIX))
