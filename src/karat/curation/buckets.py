"""Buckets: texts whose signatures agree in a band, which are the pairs worth comparing.

Source: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from karat.curation.closeness import Ints
from karat.curation.words import mix

Hashes = NDArray[np.uint64]
Signatures = NDArray[np.uint16]

MOST_ROWS = 6  # of a band: by then hardly a pair is a candidate by chance
RECALL = 0.995  # for pairs whose similarity is the threshold itself; above it, more
WINDOW = 256  # neighbours each text of a crowded bucket is compared with
SPARSE = 8  # cells a text, to tell cheaply which keys occur once
MOST_LEAST = 0.99  # bands for a higher threshold would be wider than is worth it
SCATTER = np.uint64(0xF1357AEA2E62A9C5)


def bands(threshold: float, hashes: int) -> tuple[int, int]:
    """(bands, rows): the most selective ones that keep RECALL with at most so many hashes.

    A pair of similarity s shares a band with probability 1 - (1 - s^rows)^bands.
    """
    threshold = min(threshold, MOST_LEAST)
    chosen = (1, 1)
    for rows in range(1, MOST_ROWS + 1):
        count = int(np.ceil(np.log(1 - RECALL) / np.log1p(-(threshold**rows))))
        if count * rows <= hashes:
            chosen = (count, rows)
    return chosen


def band_keys(signature: Signatures, texts: Ints, band: int, rows: int) -> Hashes:
    """key_T: equal for those of the texts whose signatures agree in the band."""
    key = np.zeros(len(texts), np.uint64)
    part_TR = signature[:, band * rows : (band + 1) * rows][texts]
    for row in range(rows):
        key = (key + part_TR[:, row]) * SCATTER
    return mix(key)


def set_names(size: Ints, signature: Signatures) -> Hashes:
    """name_N: equal for equal sets, and for hardly any others. What is equal is still compared."""
    name = mix(size.astype(np.uint64))
    words_NW = signature.view(np.uint64)
    for column in range(words_NW.shape[1]):
        name = name * SCATTER + words_NW[:, column]
    return mix(name)


def crowds(key: Hashes) -> tuple[Ints, Ints]:
    """(place, crowd): where the keys that occur more than once stand, and a number for each of
    them; in order of key, places of one key in their order."""
    shared = _shared(key)
    place = shared[np.argsort(key[shared], kind="stable")]
    if not len(place):
        return place, place
    key = key[place]
    begins = np.append(True, key[1:] != key[:-1])
    crowd = np.cumsum(begins) - 1
    many = ~begins
    many[:-1] |= ~begins[1:]
    return place[many], crowd[many]


def neighbours(crowd: Ints, window: int) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of places in the list `crowd` with the same crowd: first those next to each other, then
    the ones after them, up to `window`."""
    at = np.arange(len(crowd))
    for step in range(1, window + 1):
        at = at[: np.searchsorted(at, len(crowd) - step)]
        at = at[crowd[at] == crowd[at + step]]
        if not len(at):
            break
        yield at, at + step


def _shared(key: Hashes) -> Ints:
    """The positions of keys that may occur twice. Most occur once, and need not be sorted."""
    bits = max(1, (SPARSE * len(key)).bit_length())
    cell = (key >> np.uint64(64 - bits)).astype(np.int64)
    return np.flatnonzero(np.bincount(cell)[cell] > 1)
