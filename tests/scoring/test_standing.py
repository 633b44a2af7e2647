"""Standing: chances against the others of a prompt, and how sure of the first."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.scoring.calibration import Calibration
from karat.scoring.standing import standing

SCORES = st.lists(st.floats(-50, 50), min_size=2, max_size=6)
SURE = Calibration("g", 1.5, 2.0, 0.8, 0.9, 0.8, 0.5, 100)


def chance(gap):
    return 1 / (1 + math.exp(-1.5 * gap / 2.0))


@given(SCORES)
def test_it_is_the_mean_chance_against_every_other(scores):
    found = standing(np.array(scores), SURE)
    for i, value in enumerate(found.value_N):
        others = [chance(scores[i] - other) for j, other in enumerate(scores) if j != i]
        assert value == pytest.approx(np.mean(others), abs=1e-9)
    first = int(np.argmax(scores))
    rivals = [chance(scores[first] - other) for j, other in enumerate(scores) if j != first]
    assert found.confidence == pytest.approx(min(rivals), abs=1e-9)
    assert found.value_N.sum() == pytest.approx(len(scores) / 2)


@given(SCORES)
def test_without_a_calibration_only_order_counts(scores):
    found = standing(np.array(scores))
    assert np.array_equal(found.value_N, standing(2 * np.array(scores)).value_N)
    assert found.confidence in (0.5, 1.0)


def test_one_alone_has_nobody_to_lose_to():
    assert standing(np.array([-3.0]), SURE) == (np.ones(1), 1.0)


def test_huge_gaps_overflow_nothing():
    found = standing(np.array([1e9, -1e9]), SURE)
    assert found.value_N.tolist() == pytest.approx([1.0, 0.0])
