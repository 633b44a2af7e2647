"""Who may enter, where the server was started with a token: programs by the token itself, people by
a session.

A browser shows the token once, at `/login`, and gets a cookie that is made from a secret of this
process: who reads the cookie does not know the token, and a restart ends every session. Guesses are
slowed down by sender. What is secret is compared by digest, in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Iterable

LEAST_TOKEN = 32  # bytes
SESSION_S = 12 * 3600.0
GUESSES = 5  # wrong tokens a sender may show …
WINDOW_S = 60.0  # … in this time
MOST_SENDERS = 1000  # remembered

Header = tuple[bytes, bytes]


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(_digest(one), _digest(other))


def shown(headers: Iterable[Header]) -> str | None:
    """The secret a program sends: `Authorization: Bearer …` or `x-api-key: …`; None for none."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].decode("latin-1").strip()
    return None


def cookies(headers: Iterable[Header], name: str) -> list[str]:
    """The values of the cookies of one name: a browser may send several."""
    pairs = [
        pair.strip().partition("=")
        for key, value in headers
        if key == b"cookie"
        for pair in value.decode("latin-1").split(";")
    ]
    return [value for found, _, value in pairs if found == name]


class Entry:
    """The door of one server. Times are seconds of the monotonic clock."""

    def __init__(self, token: str, port: int) -> None:
        self._token = token
        self._secret = os.urandom(32)
        # Browsers keep cookies by host and not by port: two servers need two names.
        self.cookie = f"karat-{port}"
        self._guesses: dict[str, list[float]] = {}

    def admits(self, headers: list[Header]) -> bool:
        """Whether a request brings the token or an open session."""
        secret = shown(headers)
        if secret is not None:
            return same(secret, self._token)
        return any(self._is_open(value) for value in cookies(headers, self.cookie))

    def wait_s(self, sender: str) -> float:
        """For how long a sender must wait before another guess; 0 where it need not."""
        now = time.monotonic()
        recent = [at for at in self._guesses.get(sender, []) if now - at < WINDOW_S]
        return max(0.0, recent[0] + WINDOW_S - now) if len(recent) >= GUESSES else 0.0

    def session(self, token: str, sender: str) -> str | None:
        """The value of a session's cookie for the right token, None for a wrong one."""
        if same(token, self._token):
            self._guesses.pop(sender, None)
            end = f"{time.monotonic() + SESSION_S:.0f}"
            return f"{end}.{self._sign(end)}"
        now = time.monotonic()
        recent = [at for at in self._guesses.pop(sender, []) if now - at < WINDOW_S]
        self._guesses[sender] = [*recent, now][-GUESSES:]
        while len(self._guesses) > MOST_SENDERS:
            self._guesses.pop(next(iter(self._guesses)))
        return None

    def _is_open(self, value: str) -> bool:
        end, _, signed = value.partition(".")
        if not hmac.compare_digest(self._sign(end).encode(), signed.encode("latin-1", "replace")):
            return False
        return time.monotonic() < float(end)

    def _sign(self, end: str) -> str:
        return hmac.new(self._secret, end.encode("latin-1", "replace"), hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
