"""Logging as the service has it, to nowhere."""

import io
from collections.abc import Iterator

import pytest

from reconciler.log import logger as log
from tests.support.logs import logging_restored


@pytest.fixture(autouse=True)
def logging() -> Iterator[None]:
    """Records reach `tapped`, and no one's terminal."""
    restoring = logging_restored()
    next(restoring)
    log.configure(stream=io.StringIO())
    yield
    next(restoring, None)
