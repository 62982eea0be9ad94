"""The unit files of an installed service, made from the templates in `systemd/`.

Pure except that it reads those templates. An administrator who reads `systemd/` sees what gets
installed, except for a few directives.
"""

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from reconciler.config import Address, TcpAddress, UnixAddress
from reconciler.config.paths import odd_character, visible
from reconciler.patterns import regex

SYSTEM_FOLDER = Path("/etc/systemd/system")
MARK = "# Written by `reconciler service install`; `reconciler service uninstall` removes it."
"""The first line of each of our files: no other file is ever overwritten or removed."""


_USER = regex(r"(?!\d+\Z)[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")
"""Names that can be part of a unit's name; to systemd, one of digits only is a uid."""
_QUOTED = frozenset(" '\"\\#;")
"""A word with one of these is written in quotes."""


class Unquotable(Exception):
    """Something cannot be written into a unit; the message ends with what to do."""


class Unit(msgspec.Struct, frozen=True):
    """One file and its content."""

    path: Path
    text: str


class Service(msgspec.Struct, frozen=True):
    """The service to install.

    Attributes:
        program: the command that starts reconciler; its first word is an absolute path.
        arguments: what follows `reconciler run`: which configuration, or which project.
        writable: folders that the service writes to, besides its own.
        listen: where systemd listens for it; None without socket activation.
    """

    program: tuple[str, ...]
    arguments: tuple[str, ...]
    writable: tuple[Path, ...]
    listen: Address | None = None


def machine_units(service: Service, user: str, folder: Path = SYSTEM_FOLDER) -> tuple[Unit, ...]:
    """`reconciler.service`, the one system service, which runs as `user`."""
    text = _with_commands(template("reconciler.service"), service)
    text = set_directive(text, "User", [_plain_user(user)])
    text = set_directive(text, "ReadWritePaths", _writable(service.writable))
    if _hidden(service):
        text = set_directive(text, "PrivateTmp", ["no"])
    return (Unit(folder / "reconciler.service", _marked(text)), *_socket(service, "", folder))


def named_units(
    service: Service, user: str, home: Path | None, folder: Path = SYSTEM_FOLDER
) -> tuple[Unit, ...]:
    """`reconciler@.service` for every user, and a drop-in with the settings for `user`.

    Args:
        service: The service to install.
        user: Its user.
        home: The user's home, where uv's cache is; None if they have none.
        folder: Where units go.
    """
    _plain_user(user)
    shared = _with_commands(template("reconciler@.service"), Service(service.program, (), ()))
    writable = service.writable
    if home is not None:
        writable = (home, *(path for path in writable if not path.is_relative_to(home)))
    lines = ["[Service]", *_lines("ReadWritePaths", ["", *_writable(writable)])]
    if home is None:
        cache = f"UV_CACHE_DIR=%C/reconciler-{user}/uv"
        lines += [f"CacheDirectory=reconciler-{user}", f"Environment={cache}"]
    if service.arguments:
        lines += _lines("ExecStart", ["", _run(service)])
    if _hidden(service):
        lines += ["PrivateTmp=no"]
    dropin = folder / f"reconciler@{user}.service.d" / "50-paths.conf"
    return (
        Unit(folder / "reconciler@.service", _marked(shared)),
        Unit(dropin, _marked("\n".join([*lines, ""]))),
    )


def own_units(service: Service, folder: Path) -> tuple[Unit, ...]:
    """`reconciler.service` as a user service."""
    text = _with_commands(template("user/reconciler.service"), service)
    return (Unit(folder / "reconciler.service", _marked(text)), *_socket(service, "user/", folder))


def template(name: str) -> str:
    """A file of `systemd/`, from the installed package or from a checkout."""
    packaged = resources.files("reconciler.systemd") / "templates"
    folder: Traversable = packaged if packaged.is_dir() else Path(__file__).parents[2] / "systemd"
    return folder.joinpath(name).read_text(encoding="utf-8")


def set_directive(text: str, key: str, values: Sequence[str]) -> str:
    """Replace all values of `key` in `text` with these, at the place of the first one."""
    lines = text.split("\n")
    places = [number for number, line in enumerate(lines) if line.startswith(f"{key}=")]
    fresh = _lines(key, values)
    kept = [line for number, line in enumerate(lines) if number not in places]
    at = places[0]
    return "\n".join([*kept[:at], *fresh, *kept[at:]])


def quoted(word: str, *, command: bool = False) -> str:
    """`word` as one word of a directive (systemd.syntax(7)), specifiers and quotes escaped.

    Args:
        word: the plain text.
        command: whether it is part of a command line, where `$` names a variable.

    Raises:
        Unquotable: It has a control character or is not UTF-8. Which escapes systemd knows
            depends on the directive, and a carriage return ends a line as well.
    """
    what = odd_character(word)
    if what is not None:
        raise Unquotable(
            f"{visible(word)} cannot be written into a unit: it has {what}. Rename it."
        )
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    text = text.replace("$", "$$") if command else text
    return text if text and not set(text) & _QUOTED else f'"{text}"'


def _plain_user(user: str) -> str:
    if not _USER.fullmatch(user):
        raise Unquotable(
            f"The user name {visible(user)!r} cannot be written into a unit. Run the service as a "
            "user whose name has only letters, digits, '.', '_', '@' and '-'."
        )
    return user


def _with_commands(text: str, service: Service) -> str:
    text = set_directive(text, "ExecStart", [_run(service)])
    return set_directive(text, "ExecReload", [_command(*service.program, "service", "reload")])


def _run(service: Service) -> str:
    return _command(*service.program, "run", *service.arguments)


def _command(*words: str) -> str:
    if not words[0].startswith("/"):  # before a path, `+` or `!` would be a privilege
        raise Unquotable(f"{visible(words[0])} is not an absolute path. Start Reconciler by one.")
    return " ".join(quoted(word, command=True) for word in words)


def _writable(paths: Sequence[Path]) -> list[str]:
    """One value each; the minus lets the service start, and report it, if a folder is missing."""
    return [quoted(f"-{path}") for path in paths]


def _hidden(service: Service) -> bool:
    """Whether a private /tmp would hide what the service manages."""
    temporary = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108
    return any(path.is_relative_to(it) for path in service.writable for it in temporary)


def _socket(service: Service, kind: str, folder: Path) -> tuple[Unit, ...]:
    if service.listen is None:
        return ()
    text = set_directive(
        template(f"{kind}reconciler.socket"), "ListenStream", _listen(service.listen)
    )
    if isinstance(service.listen, UnixAddress):
        text = text.replace("#SocketMode=", "SocketMode=")
    return (Unit(folder / "reconciler.socket", _marked(text)),)


def _listen(address: Address) -> list[str]:
    """The address as systemd.socket(5) takes it, which does not accept host names."""
    if isinstance(address, UnixAddress):
        path = str(address.path)
        if odd_character(path) or path.endswith(("\\", " ")):  # it would go on in the next line
            raise Unquotable(f"{visible(path)} cannot be written into a socket unit. Rename it.")
        return [path.replace("%", "%%")]
    host = "127.0.0.1" if address.host == "localhost" else address.host
    return [str(TcpAddress(host, address.port)).replace("%", "%%")]


def _lines(key: str, values: Sequence[str]) -> list[str]:
    for value in values:  # the last line of defence: one value is one line
        if odd_character(value) or value.endswith("\\"):
            raise Unquotable(f"{key}={visible(value)} is more than one line. Rename it.")
    return [f"{key}={value}" for value in values]


def _marked(text: str) -> str:
    return f"{MARK}\n{text}"
