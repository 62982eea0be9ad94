"""The lines of a requirements file: requirements, options and hashes, as uv understands them.

Pure. pip documents the format; where uv is stricter than pip, so are we, because uv would refuse
the whole file.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from reconciler.patterns import regex
from reconciler.state.bounds import shown
from reconciler.state.position import Position
from reconciler.state.toml_reading import BadFile
from reconciler.status import Problem

_COMMENT = regex(r"(?:^|\s)#.*$")
_OPTION = regex(r"(--?[A-Za-z][A-Za-z-]*)(?:\s*=\s*|\s+|$)(.*)")
_OF_REQUIREMENT = regex(r"\s--")
_HASH = regex(r"(?<=\s)--hash(?:\s*=\s*|\s+)(\S+)")
_DIGEST = regex(r"(?:md5|sha256|sha384|sha512|blake2b):[0-9a-fA-F]+")
_DIGITS = {"md5": 32, "sha256": 64, "sha384": 96, "sha512": 128, "blake2b": 64}

_SHORT = {"-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url",
          "-f": "--find-links"}  # fmt: skip
WITH_VALUE = frozenset({
    "--requirement", "--constraint", "--editable", "--index-url", "--extra-index-url",
    "--find-links", "--no-binary", "--only-binary", "--trusted-host", "--use-feature",
})  # fmt: skip
FLAGS = frozenset({"--no-index", "--pre", "--require-hashes", "--prefer-binary"})


class RequirementLine(msgspec.Struct, frozen=True):
    """One requirement or option.

    `option` is its long name, empty for a requirement. `value` is the rest, without comments and
    hashes; `hashes` are `ALGORITHM:DIGEST`.
    """

    option: str
    value: str
    at: Position
    hashes: tuple[str, ...] = ()


class BadLine(ValueError):
    """uv could not use the line, and would refuse the whole file."""

    def __init__(self, reason: str, fix: str, at: Position) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.at = at


class Listed(msgspec.Struct, frozen=True):
    """One line of a requirements file, and the file; `constraint` if it only bounds versions."""

    file: Path
    line: RequirementLine
    constraint: bool = False


def bad_line(one: Listed, reason: str, fix: str) -> BadFile:
    """What is wrong with a line."""
    at = one.line.at
    text = f"{one.line.option} {one.line.value}".strip()
    return BadFile(
        Problem(file=str(one.file), line=at.line, column=at.column, reason=reason, fix=fix,
                text=text)
    )  # fmt: skip


def lines_of(text: str) -> Iterator[RequirementLine]:
    """The requirements and options of a file.

    Raises:
        BadLine: A line cannot be used.
    """
    for at, line in _logical(text):
        yield _read(line, at)


def _logical(text: str) -> Iterator[tuple[Position, str]]:
    """Each line that is not empty, without its comment; a backslash at its end continues it."""
    begun, at = "", None
    for number, physical in enumerate(text.split("\n"), start=1):
        line = physical.removesuffix("\r")
        bare = _COMMENT.sub("", line)
        continued = bare == line and line.endswith("\\")
        piece = line[:-1] + " " if continued else bare
        if at is None and piece.strip():
            at = Position(number, len(piece) - len(piece.lstrip()) + 1)
        begun += piece
        if not continued:
            if at is not None:
                yield at, begun.strip()
            begun, at = "", None
    if at is not None:
        yield at, begun.strip()


def _read(line: str, at: Position) -> RequirementLine:
    if not line.startswith("-"):
        value, hashes = _without_hashes(line, at)
        return RequirementLine("", value, at, hashes)
    found = _OPTION.fullmatch(line)
    name = _SHORT.get(found[1], found[1]) if found else ""
    value = _unquoted(found[2].strip()) if found else ""
    if name in FLAGS:
        return RequirementLine(name, "", at)
    if name not in WITH_VALUE:
        raise BadLine(
            f"not an option of a requirements file: {shown(line, 60)}",
            "Remove it, or correct it; uv would refuse the file as well.",
            at,
        )
    if not value:
        raise BadLine(f"`{name}` has no value", "Write the value after it.", at)
    value, hashes = _without_hashes(value, at) if name == "--editable" else (value, ())
    return RequirementLine(name, value, at, hashes)


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    return value[1:-1] if quoted else value


def _without_hashes(line: str, at: Position) -> tuple[str, tuple[str, ...]]:
    hashes = tuple(found.lower() for found in _HASH.findall(line))
    value = _HASH.sub("", line)
    if _OF_REQUIREMENT.search(value):
        raise BadLine(
            f"an option that a single requirement cannot have: {shown(line, 100)}",
            "Only `--hash` may follow a requirement; uv would refuse the file as well. Put build "
            "settings into `config-settings-package` of [tool.uv].",
            at,
        )
    for found in hashes:
        algorithm, _, digest = found.partition(":")
        if not _DIGEST.fullmatch(found) or len(digest) != _DIGITS[algorithm]:
            raise BadLine(
                f"not a hash: {shown(found, 100)}",
                "Write it as `--hash=sha256:` and 64 hexadecimal digits.",
                at,
            )
    return value.strip(), hashes
