"""Sums that do not hang on the order: against rational arithmetic, and cut up in any way."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation import exact
from karat.curation.exact import Exact

NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)
TAME = st.lists(st.floats(-1e9, 1e9), max_size=30)


def of(*parts: list[float]) -> Exact:
    """The parts taken in apart, and merged."""
    whole = Exact()
    for part in parts:
        one = Exact()
        one.take(np.array(part, np.float64))
        whole.merge(pickle.loads(pickle.dumps(one)))
    return whole


def figures(one: Exact) -> tuple[int, float, float, float, float]:
    return one.n, one.total, one.mean, one.m2, one.sigma


@given(NUMBERS, NUMBERS)
def test_any_order_and_any_parts_give_the_same_bits(a, b):
    assert figures(of(a, b)) == figures(of([*b, *a][::-1])) == figures(of(b, [], a))


@given(NUMBERS)
def test_nothing_is_rounded_before_the_end(numbers):
    found, values = of(numbers), [Fraction(number) for number in numbers]
    mean = sum(values, Fraction(0)) / max(1, len(values))
    squares = sum(((value - mean) ** 2 for value in values), Fraction(0))

    def rounded(value: Fraction) -> float:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf

    assert (found.n, found.mean, found.m2) == (len(numbers), rounded(mean), rounded(squares))
    assert found.total == rounded(sum(values, Fraction(0)))


@given(TAME)
def test_as_numpy_has_it(numbers):
    found = of(numbers)
    if numbers:
        assert found.mean == pytest.approx(np.mean(numbers), rel=1e-9, abs=1e-6)
        assert found.sigma == pytest.approx(np.std(numbers), rel=1e-6, abs=1e-6)
    else:
        assert figures(found) == (0, 0.0, 0.0, 0.0, 0.0)


def test_more_numbers_than_are_summed_at_once(monkeypatch):
    values = np.random.default_rng(0).normal(1e7, 1e-3, 1_000)
    whole = figures(of(values.tolist()))
    monkeypatch.setattr(exact, "AT_ONCE", 64)
    some = Exact()
    for start in range(0, 1_000, 50):
        some.take(values[start : start + 50])
    some.take(values[:0])
    assert figures(some) == whole
    assert some.sigma == pytest.approx(1e-3, rel=0.1)


def test_equal_numbers_have_no_spread():
    assert of([0.1] * 7).sigma == 0.0
    assert of([0.1] * 7).mean == 0.1
