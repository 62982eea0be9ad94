"""What a requirements file declares, with the files that it includes. Pure.

Follows uv: relative paths and index addresses start in the project's folder, folders of wheels in
the folder of the file that names them, and options of constraints files do not count.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from reconciler.state.adjustments import Adjustments
from reconciler.state.bounds import requirement_in, shown
from reconciler.state.declared import Declared, each_once, specifier_in
from reconciler.state.locations import local_path
from reconciler.state.lowering import absolute_address
from reconciler.state.notice import Notice
from reconciler.state.requirements_lines import Listed, bad_line
from reconciler.state.sources import Source
from reconciler.state.unnamed import NameOf, Unnamed, is_place, requirement_at, url_of
from reconciler.state.uv_workspace import ProjectContext
from reconciler.state.variables import expanded
from reconciler.status import Problem

_LISTS = {"--no-binary": "no-binary", "--only-binary": "only-binary"}
_IGNORED = {
    "--trusted-host": "Add the host to `allow-insecure-host` in [tool.uv], if you trust it.",
    "--use-feature": "Remove it: it is about pip itself.",
    "--prefer-binary": "Use `--only-binary` for packages that must not be built.",
}


@dataclass
class Listing:
    """Everything that the lines of a project's requirements files say.

    Args:
        folder: The folder of the project's file.
        markers: The PEP 508 environment of the target interpreter.
        context: Everything outside the files that decides what they mean.
        name_of: Finds the name of a project in a folder.
        uv: uv's settings for this folder, whose overrides replace requirements.
    """

    folder: Path
    markers: Mapping[str, str]
    context: ProjectContext
    name_of: NameOf
    uv: Mapping[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    requires_hashes: bool = False

    def read(self, lines: Iterable[Listed]) -> tuple[Declared, ...]:
        """The requirements; the options are kept in the attributes.

        Raises:
            BadFile: uv would refuse the file.
        """
        listed = list(lines)
        for one in listed:
            self._option(one)
        overridden = Adjustments.of(self.uv).overrides.keys()
        found = (self._declared(one) for one in listed if _is_requirement(one))
        applying = (
            one for one in found
            if self._applies(one) or canonicalize_name(one.requirement.name) in overridden
        )  # fmt: skip
        return each_once(map(self._with_hash, applying), self.markers)

    def _option(self, one: Listed) -> None:
        option, value = one.line.option, one.line.value
        if one.constraint:
            self._constraint(one)
        elif option in ("--index-url", "--extra-index-url"):
            self._index(one, absolute_address(self._expanded(value), self.folder))
        elif option == "--find-links":
            place = absolute_address(self._expanded(value), one.file.parent)
            self._of_pip.setdefault("find-links", []).append(place)
        elif option in _LISTS:
            names = [name.strip() for name in value.split(",")]
            self._of_pip.setdefault(_LISTS[option], []).extend(names)
        elif option == "--no-index":
            self._of_pip["no-index"] = True
        elif option == "--pre":
            self._of_pip["prerelease"] = "allow"
        elif option == "--require-hashes":
            self.requires_hashes = True
        elif option in _IGNORED:
            what = f"`{option}` in {one.file}:{one.line.at.line}"
            self.notices.append(Notice(f"{what} does not count, as for uv", _IGNORED[option]))

    @property
    def _of_pip(self) -> dict[str, Any]:
        table: dict[str, Any] = self.options.setdefault("pip", {})
        return table

    def _index(self, one: Listed, address: str) -> None:
        if one.line.option == "--extra-index-url":
            self._of_pip.setdefault("extra-index-url", []).append(address)
        elif self._of_pip.setdefault("index-url", address) != address:
            raise bad_line(one, "a second `--index-url`", "Use `--extra-index-url` for it.")

    def _constraint(self, one: Listed) -> None:
        line = one.line
        if line.option and line.option != "--editable":
            return
        if line.option or is_place(line.value):
            raise bad_line(
                one, "a constraint without a name", "Write it as `NAME @ ADDRESS`, not editable."
            )
        found = self._named(one)
        self.options.setdefault("constraint-dependencies", []).append(str(found))

    def _declared(self, one: Listed) -> Declared:
        line, editable = one.line, one.line.option == "--editable"
        placed = editable or is_place(line.value)
        source, problem = None, None
        try:
            requirement = self._at_place(one) if placed else self._named(one)
        except Unnamed as unknown:
            requirement = unknown.requirement
            problem = self._nameless(one, requirement)
        if problem is None and requirement.url is not None:
            problem = self._unusable(one, requirement.url, editable=editable)
        if editable and problem is None:
            source = Source({"path": str(local_path(requirement.url or "")), "editable": True})
            requirement.url = None
        return Declared(
            requirement, self._place(one), source, line.at.line,
            "" if placed else specifier_in(line.value), problem, hashes=line.hashes,
        )  # fmt: skip

    def _named(self, one: Listed) -> Requirement:
        try:
            found = requirement_in(one.line.value)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise bad_line(
                one,
                f"not a valid requirement, {shown(one.line.value)}: {reason}",
                'A requirement looks like "numpy>=1.24,<2.0" (PEP 508).',
            ) from error
        if found.url is not None:
            found.url = url_of(self._expanded(found.url), self.folder)
        return found

    def _at_place(self, one: Listed) -> Requirement:
        try:
            return requirement_at(self._expanded(one.line.value), self.folder, self.name_of)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise bad_line(one, reason, "Correct the path or the address.") from error

    def _expanded(self, text: str) -> str:
        return expanded(text, self.context.environ, self.folder)

    def _nameless(self, one: Listed, requirement: Requirement) -> Problem:
        place = local_path(requirement.url or "")
        if place is not None and not self.context.exists(place):
            return self._gone(one, place)
        return bad_line(
            one,
            "only a build would tell the name of the package",
            "Write it as `NAME @ ADDRESS`, or give the project a `pyproject.toml` with a name.",
        ).problem

    def _unusable(self, one: Listed, url: str, *, editable: bool) -> Problem | None:
        place = local_path(url)
        if place is None:
            fix = "Only a folder of this machine can be editable; remove `-e`."
            return bad_line(one, "it cannot be editable", fix).problem if editable else None
        if not self.context.exists(place):
            return self._gone(one, place)
        if self.context.endless(place):
            fix = "Name a file or a folder: uv would wait for ever for the end of a pipe."
            return bad_line(one, f"{place} is neither a file nor a folder", fix).problem
        return None

    def _gone(self, one: Listed, place: Path) -> Problem:
        fix = "Create it, or correct the path; it is looked for again in every pass."
        return bad_line(one, f"it is a path that does not exist: {place}", fix).problem

    def _applies(self, one: Declared) -> bool:
        marker = one.requirement.marker
        try:
            return marker is None or marker.evaluate({**self.markers, "extra": ""})
        except (UndefinedComparison, UndefinedEnvironmentName):
            return False  # as for uv, which warns

    def _with_hash(self, one: Declared) -> Declared:
        if not self.requires_hashes or one.hashes or one.unusable is not None:
            return one
        problem = Problem(
            file=str(self.folder / one.origin.rpartition(":")[0]),
            line=one.line,
            reason="it has no `--hash`, though `--require-hashes` is set",
            fix="Add its hashes (`uv pip compile --generate-hashes` does so).",
        )
        return msgspec.structs.replace(one, unusable=problem)

    def _place(self, one: Listed) -> str:
        within = one.file.is_relative_to(self.folder)
        file = one.file.relative_to(self.folder) if within else one.file
        return f"{file}:{one.line.at.line}"


def _is_requirement(one: Listed) -> bool:
    return not one.constraint and one.line.option in ("", "--editable")
