"""The configuration as types: every key with its default, its form and its meaning.

This is the one place where a key is described; the loader, docs/configuration.md and
config.example.toml are all driven by it. Values here are final: paths are absolute,
durations are seconds, names are normalised.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from reconciler.config import forms
from reconciler.config.address import Address, TcpAddress
from reconciler.config.forms import key
from reconciler.config.problem import Unfit


class LogFormat(StrEnum):
    """How log lines are written."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severe level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Update(StrEnum):
    """When an installed package that fits is upgraded."""

    NEEDED = "needed"
    LATEST = "latest"


class OnError(StrEnum):
    """What becomes of the rest where one requirement cannot be met."""

    CONTINUE = "continue"
    ABORT = "abort"


class OnHoldBroken(StrEnum):
    """What follows when someone else changed a held package."""

    REPORT = "report"
    RESTORE = "restore"


class Build(StrEnum):
    """Whether packages may be built from source."""

    ALLOW = "allow"
    NEVER = "never"


class Mode(StrEnum):
    """Whether drift is mended or only reported."""

    APPLY = "apply"
    OBSERVE = "observe"


class Occasion(StrEnum):
    """What a notice can be sent on."""

    CHANGED = "changed"
    FAILED = "failed"
    HOLD_BROKEN = "hold-broken"


class ServiceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The process itself."""

    state_dir: Annotated[
        Path,
        key(
            forms.PATH,
            "Where journal, generations' records and the like are kept.",
            default="$STATE_DIRECTORY (set by systemd), else /var/lib/reconciler for root, "
            "else $XDG_STATE_HOME/reconciler",
            example="/var/lib/reconciler",
        ),
    ]
    log_format: Annotated[
        LogFormat,
        key(
            forms.one_of(LogFormat),
            "JSON lines or readable text; auto writes text on a terminal, JSON elsewhere.",
        ),
    ] = LogFormat.AUTO
    log_level: Annotated[
        LogLevel, key(forms.one_of(LogLevel), "The least severe level that is logged.")
    ] = LogLevel.INFO
    uv: Annotated[
        Path | None,
        key(
            forms.PATH,
            "The uv program to drive.",
            default="the uv that is installed with Reconciler",
            example="/usr/local/bin/uv",
        ),
    ] = None


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The status server and its page."""

    listen: Annotated[
        Address,
        key(
            forms.LISTEN,
            "Where to listen; anything but this machine's loopback needs `token_file`.",
        ),
    ] = TcpAddress("127.0.0.1", 8765)
    allowed_hosts: Annotated[
        tuple[str, ...],
        key(
            forms.HOSTS,
            "Names that the Host header may carry besides localhost, 127.0.0.1 and [::1].",
            example=("status.example.org",),
        ),
    ] = ()
    allowed_users: Annotated[
        tuple[str | int, ...],
        key(
            forms.USERS,
            "Local users, by name or numeric uid, that may change things besides root and "
            "the service's own user.",
            example=("alice", 1000),
        ),
    ] = ()
    token_file: Annotated[
        Path | None,
        key(
            forms.PATH,
            "A file whose first line is the bearer token that opens every request to change "
            "something.",
            default="no token is accepted",
            example="/etc/reconciler/token",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse to be reachable from elsewhere without a token.

        Raises:
            Unfit: it would be.
        """
        if not self.listen.loopback and self.token_file is None:
            raise Unfit(
                key="listen",
                reason=f"{self.listen} can be reached from other machines, and there is no "
                "token_file",
                mend='Write listen = "127.0.0.1:8765", or set token_file as well.',
            )


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time, again and again, in which changes may go live."""

    cron: Annotated[
        str,
        key(
            forms.CRON,
            "When it opens, in the five fields of cron: minute, hour, day of the month, "
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
    """A command or a webhook that is told what happened; exactly one of both."""

    on: Annotated[
        tuple[Occasion, ...],
        key(
            forms.some_of(Occasion),
            "When to tell: a pass changed something, a pass failed, someone else changed a "
            "held package.",
            example=(Occasion.FAILED, Occasion.HOLD_BROKEN),
        ),
    ]
    command: Annotated[
        tuple[str, ...] | None,
        key(
            forms.COMMAND,
            "A program with its arguments; it reads the notice as JSON from standard input. "
            "No shell is involved.",
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
            "A file whose first line is such an address, where the address is a secret.",
            default="none",
            example="/etc/reconciler/webhook",
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        key(
            forms.PATH,
            "A file whose first line is sent along as bearer token.",
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
            Unfit: it has.
        """
        receivers = [
            name for name in ("command", "url", "url_file") if getattr(self, name) is not None
        ]
        if len(receivers) != 1:
            found = " and ".join(receivers) or "none of them"
            raise Unfit(
                reason=f"expected one of command, url and url_file, found {found}",
                mend="Keep one of them in each notify table.",
            )
        if self.command is not None and self.token_file is not None:
            raise Unfit(
                key="token_file",
                reason="a command is sent no token",
                mend="Remove token_file, or send to a url.",
            )


class EnvironmentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One Python environment and how it is looked after."""

    name: str
    pyproject: Annotated[
        Path,
        key(
            forms.PYPROJECT,
            "The project whose dependencies the environment must hold: its pyproject.toml, "
            "or the folder of it.",
            example="/srv/studio/pyproject.toml",
        ),
    ]
    python: Annotated[
        Path,
        key(
            forms.PYTHON,
            "The environment: its folder, or its interpreter. Created if there is none.",
            default="the .venv beside pyproject",
            example="/srv/studio/.venv",
        ),
    ]
    """The interpreter, `bin/python` of the folder unless one was named. Symlinks are kept:
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
            "glob; [] holds nothing.",
        ),
    ] = ("torch", "torchvision")
    update: Annotated[
        Update,
        key(
            forms.one_of(Update),
            "needed changes a package only where it does not fit; latest upgrades whatever "
            "may be newer.",
        ),
    ] = Update.NEEDED
    prune: Annotated[
        bool,
        key(forms.BOOLEAN, "Whether packages that nothing requires are removed."),
    ] = False
    on_error: Annotated[
        OnError,
        key(
            forms.one_of(OnError),
            "Where a requirement cannot be met: continue installs the rest, abort changes nothing.",
        ),
    ] = OnError.CONTINUE
    on_hold_broken: Annotated[
        OnHoldBroken,
        key(
            forms.one_of(OnHoldBroken),
            "When someone else changed a held package: report it, or restore it from the vault.",
        ),
    ] = OnHoldBroken.REPORT
    allow_downgrade: Annotated[
        bool,
        key(
            forms.BOOLEAN,
            "Whether a hold may push another package to an older version than is installed.",
        ),
    ] = False
    verify: Annotated[
        tuple[tuple[str, ...], ...],
        key(
            forms.COMMANDS,
            "A command, or a list of them, that must succeed in the stage before it goes live; "
            "its `python` is the stage's.",
            example=(("python", "-c", "import torch"),),
        ),
    ] = ()
    verify_timeout: Annotated[
        float, key(forms.duration(minimum=1.0), "How long each verify command may take.")
    ] = 300.0
    interval: Annotated[
        float,
        key(forms.duration(minimum=1.0), "How often to look even if nothing was noticed."),
    ] = 600.0
    audit_interval: Annotated[
        float,
        key(forms.duration(minimum=1.0), "How often to check that every installed file is there."),
    ] = 3600.0
    debounce: Annotated[
        float, key(forms.duration(), "How long a file must be quiet before it is read.")
    ] = 0.3
    timeout: Annotated[
        float, key(forms.duration(minimum=1.0), "How long a pass may take before it is stopped.")
    ] = 1800.0
    keep_generations: Annotated[
        int, key(forms.count(minimum=1), "How many trees to keep for a rollback.")
    ] = 3
    wait_while_in_use: Annotated[
        float | None,
        key(
            forms.WAIT,
            "Whether changes wait for processes that use the environment: false, true for as "
            "long as it takes, or a duration after which they go live all the same.",
        ),
    ] = None
    """Seconds; None: never wait; infinity: as long as it takes."""
    build: Annotated[
        Build,
        key(forms.one_of(Build), "Whether packages may be built from source; never needs wheels."),
    ] = Build.ALLOW
    mode: Annotated[
        Mode,
        key(
            forms.one_of(Mode),
            "apply mends drift; observe only reports it, and never changes anything.",
        ),
    ] = Mode.APPLY
    windows: Annotated[
        tuple[Window, ...],
        key(forms.tables(Window), "When changes may go live; [] means at any time."),
    ] = ()
    notify: Annotated[
        tuple[Notify, ...],
        key(forms.tables(Notify), "Who is told of what."),
    ] = ()

    @property
    def root(self) -> Path:
        """The environment's folder, going by the place of the interpreter."""
        return self.python.parent.parent

    @property
    def identity(self) -> Path:
        """What two names of one environment have in common: its folder, symlinks followed.

        Outside a virtual environment several interpreters share `bin`; there it is the
        interpreter itself.
        """
        root = self.root.resolve()
        shared = self.python.exists() and not (root / "pyvenv.cfg").is_file()
        return self.python.resolve() if shared else root


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    service: ServiceConfig
    http: HttpConfig
    environments: Mapping[str, EnvironmentConfig]
    path: Path | None
    """The file that it was read from; None: made up for the current project."""
