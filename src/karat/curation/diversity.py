"""How varied a set of texts is: several cheap measures, because each one alone can be fooled.

No judge is needed and no model server, so that every report can have them. They compare data sets
measured here, at similar sizes; they are not the published figures of the same names on other
tokens or embeddings.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.embedding import embed
from karat.curation.minhash import NearDuplicates
from karat.curation.repetition import self_bleu
from karat.curation.shingles import LEFT, RIGHT, Ints, Words, chunks, mix, normalise, words
from karat.curation.spread import nearest_similarity, novelsum, vendi_score
from karat.curation.subsamples import half_sample_interval

Floats = NDArray[np.float32]

SAMPLE = 20_000  # rows measured; every measure but the Vendi scores still moves with their number
COMPARED = 2_000  # texts compared with each other
WIDTH = 256  # of both kinds of vectors, hence the highest Vendi score
NEAR = 0.8
NEAR_WINDOW = 8  # a report wants the share, not every pair: texts off one template cost 30 × less
INTERVALS_UP_TO = 2_000  # texts


def diversity(
    texts: Iterable[str], sample: int = SAMPLE, *, intervals: bool = False
) -> dict[str, Any]:
    """Measures of variety; every value is finite, also for no text at all.

    rows: texts seen; sampled: texts measured, a fixed random sample where there are more than
    `sample`; mean_words; compared: texts of that sample that were compared with each other.
    Then, from least varied to most: vendi_embedding in 1 … 256, how many texts of wholly different
    meaning would be as varied (static embeddings); vendi in 1 … 256, the same of words; novelsum in
    0 … 1, the mean distance in meaning of a compared text from the others, near ones counting most;
    self_bleu in 1 … 0, how much of a compared text the others hold; near_duplicates in 1 … 0, the
    share of texts that repeat another one (Jaccard similarity of words and word pairs at least
    0.8); nearest_similarity in 1 … 0, the mean cosine of words of a compared text with its nearest
    one; distinct_1 and distinct_2 in 0 … 1; compression_ratio, from high to low.

    With `intervals`, and for at most 2,000 texts, `intervals` has [low, high] of vendi_embedding
    and distinct_2 at 95%; subsamples.py says why it is no bootstrap.
    """
    rows, chosen = _sample(texts, sample)
    normal = normalise(pa.array(chosen, pa.string()))
    found = _words(normal)
    words_ND, meaning_ND = _vectors(found), embed(chosen)
    near = NearDuplicates(NEAR, window=NEAR_WINDOW)
    near.add(normal)
    repeats = int((near.resolve().repeats >= 0).sum())
    some = _some(np.diff(found.offsets) > 0)
    measured: dict[str, Any] = {
        "rows": rows,
        "sampled": len(chosen),
        "compared": len(some),
        "mean_words": len(found.hashes) / len(chosen) if chosen else 0.0,
        "vendi_embedding": vendi_score(_known(meaning_ND)),
        "vendi": vendi_score(_known(words_ND)),
        "novelsum": novelsum(_known(meaning_ND[some])),
        "self_bleu": self_bleu(_take(found, some)),
        "near_duplicates": repeats / len(chosen) if chosen else 0.0,
        "nearest_similarity": nearest_similarity(words_ND[some]),
        "distinct_1": _distinct(found, 1),
        "distinct_2": _distinct(found, 2),
        "compression_ratio": _compression_ratio(chosen),
    }
    if intervals and len(chosen) <= INTERVALS_UP_TO:
        figures = {
            "vendi_embedding": lambda half: vendi_score(_known(meaning_ND[half])),
            "distinct_2": lambda half: _distinct(_take(found, half), 2),
        }
        ends = {
            name: half_sample_interval(figure, len(chosen), measured[name])
            for name, figure in figures.items()
        }
        measured["intervals"] = {name: list(two) for name, two in ends.items() if two}
    return measured


def _sample(texts: Iterable[str], size: int) -> tuple[int, list[str]]:
    """How many texts there are, and `size` of them drawn at random, always the same.

    Source: reservoir sampling, algorithm R, Vitter 1985.
    """
    rng = random.Random(0)
    chosen: list[str] = []
    seen = 0
    for text in texts:
        seen += 1
        if len(chosen) < size:
            chosen.append(text)
        elif (place := int(rng.random() * seen)) < size:
            chosen[place] = text
    return seen, chosen


def _some(usable: NDArray[np.bool_]) -> Ints:
    """The places of COMPARED usable texts, drawn at random, always the same."""
    places = np.flatnonzero(usable)
    if len(places) > COMPARED:
        places = np.sort(np.random.default_rng(0).permutation(places)[:COMPARED])
    return places


def _known(vectors: Floats) -> Floats:
    """Without the rows of zeros, which stand for texts of which nothing is known."""
    return vectors[vectors.any(axis=1)]


def _words(normal: pa.Array) -> Words:
    """The words of all texts in one piece."""
    parts = [words(chunk) for chunk in chunks(normal)]
    counts = [np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)]
    return Words(
        np.concatenate([np.zeros(0, np.uint64), *(part.hashes for part in parts)]),
        np.cumsum(np.concatenate(counts)),
        np.concatenate([np.zeros(0, np.bool_), *(part.unspaced for part in parts)]),
    )


def _take(found: Words, places: Ints) -> Words:
    """The words of some of the texts."""
    size = np.diff(found.offsets)[places]
    ends = np.cumsum(size)
    total = int(ends[-1]) if len(ends) else 0
    flat = np.arange(total) + np.repeat(found.offsets[places] - (ends - size), size)
    return Words(found.hashes[flat], np.append(0, ends), found.unspaced[flat])


def _distinct(found: Words, n: int) -> float:
    """Distinct word n-grams over all of them, n = 1 or 2; 0 where there are none.

    It falls as texts are added. Source: distinct-n, Li et al. 2016 (1510.03055).
    """
    grams = found.hashes
    if n == 2:
        owner = found.owners()
        grams = mix(grams[:-1] * LEFT ^ grams[1:] * RIGHT)[owner[1:] == owner[:-1]]
    return len(np.unique(grams)) / len(grams) if len(grams) else 0.0


def _vectors(found: Words) -> Floats:
    """vectors_ND: hashed TF-IDF of words, length 1; zeros for a text without words.

    Weights are (1 + ln tf) · (ln((1 + N) / (1 + df)) + 1). Source: scikit-learn's TfidfTransformer
    (sublinear_tf); signed hashing to D columns: Weinberger et al. 2009 (0902.2206).
    """
    texts = len(found.offsets) - 1
    vocabulary, word = np.unique(found.hashes, return_inverse=True)
    pairs, tf = np.unique(found.owners() * max(1, len(vocabulary)) + word, return_counts=True)
    row, word = np.divmod(pairs, max(1, len(vocabulary)))
    df = np.bincount(word, minlength=len(vocabulary))
    weight = (1 + np.log(tf)) * (np.log((1 + texts) / (1 + df[word])) + 1)
    scattered = mix(vocabulary)[word]
    column = (scattered % np.uint64(WIDTH)).astype(np.int64)
    sign = np.where(scattered >> np.uint64(63), 1.0, -1.0)
    flat = np.bincount(row * WIDTH + column, weight * sign, minlength=texts * WIDTH)
    vectors_ND = flat.reshape(texts, WIDTH)
    length = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit_ND: Floats = (vectors_ND / np.where(length > 0, length, 1)).astype(np.float32)
    return unit_ND


def _compression_ratio(texts: list[str]) -> float:
    """Bytes over bytes deflated: higher is more repetitive; 0 for no text.

    Longer texts compress better, so compare at similar lengths only.
    Source: Shaib et al. 2024 (2403.00553).
    """
    data = "\n".join(texts).encode("utf-8", "replace")
    return len(data) / len(zlib.compress(data, 6)) if data else 0.0
