"""Decides which commands and webhooks hear of a pass: of changes, failures and broken holds."""

from collections.abc import Collection

import msgspec

from reconciler.config import Occasion
from reconciler.daemon.notifications import Notices
from reconciler.passes.endings import Trouble
from reconciler.status import Hold, PassStatus


class Announcements:
    """What is announced of one environment.

    Args:
        notices: Delivers it.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._broken: dict[str, str | None] = {}

    def announce(self, shown: PassStatus, trouble: Trouble | None, holds: Collection[Hold]) -> None:
        """Tell of a pass that is over; returns at once.

        Args:
            shown: The pass.
            trouble: Why it failed, if it did; one that only waits has not failed.
            holds: The holds as they are now.
        """
        told = {"pass": msgspec.to_builtins(shown)}
        postponed = trouble is not None and trouble.retry_after is not None
        if shown.changes:
            self._notices.tell(Occasion.CHANGED, told)
        if (shown.failed or trouble) and not postponed:
            self._notices.tell(Occasion.FAILED, told)
        broken = {hold.name: hold.message for hold in holds if not hold.intact}
        if broken and broken != self._broken:
            self._notices.tell(Occasion.HOLD_BROKEN, {"holds": broken})
        self._broken = broken

    def close(self) -> None:
        """Announce nothing more; what was announced is still delivered."""
        self._notices.close()
