"""`[environments.NAME]` as types: each key with its default, form and meaning.

Each key is described here and nowhere else: the loader, docs/configuration.md and
config.example.toml are generated from it. Values are final: absolute paths, durations in
seconds, normalised names.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from reconciler.config import forms
from reconciler.config.choices import Build, Mode, Occasion, OnError, OnHoldBroken, Proof, Update
from reconciler.config.forms import key
from reconciler.config.paths import require_plain_paths
from reconciler.config.problem import Unfit
from reconciler.state.holds import HoldClosure


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A recurring period in which changes may go live.

    Outside the windows, drift is still detected and reported at once; it is fixed when the
    next window opens.
    """

    cron: Annotated[
        str,
        key(
            forms.CRON,
            "When it opens, as the five fields of cron: minute, hour, day of the month, "
            "month, day of the week.",
            example="0 3 * * *",
        ),
    ]
    duration: Annotated[
        float, key(forms.duration(minimum=60.0), "How long it stays open.", example=7200.0)
    ]
    timezone: Annotated[
        str | None,
        key(
            forms.TIMEZONE,
            "The time zone of `cron`.",
            default="the machine's",
            example="Europe/Berlin",
        ),
    ] = None


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """A command or a webhook that is notified of what happened.

    Each table has exactly one of `command`, `url` and `url_file`. A notice that cannot be
    delivered is logged (`notify.failed`) and never fails a pass.

    The notice is a JSON object with `occasion`, `environment`, and `pass` as in the history. For
    broken holds it has `holds` instead: each name, and what happened to it. Changes that wait for
    a window or a running job do not count as a failure. Only the service sends notices; commands
    that do the work themselves do not.
    """

    on: Annotated[
        tuple[Occasion, ...],
        key(
            forms.some_of(Occasion),
            "What to send a notice about: a pass changed something, a pass failed or could not "
            "install everything, someone else changed a held package.",
            example=(Occasion.FAILED, Occasion.HOLD_BROKEN),
        ),
    ]
    command: Annotated[
        tuple[str, ...] | None,
        key(
            forms.COMMAND,
            "A program and its arguments. It reads the notice as JSON from standard input, and "
            "is run without a shell.",
            default="none",
            example=("/usr/local/bin/tell", "--json"),
        ),
    ] = None
    url: Annotated[
        str | None,
        key(
            forms.URL,
            "Where to POST the notice as JSON.",
            default="none",
            example="https://hooks.example.org/reconciler",
        ),
    ] = None
    url_file: Annotated[
        Path | None,
        key(
            forms.PATH,
            "A file whose first line is that address, for an address that is a secret.",
            default="none",
            example="/etc/reconciler/webhook",
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        key(
            forms.PATH,
            "A file whose first line is sent as the bearer token.",
            default="none",
            example="/etc/reconciler/webhook-token",
        ),
    ] = None
    timeout: Annotated[
        float, key(forms.duration(minimum=0.1), "How long the command or the request may take.")
    ] = 10.0

    def __post_init__(self) -> None:
        """Refuse a notice with no receiver or with two.

        Raises:
            Unfit: It has none, or two.
        """
        require_plain_paths(self)
        receivers = [
            name for name in ("command", "url", "url_file") if getattr(self, name) is not None
        ]
        if len(receivers) != 1:
            found = " and ".join(receivers) or "none of them"
            raise Unfit(
                reason=f"expected one of command, url and url_file, found {found}",
                fix="Keep one of them in each notify table.",
            )
        if self.command is not None and self.token_file is not None:
            raise Unfit(
                key="token_file",
                reason="a command cannot be sent a token",
                fix="Remove token_file, or send to a url.",
            )


class EnvironmentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One Python environment, and how it is managed.

    NAME has at most 64 letters, digits, `.`, `_` and `-`, and begins with a letter or a digit.
    `[defaults]` takes the same keys except `pyproject` and `python`, and applies to all
    environments. A key in an environment's own table replaces the default, even if it is a
    list. Two tables for the same environment are rejected.
    """

    name: str
    pyproject: Annotated[
        Path,
        key(
            forms.PYPROJECT,
            "The project whose dependencies should be installed: its pyproject.toml, its "
            "requirements.txt, or a script that lists them (PEP 723); or the folder that has one "
            "of the first two. In a folder with both, the pyproject.toml counts.",
            example="/srv/studio/pyproject.toml",
        ),
    ]
    python: Annotated[
        Path,
        key(
            forms.PYTHON,
            "The environment: its folder, or its interpreter. It is created if there is none.",
            default="the .venv beside pyproject",
            example="/srv/studio/.venv",
        ),
    ]
    """The interpreter: `bin/python` in the folder unless one is configured. Symlinks are kept:
    in a virtual environment they are what makes it one."""
    extras: Annotated[
        tuple[str, ...],
        key(
            forms.NAMES,
            "Extras of the project to install (project.optional-dependencies).",
            example=("gpu",),
        ),
    ] = ()
    groups: Annotated[
        tuple[str, ...],
        key(forms.NAMES, "Dependency groups to install (PEP 735).", example=("dev",)),
    ] = ()
    hold: Annotated[
        tuple[str, ...],
        key(
            forms.HOLD,
            "Packages that are never installed, upgraded, reinstalled or removed, by name or "
            "glob. [] holds nothing.",
            example=("torch", "torchvision", "torchaudio", "xformers", "nvidia-*"),
            note="What an installed held package needs to run on the GPU is held with it and needs "
            "no entry: for torch, that is its triton (triton, pytorch-triton-rocm, "
            "pytorch-triton-xpu) and its libraries from NVIDIA, AMD or Intel. Add anything else "
            "that was built for your GPU and that "
            "another build from an index would replace: torchaudio, xformers, flash-attn, "
            "bitsandbytes, onnxruntime-gpu, deepspeed, vllm, torchao, cupy-*, jaxlib. A triton "
            "or nvidia-* that you installed by hand, and that no held package requires, needs an "
            "entry too. A held package that is not installed is never pulled in. An "
            "environment's list replaces the one in [defaults].",
        ),
    ] = ("torch", "torchvision")
    hold_closure: Annotated[
        HoldClosure,
        key(
            forms.one_of(HoldClosure),
            "What is held together with a held package: runtime is all that it needs to run on the "
            "GPU; pins is only what it requires in one exact version.",
        ),
    ] = HoldClosure.RUNTIME
    update: Annotated[
        Update,
        key(
            forms.one_of(Update),
            "needed changes a package only if its requirement is not satisfied; latest also "
            "upgrades the others, as far as the requirements allow.",
        ),
    ] = Update.NEEDED
    prune: Annotated[
        bool,
        key(forms.BOOLEAN, "Whether to remove packages that nothing requires."),
    ] = False
    on_error: Annotated[
        OnError,
        key(
            forms.one_of(OnError),
            "If a requirement cannot be satisfied: continue installs the rest, abort changes "
            "nothing.",
        ),
    ] = OnError.CONTINUE
    on_hold_broken: Annotated[
        OnHoldBroken,
        key(
            forms.one_of(OnHoldBroken),
            "If someone else changes a held package: report it, or restore the package from "
            "the vault.",
        ),
    ] = OnHoldBroken.REPORT
    allow_downgrade: Annotated[
        bool,
        key(
            forms.BOOLEAN,
            "Whether a hold may force another package to a version older than the installed one.",
        ),
    ] = False
    verify: Annotated[
        tuple[tuple[str, ...], ...],
        key(
            forms.COMMANDS,
            "A command, or a list of commands, that must succeed in the stage before it goes "
            "live. `python` is the stage's own. An environment that is changed in place has no "
            "stage: the commands run in the changed environment, and the old files are restored if "
            "one fails.",
            example=(("python", "-c", "import torch"),),
        ),
    ] = ()
    verify_timeout: Annotated[
        float, key(forms.duration(minimum=1.0), "How long each verify command may take.")
    ] = 300.0
    proof: Annotated[
        Proof | None,
        key(
            forms.one_of(Proof),
            "Which packages must still be importable in the new tree before it goes live: changed "
            "tries what a pass upgrades, downgrades or removes, and what requires that; full also "
            "tries all other packages that were there; off tries nothing.",
            default='"changed", or "off" with build = "never"',
            example=Proof.FULL,
        ),
    ] = None
    proof_budget: Annotated[
        float,
        key(
            forms.duration(minimum=1.0),
            "How long all these imports of a pass may take together; a single one may take a "
            "quarter of it. What there is no time for is not tried, and reported.",
        ),
    ] = 120.0
    interval: Annotated[
        float,
        key(
            forms.duration(minimum=1.0),
            "How often to check for drift, even if no change was noticed.",
        ),
    ] = 600.0
    audit_interval: Annotated[
        float,
        key(forms.duration(minimum=1.0), "How often to check that every installed file is there."),
    ] = 3600.0
    debounce: Annotated[
        float, key(forms.duration(), "How long a file must stay unchanged before it is read.")
    ] = 0.3
    timeout: Annotated[
        float,
        key(
            forms.duration(minimum=1.0),
            "How long one run of uv may take, and how long to wait for another pass or uv.",
        ),
    ] = 1800.0
    keep_generations: Annotated[
        int, key(forms.count(minimum=1), "How many old trees to keep for a rollback.")
    ] = 3
    wait_while_in_use: Annotated[
        float | None,
        key(
            forms.WAIT,
            "Whether changes wait for processes of the environment's owner, of root and of the "
            "service's user that use the environment: false does not wait, true waits as long "
            "as it takes, a duration waits that long at most.",
        ),
    ] = None
    """In seconds; None: do not wait; infinity: as long as it takes."""
    build: Annotated[
        Build,
        key(
            forms.one_of(Build),
            "Whether packages may be built from source. Where possible, builds cannot change the "
            "environment; unconfined lets them. With never, only wheels are installed.",
        ),
    ] = Build.ALLOW
    mode: Annotated[
        Mode,
        key(
            forms.one_of(Mode),
            "apply fixes drift; observe only reports it, and changes nothing unless asked to.",
        ),
    ] = Mode.APPLY
    windows: Annotated[
        tuple[Window, ...],
        key(forms.tables(Window), "When changes may go live. [] means at any time."),
    ] = ()
    notify: Annotated[
        tuple[Notify, ...],
        key(forms.tables(Notify), "Who is notified, and of what."),
    ] = ()

    def __post_init__(self) -> None:
        """Refuse paths with control characters, also those that were given as options.

        Raises:
            Unfit: There is one.
        """
        require_plain_paths(self)

    @property
    def proof_in_effect(self) -> Proof:
        """`proof`, or what it is by default: with `build = "never"` no package's code runs."""
        default = Proof.OFF if self.build is Build.NEVER else Proof.CHANGED
        return self.proof or default

    @property
    def root(self) -> Path:
        """The environment's folder, derived from the interpreter's path."""
        return self.python.parent.parent

    @property
    def identity(self) -> Path:
        """The same for two names of one environment: its folder, with symlinks followed.

        Outside a virtual environment, several interpreters share `bin`, so it is the interpreter
        itself.
        """
        root = self.root.resolve()
        shared = self.python.exists() and not (root / "pyvenv.cfg").is_file()
        return self.python.resolve() if shared else root
