"""Whether a reward is as sure as it should be: predicted against observed, in bins.

Scores have no unit of their own, so one slope, fitted on other pairs of the set, turns a gap into
a probability, σ(slope · |gap|): a reward is blamed for the order of its gaps, never for their
scale. What is left, weighed over bins, is the expected calibration error. It is above 0 for a
perfect reward too, as bins are samples; how far, is told beside it.

Source: temperature scaling and the error, Guo et al. 2017 (1706.04599) §2–4; bins of equal counts,
Nixon et al. 2019 (1904.01685).
"""

from __future__ import annotations

import msgspec
import numpy as np

from karat.intervals import Interval, Resamples
from karat.scoring.calibration import confidence, fit_slope
from karat.scoring.tallies import Floats, Ints, per_prompt

BINS, FEWEST = 10, 20  # bins at most, and pairs in each at least
FOLDS = 5
_NULL_DRAWS = 1_000


class Bin(msgspec.Struct, frozen=True):
    """Pairs of like confidence: the mean predicted, the share that people agreed with, how many."""

    predicted: float
    observed: Interval
    n: int


class Reliability(msgspec.Struct, frozen=True):
    """`error` is the expected calibration error, `by_chance` what a perfect reward would have on
    as many pairs. `slope` is per unit of score, `sigma` the standard deviation of the gaps."""

    bins: list[Bin]
    error: Interval
    by_chance: float
    slope: float
    sigma: float
    n: int


def sure(gap_C: Floats, prompt_C: Ints, folds: int = FOLDS) -> Floats:
    """P_C, .5–1: how likely people prefer what scores higher, by a slope fitted on other prompts.

    `gap_C` is the score of the response people preferred less that of the other. Ties have .5.
    """
    sigma = float(np.std(gap_C)) or 1.0
    fold_C = prompt_C % folds
    found_C = np.full(len(gap_C), 0.5)
    for fold in range(folds):
        here, there = fold_C == fold, (fold_C != fold) & (gap_C != 0)
        if there.any():
            slope = fit_slope(gap_C[there], gap_C[there] > 0, sigma)
            found_C[here] = confidence(gap_C[here], slope, sigma)
    return found_C


def reliability(
    gap_C: Floats, prompt_C: Ints, prompts: int, draws: Resamples
) -> Reliability | None:
    """Of gaps that are all numbers; None for fewer than two bins of pairs."""
    if len(gap_C) < 2 * FEWEST:
        return None
    sure_C = sure(gap_C, prompt_C)
    right_C = np.where(gap_C == 0, 0.5, gap_C > 0)
    count = min(BINS, len(gap_C) // FEWEST)
    place_C = np.empty(len(gap_C), np.int64)
    place_C[np.argsort(sure_C, kind="stable")] = np.arange(len(gap_C)) * count // len(gap_C)
    # Equal confidence is one confidence: a bin edge inside it would split it by its place alone.
    place_C = _whole_runs(sure_C, place_C)
    columns_CK = np.zeros((len(gap_C), 3 * count))
    for offset, values_C in enumerate((np.ones(len(gap_C)), sure_C, right_C)):
        columns_CK[np.arange(len(gap_C)), 3 * place_C + offset] = values_C
    sums_PK = per_prompt(columns_CK, prompt_C, prompts)
    bins = []
    for place in range(count):
        n, predicted, _ = sums_PK[:, 3 * place : 3 * place + 3].sum(axis=0)
        if n:
            columns = [sums_PK[:, 3 * place + 2], sums_PK[:, 3 * place]]
            observed = draws.interval(columns, _quotient, undefined="out")
            bins.append(Bin(float(predicted / n), observed, int(n)))
    sigma = float(np.std(gap_C)) or 1.0
    decided = gap_C != 0
    slope = fit_slope(gap_C[decided], gap_C[decided] > 0, sigma) / sigma
    error = draws.interval(list(sums_PK.T), _error, undefined="out")
    return Reliability(bins, error, _null(sure_C, place_C, count), slope, sigma, len(gap_C))


def _whole_runs(sure_C: Floats, place_C: Ints) -> Ints:
    """Bins by which pairs of one confidence are all in the first that holds any of them."""
    _, inverse = np.unique(sure_C, return_inverse=True)
    first = np.full(int(inverse.max()) + 1, place_C.max())
    np.minimum.at(first, inverse, place_C)
    found: Ints = first[inverse]
    return found


def _quotient(sums: Floats) -> Floats:
    return np.where(sums[..., 1] == 0, np.nan, sums[..., 0] / sums[..., 1])


def _error(sums: Floats) -> Floats:
    n, predicted, right = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    found: Floats = np.abs(predicted - right).sum(axis=-1) / n.sum(axis=-1)
    return found


def _null(sure_C: Floats, place_C: Ints, count: int) -> float:
    """The error's expectation where every prediction is right."""
    random = np.random.default_rng(7)
    drawn_DC = random.random((_NULL_DRAWS, len(sure_C))) < sure_C
    gap_DC = drawn_DC - sure_C
    total = 0.0
    for place in range(count):
        total += float(np.abs(gap_DC[:, place_C == place].sum(axis=1)).mean())
    return total / len(sure_C)
