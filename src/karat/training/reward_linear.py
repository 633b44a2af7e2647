"""The linear parts of a reward head: ridge regression on ratings, Bradley-Terry on pairs.

Both are convex and small, so both are solved and not descended: the ridge in closed form, the pairs
by Newton's method on the gradient of `objectives`. No learning rate and no seed decide what comes
out, and a fit takes milliseconds.

Source: ridge regression in its dual form, Saunders et al. 1998; HelpSteer2-Preference (arXiv
2410.01257 §3) for margin and scaled Bradley-Terry, and for the best of its reward models: scaled,
begun from a regression.
"""

from __future__ import annotations

import numpy as np

from karat.rewards.head_parts import Floats
from karat.training.objectives import PairLoss, bradley_terry, sigmoid

_STEPS = 25
_SETTLED = 1e-7  # slope per pair
_LEAST = 1e-6


def ridge(z_NF: Floats, y_NA: Floats, weight_N: Floats, penalty: float) -> tuple[Floats, Floats]:
    """(weight_FA, bias_A) of a weighted ridge regression; the bias is free.

    NaN in `y_NA` is a rating nobody gave: each output is fitted on the rows that have one, and an
    output that none has is 0.
    """
    weight_FA, bias_A = np.zeros((z_NF.shape[1], y_NA.shape[1])), np.zeros(y_NA.shape[1])
    given_NA = np.isfinite(y_NA)
    patterns, of_A = np.unique(given_NA, axis=1, return_inverse=True)
    for pattern in range(patterns.shape[1]):
        rows, outputs = patterns[:, pattern], np.flatnonzero(of_A.ravel() == pattern)
        if weight_N[rows].sum() > 0:
            weight_FA[:, outputs], bias_A[outputs] = _solve(
                z_NF[rows], y_NA[np.ix_(rows, outputs)], weight_N[rows], penalty
            )
    return weight_FA, bias_A


def _solve(z_NF: Floats, y_NA: Floats, weight_N: Floats, penalty: float) -> tuple[Floats, Floats]:
    z_mean_F = np.average(z_NF, axis=0, weights=weight_N)
    y_mean_A = np.average(y_NA, axis=0, weights=weight_N)
    centred_NF = z_NF - z_mean_F
    rows, width = z_NF.shape
    if rows < width:  # the same weights, from a system of the size of the rows
        root_N1 = np.sqrt(weight_N)[:, None]
        own_NF, own_NA = root_N1 * centred_NF, root_N1 * (y_NA - y_mean_A)
        dual_NA = np.linalg.solve(own_NF @ own_NF.T + penalty * np.eye(rows), own_NA)
        weight_FA = np.asarray(own_NF.T @ dual_NA, dtype=np.float64)
    else:
        weighted_NF = centred_NF * weight_N[:, None]
        gram_FF = centred_NF.T @ weighted_NF + penalty * np.eye(width)
        right_FA = weighted_NF.T @ (y_NA - y_mean_A)
        weight_FA = np.asarray(np.linalg.solve(gram_FF, right_FA), dtype=np.float64)
    return weight_FA, y_mean_A - z_mean_F @ weight_FA


def preference(
    step_PF: Floats,
    strength_P: Floats,
    count_P: Floats,
    penalty_F: Floats,
    kind: PairLoss,
    *,
    gap_P: Floats | None = None,
    start_F: Floats | None = None,
) -> Floats:
    """weight_F that makes the human choices likeliest, less penalty·w²/2 of each weight.

    `step_PF` is the chosen response's columns less those of the rejected one; a pair counts
    `count_P` times. `gap_P` is what another model gives already. Newton's method from `start_F`,
    halved where a step would not make the slope smaller.
    """
    drawn = count_P > 0
    step_PF, strength_P, count_P = step_PF[drawn], strength_P[drawn], count_P[drawn]
    given_P = np.zeros(len(step_PF)) if gap_P is None else gap_P[drawn]

    def slope(weight_F: Floats) -> tuple[Floats, Floats]:
        gap_P = step_PF @ weight_F + given_P
        loss = bradley_terry(gap_P, strength_P, kind)
        return step_PF.T @ (loss.gradient * len(gap_P) * count_P) + penalty_F * weight_F, gap_P

    weight_F = np.zeros(step_PF.shape[1]) if start_F is None else start_F
    slope_F, gap_P = slope(weight_F)
    for _ in range(_STEPS):
        bent_P = count_P * _curvature(gap_P, strength_P, kind)
        bend_FF = step_PF.T @ (step_PF * bent_P[:, None]) + np.diag(penalty_F)
        move_F = np.linalg.solve(bend_FF, slope_F)
        share, steep = 1.0, float(np.linalg.norm(slope_F))
        while share > _LEAST:
            tried_F, tried_P = slope(weight_F - share * move_F)
            if float(np.linalg.norm(tried_F)) < steep:
                break
            share /= 2
        if share <= _LEAST:
            break
        weight_F, slope_F, gap_P = weight_F - share * move_F, tried_F, tried_P
        if float(np.linalg.norm(slope_F)) <= _SETTLED * max(1.0, float(count_P.sum())):
            break
    return weight_F


def _curvature(gap_P: Floats, strength_P: Floats, kind: PairLoss) -> Floats:
    """The second derivative of each pair's loss in its gap."""
    x_P = gap_P - strength_P if kind == "margin" else gap_P
    weight_P = strength_P if kind == "scaled" else np.ones_like(gap_P)
    return np.asarray(weight_P * sigmoid(x_P) * sigmoid(-x_P))
