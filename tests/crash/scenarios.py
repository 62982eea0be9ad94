"""What is interrupted: each scenario prepares a world, and says what may be found afterwards.

To add one, write a function that prepares it and add it to SCENARIOS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from tests.crash.worlds import OTHER_TORCH, World
from tests.support.torch import TORCH, TORCHVISION, TRITON_ROCM

Packages: TypeAlias = Mapping[str, str]
Command: TypeAlias = tuple[str, ...]

_HELD = {"torch": TORCH, "torchvision": TORCHVISION, "pytorch-triton-rocm": TRITON_ROCM}
_BEFORE = {**_HELD, "alder": "1.0", "birch": "1.0"}
_AFTER = {**_HELD, "alder": "2.0", "cedar": "1.0"}
_REPLACED = {**_HELD, "torch": OTHER_TORCH}


class Next(NamedTuple):
    """One command of the next start.

    Attributes:
        command: What is run.
        fails: Whether it must fail, and change nothing; None: it may fail, and changes nothing.
        until: As in `Scenario`.
    """

    command: Command
    fails: bool | None = False
    until: str | None = None


APPLY = Next(("apply",))
KEPT = Next(("apply",), fails=None)
RESUME = Next(("resume",))
SERVICE = Next(("run",), until='"pass.finished"')


@dataclass(frozen=True)
class Scenario:
    """One command of ours, to be interrupted at each of its changes.

    Attributes:
        name: For the command line.
        prepare: Makes the world as it is before.
        command: What is interrupted.
        old: The packages before; None: there is no environment.
        new: The packages after.
        last: The packages that the next start must lead to.
        held: The packages whose files never change.
        next: What the next start does.
        stays: If the command was answered: what is run first, and must find that it holds.
        in_place: Whether a kill may leave the live tree between old and new until the next start.
        until: The command runs until it is stopped: it is, once it has printed this.
        exchanges: Whether the file system can exchange two folders.
    """

    name: str
    prepare: Callable[[World], None]
    command: Command
    old: Packages | None
    new: Packages
    last: Packages
    held: frozenset[str] = frozenset(_HELD)
    next: tuple[Next, ...] = (APPLY,)
    stays: tuple[Next, ...] = ()
    in_place: bool = False
    until: str | None = None
    exchanges: bool = True


def _wheels(world: World) -> None:
    for name, version in (("alder", "1.0"), ("alder", "2.0"), ("birch", "1.0"), ("cedar", "1.0")):
        world.wheel(name, version)


def _managed(world: World) -> None:
    """An environment with holds in the vault and one older generation."""
    _wheels(world)
    world.make_venv()
    world.install_torch()
    world.configure()
    world.declare("alder==1.0")
    world.run("apply")
    world.declare("alder==1.0", "birch==1.0")
    world.run("apply")


def _upgradable(world: World) -> None:
    world.once(_managed)
    world.declare("alder==2.0", "cedar==1.0")


def _upgraded(world: World) -> None:
    _upgradable(world)
    world.run("apply")


def _rollable(world: World) -> None:
    world.once(_upgraded)


def _paused(world: World) -> None:
    _upgradable(world)
    world.run("pause", "--reason", "a demo")


def _torch_replaced(world: World) -> None:
    world.once(_with_another_torch)


def _with_another_torch(world: World) -> None:
    _wheels(world)
    world.make_venv()
    world.install_torch()
    world.configure(prune=False)  # the other torch needs no triton
    world.declare()
    world.run("apply")
    world.replace_torch()


def _bare(world: World) -> None:
    _wheels(world)
    world.configure()
    world.declare("alder==1.0", "birch==1.0")


def _never_vaulted(world: World) -> None:
    world.make_venv()
    world.install_torch()
    world.configure()
    world.declare()


def _without_venv(world: World) -> None:
    """A Python of its own, which is no virtual environment: it is changed in place."""
    _wheels(world)
    world.make_base()
    world.install_torch()
    world.configure(python=world.venv / "bin" / world.interpreter_name)
    world.declare("alder==1.0", "birch==1.0")
    world.run("apply")
    world.declare("alder==2.0", "cedar==1.0")


_ALL = (
    Scenario("upgrade", _upgradable, ("apply",), _BEFORE, _AFTER, _AFTER),
    Scenario("renames", _upgradable, ("apply",), _BEFORE, _AFTER, _AFTER, exchanges=False),
    Scenario(
        "rollback", _rollable, ("rollback",), _AFTER, _BEFORE, _AFTER,
        stays=(Next(("apply",), fails=True),), next=(KEPT, RESUME, APPLY),
    ),
    Scenario(
        "rollback-ended", _rollable, ("rollback",), _AFTER, _BEFORE, _AFTER,
        next=(RESUME, APPLY),
    ),
    Scenario(
        "restore", _torch_replaced, ("hold", "restore", "torch"), _REPLACED, _HELD, _HELD,
        held=frozenset(_HELD) - {"torch"}, next=(Next(("hold", "restore", "torch")), APPLY),
        stays=(Next(("hold", "list")),),
    ),
    Scenario(
        "accept", _torch_replaced, ("hold", "accept", "torch"), _REPLACED, _REPLACED, _REPLACED,
        next=(Next(("hold", "accept", "torch")), APPLY, Next(("hold", "list"))),
        stays=(Next(("hold", "list")),),
    ),
    Scenario(
        "create", _bare, ("apply",), None, {"alder": "1.0", "birch": "1.0"},
        {"alder": "1.0", "birch": "1.0"}, held=frozenset(),
    ),
    Scenario("vault", _never_vaulted, ("apply",), _HELD, _HELD, _HELD),
    Scenario("in-place", _without_venv, ("apply",), _BEFORE, _AFTER, _AFTER, in_place=True),
    Scenario(
        "pause", _upgradable, ("pause", "--reason", "a demo"), _BEFORE, _BEFORE, _AFTER,
        stays=(Next(("apply",), fails=True),), next=(RESUME, APPLY),
    ),
    Scenario(
        "resume", _paused, ("resume",), _BEFORE, _BEFORE, _AFTER,
        stays=(APPLY,), next=(RESUME, APPLY),
    ),
    Scenario(
        "service", _upgradable, SERVICE.command, _BEFORE, _AFTER, _AFTER, until=SERVICE.until,
        next=(SERVICE,),
    ),
)  # fmt: skip
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
