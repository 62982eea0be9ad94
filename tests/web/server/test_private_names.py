"""What we override of uvicorn and sse-starlette is still there, the same, and still called.

Much of it is private to them, so pyproject.toml bounds their versions from above. To raise a
bound, run this: each failure names what to look at.
"""

import inspect
from collections.abc import Iterator
from types import CodeType, ModuleType

import pytest
import sse_starlette.sse
import uvicorn
import uvicorn.protocols.http.h11_impl
import uvicorn.server
from sse_starlette.sse import EventSourceResponse
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from reconciler.web.routes.streaming import _Stream
from reconciler.web.security.guard import GuardedProtocol
from reconciler.web.server.http_server import Server

OVERRIDDEN = {
    Server: {
        "serve": "(self, sockets)",
        "startup": "(self, sockets)",
        "main_loop": "(self)",
        "shutdown": "(self, sockets)",
        "capture_signals": "(self)",
    },
    GuardedProtocol: {
        "connection_made": "(self, transport)",
        "connection_lost": "(self, exc)",
        "shutdown": "(self)",
        "data_received": "(self, data)",
        "on_response_complete": "(self)",
        "send_400_response": "(self, msg)",
        "_unsupported_upgrade_warning": "(self)",
    },
    _Stream: {
        "__call__": "(self, scope, receive, send)",
        "_listen_for_exit_signal": "()",
    },
}
BY_THE_LOOP = {"connection_made", "connection_lost", "data_received", "serve", "__call__"}
"""Called from outside: by asyncio, by us, by Starlette."""
CASES = [(ours, name) for ours, names in OVERRIDDEN.items() for name in names]
CALLERS: dict[type, tuple[ModuleType, ...]] = {
    Server: (uvicorn.server,),
    GuardedProtocol: (uvicorn.protocols.http.h11_impl, uvicorn.server),
    _Stream: (sse_starlette.sse,),
}


def code_of(owner: ModuleType) -> Iterator[CodeType]:
    """The code of every function of a module's classes, nested functions included."""
    waiting = []
    for found in vars(owner).values():
        if inspect.isclass(found) and found.__module__ == owner.__name__:
            functions = (getattr(one, "__func__", one) for one in vars(found).values())
            waiting += [inspect.unwrap(f).__code__ for f in functions if inspect.isfunction(f)]
    for code in waiting:
        yield code
        waiting += [one for one in code.co_consts if isinstance(one, CodeType)]


def names_set_in(function) -> set[str]:
    return set(function.__code__.co_names)


@pytest.mark.parametrize(("ours", "name"), CASES)
def test_what_we_override_has_the_signature_that_we_know(ours, name):
    (theirs,) = ours.__bases__
    parameters = ", ".join(inspect.signature(getattr(theirs, name)).parameters)

    assert f"({parameters})" == OVERRIDDEN[ours][name]


@pytest.mark.parametrize(("ours", "name"), [c for c in CASES if c[1] not in BY_THE_LOOP])
def test_what_we_override_is_still_called(ours, name):
    assert any(name in code.co_names for module in CALLERS[ours] for code in code_of(module))


@pytest.mark.parametrize("ours", OVERRIDDEN)
def test_nothing_else_is_overridden(ours):
    (theirs,) = ours.__bases__
    every_class = {*dir(object), "__module__", "__dict__", "__weakref__", "__annotations__"} - {
        "__call__"
    }

    assert {name for name in vars(ours) if hasattr(theirs, name)} - every_class == set(
        OVERRIDDEN[ours]
    )


def test_the_attributes_that_we_use_are_set():
    assert "should_exit" in names_set_in(uvicorn.Server.__init__)
    protocol = names_set_in(H11Protocol.__init__) | names_set_in(H11Protocol.connection_made)
    assert {"transport", "connections", "app_state", "loop", "cycle"} <= protocol
    cycle = names_set_in(RequestResponseCycle.__init__)
    assert {"disconnected", "message_event", "response_started", "response_complete"} <= cycle


def test_the_servers_end_is_asked_of_the_property():
    """uvicorn reads and writes `should_exit`; ours is an event in its place."""
    assert isinstance(Server.should_exit, property)
    assert "should_exit" in names_set_in(uvicorn.Server._serve)
    assert issubclass(_Stream, EventSourceResponse)
