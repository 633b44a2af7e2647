"""nearest: the same neighbours as a full matrix gives, for any block sizes and exclusions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation import nearest as module
from karat.curation.nearest import STEPS, nearest


def reference(vectors, k, excluded):
    """All pairs at once; similarities rounded the same way, ties by place."""
    rounded = np.rint(((vectors @ vectors.T).astype(np.float64).clip(-1, 1) + 1) * STEPS)
    found = []
    for row in range(len(vectors)):
        others = [place for place in range(len(vectors)) if place not in excluded[row]]
        others.sort(key=lambda place: (-rounded[row, place], place))
        found.append((others + [-1] * k)[:k])
    return found


@given(st.data(), st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_neighbours_of_a_full_matrix(data, count, k, seed):
    rng = np.random.default_rng(seed)
    # Few directions, so that many similarities are equal and ties matter.
    vectors = rng.integers(-1, 2, (count, 4)).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)
    excluded = [sorted({row, *rng.integers(0, count, rng.integers(0, 4))}) for row in range(count)]
    offsets = np.cumsum([0, *map(len, excluded)])
    rows, columns = data.draw(st.sampled_from([(1, 1), (3, 5), (16, 7), (1024, 8192)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS", rows)
        patch.setattr(module, "COLUMNS", columns)
        patch.setattr(module, "SAMPLE", 2)
        blocks = list(nearest(vectors, k, offsets, np.concatenate(excluded).astype(np.int64)))
    assert [block.first for block in blocks] == list(range(0, count, rows))
    assert [row for block in blocks for row in block.places.tolist()] == reference(
        vectors, k, excluded
    )


def test_no_vectors_no_neighbours():
    none = np.zeros(0, np.int64)
    assert list(nearest(np.zeros((0, 4), np.float32), 3, np.zeros(1, np.int64), none)) == []
