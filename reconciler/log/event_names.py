"""The catalogue of event names: what `event` can be in a log record, and what it means.

Names are part of the interface: they are added, never renamed. docs/events.md is written
from here by `python -m reconciler.log.event_names`.
"""

from pathlib import Path

CATALOGUE: dict[str, dict[str, str]] = {
    "The service": {
        "service.started": "The service is up, its environments are looked after.",
        "service.stopping": "A signal or a failure ends the service; running passes are stopped.",
        "service.stopped": "Everything has ended.",
        "service.reloaded": "The configuration was read again and is in force.",
        "service.failed": "The service cannot do its job; it goes on trying.",
        "service.outdated": "An environment was made anew, which needs a new start; it follows.",
        "config.rejected": "The configuration cannot be used; the one before stays in force.",
        "listening": "The status server accepts connections.",
        "access.refused": "A request was refused: wrong host, origin or user.",
        "access.granted": "Someone asked for a change over HTTP, and may.",
        "access.user-unknown": "A user in http.allowed_users does not exist.",
        "request.failed": "A request ended in an unexpected error.",
        "client.dropped": "A reader of the event stream was too slow and was let go.",
        "watch.failed": "Files cannot be watched; they are looked at by interval only.",
        "watch.restored": "Files are watched again.",
        "worker.failed": "The worker of an environment met an unexpected error and goes on.",
        "worker.stuck": "The worker of an environment did not end in time.",
        "watchdog.starved": "The loop that does the work was late to say that it is alive.",
        "notify.unheard": "The service manager could not be told something.",
        "library.message": "A library said something; it stands in `message`.",
    },
    "The project and the environment": {
        "file.changed": "A file of the project was saved, removed or replaced.",
        "file.problem": "A file of the project cannot be used; the last good state stays.",
        "file.mended": "It can be used again.",
        "environment.added": "An environment came in with the configuration.",
        "environment.removed": "An environment left the configuration; it stays as it is.",
        "environment.created": "There was no environment, and now there is.",
        "environment.changed": "Someone else changed the environment.",
        "environment.paused": "The environment is left alone until someone resumes.",
        "environment.resumed": "It is looked after again.",
        "environment.taken": "Another service looks after the environment; this one does not.",
        "environment.unclaimed": "The environment cannot be looked after yet; it is tried again.",
        "environment.busy": "Processes use the environment; changes wait for them.",
        "environment.insecure": "Others may write what root would act on; it is left alone.",
        "window.closed": "Changes wait for the next maintenance window.",
    },
    "A pass": {
        "pass.requested": "A pass was asked for, by hand or by an event.",
        "pass.started": "A pass began.",
        "pass.finished": "A pass ended, with its result.",
        "pass.failed": "A pass ended without result; with the traceback if it was unexpected.",
        "pass.unexpected": "A pass ended in an error that nobody foresaw; with the traceback.",
        "pass.stopped": "A pass was stopped, as the service or the command ends.",
        "drift.detected": "The environment is not what the project declares.",
        "plan.ready": "It is known what would change.",
        "held.back": "A hold keeps a package older than its specifier would admit.",
        "metadata.unreadable": "uv cannot read an installed package; it is planned without it.",
        "requirement.failed": "A requirement cannot be met; the rest goes on without it.",
        "stage.ready": "The new tree is complete, beside the live one.",
        "verify.passed": "The stage passed every check.",
        "verify.failed": "The stage failed a check.",
        "live-tree.changed": "Someone changed the environment during the pass; it starts over.",
        "generation.activated": "The new tree is live.",
        "generation.rolled-back": "An older tree is live again.",
        "generation.removed": "An old tree was removed, as so many are kept.",
        "generation.kept": "An old tree that should go could not be removed.",
        "package.changed": "A package was installed, upgraded, downgraded or removed.",
        "package.failed": "A package could not be built, fetched or installed.",
        "retry.scheduled": "The pass is tried again later.",
        "recovered": "What an interrupted pass left behind was put right.",
    },
    "Holds and the GPU": {
        "hold.violation": "A plan or a stage would have changed a held package; it was refused.",
        "hold.broken": "Someone else changed, damaged or removed a held package.",
        "hold.restored": "A held package was put back from the vault.",
        "intruder.stays": "What another installer put beside a restored package stays, and why.",
        "hold.accepted": "What is installed now is what is held.",
        "hold.vaulted": "A copy of a held package was put into the vault.",
        "vault.failed": "No copy of a held package could be made; it is held all the same.",
        "gpu.checked": "torch was asked whether it sees the GPU.",
    },
    "Records and notices": {
        "journal.corrupt": "The history could not be read; it was set aside, a new one begun.",
        "journal.failed": "The history could not be written.",
        "notify.sent": "A command or a webhook was told.",
        "notify.failed": "A command or a webhook could not be told.",
    },
}

EVENT_NAMES = frozenset(name for names in CATALOGUE.values() for name in names)

_HEAD = """\
# Events

<!-- Written by `python -m reconciler.log.event_names` from the catalogue; edit that. -->

Every line of the log is one event; `GET /events` carries the same as `event`. Off a terminal
the lines are JSON, on one they are for people (`log_format`).

```json
{"timestamp":"2026-01-01T12:00:00.123456Z","level":"info","event":"pass.finished",\
"environment":"studio","pass":12,"result":"changed","logger":"reconciler.passes.reconcile"}
```

| Field | |
|---|---|
| `timestamp` | UTC, ISO 8601 |
| `level` | `debug`, `info`, `warning`, `error` or `critical` |
| `event` | one of the names below |
| `environment` | the name of the environment, where it concerns one |
| `pass` | the number of the pass, during one |
| `exception` | the traceback, where there is one |
| `logger` | the part of the program that says it |

Others belong to the event. Secrets (passwords in addresses, tokens) are shown as `****`.
A later version adds events and fields; it renames none.
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
