"""The catalogue of event names: what `event` can be in a log record, and what it means.

Names are part of the interface: they are added, never renamed.
`python -m reconciler.log.event_names` writes docs/events.md from here.
"""

from pathlib import Path

CATALOGUE: dict[str, dict[str, str]] = {
    "The service": {
        "service.started": "The service is up and manages its environments.",
        "service.stopping": "A signal or a failure ends the service; running passes are stopped.",
        "service.stopped": "The service has ended.",
        "service.reloaded": "The configuration was read again and is in effect.",
        "service.failed": "The service could not start, or cannot do its job.",
        "service.outdated": "An environment was recreated; the service restarts to reach it.",
        "config.rejected": "The configuration cannot be used; the previous one stays in effect.",
        "listening": "The status server accepts connections.",
        "access.refused": "A request was refused: wrong host, origin or user.",
        "access.refused-more": "Further requests were refused within a minute: how many, and why.",
        "access.granted": "A request to change something was allowed.",
        "access.user-unknown": "A user in http.allowed_users does not exist.",
        "request.failed": "A request ended in an unexpected error.",
        "client.dropped": "A reader of the event stream was too slow and was disconnected.",
        "watch.failed": "Files cannot be watched (inotify); they are polled until they can.",
        "watch.restored": "Files are watched again.",
        "worker.failed": "An environment's worker had an unexpected error and continues.",
        "worker.stuck": "An environment's worker did not end in time.",
        "thread.failed": "A thread of the service ended in an unexpected error.",
        "watchdog.starved": "The main loop was late to report that it is alive.",
        "notify.unheard": "The service manager (systemd) could not be notified.",
        "library.message": "A library logged something; its text is in `message`.",
    },
    "The project and the environment": {
        "file.changed": "A file of the project was saved, removed or replaced.",
        "file.problem": "A file of the project cannot be used; the last good state still applies.",
        "file.mended": "That file can be used again.",
        "environment.added": "The service manages this environment from now on.",
        "environment.removed": "The configuration no longer has this environment; its files stay.",
        "environment.created": "There was no environment, so it was created.",
        "environment.changed": "Someone else changed the environment.",
        "environment.paused": "The environment is left alone until someone resumes it.",
        "environment.resumed": "The environment is managed again.",
        "environment.taken": "Another service manages the environment; this one does not.",
        "environment.unclaimed": "The environment cannot be managed yet; each pass retries.",
        "environment.busy": "Programs use it, so changes wait, unless `proceeding` is set.",
        "environment.insecure": "Others can write what root would act on; nothing is done.",
        "window.closed": "Changes wait for the next maintenance window.",
    },
    "A pass": {
        "pass.requested": "Someone requested a pass.",
        "pass.waiting": "A pass waits for its turn: `most` of them run at once (`max_passes`).",
        "pass.started": "A pass began.",
        "pass.finished": "A pass ended, with its result.",
        "pass.failed": "A pass ended without a result; `reason` says why.",
        "pass.unexpected": "A pass ended in an unexpected error, with its traceback.",
        "pass.stopped": "A pass was stopped because the service or the command is ending.",
        "drift.detected": "The environment differs from what the project declares.",
        "plan.ready": "The plan is ready: what would change.",
        "hold.edited": "A file of a held package was edited in place, with its old time restored.",
        "held.back": "A hold keeps a package older than its specifier allows.",
        "metadata.unreadable": "uv cannot read an installed package; the plan leaves it out.",
        "cache.damaged": "uv's cache shares the damage of a broken package, so the index is asked.",
        "requirement.failed": "A requirement cannot be satisfied; the pass goes on without it.",
        "stage.ready": "The new tree is complete, beside the live one.",
        "proof.passed": "What the change could break can be imported in the new tree.",
        "proof.failed": "An import no longer works; the change that is to blame is left out.",
        "proof.incomplete": "There was no time to import everything; these were not tried.",
        "proof.new-failed": "What was installed for the first time cannot be imported; it stays.",
        "verify.passed": "The stage passed the `verify` commands.",
        "verify.failed": "The stage failed a check or a `verify` command.",
        "live-tree.changed": "Someone changed the environment during the pass; it starts over.",
        "exchange.impossible": "Folders cannot be exchanged here; the change is made in place.",
        "generation.activated": "The new tree is live.",
        "generation.rolled-back": "An older tree is live again.",
        "generation.removed": "An old tree was removed; only `keep_generations` are kept.",
        "generation.kept": "An old tree should have been removed, but could not be.",
        "folder.kept": "A discarded folder could not be removed; the next pass tries it again.",
        "package.changed": "A package was installed, upgraded, downgraded or removed.",
        "package.failed": "A package could not be built, fetched or installed.",
        "retry.scheduled": "The pass will be retried later.",
        "file.set-aside": "One of Reconciler's own files was not as it wrote it, and is not used.",
        "recovered": "What an interrupted pass left behind was finished, undone or removed.",
    },
    "Holds and the GPU": {
        "vault.ignored": "A copy in the vault is not as it was made, and is not used.",
        "hold.violation": "A plan or a stage would have changed a held package and was refused.",
        "hold.missing": "A held package is gone and has no copy: the environment was recreated.",
        "hold.broken": "Someone else changed, damaged or removed a held package.",
        "hold.restored": "A held package was restored from the vault.",
        "intruder.stays": "What another installer put beside a restored package stays, and why.",
        "hold.accepted": "The installed build is the held one from now on.",
        "hold.vaulted": "A held package was copied to the vault.",
        "vault.adopted": "The project was moved: what was held in its old place counts here.",
        "vault.moved": "Copies that an earlier version kept in the environment are in the vault.",
        "vault.failed": "A held package could not be copied to the vault; it is held anyway.",
        "gpu.checked": "torch was asked whether it sees the GPU.",
    },
    "Records and notices": {
        "journal.corrupt": "The history could not be read; it was set aside and a new one started.",
        "journal.failed": "The history cannot be used; it is tried again.",
        "journal.recovered": "The history can be used again.",
        "journal.moved": "The history's file was removed; a new one has what it had.",
        "notify.sent": "A command or a webhook was notified.",
        "notify.failed": "A command or a webhook could not be notified.",
    },
}

EVENT_NAMES = frozenset(name for names in CATALOGUE.values() for name in names)

_HEAD = """\
# Events

<!-- Written by `python -m reconciler.log.event_names` from the catalogue; edit that. -->

Every line of the log is one event; `GET /events` sends the same ones as `event`. On a terminal
the lines are readable text; under systemd they are journal entries with fields; elsewhere they are
JSON. `log_format` can change that.

```json
{"timestamp":"2026-01-01T12:00:00.123456Z","level":"info","event":"pass.finished",\
"environment":"studio","pass":12,"result":"changed","logger":"reconciler.passes.reconcile"}
```

| Field | |
|---|---|
| `timestamp` | UTC, ISO 8601 |
| `level` | `debug`, `info`, `warning`, `error` or `critical` |
| `event` | one of the names below |
| `environment` | the name of the environment, if the event is about one |
| `pass` | the number of the pass, during a pass |
| `exception` | the traceback, if there is one |
| `logger` | the part of the program that logged it |

Other fields depend on the event. Secrets (passwords in addresses, tokens) are shown as `****`.
A long text, such as the output of a build, is shortened to its beginning and end.
Later versions may add events and fields, but never rename them.
"""


def markdown() -> str:
    """The content of docs/events.md."""
    parts = [_HEAD]
    for title, names in CATALOGUE.items():
        rows = [f"| `{name}` | {meaning} |" for name, meaning in names.items()]
        parts += [f"## {title}\n", "\n".join(["| Event | |", "|---|---|", *rows]) + "\n"]
    return "\n".join(parts)


if __name__ == "__main__":
    (Path.cwd() / "docs" / "events.md").write_text(markdown(), encoding="utf-8")
