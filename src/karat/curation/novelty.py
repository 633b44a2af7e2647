"""A pool of texts that a new one must differ from, in its words and in its meaning.

For use while prompts are being written, one at a time: a model that repeats itself can be asked
again at once, where a dedupe afterwards only finds fewer rows than were paid for. Words are
compared exactly (Jaccard similarity of words and word pairs, as dedupe does); meaning by the cosine
of static embeddings, which sees through a changed order and common synonyms and no further.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.embedding import embed
from karat.curation.shingles import normalise, shingles, words

Floats = NDArray[np.float32]

LEAST_JACCARD = 0.3
BATCH = 1024  # texts looked at together


class Prepared(msgspec.Struct):
    """A text as a pool compares it: normalised, its set of shingles, its embedding of length 1."""

    text: str
    normal: str
    shingles: NDArray[np.uint32]
    vector: Floats


class Near(msgspec.Struct, frozen=True):
    """The text that another one is too close to; `by` is words or meaning."""

    text: str
    by: str
    similarity: float


def prepare(texts: Sequence[str]) -> list[Prepared]:
    """Texts ready to be compared; in one piece, as each call costs a few hundred microseconds."""
    made: list[Prepared] = []
    for start in range(0, len(texts), BATCH):
        part = list(texts[start : start + BATCH])
        normal = normalise(pa.array(part, pa.string()))
        found, offsets = shingles(words(normal))
        sets = [found[a:b] for a, b in pairwise(offsets.tolist())]
        made += map(Prepared, part, normal.to_pylist(), sets, embed(part))
    return made


class Pool:
    """Texts in the order they came.

    Words: two sets with a Jaccard similarity of at least t share one of the (1 − t)·|S| + 1 lowest
    hashes of either, so only those of the loosest threshold are indexed, and every candidate is
    counted exactly. Source: prefix filtering, Bayardo, Ma and Srikant 2007 (WWW), §3. Meaning: a
    product with all vectors held, 1 KB and some 0.1 µs a text.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._held: list[Prepared] = []
        self._exact: dict[str, int] = {}
        self._index: dict[int, list[int]] = {}
        self._vectors_ND: Floats = np.zeros((0, 1), np.float32)
        self.extend(list(texts))

    def __len__(self) -> int:
        return len(self._held)

    @property
    def texts(self) -> list[str]:
        """The texts, as they came."""
        return [held.text for held in self._held]

    def extend(self, texts: Sequence[str]) -> None:
        """Takes several texts in."""
        for text in prepare(texts):
            self.add(text)

    def add(self, new: Prepared) -> None:
        """Takes a text in."""
        place = len(self._held)
        self._held.append(new)
        self._exact.setdefault(new.normal, place)
        for key in _prefix(new.shingles, LEAST_JACCARD):
            self._index.setdefault(key, []).append(place)
        if place >= len(self._vectors_ND):
            grown = np.zeros((max(64, 2 * place), len(new.vector)), np.float32)
            grown[:place] = self._vectors_ND[:place]
            self._vectors_ND = grown
        self._vectors_ND[place] = new.vector

    def near(self, new: Prepared, jaccard: float, cosine: float) -> Near | None:
        """The closest text whose words are at least `jaccard` alike (0.3 … 1), or else whose
        meaning is at least `cosine` alike; None where the text is new."""
        return self.near_all([new], jaccard, cosine)[0]

    def near_all(
        self, some: Sequence[Prepared], jaccard: float, cosine: float
    ) -> list[Near | None]:
        """The same for several texts, for which one reading of all vectors does."""
        if not self._held or not some:
            return [None] * len(some)
        vectors_DB = np.stack([one.vector for one in some], axis=1)
        similarity_NB = self._vectors_ND[: len(self._held)] @ vectors_DB
        places_B = similarity_NB.argmax(axis=0).tolist()
        return [
            self._near(one, jaccard, cosine, place, float(similarity_NB[place, column]))
            for column, (one, place) in enumerate(zip(some, places_B, strict=True))
        ]

    def _near(
        self, new: Prepared, jaccard: float, cosine: float, closest: int, similarity: float
    ) -> Near | None:
        """What a text is too close to, where `closest` is the nearest in meaning."""
        if new.normal in self._exact:
            return Near(self._held[self._exact[new.normal]].text, "words", 1.0)
        place, best = self._near_words(new, jaccard)
        if place >= 0:
            return Near(self._held[place].text, "words", best)
        if similarity < cosine:
            return None
        return Near(self._held[closest].text, "meaning", similarity)

    def _near_words(self, new: Prepared, jaccard: float) -> tuple[int, float]:
        """(place of the most similar text, its similarity), or (-1, 0)."""
        own = set(new.shingles.tolist())
        candidates: set[int] = set()
        for key in _prefix(new.shingles, jaccard):
            candidates.update(self._index.get(key, ()))
        found, best = -1, 0.0
        for place in sorted(candidates):
            other = self._held[place].shingles
            least, most = sorted((len(own), len(other)))
            if least < jaccard * most:
                continue
            common = len(own.intersection(other.tolist()))
            similarity = common / (len(own) + len(other) - common)
            if similarity >= jaccard and similarity > best:
                found, best = place, similarity
        return found, best


def _prefix(found: NDArray[np.uint32], jaccard: float) -> list[int]:
    """The lowest hashes of a set, of which one is shared with every set this similar to it."""
    # A hair more: the share is a float, and one key too many costs nothing.
    count = int((1 - jaccard) * len(found) + 1e-9) + 1
    lowest: list[int] = found[:count].tolist()
    return lowest
