"""The part of a head that reads a frozen model: a ridge regression of ratings on hidden states.

There are more states than ratings (thousands to a response), so the ridge is solved among rows
where those are fewer: the same weights, from a matrix of the size of the rows. Each member has its
own four fifths of the prompts, as in the rest of a head, and what it says of the others is kept for
the recalibration.

Source: ridge regression in its dual form, Saunders et al. 1998; linear probes, arXiv 1610.01644.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karat.rewards.head_model import ATTRIBUTES
from karat.rewards.head_parts import Floats, Linear, standard_of
from karat.rewards.hidden import Hidden, Reading
from karat.training.reward_sample import Sample
from karat.training.reward_settings import Settings


@dataclass(frozen=True, slots=True)
class Fitted:
    """The part, and what members say of rows and pairs that they did not have (NaN: all had)."""

    hidden: Hidden
    oob_RA: Floats
    oob_PA: tuple[Floats, Floats]


def fit_hidden(sample: Sample, settings: Settings, reading: Reading) -> Fitted:
    """On the rated rows of a sample, scaled to its share of what the head says."""
    hidden_R, *hidden_P = (h.astype(np.float64) for h in (sample.hidden_R, *sample.hidden_P))
    standard = standard_of(hidden_R)
    z_RH = standard(hidden_R)
    maps = [
        wide_ridge(z_RH[count_R > 0], sample.y_RA[count_R > 0], settings.hidden_ridge)
        for count_R in sample.count_MR
    ]
    share = settings.hidden_share
    linear = Linear(
        share * np.array([weight for weight, _ in maps]),
        share * np.array([bias for _, bias in maps]),
    )
    hidden = Hidden(reading, standard, linear)
    oob = [
        _unseen(hidden.votes(states), count_MN)
        for states, count_MN in (
            (hidden_R, sample.count_MR),
            *((states, sample.count_MP) for states in hidden_P),
        )
    ]
    return Fitted(hidden, oob[0], (oob[1], oob[2]))


def wide_ridge(z_NH: Floats, y_NA: Floats, penalty: float) -> tuple[Floats, Floats]:
    """(weight_HA, bias_A) that minimise the squared error plus penalty·H·|weight|²; the bias is
    free. The columns are standardised, so that the penalty means the same whatever H. NaN in `y_NA`
    is a rating nobody gave; an output that nobody rated is 0.
    """
    weight_HA, bias_A = np.zeros((z_NH.shape[1], len(ATTRIBUTES))), np.zeros(len(ATTRIBUTES))
    given_NA = np.isfinite(y_NA)
    patterns, of_A = np.unique(given_NA, axis=1, return_inverse=True)
    for pattern in range(patterns.shape[1]):
        rows, outputs = patterns[:, pattern], np.flatnonzero(of_A.ravel() == pattern)
        if rows.any():
            found = _solve(z_NH[rows], y_NA[np.ix_(rows, outputs)], penalty)
            weight_HA[:, outputs], bias_A[outputs] = found
    return weight_HA, bias_A


def _solve(z_NH: Floats, y_NA: Floats, penalty: float) -> tuple[Floats, Floats]:
    z_mean_H, y_mean_A = z_NH.mean(axis=0), y_NA.mean(axis=0)
    z_NH, y_NA = z_NH - z_mean_H, y_NA - y_mean_A
    rows, width = z_NH.shape
    if rows <= width:
        dual_NA = np.linalg.solve(z_NH @ z_NH.T + penalty * width * np.eye(rows), y_NA)
        weight_HA = z_NH.T @ dual_NA
    else:
        gram_HH = z_NH.T @ z_NH + penalty * width * np.eye(width)
        weight_HA = np.linalg.solve(gram_HH, z_NH.T @ y_NA)
    return weight_HA, y_mean_A - z_mean_H @ weight_HA


def _unseen(votes_NMA: Floats, count_MN: Floats) -> Floats:
    """The mean of the members that did not have a row; NaN where all did."""
    out_NM1 = (count_MN.T == 0)[:, :, None]
    with np.errstate(invalid="ignore"):
        return np.asarray((votes_NMA * out_NM1).sum(axis=1) / out_NM1.sum(axis=1))
