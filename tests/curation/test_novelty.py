"""The pool finds what a comparison with every text finds, and says what it is close to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.novelty import LEAST_JACCARD, Pool, prepare

WORDS = ["tide", "moon", "sea", "why", "does", "the", "rise", "fall", "night", "harbour", "old"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


def jaccard(a, b):
    one, two = set(a.shingles.tolist()), set(b.shingles.tolist())
    return len(one & two) / len(one | two) if one | two else 0.0


@given(st.lists(TEXTS, max_size=12), TEXTS, st.sampled_from([LEAST_JACCARD, 0.5, 0.6, 0.8, 1.0]))
def test_words_are_found_as_by_comparing_all(texts, new, threshold):
    pool = Pool(texts)
    (asked,) = prepare([new])
    best = max((jaccard(held, asked) for held in prepare(texts)), default=0.0)
    found = pool.near(asked, threshold, 2.0)
    if asked.normal in {one.normal for one in prepare(texts)}:
        assert found is not None
        assert found.similarity == 1.0
    elif best >= threshold and best > 0:
        assert found is not None
        assert (found.by, found.similarity) == ("words", pytest.approx(best))
        (other,) = prepare([found.text])
        assert jaccard(other, asked) == pytest.approx(best)
    else:
        assert found is None


@given(st.lists(TEXTS, min_size=1, max_size=80))
def test_meaning_is_the_nearest_embedding(texts):
    held, (asked,) = prepare(texts[:-1]), prepare(texts[-1:])
    pool = Pool(texts[:-1])
    best = max((float(one.vector @ asked.vector) for one in held), default=-1.0)
    found = pool.near(asked, 1.0, 0.5)
    if found is not None and found.by == "meaning":
        assert found.similarity == pytest.approx(best, abs=1e-5)
    if found is None:
        assert best < 0.5 + 1e-5


def test_the_same_request_in_other_words_is_close_in_meaning():
    pool = Pool(["Explain to a child how vaccines work.", "Name three rivers of Africa."])
    (asked,) = prepare(["How do vaccines work? Explain it to a child."])
    found = pool.near(asked, 0.6, 0.9)
    assert (found.text, found.by) == (pool.texts[0], "meaning")
    (asked,) = prepare(["How is bread baked?"])
    assert pool.near(asked, 0.6, 0.9) is None


def test_texts_without_words_are_equal_only_to_themselves():
    pool = Pool(["???", ""])
    assert pool.near(*prepare(["???"]), 0.3, 0.3).similarity == 1.0
    assert pool.near(*prepare(["!!"]), 0.3, 0.3) is None


def test_taking_texts_in_at_once_or_one_by_one_is_the_same():
    texts = [f"What is {word} number {i}?" for i, word in enumerate(WORDS * 30)]
    once, one_by_one = Pool(texts), Pool()
    for text in prepare(texts):
        one_by_one.add(text)
    assert once.texts == one_by_one.texts == texts
    assert len(once) == 330
    np.testing.assert_array_equal(once._vectors_ND[:330], one_by_one._vectors_ND[:330])
