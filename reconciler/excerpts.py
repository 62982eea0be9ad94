"""Keeps the head and the tail of text that programs and other people write without a bound.

The head says what was done, the tail says why it failed; what is between them is left out and
counted. Pure, and never holds more than twice what it keeps.
"""

from collections.abc import Sequence

from reconciler.patterns import regex

OUTPUT = 64_000
"""In characters: what is kept of a program's output, and of the log of a pass."""
MESSAGE = 4_000
"""In characters: the longest message."""
ALL = 256_000
"""In characters: the most that the long ones among many messages have together."""
LINE = 200
"""In characters: the longest line of a file that a message quotes."""
_HEAD = 4
"""One part in so many is the head; most of what explains a failure is at the end."""
_LAST_WORD = regex(r"(?<=\s)\S{0,500}\Z")
_FIRST_WORD = regex(r"\A\S{0,500}(?=\s)")


class Excerpt:
    """The head and the tail of text that comes in pieces."""

    def __init__(self, keep: int = OUTPUT) -> None:
        """Keep about `keep` characters, a quarter of them from the beginning."""
        self._room = keep // _HEAD
        self._most_tail = keep - self._room
        self._head: list[str] = []
        self._tail: list[str] = []
        self._tail_length = 0
        self.left_out = 0
        """How many characters between them were not kept."""

    def add(self, text: str) -> None:
        """Take the next piece."""
        if self._room:
            self._head.append(text[: self._room])
            text = text[self._room :]
            self._room -= len(self._head[-1])
        if text:
            self._tail.append(text)
            self._tail_length += len(text)
            if self._tail_length > 2 * self._most_tail:
                self._trim()

    @property
    def text(self) -> str:
        """What is kept, with a line between head and tail that says what is left out."""
        self._trim()
        return _joined("".join(self._head), "".join(self._tail), self.left_out, "\n")

    def _trim(self) -> None:
        tail = "".join(self._tail)
        cut = max(0, len(tail) - self._most_tail)
        self.left_out += cut
        self._tail = [tail[cut:]]
        self._tail_length = len(tail) - cut


def shortened(text: str, longest: int = MESSAGE, *, around: str = " ") -> str:
    """`text` itself if it is at most `longest` characters; otherwise its head and tail.

    Args:
        text: Any text.
        longest: The most characters of the result.
        around: What stands around the words that say how much is left out.
    """
    if len(text) <= longest:
        return text
    room = max(0, longest - len(_joined("", "", len(text), around)))
    head = room // _HEAD
    tail = room - head
    return _joined(text[:head], text[len(text) - tail :], len(text) - room, around)


def together(messages: Sequence[str | None]) -> int:
    """How long each of these messages may be, so that all of them are not too much.

    Each may have `MESSAGE` characters while there are few of them, and `LINE` however many.
    """
    long = sum(len(text) > LINE for text in messages if text)
    return max(LINE, min(MESSAGE, ALL // max(1, long)))


def _joined(head: str, tail: str, left_out: int, around: str) -> str:
    """Head and tail, cut between words: half a password would not be recognised as one."""
    if not left_out:
        return head + tail
    whole_head = _LAST_WORD.sub("", head)
    whole_tail = _FIRST_WORD.sub("", tail)
    left_out += len(head) - len(whole_head) + len(tail) - len(whole_tail)
    return f"{whole_head}{around}[... {left_out} characters are left out ...]{around}{whole_tail}"
