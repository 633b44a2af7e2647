"""Duplicates in meaning, against all cosines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from karat.curation.embedding import embed
from karat.curation.near_vectors import Lists
from karat.curation.semantic import SemanticDuplicates, thresholds

TEXTS = [
    "How do I bake sourdough bread at home?",
    "At home, how do I bake bread with sourdough?",
    "Write a short poem about the sea in winter",
    "What is the capital of Norway?",
    "Norway's capital is what?",
    "",
    "???",
]


def repeats_of(texts: list[str], threshold: float, rank: list[float] | None = None) -> list[int]:
    near = SemanticDuplicates(threshold)
    for start in range(0, len(texts), 3):
        near.add(pa.array(texts[start : start + 3]))
    return near.resolve(None if rank is None else np.array(rank)).repeats.tolist()


def test_other_words_for_the_same() -> None:
    vectors = embed(TEXTS)
    threshold = min(float(vectors[0] @ vectors[1]), float(vectors[3] @ vectors[4])) - 0.01
    assert threshold > 0.6
    assert repeats_of(TEXTS, threshold) == [-1, 0, -1, -1, 3, -1, -1]
    assert repeats_of(TEXTS, threshold, [1.0, 0, 0, 1, 0, 0, 0]) == [1, -1, -1, 4, -1, -1, -1]
    assert repeats_of(TEXTS[1:], 0.999) == [-1] * 6
    assert repeats_of([], 0.9) == []


def test_texts_that_are_alike_by_chance_need_more() -> None:
    sums = [f"Tom has {i} red apples and buys {j} more apples" for i in range(20) for j in range(9)]
    vectors = embed(sums)
    lists = Lists(vectors, 1)
    assert thresholds(vectors, lists, 0.8)[0] > 0.9
    assert thresholds(embed(TEXTS), Lists(embed(TEXTS), 1), 0.8).tolist() == [0.8]
