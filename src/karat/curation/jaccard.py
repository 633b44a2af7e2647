"""Jaccard similarities of many pairs of sets, counted exactly where a sketch leaves a doubt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karat.curation.closeness import Closeness, Floats, Ints

Flags = NDArray[np.bool_]
Shingles = NDArray[np.uint32]

DOUBT = 3.0  # standard errors by which an estimate must miss the threshold to spare the exact count
ELEMENTS = 1 << 18  # of sets or sketches compared at once


class Compared(ABC):
    """Texts' shingle sets, wherever they are kept; a class below says how they are got at.

    A set is sorted, and complete up to its `limit`. Signatures are sketches in which two texts
    agree at a share of places that is about their similarity. `closeness` says which similarity is
    enough.
    """

    def __init__(self, closeness: Closeness) -> None:
        self.closeness = closeness

    @abstractmethod
    def sizes(self, texts: Ints) -> Ints:
        """How many shingles each of the texts has."""
        ...

    @abstractmethod
    def limits(self, texts: Ints) -> Shingles: ...

    @abstractmethod
    def signatures(self, texts: Ints) -> NDArray[np.uint16]:
        """signature_TH."""
        ...

    @abstractmethod
    def values(self, texts: Ints, size: Ints) -> Shingles:
        """The texts' sets, which have these sizes, one after another."""
        ...

    def compare(
        self, left: Ints, right: Ints, seen: Ints | None = None, bands: Ints | None = None
    ) -> tuple[Flags, Floats]:
        """(near, jaccard) of pairs of texts; jaccard is 0 where a cheap bound excludes the pair.

        seen_BR: bands, groups of the signature's places; a pair that agrees at all places of any
        was compared before and is excluded too. bands_P: how many of them count for each pair, the
        first ones; without it all do.
        """
        jaccard = np.zeros(len(left))
        one, two = self.sizes(left), self.sizes(right)
        small, large = np.minimum(one, two), np.maximum(one, two)
        least = self.closeness.at(small)
        maybe = np.flatnonzero(small >= least * large)
        counted = None if bands is None else bands[maybe]
        maybe = maybe[self._plausible(left[maybe], right[maybe], least[maybe], seen, counted)]
        ends = np.cumsum(large[maybe])
        cuts = np.arange(ELEMENTS, ends[-1] if len(ends) else 0, ELEMENTS)
        for part in np.split(maybe, np.searchsorted(ends, cuts)):
            jaccard[part] = self._count(left[part], right[part])
        return jaccard >= least, jaccard

    def _plausible(
        self, left: Ints, right: Ints, least: Floats, seen: Ints | None, bands: Ints | None
    ) -> Flags:
        """Whether the share of equal places leaves a doubt.

        Source: b-bit minwise hashing, Li and König 2010 (0910.3349).
        """
        found = np.zeros(len(left), np.bool_)
        if not len(left):
            return found
        hashes = self.signatures(left[:1]).shape[1]
        enough = hashes * (least - DOUBT * np.sqrt(least * (1 - least) / hashes))
        for start in range(0, len(left), ELEMENTS // hashes):
            part = slice(start, start + ELEMENTS // hashes)
            same = self.signatures(left[part]) == self.signatures(right[part])
            found[part] = np.count_nonzero(same, axis=1) >= enough[part]
            if seen is not None and found[part].any():
                hits = np.flatnonzero(found[part])
                agree_HB = same[hits][:, seen].all(axis=2)
                if bands is not None:
                    agree_HB &= np.arange(len(seen)) < bands[start + hits, None]
                found[start + hits] = ~agree_HB.any(axis=1)
        return found

    def _count(self, left: Ints, right: Ints) -> Floats:
        """Exact similarities; of sets that were cut, over the range both hold completely."""
        limit = np.minimum(self.limits(left), self.limits(right))
        one, two = self._keys(left, limit), self._keys(right, limit)
        at = np.searchsorted(two, one)
        both = two[np.minimum(at, len(two) - 1)] == one if len(two) else np.zeros(0, np.bool_)
        pair = np.uint64(32)
        sizes = [np.bincount((k >> pair).astype(np.int64), minlength=len(left)) for k in (one, two)]
        common = np.bincount((one[both] >> pair).astype(np.int64), minlength=len(left))
        ratio: Floats = common / np.maximum(1, sizes[0] + sizes[1] - common)
        return ratio

    def _keys(self, texts: Ints, limit: Shingles) -> NDArray[np.uint64]:
        """Pair number and shingle of every shingle up to the pair's limit, in rising order."""
        size = self.sizes(texts)
        pair = np.repeat(np.arange(len(texts)), size)
        value = self.values(texts, size)
        key = pair.astype(np.uint64) << np.uint64(32) | value
        complete: NDArray[np.uint64] = key[value <= limit[pair]]
        return complete


class Sets(Compared):
    """Sets in arrays: `flat` has one after another, `size` of them from `start`."""

    def __init__(
        self, closeness: Closeness, size: NDArray[Any], limit: Shingles,
        signature: NDArray[np.uint16], flat: Shingles,
    ) -> None:  # fmt: skip
        super().__init__(closeness)
        self.size = size.astype(np.int64)
        self.start = np.cumsum(self.size) - self.size
        self.limit, self.signature, self.flat = limit, signature, flat

    def sizes(self, texts: Ints) -> Ints:
        return self.size[texts]

    def limits(self, texts: Ints) -> Shingles:
        return self.limit[texts]

    def signatures(self, texts: Ints) -> NDArray[np.uint16]:
        return self.signature[texts]

    def values(self, texts: Ints, size: Ints) -> Shingles:
        return self.flat[spans(self.start[texts], size)]


def spans(start: Ints, size: Ints) -> Ints:
    """The places of stretches that begin at `start`, one stretch after another."""
    places: Ints = np.arange(int(size.sum())) + np.repeat(start - (np.cumsum(size) - size), size)
    return places
