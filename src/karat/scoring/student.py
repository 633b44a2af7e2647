"""Student's t where a normal's mean and spread are both uncertain: tails and expected improvement.

numpy has no distribution functions and the core install has no scipy, so the one tail that the
stopping rule needs is here, for a whole array of values at one number of degrees of freedom.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TERMS = 400
_SMALL = 1e-300


def improvement(z_R: Floats, freedom: float) -> Floats:
    """E[(T − z)⁺] of a standard t with `freedom` > 1: what a draw is expected to add to a best of
    z, in units of the t's scale.

    Source: Benassi, Bect and Vazquez 2011 (LION 5, 176–190), the Student form of the expected
    improvement of Jones, Schonlau and Welch 1998.
    """
    above_R = density(z_R, freedom) * (freedom + z_R * z_R) / (freedom - 1)
    return np.maximum(above_R - z_R * tail(z_R, freedom), 0.0)


def density(z_R: Floats, freedom: float) -> Floats:
    """The density of a standard t."""
    log = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    log -= 0.5 * math.log(math.pi * freedom)
    found: Floats = np.exp(log - (freedom + 1) / 2 * np.log1p(z_R * z_R / freedom))
    return found


def tail(z_R: Floats, freedom: float) -> Floats:
    """P(T > z) of a standard t."""
    square_R = z_R * z_R
    x_R = freedom / (freedom + square_R)
    half_R = 0.5 * _beta_share(x_R, square_R / (freedom + square_R), freedom / 2)
    return np.where(z_R >= 0, half_R, 1 - half_R)


def _beta_share(x_R: Floats, rest_R: Floats, a: float) -> Floats:
    """The regularised incomplete beta function I_x(a, 1/2); `rest_R` is 1 − x without rounding.

    Each half of the range has the continued fraction that converges fast there.
    Source: DLMF 8.17.4 and 8.17.22.
    """
    b = 0.5
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    with np.errstate(divide="ignore"):
        front_R = np.exp(log + a * np.log(x_R) + b * np.log(rest_R))
    low_R = x_R < (a + 1) / (a + b + 2)
    found_R = np.empty_like(x_R)
    found_R[low_R] = front_R[low_R] / a / _fraction(x_R[low_R], a, b)
    found_R[~low_R] = 1 - front_R[~low_R] / b / _fraction(rest_R[~low_R], b, a)
    return found_R


def _fraction(x_R: Floats, a: float, b: float) -> Floats:
    """The continued fraction 1 + d₁/(1 + d₂/(1 + …)), by the modified Lentz algorithm."""
    value_R = np.ones_like(x_R)
    upper_R, lower_R = value_R.copy(), np.zeros_like(x_R)
    for term in range(1, _TERMS):
        m = term // 2
        if term % 2:
            factor = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m))
        lower_R = 1 / _away(1 + factor * x_R * lower_R)
        upper_R = _away(1 + factor * x_R / upper_R)
        change_R = upper_R * lower_R
        value_R = value_R * change_R
        if (np.abs(change_R - 1) < 1e-15).all():
            break
    return value_R


def _away(value_R: Floats) -> Floats:
    return np.where(np.abs(value_R) < _SMALL, _SMALL, value_R)
