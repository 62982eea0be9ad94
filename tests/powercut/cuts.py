"""Power cuts: what may be on a disk that lost its power, of the writes that it was sent.

What was written before a flush that ended is there. Of what came after it, any part may be there,
in any order, and of the last write only some blocks.
"""

import random
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from tests.powercut.disk import Epochs, Write

_BLOCK = 4096
"""What a disk writes whole. XFS needs that: its recovery goes by the first sector of a block."""


class Cut(NamedTuple):
    """One power cut of a recording.

    Attributes:
        epoch: How many flushes had ended.
        writes: How many writes of the epoch the disk had been sent.
        seed: Which of these it kept; None for all of them, -1 for none.
    """

    epoch: int
    writes: int
    seed: int | None

    def kept(self, epochs: Epochs) -> list[Write]:
        """Return the writes that are on the disk, in their order."""
        sure = list(chain.from_iterable(epochs[: self.epoch]))
        sent = epochs[self.epoch][: self.writes]
        if self.seed is None:
            return sure + sent
        if self.seed < 0:
            return sure
        chance = random.Random(self.seed)
        share = chance.choice((0.1, 0.5, 0.9))
        kept = [_torn(write, chance) for write in sent if chance.random() < share]
        return sure + kept

    def spelled(self) -> str:
        """This cut as an argument of the command."""
        kept = {None: "all", -1: "none"}.get(self.seed, self.seed)
        return f"{self.epoch}:{self.writes}:{kept}"

    @classmethod
    def parse(cls, text: str) -> "Cut":
        """Read what `spelled` wrote."""
        epoch, writes, kept = text.split(":")
        seed = {"all": None, "none": -1}.get(kept, 0)
        return cls(int(epoch), int(writes), int(kept) if kept.isdigit() else seed)


def _torn(write: Write, chance: random.Random) -> Write:
    """One write in ten stops at some block."""
    blocks = len(write.data) // _BLOCK
    if blocks < 2 or chance.random() < 0.9:
        return write
    return Write(write.offset, write.data[: chance.randrange(1, blocks) * _BLOCK])


def at_each_flush(epochs: Epochs, begun: tuple[int, int]) -> Iterator[Cut]:
    """The cuts just before each flush and just after it, from a place on."""
    for number in range(begun[0], len(epochs)):
        yield Cut(number, 0, None)
        if epochs[number]:
            yield Cut(number, len(epochs[number]), None)


def sampled(epochs: Epochs, begun: tuple[int, int], seed: int) -> Iterator[Cut]:
    """Cuts at random places between flushes, without an end; the same for the same seed."""
    chance = random.Random(seed)
    places = [
        (number, count)
        for number in range(begun[0], len(epochs))
        for count in range(1, len(epochs[number]) + 1)
        if (number, count) > begun
    ]
    while places:
        number, count = chance.choice(places)
        yield Cut(number, count, chance.choice((-1, chance.randrange(2**32))))
