"""Each cause of a drift has its sentence, and the row says who requires it."""

from typing import get_args

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from reconciler.state import causes
from reconciler.state.rows import Row
from reconciler.state.words import message_of
from reconciler.status import Problem

V1, V2 = Version("1.0"), Version("2.0")
TORCH = NormalizedName("torch")
GIT, WHEELS = "git+https://example.org/numpy", "https://example.org/numpy.whl"

REPLACED = "2.0 is installed instead of 1.0, which is held: someone else replaced it. "

SENTENCES = [
    (causes.LeftOut(), "left out by uv's exclude-dependencies"),
    (causes.Missing(), "not installed"),
    (causes.Broken("its RECORD is gone"), "its RECORD is gone"),
    (causes.Mismatch(V1, SpecifierSet(">=2")), "1.0 is installed, >=2 is required"),
    (
        causes.OutOfBounds(V1, "numpy>=2"),
        "1.0 is installed, but constraint-dependencies requires numpy>=2",
    ),
    (
        causes.WrongSource(V1, None, causes.Origin(WHEELS)),
        f"1.0 is installed from an index, {WHEELS} is required",
    ),
    (
        causes.WrongSource(V1, causes.Origin(WHEELS), causes.Origin(GIT, "python")),
        f"1.0 is installed from {WHEELS}, {GIT} (folder python) is required",
    ),
    (causes.WrongKind(True, False), "it is installed as an editable package"),
    (causes.WrongKind(False, True), "it is not installed as an editable package"),
    (causes.WrongKind(None, False), "it is installed as required, but recorded as from another"),
    (causes.WrongRevision("v1", "v2"), "revision v1 is installed, v2 is required"),
    (
        causes.NoUsableSource(
            Problem(file="/srv/p.toml", line=3, column=1, reason="it is nowhere", fix="Correct it.")
        ),
        "/srv/p.toml:3:1: it is nowhere. Correct it.",
    ),
    (
        causes.SourceChanged("/srv/numpy/pyproject.toml"),
        "its source has changed since it was installed: /srv/numpy/pyproject.toml",
    ),
    (causes.SourceGone("/srv/numpy"), "its source does not exist any more: /srv/numpy"),
    (
        causes.SourceUnrecorded("/srv/numpy"),
        "it was not installed by uv, so nobody knows whether /srv/numpy has changed since",
    ),
    (
        causes.NeedsAnotherHeld(V2, "torch>=2", TORCH, V1),
        "numpy 2.0 needs torch>=2, but torch 1.0 is held",
    ),
    (
        causes.NeedsAnotherHeld(V2, "triton>=2", TORCH, V1, "a hold requires it"),
        "numpy 2.0 needs triton>=2, but torch 1.0 is held, because a hold requires it",
    ),
    (causes.Kept(), "held: never installed, replaced or removed"),
    (
        causes.HeldMissing("numpy>=2"),
        "held but not installed, though the project declares numpy>=2",
    ),
    (causes.HeldBroken("its RECORD is gone"), "its RECORD is gone. It is held, so it is not"),
    (
        causes.HeldReplaced(V2, V1),
        REPLACED
        + "`reconciler hold restore numpy` restores it, `reconciler hold accept numpy` keeps",
    ),
    (
        causes.HeldReplaced(V2, V1, "torch requires just this release of it"),
        REPLACED + "`reconciler hold restore numpy` restores it; torch requires just this release",
    ),
    (
        causes.HeldMismatch(V1, "numpy>=2", "torch requires this line of releases of it"),
        (
            "1.0 is held and kept, though the project declares numpy>=2. It is held because torch "
            "requires this line of releases of it. Change the requirement."
        ),
    ),
    (
        causes.HeldMismatch(V1, "numpy>=2"),
        "1.0 is held and kept, though the project declares numpy>=2. Change the requirement",
    ),
]


def row(cause: causes.Cause, **more) -> Row:
    return Row(NormalizedName("numpy"), None, "1.0", cause, **more)


@pytest.mark.parametrize(("cause", "words"), SENTENCES, ids=lambda it: type(it).__name__)
def test_each_cause_has_its_sentence(cause, words):
    assert message_of(row(cause)).startswith(words)


def test_every_cause_is_in_this_table():
    assert {type(cause) for cause, _ in SENTENCES} == {*get_args(causes.Cause)} - {causes.Met}


def test_what_is_as_required_needs_no_words():
    assert message_of(row(causes.Met())) is None


def test_it_is_said_who_requires_it():
    required = row(causes.Missing(), required_by=TORCH, dependent_version=V2)
    held = row(causes.HeldMissing("numpy>=2"), required_by=TORCH, dependent_version=V2)

    assert message_of(required) == "not installed; required by torch 2.0"
    assert "though torch requires numpy>=2" in message_of(held)
