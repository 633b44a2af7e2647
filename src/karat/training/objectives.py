"""Objectives of reward models and of RPO: each as a loss and its gradient, in NumPy.

What trains a head uses these; what trains in torch is tested against them. A loss is a mean over
what counts (rated cells, pairs), so that a batch of half the size has a loss of the same size.

Source: HelpSteer2 (arXiv 2406.08673 §4) for the masked squared error; HelpSteer2-Preference
(2410.01257 §3) for Bradley-Terry plain, with margin and scaled; Nemotron-4 340B (2406.11704
§3.3.2) for RPO.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PairLoss = Literal["bt", "margin", "scaled"]


class Loss(NamedTuple):
    """A loss and its gradient with respect to the first argument of the function that gave it."""

    value: float
    gradient: Floats


def masked_mse(predicted_NA: Floats, rated_NA: Floats) -> Loss:
    """Mean squared error over the cells that are rated; NaN marks one that is not.

    0, with no gradient, where nothing is rated.
    """
    rated = np.isfinite(rated_NA)
    count = max(int(rated.sum()), 1)
    error_NA = np.where(rated, predicted_NA - np.where(rated, rated_NA, 0.0), 0.0)
    return Loss(float((error_NA**2).sum() / count), 2.0 * error_NA / count)


def bradley_terry(gap_P: Floats, strength_P: Floats | None = None, kind: PairLoss = "bt") -> Loss:
    """−log σ of the gaps r_chosen − r_rejected, mean over P pairs.

    `strength_P` is how much better people found the chosen one (1, 2 or 3 in HelpSteer2): `margin`
    asks for a gap of that size, −log σ(gap − m); `scaled` counts the pair m times, −m·log σ(gap).
    Without strengths every pair has 1.
    """
    count = max(len(gap_P), 1)
    strength_P = np.ones_like(gap_P) if strength_P is None else strength_P
    shift_P = strength_P if kind == "margin" else np.zeros_like(gap_P)
    weight_P = strength_P if kind == "scaled" else np.ones_like(gap_P)
    x_P = gap_P - shift_P
    value = float((weight_P * np.logaddexp(0.0, -x_P)).sum() / count)
    return Loss(value, -weight_P * sigmoid(-x_P) / count)


def rpo(logratio_gap_P: Floats, reward_gap_P: Floats, beta: float = 0.1, eta: float = 1.0) -> Loss:
    """Reward-aware preference optimisation, mean over P pairs, without its SFT term.

    `logratio_gap_P` is log π/π_ref of the chosen answer less that of the rejected one,
    `reward_gap_P` the reward of the chosen one less that of the rejected one. With
    a = beta·logratio gap and b = eta·reward gap the loss is the divergence of a coin of σ(a) from
    one of σ(b): σ(b)·log(σ(b)/σ(a)) + σ(−b)·log(σ(−b)/σ(−a)). It is 0 where a = b: an answer that
    is a little better is learned to be a little likelier, which DPO has no way to say. The gradient
    is with respect to `logratio_gap_P`: beta·(σ(a) − σ(b)).
    """
    count = max(len(logratio_gap_P), 1)
    a_P, b_P = beta * logratio_gap_P, eta * reward_gap_P
    wanted_P = sigmoid(b_P)
    # log σ(x) = −log(1 + e^−x), which overflows nowhere.
    value_P = wanted_P * (np.logaddexp(0, -a_P) - np.logaddexp(0, -b_P))
    value_P += (1 - wanted_P) * (np.logaddexp(0, a_P) - np.logaddexp(0, b_P))
    return Loss(float(value_P.sum() / count), beta * (sigmoid(a_P) - wanted_P) / count)


def sigmoid(x_P: Floats) -> Floats:
    """σ, without overflow at either end."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -x_P)))
