"""Self-BLEU against BLEU written out text by text."""

from __future__ import annotations

import math
import time
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.repetition import self_bleu
from karat.curation.shingles import normalise, words


def measured(texts):
    return self_bleu(words(normalise(pa.array(texts, pa.string()))))


def grams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(tokens, references):
    """Papineni et al. 2002, with 0.1 in place of no match and only the orders that fit."""
    logs = []
    for n in range(1, min(4, len(tokens)) + 1):
        own = grams(tokens, n)
        best = Counter()
        for reference in references:
            best |= grams(reference, n)
        matches = sum((own & best).values())
        logs.append(math.log((matches or 0.1) / own.total()))
    closest = min((abs(len(r) - len(tokens)), len(r)) for r in references)[1]
    short = min(0.0, 1 - closest / len(tokens))
    return math.exp(short + sum(logs) / len(logs))


def by_hand(texts):
    split = [text.split() for text in texts if text.split()]
    if len(split) < 2:
        return 0.0
    scores = [bleu(one, split[:i] + split[i + 1 :]) for i, one in enumerate(split)]
    return sum(scores) / len(scores)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=7))
def test_it_equals_its_definition(texts):
    assert measured(texts) == pytest.approx(by_hand(texts), rel=1e-9)


@pytest.mark.parametrize(
    ("texts", "want"),
    [
        ([], 0.0),
        (["only one text here"], 0.0),
        (["one two three four five"] * 3, 1.0),
        (["hi", "hi"], 1.0),
        (["", "  ", "a b"], 0.0),
    ],
)
def test_plain_cases(texts, want):
    assert measured(texts) == pytest.approx(want)


def test_the_second_best_reference_counts_for_the_text_that_has_the_most():
    # "a" occurs three times in the first text; the others offer it twice.
    assert measured(["a a a", "a a", "b"]) == pytest.approx(by_hand(["a a a", "a a", "b"]))
    assert measured(["a a a", "a a", "b"]) < measured(["a a a", "a a a", "b"])


def test_ten_thousand_texts_are_no_matter():
    texts = [f"tell me about number {i} and {i * 7 % 1000}" for i in range(10_000)]
    start = time.process_time()
    assert 0 < measured(texts) < 1
    assert time.process_time() - start < 3  # 0.3 s on an idle machine; all pairs would take hours
