"""Waiting for the end of a pass, on the event loop, without a thread for each who waits."""

import asyncio
from collections import defaultdict

from reconciler.status import PassDetail

_REMEMBERED = 64
"""How many passes that are over can still be asked for."""


class NeverOver(Exception):
    """The pass will not be done: the service ends, or it no longer manages the environment."""


class Passes:
    """The passes that are over, and those that someone waits for. On the event loop only."""

    def __init__(self) -> None:
        self._over: dict[int, PassDetail] = {}
        self._awaited: dict[int, list[asyncio.Future[PassDetail]]] = defaultdict(list)
        self._stopped = False

    def over(self, detail: PassDetail) -> None:
        """A pass has ended, and is recorded."""
        self._over[detail.id] = detail
        for old in list(self._over)[:-_REMEMBERED]:
            del self._over[old]
        for future in self._awaited.pop(detail.id, ()):
            if not future.done():
                future.set_result(detail)

    async def wait(self, number: int) -> PassDetail:
        """The pass of this id, once it is over.

        Raises:
            NeverOver: The service ends before.
        """
        if number in self._over:
            return self._over[number]
        if self._stopped:
            raise NeverOver
        future: asyncio.Future[PassDetail] = asyncio.get_running_loop().create_future()
        self._awaited[number].append(future)
        try:
            return await future
        finally:  # a client that has gone would be remembered until the end of the pass
            self._no_longer_waits(number, future)

    def _no_longer_waits(self, number: int, future: asyncio.Future[PassDetail]) -> None:
        waiting = self._awaited.get(number, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._awaited.pop(number, None)

    def abandon(self, number: int | None) -> None:
        """This pass will never be done: let go of everyone who waits for it."""
        for future in self._awaited.pop(number or 0, ()):
            if not future.done():
                future.set_exception(NeverOver)

    def stop(self) -> None:
        """No pass will end any more: let go of everyone who waits."""
        self._stopped = True
        for number in list(self._awaited):
            self.abandon(number)
