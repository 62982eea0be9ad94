"""What the demo shows, scene by scene. Each scene runs real commands and explains them."""

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
    """The narrator explains something."""

    text: str


@dataclass(frozen=True, slots=True)
class Typed:
    """A command that was typed, and its output."""

    line: str
    ran: Ran | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines that were removed from the project's file, and lines that were added."""

    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two plans side by side: the package, what uv alone would do, what Reconciler does."""

    rows: tuple[tuple[str, str, str], ...]


Part = Heading | Words | Typed | Edit | Comparison


class Surprise(Exception):
    """The demo did not work as expected: a defect, worth reporting."""


def story(world: World) -> Iterator[Part]:
    """All scenes, from first to last.

    Raises:
        Surprise: a command did not do what the demo says.
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
    yield Heading("2  Someone adds two packages")
    world.declare(SECOND)
    yield Edit((), SECOND[3:])
    yield Words("What an upgrade by uv alone would do, and what Reconciler plans:")
    yield _comparison(world)
    yield Words(
        "uv alone takes the index's torch, which is for another GPU. Reconciler keeps the held "
        "torch, chooses everything else to fit it, and reports what that holds back:"
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
    """The planned version; a package without one stays as it is, installed or not."""
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
    yield Heading("3  Someone else replaces torch")
    world.install(["torch==2.8.0", "nvidia-cublas-cu12", "triton"])
    yield Typed("uv pip install --upgrade torch")
    yield _run(world, "check", status=2)
    yield _run(world, "hold", "restore", "torch", status=0)
    if world.torch_file()[1] != before[1]:
        raise Surprise("torch was not restored")
    yield Words("Restored from the vault: offline, every file checked, in one exchange.")


def _back(world: World) -> Iterator[Part]:
    yield Heading("4  An update turns out to be a bad idea")
    world.declare(THIRD)
    yield Edit((THIRD[1].replace("1.26", "1.24,<1.26"),), (THIRD[1],))
    yield _run(world, "apply", status=0)
    yield _run(world, "rollback", "--reason", "numpy 1.26 breaks the studio", status=0)
    yield Words("The whole tree is as it was. The file is applied again once it changes.")


def _run(world: World, *arguments: str, status: int) -> Typed:
    ran = world.run(*arguments)
    line = " ".join(f'"{a}"' if " " in a else a for a in ("reconciler", *arguments))
    if ran.status != status:
        raise Surprise(f"`{line}` ended with {ran.status} instead of {status}:\n{ran.text}")
    return Typed(line, ran)
