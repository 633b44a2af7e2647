"""Who may enter, where the server was started with a token: programs by the token itself, people by
a session.

A browser shows the token once, at `/login`, and gets a cookie that is made from a secret of this
process: who reads the cookie does not know the token. A logout ends its session, a restart all of
them. Guesses are slowed down. What is secret is compared by digest, in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterable

LEAST_TOKEN = 32  # bytes
SESSION_S = 12 * 3600.0
GUESSES = 5  # wrong tokens a sender may show, before answers become slow …
GUESSES_BY_ALL = 50  # … or all senders together, who may be one …
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
        self._guessed: list[float] = []  # by all together
        self._ended: dict[str, float] = {}  # sessions that were ended, until they would have been

    def admits(self, headers: list[Header]) -> bool:
        """Whether a request brings the token or an open session."""
        secret = shown(headers)
        if secret is not None:
            return same(secret, self._token)
        return any(self._is_open(value) for value in cookies(headers, self.cookie))

    def slow(self, sender: str) -> bool:
        """Whether the next answer to a sender must be slow: it, or all together, guess a lot.

        Slow, and not none: a token of 32 bytes is not found by guessing, and a door that somebody's
        guesses shut to its owner would be theirs to shut for good.
        """
        now = time.monotonic()
        of_all = sum(now - at < WINDOW_S for at in self._guessed)
        return of_all >= GUESSES_BY_ALL or len(self._recent(sender, now)) >= GUESSES

    def _recent(self, sender: str, now: float) -> list[float]:
        return [at for at in self._guesses.get(sender, []) if now - at < WINDOW_S]

    def session(self, token: str, sender: str) -> str | None:
        """The value of a session's cookie for the right token, None for a wrong one."""
        now = time.monotonic()
        if same(token, self._token):
            self._guesses.pop(sender, None)
            named = f"{now + SESSION_S:.0f}.{secrets.token_hex(8)}"
            return f"{named}.{self._sign(named)}"
        recent = [*self._recent(sender, now), now][-GUESSES:]
        self._guesses.pop(sender, None)  # those who guessed last are remembered longest
        self._guesses[sender] = recent
        self._guessed = [*self._guessed, now][-GUESSES_BY_ALL:]
        while len(self._guesses) > MOST_SENDERS:
            self._guesses.pop(next(iter(self._guesses)))
        return None

    def end(self, headers: Iterable[Header]) -> None:
        """Ends the sessions a request brings: their cookies open nothing any more."""
        now = time.monotonic()
        self._ended = {value: end for value, end in self._ended.items() if now < end}
        for value in cookies(headers, self.cookie):
            if self._is_open(value):
                self._ended[value] = float(value.partition(".")[0])

    def _is_open(self, value: str) -> bool:
        named, _, signed = value.rpartition(".")
        if not hmac.compare_digest(self._sign(named).encode(), signed.encode("latin-1", "replace")):
            return False
        return value not in self._ended and time.monotonic() < float(named.partition(".")[0])

    def _sign(self, end: str) -> str:
        return hmac.new(self._secret, end.encode("latin-1", "replace"), hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
