"""Servers for the tests of the HTTP side."""

import sys
from collections.abc import Iterator

import httpx
import pytest

from reconciler.log import logger as log
from tests.support.logs import logging_restored
from tests.web.hosting import DEADLINE, Host


@pytest.fixture(autouse=True)
def logging() -> Iterator[None]:
    """Records reach the tests."""
    restoring = logging_restored()
    next(restoring)
    log.configure(stream=sys.stderr)
    yield
    next(restoring, None)


@pytest.fixture
def host() -> Iterator[Host]:
    """A server on a loopback port, without a token."""
    with Host() as running:
        yield running


@pytest.fixture
def client(host: Host) -> Iterator[httpx.Client]:
    """Asks that server."""
    address = f"http://127.0.0.1:{host.port}"
    with httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE, verify=False) as made:
        yield made
