"""Self-BLEU: how much of each text can be put together from pieces of the others.

BLEU asks how many of a text's word n-grams occur in its references, each at most as often as in
the reference that has it most often. Here every text is scored against all others. Compared one by
one that is quadratic; but all that is needed of the others is, for each n-gram, the highest count
in any text and the second highest, for the text that holds the highest itself. So one sort does it.

Source: self-BLEU: Zhu et al. 2018 (Texygen, 1802.01886) §3.2; BLEU: Papineni et al. 2002; the small
number in place of no match: method 1 of Chen and Cherry 2014.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from karat.curation.shingles import LEFT, RIGHT, Hashes, Ints, Words, mix

LONGEST = 4  # words of an n-gram, as in BLEU-4
NO_MATCH = 0.1  # matches counted where there are none

Floats = NDArray[np.float64]


def self_bleu(found: Words) -> float:
    """The mean BLEU-4 of each text against all others, 0 … 1; lower is more varied.

    Texts without words are left out; 0 for fewer than two. It rises with the number of texts, so
    compare at equal numbers only. Of a text shorter than four words only n-grams that fit into it
    count: two equal ones score 1, as long ones do.
    """
    length = np.diff(found.offsets)
    some = np.flatnonzero(length)
    if len(some) < 2:
        return 0.0
    owner = np.repeat(np.arange(len(some)), length[some])
    size = length[some]
    logs, orders = np.zeros(len(some)), np.zeros(len(some))
    for n, (grams, holder) in enumerate(_grams(found.hashes, owner), 1):
        matches = _matches(grams, holder, len(some))
        possible = size - n + 1
        fits = possible > 0
        share = np.where(matches > 0, matches, NO_MATCH)[fits] / possible[fits]
        logs[fits] += np.log(share)
        orders += fits
    short = np.exp(np.minimum(0.0, 1 - _nearest_length(size) / size))
    return float((short * np.exp(logs / orders)).mean())


def _grams(hashes: Hashes, owner: Ints) -> Iterator[tuple[Hashes, Ints]]:
    """(hash, text) of every run of one word, of two, … of LONGEST."""
    grams = hashes
    for n in range(1, LONGEST + 1):
        if n > 1:
            grams = mix(grams[:-1] * LEFT ^ hashes[n - 1 :] * RIGHT)
        first = owner[: len(grams)]
        inside = first == owner[n - 1 :]
        yield grams[inside], first[inside]


def _matches(grams: Hashes, owner: Ints, texts: int) -> Floats:
    """How many n-grams of each text occur in another, each at most as often as it does there."""
    if not len(grams):
        return np.zeros(texts)
    _, gram = np.unique(grams, return_inverse=True)
    held, count = np.unique(gram * texts + owner, return_counts=True)
    gram, text = np.divmod(held, texts)
    order = np.lexsort((-count, gram))
    gram, text, count = gram[order], text[order], count[order]
    first = np.flatnonzero(np.append(True, gram[1:] != gram[:-1]))
    most = np.repeat(count[first], np.diff(np.append(first, len(gram))))
    alone = np.append(gram[1:] != gram[:-1], True)[first]
    second = np.where(alone, 0, count[np.minimum(first + 1, len(count) - 1)])
    most[first] = second  # to the text that holds the most, the others offer the second most
    return np.bincount(text, np.minimum(count, most), minlength=texts).astype(np.float64)


def _nearest_length(size: Ints) -> Ints:
    """The length of another text that is nearest to each one's own; of two, the shorter."""
    order = np.argsort(size, kind="stable")
    rising = size[order]
    before, after = np.roll(rising, 1), np.roll(rising, -1)
    near = np.where(rising - before <= after - rising, before, after)
    near[0], near[-1] = after[0], before[-1]
    found = np.empty_like(size)
    found[order] = near
    return found
