"""Tails and improvements of Student's t, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from karat.scoring.student import density, improvement, tail

FREEDOMS = (1.3, 2.0, 3.5, 7.0, 30.0, 200.0, 2_000.0)
Z = np.concatenate([np.linspace(-8, 8, 161), [15.0, 40.0]])


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_density_and_tail_equal_scipy(freedom):
    t = stats.t(freedom)
    np.testing.assert_allclose(density(Z, freedom), t.pdf(Z), rtol=1e-9)
    np.testing.assert_allclose(tail(Z, freedom), t.sf(Z), rtol=1e-9)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_improvement_equals_numeric_integration(freedom):
    some = Z[::16]
    expected = [
        integrate.quad(stats.t(freedom).sf, z, np.inf, epsabs=1e-12, limit=400)[0] for z in some
    ]
    np.testing.assert_allclose(improvement(some, freedom), expected, atol=1e-10)
