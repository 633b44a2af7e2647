"""ROUGE-L between texts, exactly, and the first text of a pool that another one comes near.

ROUGE-L counts the longest common subsequence: words in the same order, whatever stands between
them. Self-Instruct takes a new instruction only if its ROUGE-L with every one in the pool is below
0.7, and scores the whole pool for each new text. Here an inverted index excludes nearly all of the
pool by a bound that costs no subsequence, and what is left is computed, so the answer is that of
the full comparison.

The bound: a common subsequence is no longer than the words two texts share, each as often as in
the text that has it less often. So ROUGE-L F1 ≤ ROUGE-1 F1 = 2·shared / (m + n) for texts of m and
n words, and for a text of m words to reach threshold t with any other they must share at least
o = ⌈t·m / (2 - t)⌉ words. A text that shares none of the m - o + 1 rarest words cannot: only the
lists of those are read.

Sources: ROUGE-L, Lin 2004 §3, with β = 1; the 0.7, Wang et al. 2023 (Self-Instruct, 2212.10560)
§2.2; prefix filtering, Chaudhuri, Ganti and Kaushik 2006; bit-parallel subsequences, Hyyrö 2004.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.groups import Repeats
from karat.curation.shingles import Hashes, chunks, normalise, words

THRESHOLD = 0.7  # Self-Instruct §2.2
SPARSE = 8  # entries of a pool for each one read, from which the read ones are sorted, not counted


def word_lists(texts: pa.Array) -> list[Hashes]:
    """The words of normalised texts (shingles.normalise) as 64-bit hashes, in order.

    Words are those of curation.shingles: without case, a character each where a script has no
    spaces, symbols but no sentence marks; of a very long text only the beginning.
    """
    made: list[Hashes] = []
    for chunk in chunks(texts):
        found = words(chunk)
        made += [found.hashes[a:b] for a, b in pairwise(found.offsets.tolist())]
    return made


def words_of(text: str | Hashes) -> list[int]:
    """The words of one text, or of what word_lists gave for it, as whole numbers."""
    if isinstance(text, str):
        (text,) = word_lists(normalise(pa.array([text], pa.string())))
    listed: list[int] = text.tolist()
    return listed


def rouge_l(one: str, two: str) -> float:
    """ROUGE-L F1 of two texts, 0 … 1: 2·LCS / (m + n); 0 where either has no word."""
    left, right = words_of(one), words_of(two)
    if not left or not right:
        return 0.0
    return 2 * longest_common(left, right) / (len(left) + len(right))


def longest_common(one: Sequence[int], two: Sequence[int]) -> int:
    """Length of the longest common subsequence of two lists of words."""
    return _longest_common(_positions(one), len(one), two)


def _positions(items: Sequence[int]) -> dict[int, int]:
    """For each item, a number whose bits are the positions it stands at."""
    places: dict[int, int] = {}
    for position, item in enumerate(items):
        places[item] = places.get(item, 0) | 1 << position
    return places


def _longest_common(places: dict[int, int], length: int, other: Iterable[int]) -> int:
    """The same, of a list of this length as _positions gives it: a machine word at a time."""
    full = row = (1 << length) - 1
    for item in other:
        at = places.get(item)
        if at is not None:
            both = row & at
            row = ((row + both) | (row - both)) & full
    return length - row.bit_count()


class RougePool:
    """Texts taken in one by one, and whether another one comes near any of them.

    Memory: 8 bytes a word taken in, some 200 bytes for each different word.
    Raises: ValueError for a threshold outside 0 (excluded) … 1.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
        self.threshold = threshold
        # The second "the" of a text is another term than its first: shared words are then counted
        # as common members of sets.
        self._terms: dict[int | tuple[int, int], int] = {}
        self._word = array("i")  # of a term: the term of the word's first occurrence
        self._texts: list[array[int]] = []  # of a term: the texts that hold it
        self._flat = array("i")  # every text's terms, one after another
        self._ends = array("q", [0])
        self._marked = np.zeros(1024, np.bool_)  # by term; all false between two calls

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, text: str | Hashes) -> int:
        """Takes a text in, or its words as word_lists gives them; the place it has in the pool."""
        place = len(self)
        for key in _keys(words_of(text)):
            term = self._terms.setdefault(key, len(self._texts))
            if term == len(self._texts):
                self._texts.append(array("i"))
                self._word.append(term if isinstance(key, int) else self._terms[key[0]])
            self._texts[term].append(place)
            self._flat.append(term)
        self._ends.append(len(self._flat))
        return place

    def near(self, text: str | Hashes) -> tuple[int, float] | None:
        """(place, ROUGE-L F1) of the first text of the pool that is as near as the threshold, or
        None. A text without a word is near nothing."""
        found = words_of(text)
        near = self._within_bound([self._terms.get(key, -1) for key in _keys(found)])
        places = _positions([self._terms.get(word, -1) for word in found]) if near else {}
        for place in near:
            terms = self._flat[self._ends[place] : self._ends[place + 1]]
            length = _longest_common(places, len(found), (self._word[term] for term in terms))
            score = 2 * length / (len(found) + len(terms))
            if score >= self.threshold:
                return place, score
        return None

    def _within_bound(self, known: list[int]) -> list[int]:
        """Places, rising, of the texts whose ROUGE-1 F1 reaches the threshold.

        known: the text's terms, -1 for those that the pool has not.
        """
        size = len(known)
        least = self._least_shared(size)
        held = sorted((t for t in known if t >= 0), key=lambda term: len(self._texts[term]))
        read = size - least + 1 - (size - len(held))  # a term the pool has not has an empty list
        if read <= 0:
            return []
        places, shared = self._count(held[:read])
        ends = np.frombuffer(self._ends, np.int64)
        sizes = ends[places + 1] - ends[places]
        most = np.minimum(np.minimum(shared + len(held) - read, sizes), size)
        places = places[2 * most / (size + sizes) >= self.threshold]
        if not len(places):
            return []
        starts, sizes = ends[places], ends[places + 1] - ends[places]
        heads = np.cumsum(sizes) - sizes
        within = np.arange(int(sizes.sum())) + np.repeat(starts - heads, sizes)
        shared = np.add.reduceat(self._hits(held, within), heads, dtype=np.int64)
        near: list[int] = places[2 * shared / (size + sizes) >= self.threshold].tolist()
        return near

    def _least_shared(self, size: int) -> int:
        """Words that a text of this size shares with any text it is near, as floats see it."""
        least = max(1, int(size * self.threshold / (2 - self.threshold)) - 1)
        while least <= size and 2 * least / (size + least) < self.threshold:
            least += 1
        return least

    def _count(self, terms: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(places, how many of these terms each has) of the texts that have any."""
        read = np.concatenate([np.frombuffer(self._texts[term], np.int32) for term in terms])
        if len(read) * SPARSE < len(self):
            places, counts = np.unique(read, return_counts=True)
            return places.astype(np.int64), counts
        counts = np.bincount(read, minlength=len(self))
        places = np.flatnonzero(counts)
        return places, counts[places]

    def _hits(self, terms: list[int], within: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the term at each of these positions of `_flat` is one of `terms`."""
        if len(self._marked) < len(self._texts):
            self._marked = np.zeros(2 * len(self._texts), np.bool_)
        self._marked[terms] = True
        hits: NDArray[np.bool_] = self._marked[np.frombuffer(self._flat, np.int32)[within]]
        self._marked[terms] = False
        return hits


class RougeDuplicates:
    """Collects texts batch by batch, then says which repeat which; see minhash.NearDuplicates.

    Memory: some 200 bytes and 16 bytes a word of each text. Raises: ValueError as RougePool.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._pool = RougePool(threshold)
        self._lists: list[Hashes] = []

    def add(self, texts: pa.Array) -> None:
        """Takes the next texts in. They are expected to be normalised (shingles.normalise)."""
        self._lists += word_lists(texts)

    def resolve(self, rank: NDArray[np.float64] | None = None) -> Repeats:
        """Which texts repeat which. In order of rank, a text stays unless it is near one that stays
        already; it repeats the first of those. Texts without a word repeat nothing.

        rank_N: one number for each text added; without it the first stays.
        """
        many = len(self._lists)
        found = Repeats(np.full(many, -1, np.int64), np.zeros(many))
        order = np.arange(many) if rank is None else np.argsort(rank, kind="stable")
        stays: list[int] = []
        for text in order.tolist():
            hit = self._pool.near(self._lists[text])
            if hit is None:
                self._pool.add(self._lists[text])
                stays.append(text)
            else:
                found.repeats[text], found.similarity[text] = stays[hit[0]], hit[1]
        return found


def _keys(found: list[int]) -> list[int | tuple[int, int]]:
    """Each word, and how often it came before where it did."""
    keys: list[int | tuple[int, int]] = []
    seen: dict[int, int] = {}
    for word in found:
        before = seen.get(word, 0)
        seen[word] = before + 1
        keys.append((word, before) if before else word)
    return keys
