"""Requirements by their place alone: `./library[extra]`, `https://.../name-1.0.tar.gz`. Pure.

pip and uv take them in a requirements file. Everything else here goes by names, so the name is
found out as far as that is possible without running anything.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote

from packaging.markers import InvalidMarker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from reconciler.patterns import regex
from reconciler.state.bounds import marker_in, requirement_in, shown
from reconciler.state.locations import from_home, parts_of

_SCHEME = regex(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz", ".tar.zst")
_EXTRAS = regex(r"(?P<place>.*[^\s\]])\s*\[(?P<extras>[^\[\]]*)\]")
_NO_NAME = regex(r"[^a-z0-9]+")

NameOf = Callable[[Path], str | None]
"""The name of the project in a folder; None if its files do not say it."""


class Unnamed(Exception):
    """Nothing says which package it is.

    Args:
        requirement: The requirement by a name that is only a guess.
    """

    def __init__(self, requirement: Requirement) -> None:
        super().__init__(str(requirement))
        self.requirement = requirement


def is_place(text: str) -> bool:
    """Whether a requirement gives a place and no name, by its looks, as for uv."""
    place = _without_extras(_without_marker(text)[0])[0]
    if _SCHEME.match(place) or place.startswith("."):
        return True
    before_url = place.partition("@")[0]
    return "/" in before_url or (place.endswith(_ARCHIVES) and "@" not in place)


def requirement_at(text: str, folder: Path, name_of: NameOf) -> Requirement:
    """The requirement by name that an unnamed one means.

    Args:
        text: A path or a URL, with its variables expanded; perhaps with extras and a marker.
        folder: Where relative paths start.
        name_of: Finds the name of a project.

    Raises:
        InvalidRequirement: It is no place.
        Unnamed: Nobody knows its name.
    """
    before, marker = _without_marker(text)
    place, extras = _without_extras(before)
    url = url_of(place, folder)
    name = _name_in(url, name_of)
    written = name or _guess(url)
    suffix = f"[{extras}]" if extras.strip() else ""
    try:
        requirement = requirement_in(f"{written}{suffix} @ {url}")
        requirement.marker = marker_in(marker) if marker else None
    except (InvalidRequirement, InvalidMarker) as error:
        raise InvalidRequirement(f"{shown(text)} is not a place of a package: {error}") from error
    if name is None:
        raise Unnamed(requirement)
    return requirement


def url_of(place: str, folder: Path) -> str:
    """The URL of a place; a path is relative to the folder."""
    if place.startswith("file:") and not place.startswith("file:/"):
        place = unquote(place.removeprefix("file:"))
    if _SCHEME.match(place):
        return place
    return Path(os.path.normpath(folder / from_home(place))).as_uri()


def _without_marker(text: str) -> tuple[str, str]:
    """The place and the marker; between them is a semicolon with a blank at a side."""
    at = text.find(";")
    while at >= 0:
        if text[at - 1 : at].isspace() or text[at + 1 : at + 2].isspace():
            return text[:at].strip(), text[at + 1 :].strip()
        at = text.find(";", at + 1)
    return text.strip(), ""


def _without_extras(text: str) -> tuple[str, str]:
    found = _EXTRAS.fullmatch(text)
    return (found["place"], found["extras"]) if found else (text, "")


def _name_in(url: str, name_of: NameOf) -> str | None:
    parts = parts_of(url)
    egg = parse_qs(parts.fragment).get("egg", [""])[0]
    if egg:
        return re.split(r"\[", egg, maxsplit=1)[0]
    path = unquote(parts.path)
    file = os.path.basename(path)  # noqa: PTH119 -- of a URL
    try:
        if file.endswith(".whl"):
            return parse_wheel_filename(file)[0]
        if file.endswith(_ARCHIVES):
            return parse_sdist_filename(file)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return name_of(Path(path)) if parts.scheme == "file" else None


def _guess(url: str) -> str:
    last = unquote(parts_of(url).path).rstrip("/").rpartition("/")[2]
    stem = last.partition("@")[0].removesuffix(".git")
    return canonicalize_name(_NO_NAME.sub("-", stem.lower()).strip("-") or "unnamed")
