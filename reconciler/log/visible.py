"""Makes text that others wrote harmless for a terminal: control characters become visible.

Also what reorders a line (Unicode's bidirectional marks), and bytes that were not UTF-8.
"""

_REORDERING = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_LINE_ENDS = (0x2028, 0x2029)
_CONTROLS = (*range(32), *range(127, 160))
_SURROGATES = range(0xD800, 0xE000)
"""Python keeps a byte that is not UTF-8 as one of these; no stream can write them."""

_TO_TERMINAL = {
    **{code: f"\\x{code:02x}" for code in _CONTROLS if code != 10},
    **{code: f"\\u{code:04x}" for code in (*_REORDERING, *_LINE_ENDS)},
    **{code: f"\\u{code:04x}" for code in _SURROGATES if not 0xDC80 <= code <= 0xDCFF},
    **{code: f"\\x{code - 0xDC00:02x}" for code in range(0xDC80, 0xDD00)},
}
_IN_CELL = _TO_TERMINAL | {10: "\\x0a"}
_IN_LOG = {code: shown for code, shown in _TO_TERMINAL.items() if code != 9}
_IN_JSON = {
    code: f"\\u{code:04x}" for code in (*range(127, 160), *_REORDERING, *_LINE_ENDS, *_SURROGATES)
}


def visible(text: str) -> str:
    """The text with everything that controls a terminal escaped, except line breaks."""
    return text.translate(_TO_TERMINAL)


def visible_in_cell(text: str) -> str:
    """The same for a text that has to stay on its line, as in a table."""
    return text.translate(_IN_CELL)


def visible_in_log(text: str) -> str:
    """The same for a line of the log, which may have tabs."""
    return text.translate(_IN_LOG)


def visible_in_json(document: str) -> str:
    """The same for a JSON document: what JSON does not escape by itself, in JSON's own way."""
    return document.translate(_IN_JSON)
