"""Moments in parts are those of the whole, also where the numbers are large and close together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.moments import Moments

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40)


@given(NUMBERS, NUMBERS, st.sampled_from([0.0, 1e7]))
def test_parts_join_to_the_whole_and_come_apart_again(a, b, offset):
    a, b = np.array(a) + offset, np.array(b) + offset
    whole, part = Moments(), Moments()
    for value in a:
        whole.add(float(value))
    for value in b:
        part.add(float(value))
    whole.merge(*(part.n, part.mean, part.m2))
    both = np.concatenate([a, b])
    assert whole.n == len(both)
    assert whole.mean == pytest.approx(both.mean())
    assert whole.sigma == pytest.approx(both.std(), abs=1e-4)
    left = whole.without(part)
    assert left.n == len(a)
    assert left.mean == pytest.approx(a.mean())
    assert left.sigma == pytest.approx(a.std(), abs=1e-2)
    n, mean, variance = whole.sample
    assert (n, mean) == (whole.n, whole.mean)
    assert variance == pytest.approx(both.var(ddof=1), abs=1e-2)


def test_nothing_is_left_of_nothing():
    assert Moments().without(Moments()).sample == (0, 0.0, 0.0)
    assert Moments().sigma == 0.0
