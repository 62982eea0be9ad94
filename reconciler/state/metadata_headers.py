"""Reads the headers of METADATA and PKG-INFO as `email` does, which is what their writers use.

`email` itself is only imported for text that is not plain: reading it takes ten times as long, and
importing it as long as reading a hundred packages. Pure.
"""

from reconciler.patterns import regex

Headers = dict[str, list[str]]
"""The values of each header in `READ`, in their order; lines that are continued are not joined."""

READ = ("name", "version", "requires-dist", "provides-extra", "import-name")
"""The headers that are read, in lower case."""

_HEADER = regex(r"([!-9;-~]+):[ \t]*")


def headers_of(head: bytes) -> Headers:
    """The headers in what stands before the first empty line."""
    found = _plain(head)
    return _with_email(head) if found is None else found


def _plain(head: bytes) -> Headers | None:
    """The same for lines that are a header or continue one; None for anything else."""
    if b"\r" in head:
        return None
    headers: dict[str, list[list[str]]] = {name: [] for name in READ}
    lines: list[str] | None = None
    for line in head.decode("ascii", "surrogateescape").removesuffix("\n").split("\n"):
        matched = None if line[:1] in (" ", "\t") else _HEADER.match(line)
        if matched is not None:
            lines = [line[matched.end() :]]
            headers.get(matched[1].lower(), []).append(lines)
        elif lines is not None and line[:1] in (" ", "\t"):
            lines.append(line)
        else:
            return None
    joined = {name: ["\n".join(lines) for lines in values] for name, values in headers.items()}
    plain = all(value.isascii() for values in joined.values() for value in values)
    return joined if plain else None


def _with_email(head: bytes) -> Headers:
    from email.parser import BytesHeaderParser  # noqa: PLC0415 -- 10 ms, and rarely needed

    message = BytesHeaderParser().parsebytes(head + b"\n\n")
    return {name: [str(value) for value in message.get_all(name, [])] for name in READ}
