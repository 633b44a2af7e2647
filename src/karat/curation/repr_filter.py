"""DEITA's filter: from the best row down, keep what is not too near a row kept already.

Source: Liu et al. 2024 (2312.15685, section 2.4, "Repr Filter"); hkust-nlp/deita,
src/deita/selection/filter/base.py: a row is left out where its cosine with a kept one is above 0.9.
That 0.9 is of LLaMA-13B's embeddings: of others it means another nearness.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from karat.curation.selection import Ints, Nearest, Vectors, nearest_chosen, similarities

BLOCK = 512  # rows compared with the kept ones, and with each other, at once


class Filtered(NamedTuple):
    """The kept, in order, and the rows that were too near: their places and to which, how near."""

    chosen: Ints
    near: Ints
    to: Nearest


def repr_filter(vectors: Vectors, order: Ints, n: int, most: float) -> Filtered:
    """The first n places of `order` that are at most `most` similar to every one kept before."""
    chosen: list[int] = []
    near: list[int] = []
    to: list[tuple[int, float]] = []
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        before = nearest_chosen(vectors, np.array(chosen, np.int64), block)
        within_BB = similarities(vectors[block], vectors[block])
        kept: list[int] = []
        for row, place in enumerate(block.tolist()):
            if len(chosen) == n:
                break
            by, similarity = int(before.places[row]), float(before.similarity[row])
            if kept and within_BB[row, kept].max() > similarity:
                at = kept[int(within_BB[row, kept].argmax())]
                by, similarity = int(block[at]), float(within_BB[row, at])
            if similarity > most + 1e-6:
                near.append(place)
                to.append((by, similarity))
            else:
                kept.append(row)
                chosen.append(place)
        if len(chosen) == n:
            break
    by_whom = Nearest(
        np.array([by for by, _ in to], np.int64), np.array([s for _, s in to], np.float32)
    )
    return Filtered(np.array(chosen, np.int64), np.array(near, np.int64), by_whom)
