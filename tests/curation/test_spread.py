"""Measures on vectors, against their definitions over the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation import spread
from karat.curation.spread import nearest_similarity, novelsum, novelties, vendi_score


def vectors(many, dimensions, seed):
    found = np.random.default_rng(seed).normal(size=(many, dimensions)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def novelsum_by_hand(some):
    """As the authors' file has it: rows sorted, the own distance left out, weights 1/rank."""
    distance = 1 - some.astype(float) @ some.T.astype(float)
    np.fill_diagonal(distance, np.inf)
    weight = 1 / np.arange(1, len(some))
    means = [np.average(np.sort(row)[:-1], weights=weight) for row in distance]
    return float(np.mean(means))


@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 99), st.integers(1, 40))
def test_by_definition_whatever_the_block(many, dimensions, seed, rows):
    some = vectors(many, dimensions, seed)
    similarity = some @ some.T
    np.fill_diagonal(similarity, -1)
    usual, spread.ROWS = spread.ROWS, rows
    try:
        assert novelsum(some) == pytest.approx(novelsum_by_hand(some), abs=1e-5)
        want = similarity.max(axis=1).mean()
        assert nearest_similarity(some) == pytest.approx(want, abs=1e-5)
    finally:
        spread.ROWS = usual


def test_vendi_equals_its_definition():
    """Through the N × N matrix, as the paper writes it."""
    some = vectors(40, 12, 3)
    spectrum = np.linalg.eigvalsh(some.astype(float) @ some.T.astype(float) / 40)
    spectrum = spectrum[spectrum > 1e-9]
    want = np.exp(-(spectrum * np.log(spectrum)).sum())
    assert vendi_score(some) == pytest.approx(want, rel=1e-5)
    assert vendi_score(np.eye(7, dtype=np.float32)) == pytest.approx(7)


def test_none_one_and_equal_ones():
    one = vectors(1, 4, 0)
    none = one[:0]
    assert (novelties(none).tolist(), novelties(one).tolist()) == ([], [0])
    assert (vendi_score(none), novelsum(none), nearest_similarity(none)) == (0, 0, 0)
    assert (vendi_score(one), novelsum(one), nearest_similarity(one)) == (pytest.approx(1), 0, 0)
    equal = np.repeat(one, 5, axis=0)
    assert vendi_score(equal) == pytest.approx(1)
    assert novelsum(equal) == pytest.approx(0, abs=1e-6)
    assert nearest_similarity(equal) == pytest.approx(1)
