"""The effective project: what uv really gets, instead of the project's own file.

It has the requirements that apply, without held names. Each installed hold is required by the
URL of a metadata-only stub wheel, so that uv resolves with its metadata alone and asks no
index for it (uv-facts 7 to 8d). Missing holds are excluded. Writes only into the given folder.
"""

import base64
import hashlib
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.confinement import Confinement
from reconciler.files.naming import naming
from reconciler.state.declared import Declared
from reconciler.state.holds import Held, HoldSet, requires_of
from reconciler.state.installed import Distribution
from reconciler.state.markers import applies
from reconciler.state.sources import Source
from reconciler.uv.program import EFFECTIVE_NAME, Ask, Planned

HELD_WEIGHT = 1000
"""What leaving out a requirement costs that the project does not declare itself."""


@dataclass(frozen=True, slots=True)
class Item:
    """One requirement that uv is asked to satisfy, and where it comes from.

    `weight` is what leaving it out costs when not everything can be installed: what a hold
    itself requires weighs more than anything that the project declares.
    """

    name: NormalizedName
    text: str
    origin: str
    source: Mapping[str, Any] | None = None
    weight: int = 1
    origins: tuple[str, ...] = ()
    """Everywhere the project declares it."""
    index: Mapping[str, Any] | None = field(default=None, repr=False)
    """The index that the source names."""
    hashes: tuple[str, ...] = ()
    """The files that it may be installed from, as `ALGORITHM:DIGEST`; empty means any."""


def items_of(
    declared: Iterable[Declared], holds: HoldSet, markers: Mapping[str, str]
) -> tuple[Item, ...]:
    """The declared requirements that uv is asked for: all except the held ones.

    What the extras of a held one require is asked for anyway (`torch[opt-einsum]`).
    """
    found: list[Item] = []
    for one in declared:
        if holds.covers(one.name):
            found += _of_extras(one, holds, markers)
        else:
            source = one.source.table if one.source else None
            index = one.source.index if one.source else None
            # A marker that excludes it here is left to uv, which may have an override for it.
            marker = one.requirement.marker
            text = one.text if applies(marker, markers) else f"{one.text} ; {marker}"
            found.append(
                Item(one.name, text, one.origin, source, origins=one.origins, index=index,
                     hashes=one.hashes)
            )  # fmt: skip
    return tuple(found)


def _of_extras(one: Declared, holds: HoldSet, markers: Mapping[str, str]) -> Iterator[Item]:
    """What only the declared extras of a hold require."""
    held = holds.held.get(one.name)
    if held is None or not one.requirement.extras:
        return
    always = {str(r) for r in requires_of(held.distribution, markers)}
    for requirement in requires_of(held.distribution, markers, sorted(one.requirement.extras)):
        name = canonicalize_name(requirement.name)
        if str(requirement) not in always and not holds.covers(name):
            yield Item(name, without_marker(requirement), one.origin, origins=one.origins)


def items_of_holds(holds: HoldSet, markers: Mapping[str, str]) -> tuple[Item, ...]:
    """What the held packages themselves require: bounds that nobody else declares (uv-facts 8d)."""
    items: dict[str, Item] = {}
    for held in holds.held.values():
        for requirement in requires_of(held.distribution, markers, sorted(held.extras)):
            name = canonicalize_name(requirement.name)
            if not holds.covers(name):
                text = without_marker(requirement)
                origin = f"{held.name} {held.version} (held)"
                items.setdefault(text, Item(name, text, origin, weight=HELD_WEIGHT))
    return tuple(items.values())


def without_marker(requirement: Requirement) -> str:
    """The requirement as text, without its marker (already evaluated)."""
    bare = Requirement(str(requirement))
    bare.marker = None
    return str(bare)


class EffectiveProject(msgspec.Struct, frozen=True):
    """Writes uv's input for one pass.

    Args:
        folder: A private folder of this pass; credentials may end up in its files.
        python: The target interpreter.
        settings: The filtered uv settings (`settings_for`).
        holds: The hold set.
        missing: Names that are held but not installed: uv may not install them.
        build: Whether source distributions may be built.
        timeout: The time limit of one run in seconds, or None.
        wheels: A folder of wheels that no index has.
        without_sources: Whether projects that uv builds lose their sources of held packages,
                and with them their workspaces (uv-facts 12d).
        nested: The sources that local projects declare for what they require.
        metadata: What uv has to believe about packages beside the holds (`dependency-metadata`).
        confined: What uv, and the builds that it starts, may not change.
    """

    folder: Path
    python: Path
    settings: Mapping[str, Any]
    holds: HoldSet
    missing: frozenset[NormalizedName]
    build: str = "allow"
    timeout: float | None = None
    wheels: Path | None = None
    without_sources: bool = False
    nested: Mapping[NormalizedName, Source] = msgspec.field(default_factory=dict)
    metadata: tuple[Mapping[str, Any], ...] = ()
    confined: Confinement | None = None

    def to_plan(
        self,
        items: Sequence[Item],
        *,
        constraints: Sequence[str] = (),
        reinstall: Iterable[NormalizedName] = (),
        upgrade: bool = False,
        free: bool = False,
        alone: bool = False,
    ) -> Ask:
        """The input of the dry run.

        Args:
            items: The requirements to satisfy.
            constraints: Further constraints, such as what must stay as it is.
            reinstall: Packages to reinstall even if their version is right.
            upgrade: Whether to look for newer versions of what is already satisfied.
            free: Whether to plan as if nothing were held, to see what the holds hold back.
            alone: Whether to plan without what the requirements depend on.
        """
        folder = self._new_folder("plan")
        held = () if free else tuple(self.holds.held.values())
        excluded = sorted(self.missing | (set(self.holds.held) if free else set()))
        settings = self._settings(folder, stubs=held)
        requirements = [item.text for item in items] + self._stubs(folder, held)
        bounds = [*(h.pin for h in held), *constraints, *_with_hashes(items)]
        arguments = [
            # The stubs already pin; the constraints make uv's explanations name the pins.
            *self._list(folder, "-c", "constraints.txt", bounds),
            *self._list(folder, "--excludes", "excludes.txt", excluded),
            *self._build_arguments(folder),
            *(f"--reinstall-package={name}" for name in reinstall),
            *(["--upgrade"] if upgrade else []),
            *(["--no-deps"] if alone else []),
        ]
        project = _write_project(folder, requirements, items)
        return self._ask(folder, project, settings, arguments)

    def to_install(self, planned: Sequence[Planned], items: Sequence[Item]) -> Ask:
        """The input of the installation: exactly the planned versions, nothing held.

        Sources apply as they did in the plan: those of declared requirements, and those that local
        projects declare. Any other package from a URL is required by that URL.
        """
        folder = self._new_folder("install")
        placed = {
            p.name: Item(
                p.name, p.name, "", self.nested[p.name].table, index=self.nested[p.name].index
            )
            for p in planned
            if p.name in self.nested and self.nested[p.name].is_direct is (p.url is not None)
        }
        placed |= {item.name: item for item in items if item.source or " @ " in item.text}
        revisions = dict(_revisions(planned, placed))
        requirements = [_exact(p, placed.get(p.name), revisions) for p in planned]
        names = {p.name for p in planned}
        sources = [item for name, item in placed.items() if name in names]
        project = _write_project(folder, requirements, sources)
        settings = self._settings(folder)
        hashes = [
            f"{_exact(p, None, {}) if p.url is None else item.text}{_options(item)}"
            for p in planned for item in items if item.name == p.name and item.hashes
        ]  # fmt: skip
        arguments = [*self._list(folder, "-c", "hashes.txt", hashes),
                     *self._build_arguments(folder)]  # fmt: skip
        return self._ask(folder, project, settings, arguments)

    def _ask(self, folder: Path, project: Path, settings: Path, arguments: Sequence[str]) -> Ask:
        return Ask(
            self.python, project, settings, folder, tuple(arguments), self.timeout, self.confined
        )

    def _new_folder(self, label: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{label}-", dir=self.folder))

    def _settings(self, folder: Path, stubs: Sequence[Held] = ()) -> Path:
        settings = dict(self.settings)
        if settings.get("no-binary") is True:  # the stubs are wheels anyway
            _extend(settings, "no-build-package", [h.name for h in stubs])
        if self.wheels is not None:
            _extend(settings, "find-links", [str(self.wheels)])
        if stubs and self.metadata:  # the user's own comes first: uv takes the first that fits
            _extend(settings, "dependency-metadata", self.metadata)
        path = folder / "uv.toml"
        with naming(path):
            path.write_text(tomli_w.dumps(settings), encoding="utf-8")
        return path

    def _stubs(self, folder: Path, held: Sequence[Held]) -> list[str]:
        """One requirement for each hold, by URL: one candidate, and no index is asked."""
        stubs = folder / "stubs"
        stubs.mkdir()
        return [
            f"{h.name} @ {write_stub(stubs, h.distribution, self.holds).as_uri()}" for h in held
        ]

    def _build_arguments(self, folder: Path) -> list[str]:
        """Keep a build from fetching another torch: it fails with an error (uv-facts 8f)."""
        names = [*self.holds.held, *sorted(self.missing)]
        pins = [h.pin for h in self.holds.held.values()] + [f"{n}<0" for n in sorted(self.missing)]
        arguments = self._list(folder, "-b", "build-constraints.txt", pins)
        if self.without_sources:
            arguments += [f"--no-sources-package={name}" for name in names]
        return [*arguments, "--no-build"] if self.build == "never" else arguments

    def _list(self, folder: Path, flag: str, name: str, lines: Sequence[str]) -> list[str]:
        if not lines:
            return []
        path = folder / name
        with naming(path):
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return [flag, str(path)]


def _with_hashes(items: Iterable[Item]) -> Iterator[str]:
    """The items that list their hashes, as a constraint: a pyproject.toml cannot have any."""
    return (f"{item.text}{_options(item)}" for item in items if item.hashes)


def _options(item: Item) -> str:
    return "".join(f" --hash={digest}" for digest in item.hashes)


def _extend(settings: dict[str, Any], key: str, more: Sequence[object]) -> None:
    """Add to a list; a value that is not a list stays, and uv says what is wrong with it."""
    known = settings.get(key, [])
    if isinstance(known, list):
        settings[key] = [*known, *more]


def _write_project(folder: Path, requirements: Sequence[str], items: Iterable[Item]) -> Path:
    sources = {item.name: dict(item.source) for item in items if item.source}
    indexes = {str(item.index["name"]): dict(item.index) for item in items if item.index}
    document: dict[str, Any] = {
        "project": {"name": EFFECTIVE_NAME, "version": "0", "dependencies": requirements},
        # A workspace of its own: otherwise uv looks for one further up and reads the project of the
        # user, which may be half saved right now. The indexes that sources name must be in the
        # file of the sources (uv-facts 12b).
        "tool": {"uv": {"workspace": {}, "sources": sources, "index": list(indexes.values())}},
    }
    path = folder / "pyproject.toml"
    with naming(path):
        path.write_text(tomli_w.dumps(document), encoding="utf-8")
    return path


def _revisions(
    planned: Iterable[Planned], placed: Mapping[NormalizedName, Item]
) -> Iterator[tuple[str, str]]:
    """For each planned commit of a repository, the revision that the project asks for."""
    for one in planned:
        source = placed[one.name].source if one.name in placed else None
        revision = Source(source).revision if source else None
        if one.url and one.commit and revision:
            yield one.url.partition("#")[0], revision


def _exact(planned: Planned, declared: Item | None, revisions: Mapping[str, str]) -> str:
    """The requirement for exactly this.

    A URL is required as the project writes it, so that a branch is recorded as a branch
    (PEP 610). `check_packages` makes sure that it still leads to the planned commit.
    """
    if planned.version is not None and planned.url is None:
        # `==1.0` would also take 1.0+cpu, which counts as newer (PEP 440).
        return f"{planned.name}==={planned.version}"
    if declared is None and planned.url:
        commit, hash_, folder = planned.url.partition("#")
        # Another package of a repository that the project names: recorded like that one.
        revision = revisions.get(commit)
        place = f"{commit.rpartition('@')[0]}@{revision}" if revision else commit
        return f"{planned.name} @ {place}{hash_}{folder}"
    if declared is None:
        return str(planned.name)
    return planned.name if declared.source else declared.text


def write_stub(folder: Path, distribution: Distribution, holds: HoldSet) -> Path:
    """Write a metadata-only wheel: the same name and version, no files.

    Its requirements on other held packages are left out: those are pinned or excluded
    themselves. Its other requirements are passed to uv as items.
    """
    name = distribution.name.replace("-", "_")
    version = str(distribution.version)
    info = f"{name}-{version}.dist-info"
    requires = [
        f"Requires-Dist: {r}\n"
        for r in distribution.requires
        if "extra" in str(r.marker or "") and not holds.covers(canonicalize_name(r.name))
    ]
    extras = [f"Provides-Extra: {e}\n" for e in sorted(distribution.provides_extra)]
    head = f"Metadata-Version: 2.1\nName: {distribution.name}\nVersion: {version}\n"
    files = {
        f"{info}/METADATA": head + "".join(requires) + "".join(extras),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: reconciler\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    rows = [f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in files.items()]
    files[f"{info}/RECORD"] = "".join(rows) + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with naming(path), zipfile.ZipFile(path, "w") as wheel:
        for inner, text in files.items():
            wheel.writestr(inner, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
