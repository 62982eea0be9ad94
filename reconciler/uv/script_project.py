"""Reads a project that is a single-file script with its dependencies in it (PEP 723).

Its `[tool.uv]` counts, after that of the `pyproject.toml` beside it or further up, as for
`uv pip install -r script.py`; its sources do as for `uv run`. Never runs the script.
"""

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from reconciler.log.redact import redact
from reconciler.state.desired import Desired, parse_script
from reconciler.state.script_block import document_in
from reconciler.uv.discovery import context_of
from reconciler.uv.settings import is_on, uv_table_of

_NOT_OPTIONS = frozenset({"sources", "workspace"})


def declared_in_script(
    file: Path, text: bytes, markers: Mapping[str, str], environ: Mapping[str, str]
) -> Desired:
    """What a script declares.

    Args:
        file: The script.
        text: Its content.
        markers: The target's PEP 508 environment.
        environ: The environment variables.

    Raises:
        BadFile: It has no metadata, or they cannot be used.
    """
    document = document_in(file, text)
    redact.register_addresses(document.decode("utf-8", "replace"))
    context = context_of(file, document, environ)
    found = parse_script(file, text, markers, context=context, document=document)
    settings = file.with_name("pyproject.toml")
    return replace(
        found,
        uv={} if is_on(environ.get("UV_NO_CONFIG")) else uv_table_of(settings),
        configured_by=settings,
        deciding=(settings,),
        options={key: value for key, value in found.uv.items() if key not in _NOT_OPTIONS},
    )
