"""Rules that decide from the address and headers alone which requests to serve at all.

Pure: they know no connection and no user. Each rule returns, or raises the problem.
"""

import re
from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers

from reconciler.patterns import regex
from reconciler.web.api.problems import HttpProblem, HttpReason

OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
LONGEST_ADDRESS = 8 * 1024
LARGEST_HEAD = 16 * 1024
_HOST = regex(r"(?P<name>\[[0-9a-f:.]+\]|[^\s:\[\]/\\@?#,]+)(?::\d{1,5})?")
_ENCODED_SLASH = regex(rb"%2f|%5c", re.IGNORECASE)
_UNPRINTABLE = regex(rb"[\x00-\x1f\x7f\\]")


def within_bounds(address: bytes, headers: Headers) -> None:
    """Refuse an address or headers that are too long for any honest request.

    Args:
        address: path and query as they were sent.
        headers: all headers.
    """
    if len(address) > LONGEST_ADDRESS:
        detail = f"The address has more than {LONGEST_ADDRESS} bytes. Ask for less at once."
        raise HttpProblem(414, HttpReason.ADDRESS_TOO_LONG, detail)
    if sum(len(name) + len(value) + 4 for name, value in headers.raw) > LARGEST_HEAD:
        detail = f"The headers have more than {LARGEST_HEAD} bytes. Send fewer (cookies, say)."
        raise HttpProblem(431, HttpReason.HEADERS_TOO_LARGE, detail)


def one_end(version: str, headers: Headers) -> None:
    """Refuse a request that may end in two places (RFC 9112, 6.1), and whatever follows it.

    Args:
        version: of HTTP, as in `1.1`.
        headers: all headers.
    """
    if "transfer-encoding" in headers and ("content-length" in headers or version == "1.0"):
        detail = "The request says in two ways where it ends. Send only Content-Length."
        raise HttpProblem(400, HttpReason.BAD_REQUEST, detail, {"Connection": "close"})


def plain_path(raw: bytes) -> None:
    """Refuse a path that can be read in two ways: `//`, `..`, encoded slashes, control characters.

    Args:
        raw: the path as it was sent, without the query.
    """
    segments = unquote_to_bytes(raw).split(b"/")
    plain = (
        raw.startswith(b"/")
        and b"" not in segments[1:-1]
        and not {b".", b".."} & set(segments)
        and not _ENCODED_SLASH.search(raw)
        and not _UNPRINTABLE.search(unquote_to_bytes(raw))
    )
    if not plain:
        detail = "The path is not in its plain form. Use the paths exactly as in /openapi.json."
        raise HttpProblem(400, HttpReason.BAD_REQUEST, detail)


def own_host(headers: Headers, allowed: Collection[str]) -> None:
    """Refuse a Host header that is not one of our names, on any port.

    A page elsewhere can make its own name resolve to 127.0.0.1 (DNS rebinding). The browser then
    treats it as the same origin; only the name gives it away.
    """
    given = headers.getlist("host")
    match = _HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
    if match is None or (match["name"] not in OWN_HOSTS and match["name"] not in allowed):
        shown = ", ".join(given)[:100] or "none"
        detail = (
            f"The Host header ({shown}) is not a name of this service. Use localhost, or add the "
            "name to http.allowed_hosts in the configuration."
        )
        raise HttpProblem(421, HttpReason.FOREIGN_HOST, detail)


def not_embedded(headers: Headers) -> None:
    """Refuse to be loaded by a page of another site, except when someone follows a link.

    The page could read nothing, but it could use up the streams and long polls.
    """
    foreign = any(site not in {"same-origin", "none"} for site in _sites(headers))
    if foreign and headers.get("sec-fetch-mode") != "navigate":
        detail = "A page of another site requested this. Open the address directly."
        raise HttpProblem(403, HttpReason.CROSS_SITE, detail)


def same_origin(headers: Headers) -> None:
    """Refuse a change that a page of another origin requests.

    A browser always sends Sec-Fetch-Site or Origin with a POST; programs send neither.
    """
    if any(site not in {"same-origin", "none"} for site in _sites(headers)):
        detail = "A page of another site requested a change. Use the service's own page."
        raise HttpProblem(403, HttpReason.CROSS_SITE, detail)
    host = headers.get("host", "").lower()
    for origin in headers.getlist("origin"):
        if origin.lower() not in {f"http://{host}", f"https://{host}"}:
            detail = (
                f"The request comes from {origin[:100]!r}, which is not {host}. Use the service's "
                "own page. If there is a proxy, it must pass the Host header on."
            )
            raise HttpProblem(403, HttpReason.FOREIGN_ORIGIN, detail)


def _sites(headers: Headers) -> list[str]:
    return [site.lower() for site in headers.getlist("sec-fetch-site")]
