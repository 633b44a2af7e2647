"""Texts as points on a plane, so that what is near in meaning stands near by.

256 numbers do not fit into two: some neighbours are torn apart whatever one does. t-SNE keeps the
near ones together, and the distances between groups mean little then; without scikit-learn the two
directions in which the texts differ most are shown, where groups lie on top of each other.
"""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

PERPLEXITY = 30  # neighbours that matter, as in the paper
FEWEST = 8  # points t-SNE has something to say about


def project(vectors: Floats) -> tuple[NDArray[np.float64], str]:
    """(places_N2 in 0 … 1, what was done) of vectors_ND; the same every time.

    Source: van der Maaten and Hinton 2008 (JMLR 9); van der Maaten 2014, as scikit-learn has it.
    """
    if not len(vectors):
        return np.zeros((0, 2)), "nothing to show"
    directions_N2 = _principal(vectors)
    if len(vectors) < FEWEST or np.ptp(directions_N2) < 1e-6:
        return _into_frame(directions_N2), "the two directions in which they differ most"
    if importlib.util.find_spec("sklearn") is None:
        return _into_frame(directions_N2), (
            "the two directions in which they differ most (PCA; `pip install 'karat[plots]'` for "
            "a map that keeps neighbours together)"
        )
    manifold = importlib.import_module("sklearn.manifold")
    threads = importlib.import_module("threadpoolctl")  # which scikit-learn needs itself
    start_N2 = directions_N2 / directions_N2[:, 0].std() * 1e-4
    tsne = manifold.TSNE(
        init=start_N2.astype(np.float32), perplexity=min(PERPLEXITY, (len(vectors) - 1) / 3),
        random_state=0,
    )  # fmt: skip
    # More threads would sum in another order, and wait for each other on a busy machine.
    with threads.threadpool_limits(1):
        made = tsne.fit_transform(vectors)
    return _into_frame(np.asarray(made, np.float64)), "neighbours kept together (t-SNE)"


def _principal(vectors: Floats) -> NDArray[np.float64]:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, [-1, -2]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # either is right; one is the same
    return np.asarray(centred @ axes)


def _into_frame(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each direction from 0 to 1; far strays stand at the edge so that the others have room."""
    low, high = np.quantile(places, [0.002, 0.998], axis=0)
    span = np.where(high - low > 1e-12, high - low, 1)
    inside: NDArray[np.float64] = np.clip((places - low) / span, 0, 1)
    return np.where(high - low > 1e-12, inside, 0.5)
