"""Failed imports in words, with what to do. Pure."""

from packaging.utils import NormalizedName

from reconciler.patterns import regex
from reconciler.proof.verdict import Tried

_SYSTEM_LIBRARY = regex(r"(?P<library>[^\s/:]+\.so[^\s:]*): cannot open shared object file")


def words_of_regression(failed: Tried, culprit: NormalizedName, old: str, new: str) -> str:
    """What no longer works, because of what, and what to do.

    Args:
        failed: The import that no longer works.
        culprit: The change that is left out.
        old: Its installed version; "" if there is none.
        new: Its new version; "" if it was to be removed.
    """
    package = failed.what.package
    where = _where(package, failed.what.module)
    error = f"{failed.error}{_hint(str(failed.error))}"
    with_it = f"{culprit} {new}" if new else f"{culprit} removed"
    without = f"{culprit} {old}" if old else f"{culprit} not installed"
    if culprit == package:
        return (
            f"{with_it} cannot be imported{where}, but {old} can: {error}. The change is left out. "
            f"Limit the version of {culprit}, or install what it lacks."
        )
    return (
        f"with {with_it}, {package} can no longer be imported{where}, but with {without} it can: "
        f"{error}. The change is left out. Require a version of {package} that works with it, or "
        f"limit the version of {culprit}."
    )


def words_of_newcomer(package: str, module: str, error: str) -> str:
    """A package that was installed for the first time, and cannot be imported."""
    return (
        f"{package} is installed, but cannot be imported{_where(package, module)}: "
        f"{error}{_hint(error)}. Install what it lacks, or remove it from the requirements."
    )


def _hint(error: str) -> str:
    found = _SYSTEM_LIBRARY.search(error)
    return f" (a library of the system: {found['library']} is missing)" if found else ""


def _where(package: str, module: str) -> str:
    return "" if module == package.replace("-", "_") else f" (import {module})"
