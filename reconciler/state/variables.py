"""Expands the variables in a direct reference (`name @ URL`), as uv does.

uv expands `${NAME}` there and nowhere else: not in `[tool.uv.sources]`, not in an index's URL
(uv-facts 12e).
"""

from collections.abc import Mapping
from pathlib import Path

from reconciler.patterns import regex

_VARIABLE = regex(r"\$\{([A-Z0-9_]+)\}")


def expanded(url: str, environ: Mapping[str, str], project: Path) -> str:
    """The URL with its variables replaced; one that is not set stays as written.

    Args:
        url: A URL, or a path.
        environ: The environment variables.
        project: What `${PROJECT_ROOT}` stands for, unless it is set: the project's folder.
    """
    known = {"PROJECT_ROOT": str(project), **environ}
    return _VARIABLE.sub(lambda found: known.get(found[1], found[0]), url)
