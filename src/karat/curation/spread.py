"""How far a set of vectors is spread out: measures that work on embeddings of any kind.

All take vectors_ND of length 1, in which a cosine is a product.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ROWS = 512  # of a matrix of similarities worked on at once


def vendi_score(vectors: Floats) -> float:
    """The effective number of different texts, 1 … min(N, D); 0 for none.

    The score is the exponential of the entropy of the spectrum of K/N, K the cosine similarities,
    whose non-zero part is that of the D × D covariance: no N × N matrix is made for many texts, and
    the score saturates at D. Source: Friedman and Dieng 2023 (2210.02410).
    """
    if not len(vectors):
        return 0.0
    vectors_ND = vectors.astype(np.float64)
    wide = len(vectors_ND) < vectors_ND.shape[1]
    spectrum = np.linalg.eigvalsh(vectors_ND @ vectors_ND.T if wide else vectors_ND.T @ vectors_ND)
    share = spectrum[spectrum > 1e-12 * len(vectors_ND)]
    share = share / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def nearest_similarity(vectors: Floats) -> float:
    """The mean cosine of a text with its nearest other one; 0 for fewer than two.

    It rises with the number compared. Source: the homogenisation score of Shaib et al. 2024
    (2403.00553), with the nearest text in place of the average one.
    """
    if len(vectors) < 2:
        return 0.0
    nearest_N = [similarity_BN.max(axis=1) for similarity_BN in _to_others(vectors, -1.0)]
    return float(np.concatenate(nearest_N).mean())


def novelsum(vectors: Floats) -> float:
    """The mean novelty of texts beside the others; 0 for fewer than two.

    Without the density of a reference corpus (β = 0), which its authors recommend where there is
    none: the correlation of .97 with the quality of tuned models is that of the whole measure.
    Source: NovelSum, Yang et al. 2025 (2502.17184); UmeanNever/NovelSum, novelsum.py at distance
    power 1, density power 0, a text's distance from itself left out.
    """
    return float(novelties(vectors).mean()) if len(vectors) > 1 else 0.0


def novelties(vectors: Floats) -> NDArray[np.float64]:
    """novelty_N: the mean distance (1 - cosine) of each text from the others, the k-th nearest one
    counting 1/k; 0 where there is no other."""
    many = len(vectors)
    weight_K = 1 / np.arange(1, max(many, 2))
    found = [np.zeros(0)]
    for similarity_BN in _to_others(vectors, 2.0) if many > 1 else ():
        rising_BN = np.sort(1 - similarity_BN, axis=1)[:, 1:]  # the first is the text itself
        found.append(np.maximum(rising_BN, 0) @ weight_K / weight_K.sum())
    return np.concatenate(found) if many > 1 else np.zeros(many)


def _to_others(vectors: Floats, own: float) -> Iterator[Floats]:
    """similarity_BN of some texts after others with all; `own` stands for that with itself."""
    for start in range(0, len(vectors), ROWS):
        similarity_BN = vectors[start : start + ROWS] @ vectors.T
        some = np.arange(len(similarity_BN))
        similarity_BN[some, start + some] = own
        yield similarity_BN
