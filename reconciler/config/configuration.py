"""The configuration as types: `[service]`, `[http]` and the whole.

Each key is described here and nowhere else: the loader, docs/configuration.md and
config.example.toml are generated from it. `[environments.NAME]` is in `environment.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from reconciler.config import forms
from reconciler.config.address import Address, TcpAddress
from reconciler.config.environment import EnvironmentConfig
from reconciler.config.forms import key
from reconciler.config.paths import require_plain_paths
from reconciler.config.problem import Unfit
from reconciler.log.levels import LogFormat, LogLevel


class ServiceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The service process."""

    state_dir: Annotated[
        Path,
        key(
            forms.PATH,
            "The folder for the history, and for what must survive a restart, such as a pause.",
            default="$STATE_DIRECTORY (set by systemd), else /var/lib/reconciler for root, "
            "else $XDG_STATE_HOME/reconciler",
            example="/var/lib/reconciler",
        ),
    ]
    log_format: Annotated[
        LogFormat,
        key(
            forms.one_of(LogFormat),
            "JSON lines or readable text. auto writes text on a terminal, fields to the journal "
            "under systemd, and JSON elsewhere.",
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
    vault: Annotated[
        Path | None,
        key(
            forms.PATH,
            "The folder for the copies of held packages, shared by all environments. It should be "
            "on their file system, so that copies are hard links.",
            default="vault in state_dir if hard links from the environment to it work, else "
            ".reconciler-vault beside the environment",
            example="/srv/.reconciler-vault",
        ),
    ] = None
    max_passes: Annotated[
        int | None,
        key(
            forms.count(minimum=1),
            "How many passes run at once, over all environments; the others wait for their turn, "
            "in order. A pass that has run for 30 s, as with a slow download, no longer counts.",
            default="the number of processor cores",
            example=4,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse paths with control characters, also those from environment variables.

        Raises:
            Unfit: There is one.
        """
        require_plain_paths(self)


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The status server and its web page."""

    listen: Annotated[
        Address,
        key(
            forms.LISTEN,
            "Where to listen. Any address that other machines can reach needs `token_file`.",
        ),
    ] = TcpAddress("127.0.0.1", 8765)
    allowed_hosts: Annotated[
        tuple[str, ...],
        key(
            forms.HOSTS,
            "Names allowed in the Host header, besides localhost, 127.0.0.1 and [::1].",
            example=("status.example.org",),
        ),
    ] = ()
    allowed_users: Annotated[
        tuple[str | int, ...],
        key(
            forms.USERS,
            "Local users, by name or numeric uid, who may change things, besides root and "
            "the service's own user.",
            example=("alice", 1000),
        ),
    ] = ()
    token_file: Annotated[
        Path | None,
        key(
            forms.PATH,
            "A file whose first line is the bearer token that allows requests to change things.",
            default="no token is accepted",
            example="/etc/reconciler/token",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse to be reachable from other machines without a token.

        Raises:
            Unfit: It would be reachable, or a path has control characters.
        """
        require_plain_paths(self)
        if not self.listen.loopback and self.token_file is None:
            raise Unfit(
                key="listen",
                reason=f"{self.listen} can be reached from other machines, and there is no "
                "token_file",
                fix='Write listen = "127.0.0.1:8765", or set token_file as well.',
            )


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    service: ServiceConfig
    http: HttpConfig
    environments: Mapping[str, EnvironmentConfig]
    path: Path | None
    """The file that it was read from; None: generated for the current project."""

    @property
    def in_charge(self) -> tuple[Path, ...]:
        """What decides what the service runs, who may ask it, and what it remembers."""
        notices = [it for each in self.environments.values() for it in each.notify]
        files = [file for it in notices for file in (it.url_file, it.token_file)]
        service = self.service
        own = (self.path, service.uv, service.state_dir, service.vault, self.http.token_file)
        paths = (*own, *files)
        return tuple(it for it in paths if it is not None)
