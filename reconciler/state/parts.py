"""Which extras and groups of a project count: `[tool.uv]` has a say in it, as for uv. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from packaging.specifiers import InvalidSpecifier
from packaging.utils import canonicalize_name

from reconciler.state.bounds import specifier_set_in

_OWN_FILE = "pyproject.toml:"


def extras_chosen(
    configured: Sequence[str], tool_uv: Mapping[str, Any], declared: Iterable[str]
) -> list[str]:
    """The configured extras, and those that [tool.uv.pip] chooses; each once.

    Args:
        configured: The names from our configuration.
        tool_uv: The `[tool.uv]` table.
        declared: Every extra that the project has.
    """
    of_pip = _table(tool_uv, "pip")
    chosen = [*configured, *_names(of_pip, "extra")]
    if of_pip.get("all-extras") is True:
        left_out = {canonicalize_name(name) for name in _names(of_pip, "no-extra")}
        chosen += [name for name in declared if canonicalize_name(name) not in left_out]
    once: dict[str, str] = {}
    for name in chosen:
        once.setdefault(canonicalize_name(name), name)
    return list(once.values())


def groups_chosen(configured: Sequence[str], tool_uv: Mapping[str, Any]) -> list[str]:
    """The configured groups, and those that [tool.uv.pip] chooses; each once."""
    own = [name.removeprefix(_OWN_FILE) for name in _names(_table(tool_uv, "pip"), "group")]
    return list(dict.fromkeys([*configured, *own]))


def groups_for(
    python: str, groups: Mapping[str, Any], tool_uv: Mapping[str, Any]
) -> dict[str, Any]:
    """The groups; one whose `requires-python` in [tool.uv.dependency-groups] does not fit is empty.

    Args:
        python: The target's version.
        groups: The `[dependency-groups]` table (PEP 735).
        tool_uv: The `[tool.uv]` table.
    """
    wanted = _table(tool_uv, "dependency-groups")
    unfit = {canonicalize_name(name) for name in wanted if not _fits(python, _table(wanted, name))}
    return {n: [] if canonicalize_name(n) in unfit else groups[n] for n in groups}


def _fits(python: str, group: Mapping[str, Any]) -> bool:
    try:
        return specifier_set_in(group.get("requires-python", "")).contains(python, prereleases=True)
    except (InvalidSpecifier, TypeError, AttributeError):
        return True  # uv refuses it in its own words


def _table(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def _names(table: Mapping[str, Any], key: str) -> list[str]:
    found = table.get(key)
    return [n for n in found if isinstance(n, str)] if isinstance(found, list) else []
