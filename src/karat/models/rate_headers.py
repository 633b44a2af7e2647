"""What a reply's headers say of the limits: what is left, when more comes, how long to wait.

No two services agree on names and units, and every reply passes here, so one look at the names
decides whether there is anything to read. What cannot be read is not said: a service's slip in a
header must not cost an answer that was paid for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

MAX_PAUSE_S = 120.0
RELATIVE_S = 1e7  # a number above is a moment in Unix seconds
UNIX_S = 1e11  # a number above is one in milliseconds
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|us|µs|ns|[dhms])", re.ASCII)
_UNIT_S = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_RETRY_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9}(?:\.\d{1,9})?)s"')
_DRAFT_ITEM = re.compile(r"\b([rt])=(\d{1,15})\b", re.ASCII)

REQUESTS = (
    # (remaining, reset): OpenAI, Groq, Together, Fireworks, NVIDIA, Mistral; Anthropic; the rest.
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-req-minute", "x-ratelimit-reset-req-minute"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
)
TOKENS = (
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"),
    ("x-tokenlimit-remaining", "x-tokenlimit-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)
# One of these is in every reply that says anything; a reply without them is left at once.
_SIGNS = frozenset(remaining for remaining, _ in (*REQUESTS, *TOKENS)) | {"ratelimit"}


class RateLimits(msgspec.Struct, frozen=True):
    """What is left of the limits, and in how many seconds they are reset. None: not said."""

    remaining_requests: float | None = None
    requests_reset_s: float | None = None
    remaining_tokens: float | None = None
    tokens_reset_s: float | None = None


def read_limits(headers: Mapping[str, str], now: float) -> RateLimits | None:
    """What `headers` (names in lower case) say; None when nothing. `now` is Unix time."""
    if _SIGNS.isdisjoint(headers):
        return None
    requests = _tightest([*_pairs(headers, REQUESTS, now), *_drafts(headers)])
    tokens = _tightest(_pairs(headers, TOKENS, now))
    said = RateLimits(*requests, *tokens)
    return None if said == RateLimits() else said


def retry_after(headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """Seconds a refused call must wait, at most MAX_PAUSE_S; None when the service does not say."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        seconds = _number(headers.get(name))
        if seconds is not None:
            return _bounded(seconds * scale)
    at = _moment(headers.get("retry-after"))
    if at is not None:
        return _bounded(at - now)
    found = _RETRY_DELAY.search(body) if b"retryDelay" in body else None
    if found is not None:
        return _bounded(float(found[1]))
    said = read_limits(headers, now)
    if said is None:
        return None
    waits = [
        reset
        for left, reset in (
            (said.remaining_requests, said.requests_reset_s),
            (said.remaining_tokens, said.tokens_reset_s),
        )
        if left == 0 and reset is not None
    ]
    return _bounded(max(waits)) if waits else None


Pair = tuple[float | None, float | None]


def _pairs(
    headers: Mapping[str, str], names: tuple[tuple[str, str], ...], now: float
) -> Iterator[Pair]:
    for remaining, reset in names:
        left = _number(headers.get(remaining))
        if left is not None:
            yield max(left, 0.0), _until(headers.get(reset), now)


def _drafts(headers: Mapping[str, str]) -> Iterator[Pair]:
    """Source: draft-ietf-httpapi-ratelimit-headers-10, `RateLimit: "default";r=50;t=30`."""
    for policy in headers.get("ratelimit", "").split(","):
        items = dict(_DRAFT_ITEM.findall(policy))
        if "r" in items:
            yield float(items["r"]), float(items["t"]) if "t" in items else None


def _tightest(pairs: Iterator[Pair] | list[Pair]) -> Pair:
    """The pair that allows the fewest in a second; an empty one that says for how long first."""

    def rate(pair: Pair) -> tuple[float, float]:
        left, reset = pair[0] or 0.0, pair[1]
        if left == 0:
            return (0.0, -reset) if reset is not None else (math.inf, 0.0)
        return left / max(reset, 1e-3) if reset is not None else math.inf, left

    return min(pairs, key=rate, default=(None, None))


def _until(text: str | None, now: float) -> float | None:
    """Seconds from now of a reset: a number of them, a duration, or a moment."""
    if text is None:
        return None
    number = _number(text)
    if number is None:
        lasting = _duration(text)
        if lasting is not None:
            return lasting
        at = _moment(text)
        return None if at is None else max(at - now, 0.0)
    if number > UNIX_S:
        number = number / 1000 - now
    elif number > RELATIVE_S:
        number -= now
    return max(number, 0.0)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _duration(text: str) -> float | None:
    """Seconds of `6m0s`, `1.2s`, `20ms`, `1d2h`."""
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        return None
    total = math.fsum(float(number) * _UNIT_S.get(unit, 0.0) for number, unit in parts)
    return total if math.isfinite(total) else None


def _moment(text: str | None) -> float | None:
    """Unix time of an RFC 3339 or an HTTP date."""
    if not text or not text[:1].isascii():
        return None
    try:
        at = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
        return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_PAUSE_S)
