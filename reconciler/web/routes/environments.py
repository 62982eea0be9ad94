"""Finds the environment that a request names, or lists the existing ones."""

from difflib import get_close_matches

from reconciler.daemon.actions import Refusal
from reconciler.status import EnvironmentStatus, Status
from reconciler.web.api.problems import HttpProblem, HttpReason


def named(current: Status, name: str) -> EnvironmentStatus:
    """The environment of that name.

    Raises:
        HttpProblem: there is no such environment.
    """
    for environment in current.environments:
        if environment.name == name:
            return environment
    raise unknown(current, name)


def first(current: Status) -> EnvironmentStatus:
    """The environment that is meant if none is named: the first.

    Raises:
        HttpProblem: there are no environments at all.
    """
    if current.environments:
        return current.environments[0]
    detail = "No environment is configured. Add one to the configuration."
    raise HttpProblem(404, Refusal.UNKNOWN_ENVIRONMENT, detail)


def only(current: Status, instead: str) -> EnvironmentStatus:
    """The only environment.

    Args:
        current: the status.
        instead: the path to use if there are several.

    Raises:
        HttpProblem: there are several, or none.
    """
    if len(current.environments) > 1:
        detail = f"There are several environments. Use {instead}."
        raise HttpProblem(409, HttpReason.SEVERAL_ENVIRONMENTS, detail)
    return first(current)


def unknown(current: Status, name: str) -> HttpProblem:
    """The error for an unknown environment, with the nearest name."""
    names = [environment.name for environment in current.environments]
    near = get_close_matches(name, names, 1)
    hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(names) or 'none'}."
    return HttpProblem(
        404, Refusal.UNKNOWN_ENVIRONMENT, f"There is no environment {name[:100]!r}. {hint}"
    )
