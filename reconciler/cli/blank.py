"""Stands in for an environment that is not there yet: a new, empty one in a temporary folder.

What would be installed into the real one can be planned on it; the real one is not made.
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
    """An empty environment for the project's Python, gone afterwards.

    Where the project's file is bad it is for any Python: looking at it reports the file.

    Raises:
        UvError: uv found no Python that fits.
    """
    with tempfile.TemporaryDirectory(prefix="reconciler-") as folder:
        python = Path(folder, "environment", "bin", "python")
        environment = Environment(msgspec.structs.replace(target, python=python), environ, uv)
        try:
            create_environment(environment, Cancellation(), lambda _: None)
        except BadFile:
            environment.uv.create_environment(python.parent.parent, own_python(), Cancellation())
        yield environment
