"""Stands in for an environment that does not exist yet: an empty one in a temporary folder.

A plan for the real environment can be made with it. The real one is not created.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from reconciler.config import EnvironmentConfig
from reconciler.environment.creation import create_environment, own_python
from reconciler.environment.environment import Environment
from reconciler.processes import Cancellation
from reconciler.state.desired import BadFile


@contextmanager
def stand_in(
    target: EnvironmentConfig, environ: Mapping[str, str], uv: Path | None
) -> Iterator[Environment]:
    """An empty environment for the project's Python, removed on exit.

    If the project's file is bad, our own Python is used: looking at it then reports the file.

    Raises:
        UvError: uv found no suitable Python.
    """
    with tempfile.TemporaryDirectory(prefix="reconciler-") as folder:
        python = Path(folder, "environment", "bin", "python")
        environment = Environment(msgspec.structs.replace(target, python=python), environ, uv)
        try:
            create_environment(environment, Cancellation(), lambda _: None)
        except BadFile:
            environment.uv.create_environment(python.parent.parent, own_python(), Cancellation())
        yield environment
