"""No input makes a parser slow: what is twice as long takes about twice as long.

A pattern that tries every end for every beginning is found by something short, again and again.
"""

from __future__ import annotations

import time

import orjson
import pytest
from fuzz_texts import examples, pumped
from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets import TARGETS

SIZE, MOST_S = 20_000, 2.5  # bytes; of CPU time for all that a target does with them
COUNT = 8
READERS = ("lists", "judge", "headers", "shown", "names", "template")

SLOW = {
    "judge": [
        b"x```\n" * 5000, b"```" + b" " * 20_000 + b"x y", b"Final Judgement:" + b"*" * 20_000,
        b"[The Begin of Individual Scores]" * 650, b"'" + b"a'" * 10_000, b"{" * 20_000,
        b"</think>" * 2500, b"\\boxed{" * 3000, b"'\\" * 10_000, b'{"a":' * 4000,
    ],
    "scores": [
        _said for unit in (b" ", b"a ", b"a-", b"a:", b"1.", b"a:1,")
        for _said in [b'{"choices":[{"message":{"content":"a' + unit * 9000 + b'"}}]}']
    ],
    "lists": [
        b"x```\n" * 4000, b"```" + b" " * 20_000, b'["a\\' * 5000, b"[[" * 10_000, b"1. " * 6000,
        b"Q: " * 6000, b"a: " * 6000, b"- " * 9000, b"**a" * 6000, b"{\"a\":\"b\"," * 2000,
    ],
    "headers": [
        b"retry-after: " + b"1" * 20_000 + b"s", b"ratelimit: " + b"r=1;" * 5000,
        b"x-ratelimit-remaining: 1\nx-ratelimit-reset: " + b"1m " * 6000 + b"x",
    ],
    "recipe": [
        b"a: " + b"[" * 5000, b"- " * 4000, b"? " * 4000, b"a: &a [" + b"*a," * 3000, b'"\\' * 4000,
        b"a0: &a0 {k: v}\n" + b"".join(
            b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 60)
        ),
    ],
    "stream": [b"data:\n" * 4000, b"data: {}\n\n" * 1600, b"\n" * 16_000, b"event:" * 2600],
}  # fmt: skip


def _took(name: str, data: bytes) -> float:
    began = time.process_time()
    TARGETS[name].run(data)
    return time.process_time() - began


@pytest.mark.parametrize(
    ("name", "data"),
    [(name, data) for name, many in SLOW.items() for data in many],
    ids=lambda value: value if isinstance(value, str) else repr(value[:12]),
)
def test_what_slow_patterns_need(name: str, data: bytes) -> None:
    assert _took(name, data) < MOST_S


@pytest.mark.parametrize("name", READERS)
@examples(COUNT)
@given(data=st.data())
def test_something_short_again_and_again(name: str, data: st.DataObject) -> None:
    assert _took(name, data.draw(pumped(name, SIZE))) < MOST_S


@examples(COUNT)
@given(data=pumped("scores", SIZE))
def test_the_text_of_a_score(data: bytes) -> None:
    said = {"choices": [{"message": {"content": data.decode("utf-8", "replace")}}]}
    assert _took("scores", orjson.dumps(said)) < MOST_S
