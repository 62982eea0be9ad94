"""What the demo tells, scene by scene; each runs for real and says what there is to see."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
from packaging.utils import NormalizedName, canonicalize_name

from reconciler.demo.pseudo_terminal import Ran
from reconciler.demo.world import TORCH, World
from reconciler.uv.program import Planned

FIRST = ("torch>=2.0", "numpy>=1.24,<1.26", "safetensors")
SECOND = ("torch>=2.0", "numpy>=1.24,<1.26", "safetensors", "accelerate", "transformers>=4.41")
THIRD = ("torch>=2.0", "numpy>=1.26", "safetensors", "accelerate", "transformers>=4.41")
STAYS = "stays"
GPU_NAMES = ("torch", "triton", "nvidia-cublas-cu12")


@dataclass(frozen=True, slots=True)
class Heading:
    """A scene begins."""

    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """The story-teller speaks."""

    text: str


@dataclass(frozen=True, slots=True)
class Typed:
    """Something was typed, and this is what came of it."""

    line: str
    ran: Ran | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines of the project's file that went and came."""

    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two plans beside each other: package, what uv alone would do, what we do."""

    rows: tuple[tuple[str, str, str], ...]


Part = Heading | Words | Typed | Edit | Comparison


class Surprise(Exception):
    """The demo did not go as it should: a defect, worth reporting."""


def story(world: World) -> Iterator[Part]:
    """Everything, from the first scene to the last.

    Raises:
        Surprise: a command did not do what is told of it.
    """
    before = world.torch_file()
    yield from _beginning(world)
    yield from _edit(world)
    yield from _proof(world, before)
    yield from _broken(world, before)
    yield from _back(world)


def _beginning(world: World) -> Iterator[Part]:
    yield Heading("1  A project, and a torch that was built for this machine's GPU")
    world.declare(FIRST)
    yield Edit((), FIRST)
    yield _run(world, "apply", status=0)
    yield Words("torch 2.3.1+rocm5.7 was installed by hand: no index has it. It is held.")


def _edit(world: World) -> Iterator[Part]:
    yield Heading("2  Somebody adds two packages")
    world.declare(SECOND)
    yield Edit((), SECOND[3:])
    yield Words("What an upgrade by uv alone would do, and what Reconciler plans:")
    yield _comparison(world)
    yield Words(
        "uv alone takes the index's torch, which is for another GPU. Around the hold, everything "
        "else is chosen so that it fits, and what that costs is told:"
    )
    yield _run(world, "apply", status=0)


def _comparison(world: World) -> Comparison:
    naive = world.naive_plan().install
    ours = _planned(world.run("plan", "--json"))
    names = sorted({*naive, *ours}, key=lambda name: (name not in GPU_NAMES, name))
    return Comparison(tuple((n, _naive(naive, n), _ours(ours, n)) for n in names))


def _naive(planned: Mapping[NormalizedName, Planned], name: str) -> str:
    found = planned.get(canonicalize_name(name))
    if found is None:
        return STAYS
    return f"{found.version}  (GPU build lost)" if name == "torch" else str(found.version)


def _ours(planned: Mapping[str, str], name: str) -> str:
    """What is not planned stays as it is: installed, or not."""
    return planned.get(name) or (f"{TORCH} {STAYS}" if name == "torch" else "-")


def _planned(ran: Ran) -> dict[str, str]:
    document = msgspec.json.decode(ran.text)
    return {canonicalize_name(c["name"]): str(c["to"]) for c in document["changes"]}


def _proof(world: World, before: tuple[int, str]) -> Iterator[Part]:
    if world.torch_file() != before:
        raise Surprise("torch's files have changed")
    inode, digest = before
    yield Words(f"torch's library is the very same file: inode {inode}, sha256 {digest[:12]}...")


def _broken(world: World, before: tuple[int, str]) -> Iterator[Part]:
    yield Heading("3  Somebody else replaces torch")
    world.install(["torch==2.8.0", "nvidia-cublas-cu12", "triton"])
    yield Typed("uv pip install --upgrade torch")
    yield _run(world, "check", status=2)
    yield _run(world, "hold", "restore", "torch", status=0)
    if world.torch_file()[1] != before[1]:
        raise Surprise("torch was not restored")
    yield Words("Back from the vault: offline, every file checked, in one exchange.")


def _back(world: World) -> Iterator[Part]:
    yield Heading("4  An update turns out to be a bad idea")
    world.declare(THIRD)
    yield Edit((THIRD[1].replace("1.26", "1.24,<1.26"),), (THIRD[1],))
    yield _run(world, "apply", status=0)
    yield _run(world, "rollback", "--reason", "numpy 1.26 breaks the studio", status=0)
    yield Words("The whole tree as it was, in a moment; applied again once the file changes.")


def _run(world: World, *arguments: str, status: int) -> Typed:
    ran = world.run(*arguments)
    line = " ".join(f'"{a}"' if " " in a else a for a in ("reconciler", *arguments))
    if ran.status != status:
        raise Surprise(f"`{line}` ended with {ran.status} in place of {status}:\n{ran.text}")
    return Typed(line, ran)
