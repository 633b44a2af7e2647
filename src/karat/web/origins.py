"""Which requests come from this server's own pages, told by what a browser cannot be made to lie
about.

A page of another site may send requests here, and with a name of its own that points to this
machine it may even read the answers (DNS rebinding). So the name a request was sent to must be one
of ours, and what changes something, asks a model or is read by a script must come from our pages,
or from a program that is no browser.

Source: W3C, "Fetch Metadata Request Headers" and OWASP, "Cross-Site Request Forgery Prevention".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from karat.web.desk import Settings

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
WILDCARDS = ("0.0.0.0", "::", "")
HTTP_PORT = 80
SAFE = ("GET", "HEAD")
_NAME = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_OURS = (b"same-origin", b"none")  # none: typed in, or from a bookmark

Header = tuple[bytes, bytes]


class Origins:
    """The names of one server, and what follows from them for a request."""

    def __init__(self, settings: Settings) -> None:
        names = [*LOOPBACK] if settings.host in WILDCARDS else [*LOOPBACK, bracketed(settings.host)]
        self._hosts = {host for name in names for host in with_port(name.lower(), settings.port)}
        for name in settings.hosts:  # behind a proxy, which has a port of its own
            self._hosts |= {name.lower(), *with_port(name.lower(), settings.port)}

    def is_ours(self, host: bytes, server: Sequence[object] | None) -> bool:
        """Whether a Host header names this server.

        The address a connection came in on is one of its names too: an address is no name that
        somebody else could point here.
        """
        named = host.decode("latin-1").lower()
        if named in self._hosts:
            return True
        return server is not None and named in with_port(bracketed(str(server[0])), server[1])


def bracketed(address: str) -> str:
    """An address as URLs write it."""
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def with_port(name: str, port: object) -> tuple[str, ...]:
    """How a Host header may write a name; browsers leave the port of http out."""
    return (f"{name}:{port}", name) if port == HTTP_PORT else (f"{name}:{port}",)


def is_host_name(text: str) -> bool:
    """Whether this is a name for --host-name: a host, perhaps with a port."""
    name, _, port = text.lower().rpartition(":") if re.search(r":\d+$", text) else (text, "", "1")
    return bool(_NAME.fullmatch(name.lower())) and 0 < int(port) < 65536


def fault(
    method: str, headers: Iterable[Header], *, own: bool, takes_any: bool
) -> tuple[int, str] | None:
    """Why a request must not be answered, as a status and words; None where it may be.

    `own` are addresses that only our pages and programs ask; others may be linked to from
    anywhere. `takes_any`: content types are not asked for, for forms.
    """
    found = dict(headers)
    origin, site = found.get(b"origin"), found.get(b"sec-fetch-site")
    foreign = site is not None and site not in _OURS
    if origin is not None and not _is_same(origin, found.get(b"host", b"")):
        foreign = True
    if method in SAFE and not own:
        # A link from elsewhere may lead here; another site's script or picture may not.
        visit = (found.get(b"sec-fetch-mode"), found.get(b"sec-fetch-dest")) == (
            b"navigate", b"document",
        )  # fmt: skip
        return (
            (403, "another site may link here, and nothing else") if foreign and not visit else None
        )
    if foreign:
        return 403, "this was sent by another site's page; send it from here, or from a program"
    proven = origin is not None or site == b"same-origin"
    if (takes_any and proven) or not _has_body(method, found):
        return None
    if found.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        return 415, "send this as application/json"
    return None


def _is_same(origin: bytes, host: bytes) -> bool:
    scheme, _, rest = origin.partition(b"://")
    return scheme in (b"http", b"https") and rest.lower() == host.lower()


def _has_body(method: str, found: dict[bytes, bytes]) -> bool:
    declared = found.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in found
    return declared or method == "POST"
