"""Maintenance windows and notices: lists of tables within an environment."""

from pathlib import Path

import pytest

from reconciler.config import Notify, Occasion, Window
from tests.config.tables import cases


def test_windows_and_notices_are_tables_of_their_own(studio, file):
    environment = studio(
        'windows = [{ cron = "0 3 * * 1-5", duration = "2h", timezone = "Europe/Berlin" }]'
    )
    assert environment.windows == (
        Window(cron="0 3 * * 1-5", duration=7200.0, timezone="Europe/Berlin"),
    )

    environment = studio("""
        [[environments.studio.windows]]
        cron = "*/5 * * * *"
        duration = "1m"
        [[environments.studio.notify]]
        on = ["changed", "failed", "hold-broken", "failed"]
        command = ["tell", "me"]
        [[environments.studio.notify]]
        on = ["failed"]
        url = "https://example.org/hook"
        token_file = "token"
        timeout = "1s"
        [[environments.studio.notify]]
        on = ["changed"]
        url_file = "~/hook"
        """)
    assert environment.windows == (Window(cron="*/5 * * * *", duration=60.0, timezone=None),)
    assert environment.notify == (
        Notify(on=tuple(Occasion), command=("tell", "me"), timeout=10.0),
        Notify(
            on=(Occasion.FAILED,),
            url="https://example.org/hook",
            token_file=file.parent / "token",
            timeout=1.0,
        ),
        Notify(on=(Occasion.CHANGED,), url_file=Path("/home/alice/hook")),
    )


BAD = r"""
windows = true
    windows: expected a list of tables, found true. Write it as
    [[environments.studio.windows]].

windows = [3]
    windows[1]: expected a table, found 3. Write it as [[environments.studio.windows]].

windows = [{ cron = "0 25 * * *", duration = "2h" }]
    windows[1].cron: expected five cron fields like "0 3 * * *" (bad hour), found "0 25 * *
    *". Write cron = "0 3 * * *".

windows = [{ cron = "@daily", duration = "2h" }]
    windows[1].cron: expected five cron fields like "0 3 * * *", found "@daily". Write cron
    = "0 3 * * *".

windows = [{ cron = "* * */20 * 1L", duration = "2h" }]
    windows[1].cron: expected five cron fields like "0 3 * * *" (this date does not exist),
    found "* * */20 * 1L". Write cron = "0 3 * * *".

windows = [{ cron = "0 3 * * *" }]
    windows[1]: duration is missing. Write duration = "2h" there.

windows = [{ cron = "0 3 * * *", duration = "2s" }]
    windows[1].duration: expected a duration of at least "1m", found "2s". Write duration =
    "2h".

windows = [{ cron = "0 3 * * *", duration = "2h", timezone = "Berlin" }]
    windows[1].timezone: expected a time zone like "Europe/Berlin", found "Berlin". Write
    timezone = "Europe/Berlin".

windows = [{ cron = "0 3 * * *", duration = "2h", timezone = "../etc/passwd" }]
    windows[1].timezone: expected a time zone like "Europe/Berlin", found "../etc/passwd".
    Write timezone = "Europe/Berlin".

windows = [{ cron = "0 3 * * *", duration = "2h", tz = "UTC" }]
    windows[1].tz: unknown key. Remove it; the known ones are cron, duration, timezone.

notify = [{ on = [], command = ["x"] }]
    notify[1].on: expected a list of "changed", "failed", "hold-broken", at least one, found
    []. Write on = ["failed", "hold-broken"].

notify = [{ on = ["success"], command = ["x"] }]
    notify[1].on: expected a list of "changed", "failed", "hold-broken", found ["success"].
    Write on = ["failed", "hold-broken"].

notify = [{ on = ["failed"] }]
    notify[1]: expected one of command, url and url_file, found none of them. Keep one of
    them in each notify table.

notify = [{ on = ["failed"], command = ["x"], url = "https://x" }]
    notify[1]: expected one of command, url and url_file, found command and url. Keep one of
    them in each notify table.

notify = [{ on = ["failed"], command = ["x"], token_file = "t" }]
    notify[1].token_file: a command cannot be sent a token. Remove token_file, or send to a
    url.

notify = [{ on = ["failed"], command = [] }]
    notify[1].command: expected a command as a list of words, each with at least the
    program's name, found []. Write command = ["/usr/local/bin/tell", "--json"].

notify = [{ on = ["failed"], url = "ftp://example.org" }]
    notify[1].url: expected an address like https://example.org/hook, found
    "ftp://example.org". Write url = "https://hooks.example.org/reconciler".

notify = [{ on = ["failed"], url = "https://[::1" }]
    notify[1].url: expected an address like https://example.org/hook, found "https://[::1".
    Write url = "https://hooks.example.org/reconciler".

notify = [{ on = ["failed"], url = "https://me:secret@example.org" }]
    notify[1].url: expected an address without a user name and password. Put the whole address
    into a file, and set url_file to its path.

notify = [{ on = ["failed"], url = "https://x", timeout = "0s" }]
    notify[1].timeout: expected a duration of at least "100ms", found "0s". Write timeout =
    "10s".
"""


@pytest.mark.parametrize(("line", "message"), cases(BAD))
def test_a_bad_table_is_named_with_its_mend(problems, line, message):
    text = f'[environments.studio]\npyproject = "p"\n{line}'

    assert problems(text) == [f"3:1: environments.studio.{message}"]


def test_a_secret_in_an_address_is_not_repeated(problems):
    text = '[environments.a]\npyproject = "p"\n[[environments.a.notify]]\non = ["failed"]\n'

    (problem,) = problems(text + 'url = "https://me:hunter22@example.org"')

    assert problem.startswith("5:1: environments.a.notify[1].url: ")
    assert "hunter22" not in problem
