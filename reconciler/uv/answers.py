"""uv's answers as types: plans, and each kind of failure, recognised from uv's output.

Pure: text in, values and exceptions out. Starts nothing.
"""

import re
import signal
from collections.abc import Mapping

import msgspec
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from reconciler.excerpts import OUTPUT, shortened
from reconciler.files.parsing import json_of
from reconciler.patterns import regex
from reconciler.status import ExpectedEnd, Reason
from reconciler.status.trouble import SPACE_FIX

EFFECTIVE_NAME = "reconciler-effective"
"""The name of the generated project that is passed to uv."""


class UvError(ExpectedEnd):
    """uv did not do what it was asked; `log` has uv's output."""

    reason = Reason.UV_FAILED

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(shortened(message, OUTPUT))
        self.log = shortened(log, OUTPUT, around="\n")


class UvMissing(UvError):
    """There is no uv to start, or it is too old."""

    reason = Reason.UV_MISSING


class NoSolution(UvError):
    """The requirements conflict, or something does not exist; the message is uv's explanation."""

    reason = Reason.NO_SOLUTION


class BuildFailed(UvError):
    """A source distribution did not build."""

    reason = Reason.BUILD_FAILED

    def __init__(self, name: NormalizedName, message: str, log: str = "") -> None:
        super().__init__(message, log)
        self.name = name


class Unusable(BuildFailed):
    """The files of a package are damaged, gone, or not the package they claim to be."""

    reason = Reason.UNUSABLE


class BadEntry(BuildFailed):
    """uv cannot use the source of a requirement."""

    reason = Reason.BAD_SOURCE


class Unreadable(UvError):
    """uv cannot read an installed package; names the package or its folder."""

    reason = Reason.UNREADABLE

    def __init__(
        self, message: str, log: str = "", name: NormalizedName | None = None, info: str = ""
    ) -> None:
        super().__init__(message, log)
        self.name = name
        self.info = info
        """The name of the dist-info folder, or of the file in its place."""


class NetworkTrouble(UvError):
    """An index did not answer, or refused: no requirement is to blame."""

    reason = Reason.NETWORK_TROUBLE


class DiskFull(UvError):
    """There is no space left for uv's cache or the stage."""

    reason = Reason.DISK_FULL


class Unwritable(UvError):
    """uv may not write where it has to: its cache, usually."""

    reason = Reason.NOT_WRITABLE


class TimedOut(UvError):
    """uv took longer than the configured time limit and was stopped."""

    reason = Reason.TIMED_OUT


class Waited(UvError):
    """uv was stopped while it waited for another uv."""

    reason = Reason.BUSY


class Planned(msgspec.Struct, frozen=True):
    """One package that uv would install: an exact version, or the URL that it comes from."""

    name: NormalizedName
    version: Version | None
    url: str | None = None

    @property
    def commit(self) -> str | None:
        """The commit, if the package comes from git."""
        git = self.url is not None and self.url.startswith("git+")
        return self.url.rpartition("@")[2].partition("#")[0] if git and self.url else None


class Plan(msgspec.Struct, frozen=True):
    """What uv would do, complete before anything is done.

    `install` is what would be installed, `remove` the versions that would be removed.
    """

    install: Mapping[NormalizedName, Planned]
    remove: Mapping[NormalizedName, Version | None]
    downloads: int = 0
    """How many packages are not in uv's cache yet, as far as uv says."""


_URL_LINE = regex(
    r"^ [+~] (?P<name>[^\s=]++)(?:==\S++)? (?:@ |\(from )(?P<url>[^\s)]++)", re.MULTILINE
)


def read_plan(out: str, log: str) -> Plan:
    """Read the dry run's JSON; the URLs of packages without a version are in the log."""
    urls = {canonicalize_name(m["name"]): m["url"] for m in _URL_LINE.finditer(log)}
    install: dict[NormalizedName, Planned] = {}
    remove: dict[NormalizedName, Version | None] = {}
    try:
        for change in json_of(out)["changes"]:
            name = canonicalize_name(change["name"])
            version = Version(change["version"]) if change.get("version") else None
            if change["action"] in ("installed", "reinstalled"):  # the same version from elsewhere
                install[name] = Planned(name, version, urls.get(name))
            else:
                remove[name] = version
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UvError(
            f"the output of uv's dry run cannot be read ({error}). This uv is newer than "
            "Reconciler knows: set `uv` in [service] to the one installed with Reconciler.",
            log,
        ) from error
    downloads = _DOWNLOADS.search(log)
    return Plan(install, remove, int(downloads[1]) if downloads else 0)


_DOWNLOADS = regex(r"^Would download (\d{1,9}) packages?$", re.MULTILINE)
_LONGEST_LINE = 500
"""In characters. uv wraps its own sentences; the lines that it quotes may have any length."""
_BUILD = regex(
    r"Failed to (?:download and )?build `(?P<name>[A-Za-z0-9._-]+?)(?:==[^`]*| @ [^`]*)?`"
)
_UNUSABLE = regex(
    r"Failed to download `([A-Za-z0-9._-]+?)(?:==[^`]*| @ [^`]*)?`"
    r"|Failed to install: \S+ \(([A-Za-z0-9._-]+)==[^)]*\)"
    r"|Package metadata name `[^`]*` does not match given name `([^`]*)`"
)
_ENTRY = regex(r"Failed to parse entry: `([^`]+)`")
_UNREADABLE = regex(
    r"Failed to read metadata from: .{0,4096}?"
    r"/(?P<info>[^/]{1,255}?\.(?:dist-info|egg-info|egg-link))\b"
    r"|Failed to read metadata from installed package `(?P<package>[A-Za-z0-9._-]+)"
    r"|expected installed metadata for (?P<expected>[A-Za-z0-9._-]+),"
)
_NETWORK = regex(
    r"error sending request|dns error|tcp connect error|timed out|operation timed out"
    r"|connection (?:reset|closed|refused)|HTTP status server error|Request failed after"
    r"|network (?:is unreachable|was disabled|connectivity is disabled)|unable to access"
    r"|could not be queried due to|HTTP status client error \((?:401|403|407|408|429)"
    r"|Could not resolve host|IncompleteMessage|error decoding response body"
    r"|Received some unexpected (?:JSON|HTML)",
    re.IGNORECASE,
)
_NETWORK_FIX = "Check the index's address, your credentials and your proxy; the pass is retried."
_SLOW_FIX = f"Raise UV_HTTP_TIMEOUT if the network is slow. {_NETWORK_FIX}"
_UNWRITABLE = regex(
    r"(?:Read-only file system|Permission denied) \(os error \d+\)"
    r"|Failed to write to the (?:distribution|client) cache\b.{0,4096}?\(os error \d+\)"
)
_UNWRITABLE_FIX = (
    "Make it writable for the service's user, or set UV_CACHE_DIR to another folder if it is uv's "
    "cache."
)


# Also a package that pins another one to a file that differs from the required one.
_UNFIT = regex(r"not found|does not exist|\b(?:404|410)\b|conflicting URLs|as a URL dependency")

# uv uses the name of the generated project; to users it is their own requirement.
_OUR_NEED = regex(rf"\b{EFFECTIVE_NAME}(?:==0)? depends on")
_OURS = regex(rf"\b{EFFECTIVE_NAME}\b")


def failure(code: int, log: str) -> UvError:
    """Tell from uv's output what kind of failure this was (uv-facts 25 to 29)."""
    words = _explanation(log)
    if "No space left on device" in log or "Disk quota exceeded" in log:
        return DiskFull(_sentences(words, SPACE_FIX), log)
    unread = _UNREADABLE.search(words)
    if unread:
        name = unread["package"] or unread["expected"]
        fix = "Remove it (`uv pip uninstall`, or delete the folder), and it is installed again."
        known = canonicalize_name(name) if name else None
        return Unreadable(f"{words} {fix}", log, known, unread["info"] or "")
    if _NETWORK.search(words):
        slow = "timed out" in words
        return NetworkTrouble(_sentences(words, _SLOW_FIX if slow else _NETWORK_FIX), log)
    built = _BUILD.search(words)
    if built:
        return BuildFailed(canonicalize_name(built["name"]), words, log)
    entry = _ENTRY.match(words)
    if entry:
        return BadEntry(canonicalize_name(entry[1]), words, log)
    unusable = _UNUSABLE.match(words)
    asked_for = unusable is not None and " @ " in unusable[0]  # at a URL that does not exist
    if _UNWRITABLE.search(words) and not asked_for:  # else that file may be the one
        return Unwritable(_sentences(words, _UNWRITABLE_FIX), log)
    if unusable and not (asked_for and _UNFIT.search(words)):
        name = next(group for group in unusable.groups() if group)
        return Unusable(canonicalize_name(name), words, log)
    if "No solution found" in words or _UNFIT.search(words):
        return NoSolution(words, log)
    if code == -signal.SIGKILL:
        return UvError("uv was killed by SIGKILL. If memory ran out, `dmesg` says so.", log)
    if code < 0:
        return UvError(f"uv was killed by {_signal(-code)}.", log)
    silent = f"uv exited with {code} and printed nothing. Check whether `uv` in [service] is uv."
    return UvError(words or silent, log)


def _sentences(words: str, fix: str) -> str:
    return f"{words.removesuffix('.')}. {fix}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


def _explanation(log: str) -> str:
    """uv's error as running text, without the output before it; of a long one, head and tail."""
    start = re.search(r"^error: ", log, re.MULTILINE)
    text = shortened(log[start.end() :] if start else log, OUTPUT, around="\n")
    lines = [line.strip().removeprefix("cause:").strip() for line in text.splitlines()]
    words = [shortened(line, _LONGEST_LINE) for line in lines if line]
    if len(words) > 1 and words[0].startswith("No solution found"):
        words[0] += ":"
    said = " ".join(words)
    return _OURS.sub("your project", _OUR_NEED.sub("you require", said))
