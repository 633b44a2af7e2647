"""Overlap with evaluation items, against a plain-Python reference on made-up texts."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.overlap import (
    LEAST_INSIDE,
    MOST_PASSAGES,
    Overlap,
    Passage,
)
from karat.curation.stretches import Overlaps
from karat.curation.words import GAP, LETTER, _kinds

WORDS = ("a", "B", "b", "ｂ", "é", "é", "+", "+", "+", "漢", "字", "😀", "ß", "१", "ﬁ")
GLUE = (" ", ", ", "\n", " – ", "… ", "\u3000")


def word_list(text: str) -> list[str]:
    """The words of a text, one character at a time."""
    normal = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    kinds = [LETTER if ord(c) > 0xFFFF and c != "😀" else _kinds()[min(ord(c), 0xFFFF)]
             if c != "😀" else 2 for c in normal]  # fmt: skip
    found: list[str] = []
    joined = False
    for char, kind in zip(normal, kinds, strict=True):
        if kind == LETTER and joined:
            found[-1] += char
        elif kind != GAP:
            found.append(char)
        joined = kind == LETTER
    return found


def places(inside: list[str], words: list[str]) -> list[int]:
    """Where a list of words stands in another."""
    many = len(words)
    return [i for i in range(len(inside) - many + 1) if inside[i : i + many] == words]


def expected(
    passages: list[Passage], texts: list[str], n: int
) -> dict[tuple[int, int], tuple[int, float]]:
    """(text, passage) → (runs, covered), by definition."""
    shared: dict[tuple[int, tuple[str, ...]], set[tuple[str, ...]]] = {}
    listed = [word_list(one.text) for one in passages]
    for one, words in zip(passages, listed, strict=True):
        for run in runs_of(one, words, n):
            shared.setdefault((one.group, run), set()).add(tuple(words))
    found = {}
    for t, text in enumerate(texts):
        inside = word_list(text)
        for p, (one, words) in enumerate(zip(passages, listed, strict=True)):
            hit, covered = 0, set()
            for at, run in enumerate(runs_of(one, words, n)):
                if not run:
                    continue
                template = any(
                    len(having) > MOST_PASSAGES
                    for (_, other), having in shared.items()
                    if other == run
                )
                tiny = len(words) < min(n, LEAST_INSIDE)
                there = inside == words if tiny else bool(places(inside, list(run)))
                if there and not template:
                    hit += 1
                    covered |= set(range(at, at + len(run)))
            if hit:
                found[t, p] = (hit, len(covered) / len(words))
    return found


def runs_of(one: Passage, words: list[str], n: int) -> list[tuple[str, ...]]:
    """What a passage is found by, each different run once and at its first place."""
    if len(words) < n:
        return [tuple(words)] if words and one.question else []
    every = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    told = [run for run in every if 2 * sum(word[0] != "+" for word in run) >= n]
    return every if one.question and not told else [run if run in told else () for run in every]


def search(passages: list[Passage], texts: list[str], n: int, common: float = 1.0) -> Overlaps:
    index = Overlap(passages, n)
    half = len(texts) // 2
    parts = [index.find(pa.array(texts[:half], pa.string())),
             index.find(pa.array(texts[half:], pa.string()), half)]  # fmt: skip
    return index.overlaps(parts, len(texts), common)


def sentences(least: int, most: int) -> st.SearchStrategy[str]:
    pairs = st.tuples(st.sampled_from(WORDS), st.sampled_from(GLUE))
    return st.lists(pairs, min_size=least, max_size=most).map(
        lambda found: "".join(word + glue for word, glue in found)
    )


@given(
    st.lists(st.tuples(sentences(0, 14), st.booleans(), st.integers(0, 1)), max_size=5),
    st.lists(sentences(0, 20), max_size=5),
    st.sampled_from([2, 3, 5, 9, 13]),
    st.data(),
)
def test_as_by_definition(drawn, texts, n, data) -> None:
    passages = [Passage(text, i, group, asks) for i, (text, asks, group) in enumerate(drawn)]
    for one in passages:  # else a long item would hardly ever be found
        before, after = data.draw(sentences(0, 3)), data.draw(sentences(0, 3))
        texts.append(before + one.text + " " + after)
        texts.append(one.text.upper())
    found = search(passages, texts, n)
    got = {
        (t, p): (runs, covered)
        for t, p, runs, covered in zip(
            found.text.tolist(), found.passage.tolist(), found.runs.tolist(),
            found.covered.tolist(), strict=True,
        )
    }  # fmt: skip
    want = expected(passages, texts, n)
    assert got.keys() == want.keys()
    for pair, (runs, covered) in want.items():
        assert got[pair] == (runs, pytest.approx(covered))
    for t, p, first, words, at in zip(found.text, found.passage, found.first, found.words,
                                      found.at, strict=True):  # fmt: skip
        stretch = word_list(passages[p].text)[first : first + words]
        assert len(stretch) == words
        if at >= 0:
            inside = word_list(texts[t])[at : at + words]
            assert inside == stretch
