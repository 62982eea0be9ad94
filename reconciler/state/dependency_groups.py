"""The requirements of a dependency group, with those of the groups that it includes (PEP 735).

Pure. Each group is read once, however often it is included: 30 groups that include each other
twice would otherwise have a billion requirements.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from packaging.requirements import InvalidRequirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.state.bounds import requirement_in, shown


class BadGroup(ValueError):
    """A group cannot be read; the message says why."""


def requirements_of_group(tables: Mapping[str, Any], group: str) -> list[str]:
    """The requirements in their order; each group counts where it is included first.

    Args:
        tables: The `[dependency-groups]` table.
        group: The name of the group, in any spelling.

    Raises:
        BadGroup: It, or a group that it includes, is not one.
    """
    by_name = _by_name(tables)
    found: list[str] = []
    done: set[NormalizedName] = set()
    open_groups: dict[NormalizedName, Iterator[object]] = {}
    included: str | None = group
    while included is not None or open_groups:
        if included is not None:
            name = canonicalize_name(included)
            if name in open_groups:
                raise BadGroup(f"cyclic include: `{'` -> `'.join([*open_groups, name][-10:])}`")
            if name not in done:
                open_groups[name] = iter(_list(by_name, name, included))
        included = None
        current = next(reversed(open_groups), None)
        item = next(open_groups[current], None) if current is not None else None
        if current is not None and item is None:
            del open_groups[current]
            done.add(current)
        elif isinstance(item, str):
            found.append(_requirement(item))
        elif current is not None:
            included = _included(item, current)
    return found


def _by_name(tables: Mapping[str, Any]) -> dict[NormalizedName, object]:
    by_name: dict[NormalizedName, object] = {}
    for key, value in tables.items():
        if canonicalize_name(key) in by_name:
            raise BadGroup(f"duplicate names: `{key}` is another spelling of an earlier group")
        by_name[canonicalize_name(key)] = value
    return by_name


def _list(
    by_name: Mapping[NormalizedName, object], name: NormalizedName, written: str
) -> list[object]:
    if name not in by_name:
        raise BadGroup(f"there is no group `{written[:200]}`")
    items = by_name[name]
    if not isinstance(items, list):
        raise BadGroup(f"`{name}` is not a list")
    return items


def _requirement(text: str) -> str:
    try:
        return str(requirement_in(text))
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise BadGroup(f"{shown(text)} is not a valid requirement: {reason}") from error


def _included(item: object, group: str) -> str:
    if isinstance(item, dict) and set(item) == {"include-group"}:
        name = item["include-group"]
        if isinstance(name, str):
            return name
    raise BadGroup(f"`{group}` has an entry that is neither a requirement nor an include-group")
