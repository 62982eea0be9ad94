"""Makes text that others wrote harmless for a terminal: control characters become visible.

Also what reorders a line (Unicode's bidirectional marks), and bytes that were not UTF-8.
"""

from functools import cache

_REORDERING = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_LINE_ENDS = (0x2028, 0x2029)
_CONTROLS = (*range(32), *range(127, 160))
_SURROGATES = range(0xD800, 0xE000)
"""Python keeps a byte that is not UTF-8 as one of these; no stream can write them."""


def visible(text: str) -> str:
    """The text with everything that controls a terminal escaped, except line breaks."""
    return text if text.isprintable() else text.translate(_to_terminal())


def visible_in_cell(text: str) -> str:
    """The same for a text that has to stay on its line, as in a table."""
    return text if text.isprintable() else text.translate(_in_cell())


def visible_in_log(text: str) -> str:
    """The same for a line of the log, which may have tabs."""
    return text if text.isprintable() else text.translate(_in_log())


def visible_in_json(document: str) -> str:
    """The same for a JSON document: what JSON does not escape by itself, in JSON's own way."""
    return document if document.isprintable() else document.translate(_in_json())


@cache
def _to_terminal() -> dict[int, str]:
    """What replaces what; made when it is needed, as it takes a millisecond."""
    return {
        **{code: f"\\x{code:02x}" for code in _CONTROLS if code != 10},
        **{code: f"\\u{code:04x}" for code in (*_REORDERING, *_LINE_ENDS)},
        **{code: f"\\u{code:04x}" for code in _SURROGATES if not 0xDC80 <= code <= 0xDCFF},
        **{code: f"\\x{code - 0xDC00:02x}" for code in range(0xDC80, 0xDD00)},
    }


@cache
def _in_cell() -> dict[int, str]:
    return _to_terminal() | {10: "\\x0a"}


@cache
def _in_log() -> dict[int, str]:
    return {code: shown for code, shown in _to_terminal().items() if code != 9}


@cache
def _in_json() -> dict[int, str]:
    codes = (*range(127, 160), *_REORDERING, *_LINE_ENDS, *_SURROGATES)
    return {code: f"\\u{code:04x}" for code in codes}
