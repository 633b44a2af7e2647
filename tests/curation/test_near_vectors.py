"""Near vectors against all similarities."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import slow
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from karat.curation import near_vectors
from karat.curation.near_vectors import Lists, nearest_few, pairs_above, sketches

Floats = NDArray[np.float32]


def grouped(count: int, width: int, groups: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(groups, width))[rng.integers(0, groups, count)]
    made = (made + 0.4 * rng.normal(size=made.shape)).astype(np.float32)
    unit: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


@settings(max_examples=300)
@example(9, 9, 9)  # a rest that rounds to nothing beside one that does not
@given(st.integers(1, 40), st.integers(0, 1000), st.integers(2, 12))
def test_a_sketch_bounds_every_similarity(count: int, seed: int, width: int) -> None:
    vectors = grouped(count, 16, 3, seed)
    sketch = sketches(vectors, width)
    assert (sketch @ sketch.T >= vectors @ vectors.T - 1e-5).all()


@given(st.integers(0, 60), st.integers(0, 1000), st.sampled_from([0.3, 0.7, 0.95]))
def test_no_pair_above_the_threshold_is_missed(count: int, seed: int, least: float) -> None:
    vectors = grouped(count, 12, 4, seed) if count else np.zeros((0, 12), np.float32)
    rng = np.random.default_rng(seed)
    least_N = np.full(count, least, np.float32) + rng.random(count, np.float32) / 20
    similarity = vectors @ vectors.T - np.maximum(least_N[:, None], least_N[None, :])
    sure = {(i, j) for i, j in np.argwhere(similarity > 1e-5).tolist() if i < j}
    maybe = {(i, j) for i, j in np.argwhere(similarity > -1e-5).tolist() if i < j}
    found = [
        pair
        for pairs in pairs_above(vectors, least_N, Lists(vectors))
        for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    ]
    assert sure <= set(found) <= maybe
    assert len(found) == len(set(found))


@pytest.mark.parametrize("count", [0, 1, 5, 12, 700, 6000])
@slow
def test_the_nearest_few(count: int) -> None:
    vectors = grouped(count, 160, 40) if count else np.zeros((0, 160), np.float32)
    places, found = nearest_few(vectors, 10)
    similarity = vectors @ vectors.T
    similarity[np.arange(count), np.arange(count)] = -2
    held = max(0, min(10, count - 1))
    want = np.argsort(-similarity, axis=1, kind="stable")[:, :held]
    hits = [len({*a} & {*b}) for a, b in zip(places.tolist(), want.tolist(), strict=True)]
    assert sum(hits) >= 0.99 * held * count
    assert (places[:, held:] == -1).all()
    assert (np.diff(found[:, :held], axis=1) <= 0).all()


def test_by_lists_nearly_all_near_pairs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_vectors, "SCANNED", 100)
    vectors = grouped(3000, 32, 300)
    least = np.full(len(vectors), 0.8, np.float32)
    found = {
        pair
        for pairs in pairs_above(vectors, least, Lists(vectors))
        for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    }
    near = {(i, j) for i, j in np.argwhere(vectors @ vectors.T >= 0.8).tolist() if i < j}
    assert len(near) > 1000
    assert len(found & near) >= 0.98 * len(near)
    assert len(found - near) <= 0.001 * len(near)


def test_every_vector_is_in_one_list() -> None:
    vectors = grouped(500, 8, 5)
    lists = Lists(vectors, 16)
    assert np.sort(np.concatenate([lists.of(n) for n in range(len(lists))])).tolist() == [
        *range(500)
    ]
    assert all((lists.label[lists.of(n)] == n).all() for n in range(len(lists)))
