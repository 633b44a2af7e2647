"""Runs of words: equal hashes for equal words wherever they stand, and the words themselves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.normal import CHUNK_BYTES
from karat.curation.wordruns import Runs, joined, same_words, word_runs

TEXTS = st.lists(st.text("aAbＢé漢+,. \n", max_size=20) | st.none(), max_size=6)


def listed(found: Runs) -> list[str]:
    """Every word."""
    return [found.text(i, 1) for i in range(len(found.starts))]


def split(text: str | None) -> list[str]:
    """The words of a text over the letters above."""
    plain = (text or "").lower().replace("ｂ", "b")
    for alone in "漢+":
        plain = plain.replace(alone, f" {alone} ")
    return plain.replace(",", " ").replace(".", " ").split()


def chunked(texts: list[str | None]) -> Runs:
    """All texts in one chunk."""
    [found] = word_runs(pa.array([*texts, ""], pa.string()))
    return found


@given(TEXTS)
def test_words_and_where_texts_begin(texts: list[str | None]) -> None:
    found = chunked(texts)
    words = [split(text) for text in texts]
    assert listed(found) == [word for one in words for word in one]
    assert np.diff(found.offsets).tolist() == [*map(len, words), 0]


@given(TEXTS, TEXTS, st.integers(1, 4))
def test_equal_hashes_for_equal_runs_and_no_others(
    one: list[str | None], two: list[str | None], n: int
) -> None:
    seen: dict[int, tuple[str, ...]] = {}
    for found in (chunked(one), chunked(two)):
        words = listed(found)
        hashes = found.runs(n).tolist()
        assert len(hashes) == max(0, len(words) - n + 1)
        for at, value in enumerate(hashes):
            run = tuple(words[at : at + n])
            assert seen.setdefault(value, run) == run
    assert len(set(seen.values())) == len(seen)


@given(TEXTS)
def test_the_hash_of_a_whole_text_is_that_of_its_run(texts: list[str | None]) -> None:
    found = chunked(texts)
    for text, value in enumerate(found.whole().tolist()):
        first, end = found.offsets[text : text + 2].tolist()
        assert value == (found.runs(end - first)[first] if end > first else 0)


@given(TEXTS, TEXTS, st.randoms(use_true_random=False))
def test_words_are_compared_by_their_bytes(one, two, random) -> None:
    left, right = chunked(one), chunked(two)
    if not len(left.starts) or not len(right.starts):
        return
    first = np.array([random.randrange(len(left.starts)) for _ in range(20)])
    second = np.array([random.randrange(len(right.starts)) for _ in range(20)])
    words, others = listed(left), listed(right)
    want = [words[i] == others[j] for i, j in zip(first, second, strict=True)]
    assert same_words(left, first, right, second).tolist() == want


def test_chunks_join_and_long_texts_are_whole() -> None:
    long = "word " * (CHUNK_BYTES // 2) + "end"
    texts = ["Hello, world", long, "", "Good BYE now"]
    chunks = list(word_runs(pa.array(texts)))
    assert len(chunks) >= 3
    found = joined(chunks)
    assert np.diff(found.offsets).tolist() == [2, CHUNK_BYTES // 2 + 1, 0, 3]
    assert found.text(0, 2) == "hello, world"
    assert found.text(int(found.offsets[2]) - 1, 1) == "end"
    assert found.text(int(found.offsets[3]), 3) == "good bye now"
    assert joined([]).offsets.tolist() == [0]
    assert found.lettered().all()
