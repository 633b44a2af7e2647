"""How varied a set of texts is: several cheap measures, because each one alone can be fooled.

No judge and no embedding model is needed, so that every report can have them. They compare data
sets measured here, at similar sizes; they are not the published figures of the same names on other
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

from karat.curation.minhash import NearDuplicates
from karat.curation.shingles import LEFT, RIGHT, Words, chunks, mix, normalise, words

Floats = NDArray[np.float32]

SAMPLE = 20_000  # rows measured; every measure but the Vendi score still moves with their number
NEIGHBOUR_SAMPLE = 2_000
WIDTH = 256  # of the hashed word vectors, hence the highest Vendi score
NEAR = 0.8
NEAR_WINDOW = 8  # a report wants the share, not every pair: texts off one template cost 30 × less


def diversity(texts: Iterable[str], sample: int = SAMPLE) -> dict[str, Any]:
    """Measures of variety; every value is finite, also for no text at all.

    rows: texts seen; sampled: texts measured, a fixed random sample where there are more than
    `sample`; mean_words. Then, from least varied to most: distinct_1 and distinct_2 in 0 … 1;
    near_duplicates in 0 … 1, the share of texts that repeat another one (Jaccard similarity of
    words and word pairs at least 0.8); nearest_similarity in 1 … 0, the mean cosine of a text
    with its nearest neighbour among `neighbours` texts; vendi in 1 … 256; compression_ratio.
    """
    rows, chosen = _sample(texts, sample)
    normal = normalise(pa.array(chosen, pa.string()))
    found = _words(normal)
    vectors_ND = _vectors(found)
    near = NearDuplicates(NEAR, window=NEAR_WINDOW)
    near.add(normal)
    repeats = int((near.resolve().repeats >= 0).sum())
    neighbours, similarity = _nearest(vectors_ND)
    return {
        "rows": rows,
        "sampled": len(chosen),
        "mean_words": len(found.hashes) / len(chosen) if chosen else 0.0,
        "distinct_1": _distinct(found, 1),
        "distinct_2": _distinct(found, 2),
        "near_duplicates": repeats / len(chosen) if chosen else 0.0,
        "nearest_similarity": similarity,
        "neighbours": neighbours,
        "vendi": vendi_score(vectors_ND),
        "compression_ratio": _compression_ratio(chosen),
    }


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


def _words(normal: pa.Array) -> Words:
    """The words of all texts in one piece."""
    parts = [words(chunk) for chunk in chunks(normal)]
    counts = [np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)]
    return Words(
        np.concatenate([np.zeros(0, np.uint64), *(part.hashes for part in parts)]),
        np.cumsum(np.concatenate(counts)),
        np.concatenate([np.zeros(0, np.bool_), *(part.unspaced for part in parts)]),
    )


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
    """vectors_ND: hashed TF-IDF of words, length 1; texts without words are left out.

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
    length = np.linalg.norm(vectors_ND, axis=1)
    unit_ND: Floats = (vectors_ND[length > 0] / length[length > 0, None]).astype(np.float32)
    return unit_ND


def vendi_score(vectors: Floats) -> float:
    """The effective number of different texts, 1 … min(N, D); 0 for none.

    `vectors` are vectors_ND of length 1. The score is the exponential of the entropy of the
    spectrum of K/N, K the cosine similarities, whose non-zero part is that of the D × D covariance:
    no N × N matrix is made for many texts, and the score saturates at D.
    Source: Friedman and Dieng 2023 (2210.02410); FACTS §11.
    """
    if not len(vectors):
        return 0.0
    vectors_ND = vectors.astype(np.float64)
    wide = len(vectors_ND) < vectors_ND.shape[1]
    spectrum = np.linalg.eigvalsh(vectors_ND @ vectors_ND.T if wide else vectors_ND.T @ vectors_ND)
    share = spectrum[spectrum > 1e-12 * len(vectors_ND)]
    share = share / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _nearest(vectors: Floats) -> tuple[int, float]:
    """(texts compared, their mean cosine with the nearest other one); 0 for fewer than two.

    It rises with the number compared. Source: the homogenisation score of Shaib et al. 2024
    (2403.00553), with the nearest text in place of the average one.
    """
    if len(vectors) > NEIGHBOUR_SAMPLE:
        at = random.Random(0).sample(range(len(vectors)), NEIGHBOUR_SAMPLE)
        vectors = vectors[sorted(at)]
    if len(vectors) < 2:
        return len(vectors), 0.0
    similarity_NN = vectors @ vectors.T
    np.fill_diagonal(similarity_NN, -1)
    return len(vectors), float(similarity_NN.max(axis=1).mean())


def _compression_ratio(texts: list[str]) -> float:
    """Bytes over bytes deflated: higher is more repetitive; 0 for no text.

    Longer texts compress better, so compare at similar lengths only.
    Source: Shaib et al. 2024 (2403.00553).
    """
    data = "\n".join(texts).encode("utf-8", "replace")
    return len(data) / len(zlib.compress(data, 6)) if data else 0.0
