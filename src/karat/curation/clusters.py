"""Groups of texts that are about the same, and words that name each group.

Groups are found by spherical k-means on embeddings: plain, fast, the same every time. They are an
aid for reading a data set, no finding of their own; with other seeds borders would lie elsewhere.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

FEWEST, MOST = 2, 24
STARTS = 4  # of which the best is kept
TURNS = 50
WORDS = 3  # in a name
MOST_WORDS = 8  # in a name that would else be another group's too
EVEN = 0.5  # of a word's greatest share of a group, from which on all groups share it
STOP_WORDS = Path(__file__).with_name("assets") / "stopwords.txt"
_WORD = re.compile(r"[^\W\d_]{3,}")


def how_many(texts: int) -> int:
    """Groups for so many texts: √(n/2), at least 2 and at most 24, never more than texts.

    Source: the rule of thumb of Mardia, Kent and Bibby 1979, Multivariate Analysis.
    """
    return min(texts, max(FEWEST, min(MOST, round(math.sqrt(texts / 2)))))


def group(vectors: Floats, many: int) -> Ints:
    """label_N of vectors_ND of length 1: 0 for the largest group, then by size.

    Equal vectors are in one group, so that there can be fewer groups than asked for.

    Source: spherical k-means: Dhillon and Modha 2001; its start: Arthur and Vassilvitskii 2007.
    """
    if not len(vectors):
        return np.zeros(0, np.int64)
    best, best_fit = np.zeros(len(vectors), np.int64), -np.inf
    for start in range(STARTS):
        label, fit = _settled(vectors, _seeds(vectors, many, np.random.default_rng(start)))
        if fit > best_fit + 1e-6:
            best, best_fit = label, fit
    _, label, size = np.unique(best, return_inverse=True, return_counts=True)
    first = np.full(len(size), len(label))
    np.minimum.at(first, label, np.arange(len(label)))
    rank = np.empty(len(size), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return rank[label]


def _seeds(vectors: Floats, many: int, rng: np.random.Generator) -> Floats:
    """Far from one another: each is drawn by its squared distance from those before."""
    chosen = [int(rng.integers(len(vectors)))]
    apart_N = np.maximum(0, 1 - vectors @ vectors[chosen[0]]).astype(np.float64)
    while len(chosen) < many and apart_N.max() > 1e-6:
        along = np.cumsum(apart_N)
        chosen.append(int(np.searchsorted(along, rng.random() * along[-1], "right")))
        apart_N = np.minimum(apart_N, np.maximum(0, 1 - vectors @ vectors[chosen[-1]]))
        apart_N[chosen] = 0
    return vectors[chosen]


def _settled(vectors: Floats, centres: Floats) -> tuple[Ints, float]:
    """Labels when no vector moves any more, and the mean cosine with the own centre."""
    label = np.full(len(vectors), -1)
    fit = 0.0
    for _ in range(TURNS):
        similarity_NK = vectors @ centres.T
        nearest = similarity_NK.argmax(axis=1)
        fit = float(similarity_NK.max(axis=1).mean())
        if np.array_equal(nearest, label):
            break
        label = nearest
        member_KN = (label == np.arange(len(centres))[:, None]).astype(np.float32)
        sums_KD = member_KN @ vectors
        norm = np.linalg.norm(sums_KD, axis=1, keepdims=True)
        # One that lost its last member stays where it was.
        centres = np.where(norm > 1e-9, sums_KD / np.where(norm > 1e-9, norm, 1), centres)
    return label, fit


def names(texts: Sequence[str], label: Ints) -> list[str]:
    """A name for each group, no two alike: the words that more of its texts have than others' do.

    Source: class-based TF-IDF: Grootendorst 2022 (BERTopic, 2203.05794) §3.3, with the number of
    texts that hold a word in place of the number of its occurrences.
    """
    groups = int(label.max(initial=-1)) + 1
    held = [Counter[str]() for _ in range(groups)]
    for text, one in zip(texts, label.tolist(), strict=True):
        if one >= 0:
            held[one].update(set(_WORD.findall(text.lower())) - _stop_words())
    size = np.bincount(label[label >= 0], minlength=groups)
    shared = _shared(held, size.tolist())
    if all(counts.keys() - shared for counts in held):
        held = [Counter({w: n for w, n in one.items() if w not in shared}) for one in held]
    everywhere = Counter[str]()
    for counts in held:
        everywhere.update(counts)
    usual = everywhere.total() / max(1, groups)
    return told_apart([_ranked(counts, everywhere, usual) or ["no words"] for counts in held])


def _shared(held: Sequence[Counter[str]], size: Sequence[int]) -> set[str]:
    """Words that about as many texts of every group hold: they tell nobody from the others."""
    found: set[str] = set()
    if len(held) < 2:
        return found
    for word in set.intersection(*(set(counts) for counts in held)):
        shares = [counts[word] / many for counts, many in zip(held, size, strict=True)]
        if min(shares) >= EVEN * max(shares):
            found.add(word)
    return found


def told_apart(words: Sequence[Sequence[str]], least: int = WORDS) -> list[str]:
    """Each list's first words joined: `least` of them, or as many more as no other list begins
    with; lists that are all alike get a number."""
    most = max(map(len, words), default=0)
    beginnings = {
        count: Counter(tuple(one[:count]) for one in words) for count in range(least, most + 1)
    }
    said: list[str] = []
    for one in words:
        alone = (n for n, found in beginnings.items() if found[tuple(one[:n])] == 1)
        name = ", ".join(one[: next(alone, most)])
        number = 2
        while name in said:
            name = f"{', '.join(one)} {number}"
            number += 1
        said.append(name)
    return said


def _ranked(counts: Counter[str], everywhere: Counter[str], usual: float) -> list[str]:
    """A group's telling words, the best first, none of one stem with another."""

    def weight(word: str) -> tuple[float, str]:
        return -counts[word] * math.log1p(usual / everywhere[word]), word

    chosen: list[str] = []
    for word in sorted(counts, key=weight):
        if not any(_stem(word) == _stem(other) for other in chosen):
            chosen.append(word)
        if len(chosen) == MOST_WORDS:
            break
    return chosen


@cache
def _stop_words() -> frozenset[str]:
    """Words every English text is full of, and words requests to a model are full of."""
    return frozenset(STOP_WORDS.read_text(encoding="utf-8").split())


def _stem(word: str) -> str:
    return word.removesuffix("s").removesuffix("e")[:6]
