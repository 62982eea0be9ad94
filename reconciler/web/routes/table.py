"""The table of all operations: requests and their responses (docs/http.md)."""

from typing import Annotated

from msgspec import Meta

from reconciler import status
from reconciler.daemon.actions import Action
from reconciler.daemon.metrics import CONTENT_TYPE
from reconciler.daemon.requests import Reconcile
from reconciler.web.api.operations import (
    CHANGE_PROBLEMS,
    LOOK_PROBLEMS,
    Answer,
    Operation,
    Parameter,
)
from reconciler.web.api.schemas import (
    Accepted,
    EnvironmentName,
    EnvironmentQuery,
    FixResult,
    History,
    HistoryQuery,
    Liveness,
    PackageName,
    PassId,
    Readiness,
    StatusQuery,
)
from reconciler.web.routes.acting import BODIES, Acting
from reconciler.web.routes.fixing import Fixing
from reconciler.web.routes.looking import Looking
from reconciler.web.routes.streaming import Streaming

FIX = "/api/v1/setup/ai-models/fix-dependencies"

_Etag = Annotated[str, Meta(description="The ETag that the client has.")]
_EventId = Annotated[str, Meta(description="The id of the last event seen.")]
_ENVIRONMENT = Parameter("environment", EnvironmentName)
_PACKAGE = Parameter("package", PackageName)
_PASS = Parameter("id", PassId)
_IF_NONE_MATCH = Parameter("If-None-Match", _Etag, "header")
_LAST_EVENT_ID = Parameter("Last-Event-ID", _EventId, "header")

_WORDS = {
    Action.RECONCILE: "Run a pass now",
    Action.PAUSE: "Leave the environment alone",
    Action.RESUME: "Manage the environment again",
    Action.ROLLBACK: "Go back to an earlier tree",
    Action.GPU: "Check the GPU again",
    Action.RESTORE: "Restore a broken hold from the vault",
    Action.ACCEPT: "Hold the build that is installed now",
}
_ABOUT_HOLDS = (Action.RESTORE, Action.ACCEPT)


def operations(
    looking: Looking, acting: Acting, fixing: Fixing, streaming: Streaming
) -> list[Operation]:
    """All operations, except the page and the description itself."""
    return [
        *_status(looking),
        *_health(looking),
        *_history(looking),
        _events(streaming),
        *_actions(acting),
        _fix(fixing),
    ]


def _status(looking: Looking) -> list[Operation]:
    unchanged = Answer("It still matches If-None-Match.", media_type=None, headers=("ETag",))
    return [
        Operation(
            method="GET",
            path="/status",
            id="getStatus",
            summary="The whole status; with `wait`, as soon as something changes",
            endpoint=looking.status,
            query=StatusQuery,
            parameters=(_IF_NONE_MATCH,),
            answers={200: Answer("The status.", status.Status, headers=("ETag",)), 304: unchanged},
            problems=LOOK_PROBLEMS,
        ),
        Operation(
            method="GET",
            path="/status/{environment}",
            id="getEnvironment",
            summary="One environment; with `wait`, as soon as its `generation` is above `since`",
            endpoint=looking.environment,
            query=StatusQuery,
            parameters=(_ENVIRONMENT, _IF_NONE_MATCH),
            answers={
                200: Answer("The environment.", status.EnvironmentStatus, headers=("ETag",)),
                304: unchanged,
            },
            problems=(*LOOK_PROBLEMS, 404),
        ),
    ]


def _health(looking: Looking) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path="/livez",
            id="getLiveness",
            summary="Whether the working loops are making progress",
            endpoint=looking.alive,
            answers={200: Answer("They are.", Liveness)},
            problems=(*LOOK_PROBLEMS, 503),
        ),
        Operation(
            method="GET",
            path="/readyz",
            id="getReadiness",
            summary="Whether the service can do its job; a failed install does not count",
            endpoint=looking.ready,
            answers={200: Answer("It can.", Readiness)},
            problems=(*LOOK_PROBLEMS, 503),
        ),
        Operation(
            method="GET",
            path="/metrics",
            id="getMetrics",
            summary="Metrics for Prometheus",
            endpoint=looking.metrics,
            answers={200: Answer("The metrics.", media_type=CONTENT_TYPE)},
            problems=LOOK_PROBLEMS,
        ),
    ]


def _history(looking: Looking) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path="/history",
            id="listPasses",
            summary="Passes, newest first",
            endpoint=looking.history,
            query=HistoryQuery,
            answers={200: Answer("The passes.", History)},
            problems=(*LOOK_PROBLEMS, 404),
        ),
        Operation(
            method="GET",
            path="/history/{id}",
            id="getPass",
            summary="One pass, with its changes, its plan and uv's log",
            endpoint=looking.history_entry,
            parameters=(_PASS,),
            answers={200: Answer("The pass.", status.PassDetail)},
            problems=(*LOOK_PROBLEMS, 404),
        ),
    ]


def _events(streaming: Streaming) -> Operation:
    return Operation(
        method="GET",
        path="/events",
        id="followEvents",
        summary="A stream of server-sent events",
        endpoint=streaming.events,
        parameters=(_LAST_EVENT_ID,),
        answers={200: Answer("An endless stream of events.", media_type="text/event-stream")},
        problems=(*LOOK_PROBLEMS, 503),
    )


def _actions(acting: Acting) -> list[Operation]:
    found = []
    for action, words in _WORDS.items():
        if action not in _ABOUT_HOLDS:
            path = f"/environments/{{environment}}/{action}"
            found.append(_action(acting, action, words, path, str(action), (_ENVIRONMENT,)))
            continue
        name, short = f"{action}Hold", f"/holds/{{package}}/{action}"
        path, both = f"/environments/{{environment}}{short}", (_ENVIRONMENT, _PACKAGE)
        found.append(_action(acting, action, words, path, name, both))
        alone = f"{words}, if there is only one environment"
        found.append(_action(acting, action, alone, short, f"{name}OfOnly", (_PACKAGE,)))
    return found


def _action(
    acting: Acting,
    action: Action,
    words: str,
    path: str,
    name: str,
    parameters: tuple[Parameter, ...],
) -> Operation:
    return Operation(
        method="POST",
        path=path,
        id=name,
        summary=words,
        endpoint=acting.endpoint(action),
        parameters=parameters,
        body=BODIES[action],
        answers={202: Answer("A pass will carry it out.", Accepted, headers=("Location",))},
        problems=(*CHANGE_PROBLEMS, 404),
    )


def _fix(fixing: Fixing) -> Operation:
    return Operation(
        method="POST",
        path=FIX,
        id="fixDependencies",
        summary="Run a pass and respond when it is done",
        endpoint=fixing.fix,
        query=EnvironmentQuery,
        body=Reconcile,
        answers={200: Answer("What was done, even if not all of it worked.", FixResult)},
        problems=(*CHANGE_PROBLEMS, 404),
    )
