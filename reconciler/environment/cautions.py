"""What a project or its settings say that does not count or does not fit, and stops no pass."""

from collections.abc import Iterator, Mapping

from reconciler.environment.interpreter import Interpreter
from reconciler.state.desired import Desired
from reconciler.state.notice import Notice
from reconciler.uv.unsupported import unsupported


def cautions_of(
    desired: Desired, interpreter: Interpreter, environ: Mapping[str, str]
) -> Iterator[Notice]:
    """Everything of that kind.

    Args:
        desired: What the project declares.
        interpreter: The environment's own.
        environ: The environment variables.
    """
    wanted = desired.requires_python
    # PEP 621: a project says which Pythons it works with. `uv pip install` goes on as well.
    if wanted is not None and not wanted.contains(interpreter.version, prereleases=True):
        yield Notice(
            f"{desired.file} requires Python {wanted}, but the environment has "
            f"{interpreter.version}",
            f"Recreate the environment ({interpreter.prefix}) with a matching Python, or correct "
            "`requires-python`.",
        )
    yield from desired.notices
    yield from unsupported(*desired.configured, environ)
