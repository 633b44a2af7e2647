"""How far a grader's preference may be trusted: confidence, and a threshold with a guarantee.

A grader that is sure agrees with people more often than one that is not. From pairs that people
have decided, a slope turns its margin into a probability that they would decide as it does, and
fixed-sequence testing finds how low that probability may be for its verdict still to stand: among
the pairs it is then trusted with, people agree with at least the target share, except with
probability `risk` over the draw of the labelled pairs. The rest goes on to a dearer grader, in the
end to a person. The guarantee asks for pairs drawn as those to come are, and independent: one pair
of a prompt. It does not ask that the probabilities be right; they only give the order.

Source: Trust or Escalate (2407.18370) §2, thresholds by fixed-sequence testing and cascades; the
tests: Learn then Test (2110.01052) §2.2; targets short of 0 and 1: Platt 1999.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

TARGET, RISK = 0.8, 0.1
STEPS = 50  # thresholds tried, at most: at every fiftieth of the pairs
_POWER = 0.9
_BISECTIONS = 60


class Calibration(msgspec.Struct, frozen=True):
    """What is known of one grader on the pairs that reach it.

    `slope` and `sigma` give its confidence in a margin. It is trusted with pairs of confidence
    `threshold` or more, never where that is None. On the `n` labelled pairs it was calibrated with
    it would decide the share `coverage`, and people agreed with `agreement` of those; `least` is
    the lower end of that, at confidence 1 − risk. All three are 0 where it is never trusted.
    """

    grader: str
    slope: float
    sigma: float
    threshold: float | None
    agreement: float
    least: float
    coverage: float
    n: int
    target: float = TARGET
    risk: float = RISK

    def confidence(self, margins_R: Floats) -> Floats:
        """P_R: how likely people prefer what it prefers, .5–1; .5 for margins of 0 and NaN."""
        return confidence(margins_R, self.slope, self.sigma)

    def trusts(self, margins_R: Floats) -> Flags:
        """Which of its verdicts stand. A tie and a margin that is NaN never do."""
        decided_R = np.nan_to_num(margins_R) != 0
        if self.threshold is None:
            return np.zeros(len(margins_R), np.bool_)
        stands_R: Flags = decided_R & (self.confidence(margins_R) >= self.threshold)
        return stands_R


def confidence(margins_R: Floats, slope: float, sigma: float) -> Floats:
    """σ(slope · |margin| / sigma), .5 where a margin is NaN."""
    steep_R = np.minimum(slope * np.abs(np.nan_to_num(margins_R)) / sigma, 700.0)
    found_R: Floats = 1 / (1 + np.exp(-steep_R))
    return found_R


def fit_slope(margins_R: Floats, agrees_R: Flags, sigma: float) -> float:
    """The slope of a logistic curve through (0, .5) that makes the human choices likeliest.

    Choices count as a little short of certain, so the slope stays finite where the grader is always
    right; one that is wrong more often than not gets 0: its margins say nothing.
    """
    x_R = np.abs(margins_R) / sigma
    right = int(agrees_R.sum())
    wrong = len(agrees_R) - right
    aim_R = np.where(agrees_R, (right + 1) / (right + 2), 1 / (wrong + 2))
    low, high = 0.0, 1.0

    def pull(slope: float) -> float:
        """The derivative of the log-likelihood, which falls as the slope grows."""
        return float(((aim_R - confidence(margins_R, slope, sigma)) * x_R).sum())

    if not len(x_R) or pull(low) <= 0:
        return 0.0
    while pull(high) > 0:
        low, high = high, high * 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if pull(middle) > 0 else (low, middle)
    return (low + high) / 2


def calibrate(
    grader: str, margins_R: Floats, chosen_R: Ints, *, sigma: float | None = None,
    target: float = TARGET, risk: float = RISK,
) -> Calibration:  # fmt: skip
    """The calibration of one grader from labelled pairs.

    `margins_R`: its score of the first response less that of the second; NaN where it has none.
    `chosen_R`: 1 where people chose the first, −1 the second; leave out their ties. `sigma`: the
    standard deviation of its scores; without, that of the margins over √2.

    Raises: ValueError for shapes, labels, a target or a risk that make no sense.
    """
    _check(margins_R, chosen_R, target, risk)
    decided_R = np.nan_to_num(margins_R) != 0
    margins, agrees = margins_R[decided_R], (np.sign(margins_R) == chosen_R)[decided_R]
    if sigma is None:
        sigma = float(np.sqrt((margins**2).mean() / 2)) if len(margins) else 1.0
    slope = fit_slope(margins, agrees, sigma)
    sure = confidence(margins, slope, sigma)
    threshold = lowest_threshold(sure, agrees, target, risk)
    trusted = sure >= threshold if threshold is not None else np.zeros(len(sure), np.bool_)
    count, right = int(trusted.sum()), int((trusted & agrees).sum())
    return Calibration(
        grader, slope, sigma, threshold,
        agreement=right / count if count else 0.0,
        least=1 - upper_bound(count - right, count, risk) if count else 0.0,
        coverage=count / len(margins_R) if len(margins_R) else 0.0,
        n=len(margins_R), target=target, risk=risk,
    )  # fmt: skip


def lowest_threshold(
    sure_R: Floats, agrees_R: Flags, target: float = TARGET, risk: float = RISK
) -> float | None:
    """The lowest confidence at which agreement is the target or more, but for probability `risk`.

    Thresholds are tried from high to low, each a test that disagreement above it is 1 − target or
    more; the first that cannot be refused ends it, which is why no correction for many tests is
    due. Where to begin is settled without a look at the labels: with as many pairs as a grader that
    errs half as often as it may would pass on, nine times in ten; all, where they are fewer.
    None where already that fails.
    """
    pairs = len(sure_R)
    order = np.argsort(-sure_R, kind="stable")
    sure, wrong = sure_R[order], np.cumsum(~agrees_R[order])
    found = None
    start = min(first_size(1 - target, risk), pairs)
    for size in _sizes(start, pairs):
        while size < pairs and sure[size] == sure[size - 1]:
            size += 1  # a threshold takes all that are as sure
        if binomial_cdf(int(wrong[size - 1]), size, 1 - target) > risk:
            break
        found = float(sure[size - 1])
    return found


def _sizes(start: int, pairs: int) -> list[int]:
    step = max(1, pairs // STEPS)
    return sorted({*range(start, pairs, step), pairs}) if pairs else []


@lru_cache(maxsize=256)
def first_size(allowed: float, risk: float = RISK) -> int:
    """About the fewest pairs on which a grader that errs allowed/2 of the time passes the test that
    it errs less than `allowed`, nine times in ten: whole errors make it no smooth function."""
    low, high = 0, 1
    while not _passes(high, allowed, risk):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _passes(middle, allowed, risk) else (middle, high)
    return high


def _passes(size: int, allowed: float, risk: float) -> bool:
    worst = -1  # most errors that still pass
    while binomial_cdf(worst + 1, size, allowed) <= risk:
        worst += 1
    return binomial_cdf(worst, size, allowed / 2) >= _POWER


def cascade(
    graders: Sequence[str], chosen_R: Ints, *, target: float = TARGET, risk: float = RISK
) -> Generator[tuple[str, Ints], Floats, list[Calibration]]:
    """The calibrations of graders that are asked in this order, each with what those before it were
    not sure of; all hold together but for probability `risk`.

    Yields (grader, places) and is sent that grader's margins on those pairs, so that a dear one is
    asked about no pair that would not reach it. Each is calibrated on a share of the labelled pairs
    of its own: what reaches it depends on the thresholds before it, and pairs that have settled
    those are no fair sample of it. The risk is shared out evenly. Pairs are dealt in turn, so give
    them in no order that matters.
    """
    found: list[Calibration] = []
    for number, grader in enumerate(graders):
        left = np.arange(number, len(chosen_R), len(graders))
        for before in found:
            left = left[~before.trusts((yield before.grader, left))]
        margins = yield grader, left
        found.append(
            calibrate(grader, margins, chosen_R[left], target=target, risk=risk / len(graders))
        )
    return found


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X ≤ k) for X binomial with n draws of probability 0 < p < 1."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    i_K = np.arange(k + 1)
    known = _log_factorials(1 << n.bit_length())
    log_K = known[n] - known[i_K] - known[n - i_K] + i_K * math.log(p) + (n - i_K) * math.log1p(-p)
    top = float(log_K.max())
    return min(1.0, math.exp(top) * float(np.exp(log_K - top).sum()))


@lru_cache(maxsize=32)
def _log_factorials(most: int) -> Floats:
    """log i! for i from 0 to `most`."""
    found: Floats = np.cumsum(np.log(np.maximum(np.arange(most + 1), 1)))
    return found


def upper_bound(errors: int, n: int, risk: float = RISK) -> float:
    """The exact upper bound of a rate at confidence 1 − risk, after Clopper and Pearson 1934."""
    low, high = errors / n, 1.0
    if errors == n:
        return 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_cdf(errors, n, middle) > risk else (low, middle)
    return high


def _check(margins_R: Floats, chosen_R: Ints, target: float, risk: float) -> None:
    if len(margins_R) != len(chosen_R):
        raise ValueError(f"{len(margins_R)} margins for {len(chosen_R)} labels")
    if not np.isin(chosen_R, (-1, 1)).all():
        raise ValueError("labels are 1 (the first) or −1 (the second); leave out ties")
    if not (0 < target < 1 and 0 < risk < 1):
        raise ValueError(f"target {target} and risk {risk} must lie between 0 and 1")
    if np.isinf(margins_R).any():
        raise ValueError("a margin is infinite")
