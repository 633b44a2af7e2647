"""Best-of-k from one pool: the whole curve for every k ≤ N, without drawing anything again.

A pool of N graded samples holds every subset of k of them, and the mean over all subsets has a
closed form: the j-th lowest of N is the best of C(j−1, k−1) subsets of C(N, k). So one pool tells
what any smaller n would have given, without bias and with far less noise than the first k samples.
Picked by the grading reward and valued by a score that did not pick, the same weights draw the
held-out curve, which is the one to believe: the grading reward's own always rises.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_REACH, _WIDTH = 12.0, 1 / 128  # of the grid on which order statistics are integrated


def curves(counts_P: Ints, scores_R: Floats, values_R: Floats | None = None) -> Floats:
    """value_PK: what the best of k samples of each prompt is expected to be worth.

    `counts_P` says how many samples each prompt has, `scores_R` grades them, prompt after prompt;
    the best is the one of highest score. It is worth its score, or what `values_R` says: a held-out
    second score. Among equal scores each is as likely to be picked, so they share their mean value.
    K is the largest pool; NaN where k is more than the prompt has. Column 0 is k = 1.

    Raises: ValueError where the shapes differ or a score is not finite: leave ungraded samples out.

    Source: Nakano et al. 2021 (WebGPT, 2112.09332) appendix I, used by Gao et al. 2022 (2210.10760)
    §2; there for distinct scores.
    """
    values_R = scores_R if values_R is None else values_R
    check(counts_P, scores_R, values_R)
    found_PK = np.full((len(counts_P), int(counts_P.max(initial=0))), np.nan)
    starts_P = np.cumsum(counts_P) - counts_P
    for n in np.unique(counts_P[counts_P > 0]):
        rows = np.flatnonzero(counts_P == n)
        at_PN = starts_P[rows][:, None] + np.arange(n)
        order_PN = np.argsort(scores_R[at_PN], axis=1, kind="stable")
        at_PN = np.take_along_axis(at_PN, order_PN, axis=1)
        found_PK[rows, :n] = _shared(scores_R[at_PN], values_R[at_PN]) @ _weights(int(n))
    return found_PK


def check(counts_P: Ints, *flat: Floats) -> None:
    """Raises: ValueError where a flat array does not fit the counts or is not finite."""
    if len(counts_P) and int(counts_P.min()) < 0:
        raise ValueError("counts must not be negative")
    for values_R in flat:
        if len(values_R) != int(counts_P.sum()):
            raise ValueError(f"{len(values_R)} values for {int(counts_P.sum())} samples")
        if not np.isfinite(values_R).all():
            raise ValueError("every value must be finite; leave ungraded samples out")


def _shared(sorted_PN: Floats, values_PN: Floats) -> Floats:
    """values_PN with every run of equal scores given its mean."""
    fresh_PN = np.ones(sorted_PN.shape, np.bool_)
    fresh_PN[:, 1:] = sorted_PN[:, 1:] != sorted_PN[:, :-1]
    run_R = np.cumsum(fresh_PN.ravel()) - 1
    sums = np.bincount(run_R, values_PN.ravel())
    means: Floats = (sums / np.bincount(run_R))[run_R].reshape(sorted_PN.shape)
    return np.where(fresh_PN & np.roll(fresh_PN, -1, axis=1), values_PN, means)


@lru_cache(maxsize=64)
def _weights(n: int) -> Floats:
    """weight_NK: how likely the j-th lowest of n is the best of k of them.

    C(j−1, k−1) / C(n, k) as a product from the top down: binomials themselves overflow.
    """
    k_K = np.arange(1, n + 1, dtype=np.float64)
    weight_NK = np.zeros((n, n))
    weight_NK[-1] = k_K / n
    for j in range(n - 1, 0, -1):
        weight_NK[j - 1] = weight_NK[j] * np.maximum(j + 1 - k_K, 0) / j
    return weight_NK


def kl(k: int) -> float:
    """KL of best-of-k from the sampled distribution, in nats: log k − (k−1)/k.

    Exact for scores without ties, an upper bound with them: a reward with few levels changes less.
    Source: Gao et al. 2022 (2210.10760) §2; as a bound: Beirami et al. 2024 (2401.01879).
    """
    return math.log(k) - (k - 1) / k


def normal_maximum(k: int) -> float:
    """The expected maximum of k standard normals: .56 for 2, 1.42 for 8."""
    x_S, density_S, below_S = _normal()
    return float((x_S * k * density_S * below_S ** (k - 1)).sum() * _WIDTH) if k > 1 else 0.0


@lru_cache(maxsize=1)
def _normal() -> tuple[Floats, Floats, Floats]:
    """(x, density, share below). Equal steps: of a smooth bell the trapezoid rule is exact."""
    x_S = np.arange(-_REACH, _REACH + _WIDTH / 2, _WIDTH)
    below_S = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in x_S])
    return x_S, np.exp(-x_S * x_S / 2) / math.sqrt(2 * math.pi), below_S
