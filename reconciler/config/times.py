"""When a maintenance window opens: cron expressions and time zones, checked."""

import datetime as dt
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from reconciler.config.problem import Unfit

_EPOCH = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def cron(text: str, expected: str) -> str:
    """A cron expression that comes due at some time.

    Raises:
        Unfit: it cannot be read, or never comes due (30 February).
    """
    if len(text.split()) != 5:
        raise Unfit(expected)
    try:
        next(CronSim(text, _EPOCH))
    except CronSimError as error:
        reason = str(error)
        raise Unfit(f"{expected} ({reason[:1].lower()}{reason[1:]})") from None
    except StopIteration:
        raise Unfit(f"{expected} (this day never comes)") from None
    return text


def timezone(text: str, expected: str) -> str:
    """The name of a time zone that this machine knows.

    Raises:
        Unfit: it knows none of that name.
    """
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise Unfit(expected) from None
    return text
