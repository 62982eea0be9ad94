"""When a maintenance window opens: cron expressions and time zones, checked."""

import datetime as dt

from reconciler.config.problem import Unfit

_EPOCH = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def cron(text: str, expected: str) -> str:
    """A cron expression that matches at some time.

    Raises:
        Unfit: It cannot be read, or never matches (30 February).
    """
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 -- few configurations have one

    if len(text.split()) != 5:
        raise Unfit(expected)
    try:
        next(CronSim(text, _EPOCH))
    except CronSimError as error:
        reason = str(error)
        raise Unfit(f"{expected} ({reason[:1].lower()}{reason[1:]})") from None
    except StopIteration:
        raise Unfit(f"{expected} (this date does not exist)") from None
    return text


def timezone(text: str, expected: str) -> str:
    """The name of a time zone that exists on this machine.

    Raises:
        Unfit: There is no such time zone.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415 -- few configurations have one

    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise Unfit(expected) from None
    return text
