"""Headers as services write them: what is left, when more comes, how long to wait."""

from __future__ import annotations

import math
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.models.rate_headers import MAX_PAUSE_S, RateLimits, read_limits, retry_after

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {  # OpenAI, Groq
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1m6.5s",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "20ms",
            },
            RateLimits(59, 66.5, 149984, 0.02),
        ),
        (
            {  # Anthropic: the tightest of three counts of tokens
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-09-21T14:13:50Z",
                "anthropic-ratelimit-tokens-remaining": "90000",
                "anthropic-ratelimit-tokens-reset": "2026-09-21T14:14:20Z",
                "anthropic-ratelimit-input-tokens-remaining": "80000",
                "anthropic-ratelimit-input-tokens-reset": "2026-09-21T14:14:20Z",
                "anthropic-ratelimit-output-tokens-remaining": "700",
                "anthropic-ratelimit-output-tokens-reset": "2026-09-21T14:13:30Z",
            },
            RateLimits(49, 30, 700, 10),
        ),
        (  # OpenRouter: a moment in milliseconds
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int((NOW + 7) * 1000))},
            RateLimits(0, 7),
        ),
        (
            {"x-ratelimit-remaining": "3", "x-ratelimit-reset": str(int(NOW + 9))},
            RateLimits(3, 9),
        ),
        ({"ratelimit-remaining": "12", "ratelimit-reset": "50"}, RateLimits(12, 50)),
        ({"ratelimit": '"default";r=50;t=30'}, RateLimits(50, 30)),
        ({"ratelimit": '"minute";r=40;t=30, "day";r=0;t=9000'}, RateLimits(0, 9000)),
        ({"x-ratelimit-remaining-requests": "5"}, RateLimits(5)),  # Fireworks: no reset
        (
            {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "soon"},
            RateLimits(5),
        ),
        ({"x-ratelimit-remaining-requests": "none"}, None),
        ({"content-type": "application/json", "retry-after": "3"}, None),
        ({}, None),
    ],
)
def test_what_is_left_is_read_in_every_service_s_words(headers, expected):
    assert read_limits(headers, NOW) == expected


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"retry-after": "3"}, b"", 3),
        ({"retry-after": "0.25"}, b"", 0.25),
        ({"retry-after": "-3"}, b"", 0),
        ({"retry-after": "86400"}, b"", MAX_PAUSE_S),
        ({"retry-after": formatdate(NOW + 12, usegmt=True)}, b"", 12),
        ({"retry-after": formatdate(NOW - 12, usegmt=True)}, b"", 0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, b"", 1.5),
        ({"retry-after": "nan"}, b"", None),
        ({}, b'{"error": {"details": [{"@type": "x.RetryInfo", "retryDelay": "34s"}]}}', 34),
        ({}, b'{"retryDelay" : "0.847655s"}', 0.847655),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "20"}, b"", 20),
        ({"x-ratelimit-remaining": "4", "x-ratelimit-reset": "20"}, b"", None),
        (
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"},
            b"",
            MAX_PAUSE_S,
        ),
        ({}, b"slow down", None),
    ],
)
def test_how_long_to_wait_is_read_and_bounded(headers, body, expected):
    waits = retry_after(headers, body, NOW)
    assert waits == (expected if expected is None else pytest.approx(expected))


NAMES = [
    "retry-after", "retry-after-ms", "ratelimit", "ratelimit-remaining", "ratelimit-reset",
    "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset",
]  # fmt: skip
PIECES = st.sampled_from([
    "1e999", "inf", "-1", "nan", "6m0s", "1d", "9" * 400, "9" * 30 + "h", ";r=1", "t=9", "٣", "1_0",
    "2026-13-45T99:99:99Z", "2026-09-21T14:13:50+99:99", "0001-01-01T00:00:00+23:59", "",
    "Mon, 99 Foo 2026 00:00:00 GMT",
])  # fmt: skip
VALUES = st.text(max_size=40) | PIECES | st.builds("".join, st.lists(PIECES, max_size=3))


@given(st.dictionaries(st.sampled_from(NAMES), VALUES), st.binary(max_size=60), PIECES)
def test_garbage_never_raises_and_what_is_read_is_a_sane_number(headers, body, delay):
    waits = retry_after(headers, body + f'"retryDelay": "{delay}"'.encode(), NOW)
    assert waits is None or 0 <= waits <= MAX_PAUSE_S
    said = read_limits(headers, NOW) or RateLimits()
    numbers = (
        said.remaining_requests, said.requests_reset_s,
        said.remaining_tokens, said.tokens_reset_s,
    )  # fmt: skip
    assert all(n is None or (n >= 0 and math.isfinite(n)) for n in numbers)


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59_999))
def test_durations_add_up(hours, minutes, milliseconds):
    text = f"{hours}h{minutes}m{milliseconds / 1000}s"
    said = read_limits({"x-ratelimit-remaining": "1", "x-ratelimit-reset": text}, NOW)
    assert said.requests_reset_s == pytest.approx(hours * 3600 + minutes * 60 + milliseconds / 1000)


def test_a_reply_that_says_nothing_costs_next_to_nothing():
    names = "date server content-type content-length connection x-request-id vary via cf-ray"
    headers = dict.fromkeys(names.split(), "x")

    def once():
        began = time.perf_counter()
        for _ in range(2000):
            read_limits(headers, NOW)
        return (time.perf_counter() - began) / 2000

    assert min(once() for _ in range(5)) < 2e-6
