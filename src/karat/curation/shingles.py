"""Texts as sets of shingles, by vector arithmetic only.

Shingles are the words and the pairs of neighbouring words, first and last word paired with the
text's edge. Single words alone would take "from English to French" for "from French to English";
pairs alone punish each edited word twice; longer shingles miss nearly every edit in short texts
(benchmarks/dedupe.py). One rule for texts of every length, because a similarity is between two
texts. Of a script without spaces the pairs and triples of characters are taken, single ones say too
little.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from karat.curation.normal import Hashes, Ints, chunks, digests, normalise
from karat.curation.words import UNSPACED_RANGES, Words, mix, words

__all__ = [
    "LEFT",
    "RIGHT",
    "UNSPACED_RANGES",
    "Hashes",
    "Ints",
    "Words",
    "chunks",
    "digests",
    "mix",
    "normalise",
    "shingles",
    "words",
]

EDGE = np.uint64(0x9E3779B97F4A7C15)
LEFT = np.uint64(0xD6E8FEB86659FD93)
RIGHT = np.uint64(0xCA5A826395121157)
HALF = np.uint64(32)


def shingles(found: Words) -> tuple[NDArray[np.uint32], Ints]:
    """(hashes, offsets): each text's set of shingles as sorted, distinct 32-bit hashes."""
    size = np.diff(found.offsets)
    # One line a word and one more a text, for its end: it holds the edge that the last word and the
    # first one of the next text are paired with. What a line has none of repeats its pair.
    ends = np.cumsum(size + (size > 0))
    line_W = np.arange(len(found.hashes)) + np.repeat(np.cumsum(size > 0) - (size > 0), size)
    word_L = np.full(int(ends[-1]) if len(ends) else 0, EDGE)
    word_L[line_W] = found.hashes
    pair_L = word_L * RIGHT
    # Words are scattered already: of a sum of their multiples the upper half is as good as mixed.
    pair_L[1:] += word_L[:-1] * LEFT
    pair_L[:1] += np.full(len(pair_L[:1]), EDGE) * LEFT
    single_L = pair_L.copy()
    columns = [single_L, pair_L]
    if found.unspaced.any():
        single_L[line_W[~found.unspaced]] = found.hashes[~found.unspaced]
        columns.append(_triples(found, line_W, word_L, pair_L))
    else:
        single_L[line_W] = found.hashes
    flat = np.empty((len(pair_L), len(columns)), np.uint32)
    for number, column in enumerate(columns):
        flat[:, number] = column >> HALF
    return _sets(flat.ravel(), np.append(0, ends) * len(columns))


def _triples(found: Words, line: Ints, word: Hashes, pair: Hashes) -> Hashes:
    """The triple of characters that ends in each line, its pair where there is none."""
    triple_L, alone = pair.copy(), found.unspaced
    same = np.diff(line) == 1
    at = line[2:][same[1:] & same[:-1] & alone[2:] & alone[1:-1] & alone[:-2]]
    triple_L[at] = mix(pair[at - 1] * LEFT ^ word[at] * RIGHT)
    return triple_L


def _sets(flat: NDArray[np.uint32], offsets: Ints) -> tuple[NDArray[np.uint32], Ints]:
    """Each text's values sorted, each once. Short sorts, one a text, cost a fifth of a long one."""
    for start, end in pairwise(offsets.tolist()):
        flat[start:end].sort()
    again = np.zeros(len(flat), np.bool_)
    again[1:] = flat[1:] == flat[:-1]
    again[offsets[:-1][np.diff(offsets) > 0]] = False
    return flat[~again], offsets - np.searchsorted(np.flatnonzero(again), offsets)
