"""The over-optimisation meter: how many samples a reward can be trusted to choose among.

The more samples a reward picks from, the more it picks its own mistakes. Its own curve does not
show that; a second score that had no part in the picking does. Both curves come from the same
pools, so what is compared is paired by prompt, and a downturn is tested, not looked at: with many k
to choose from, the highest point of a flat noisy curve is always above its end.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from karat.intervals import LEVEL, RESAMPLES, Interval, Resamples
from karat.scoring.best_of import Floats, Ints, check, curves, kl, normal_maximum
from karat.scoring.tallies import GROUPS, per_prompt

SHARE = 0.9  # of the prompts, that must have as many samples as the curve's last k
CHUNK = 200  # draws at once


class Rung(msgspec.Struct, frozen=True):
    """Best of `k`, over the prompts. `kl` in nats, an upper bound; scores on their own scales.

    The predicted values take each prompt's scores for normal, the held-out ones with the same
    correlation for all: a curve that ends below its prediction has run out of good samples, or
    meets the top of its scale.
    """

    k: int
    kl: float
    grading: Interval
    predicted: float
    held: Interval | None = None
    held_predicted: float | None = None


class Meter(msgspec.Struct, frozen=True):
    """What a pool says about best-of-n.

    `correlation` is that of the two scores within prompts, pooled; `recommended` the n to use,
    `peak` the k of the highest held-out value, `drop` the last value less that one, and `p_drop`
    the chance of so clear a drop where there is none. None where nothing was held out. `left_out`
    prompts have fewer samples than the last k.
    """

    prompts: int
    left_out: int
    rungs: tuple[Rung, ...]
    correlation: float | None = None
    recommended: int | None = None
    peak: int | None = None
    drop: Interval | None = None
    p_drop: float | None = None
    warning: str = ""


def meter(
    counts_P: Ints, scores_R: Floats, held_R: Floats | None = None, *, most: int | None = None,
    seed: int = 0, level: float = LEVEL,
) -> Meter:  # fmt: skip
    """The curves up to `most` samples (left open: as many as 9 of 10 prompts have), and a verdict.

    `recommended` is the smallest k whose held-out value is within one standard error of the peak's,
    the error being that of their difference over the same prompts. Without a held-out score there
    is none: a reward that grades itself always asks for more. The warning is given where the last
    value is below an earlier one at `level`, tested against all earlier ones at once.

    Raises: ValueError where shapes differ, a score is not finite, or fewer than two prompts have
    `most` samples.

    Source: the one-standard-error rule: Breiman et al. 1984 (Classification and Regression Trees)
    §3.4.3; the test of the greatest of many differences: White 2000 (Econometrica 68, 1097–1126).
    """
    last = most or _usual(counts_P)
    kept_P = counts_P >= last
    rows, inside_R = int(kept_P.sum()), np.repeat(kept_P, counts_P)
    if rows < 2:
        raise ValueError(f"fewer than two prompts have {last} samples")
    check(counts_P, scores_R, scores_R if held_R is None else held_R)
    some_P, some_R = counts_P[kept_P], scores_R[inside_R]
    other_R = None if held_R is None else held_R[inside_R]
    grading_PK = curves(some_P, some_R)[:, :last]
    held_PK = None if other_R is None else curves(some_P, some_R, other_R)[:, :last]
    own, other, rho = _spreads(some_P, some_R, other_R)
    resamples = Resamples(min(rows, GROUPS), seed, RESAMPLES)

    def interval(curve_PK: Floats, k: int) -> Interval:
        return resamples.mean(grouped(curve_PK[:, k - 1 : k])[:, 0], level)

    def predicted(curve_PK: Floats, spread: float, k: int) -> float:
        return float(curve_PK[:, 0].mean()) + spread * normal_maximum(k)

    rungs = []
    for k in ladder(last):
        rung = Rung(k, kl(k), interval(grading_PK, k), predicted(grading_PK, own, k))
        if held_PK is not None:
            held = interval(held_PK, k)
            guess = predicted(held_PK, rho * other, k)
            rung = Rung(k, rung.kl, rung.grading, rung.predicted, held, guess)
        rungs.append(rung)
    if held_PK is None:
        return Meter(rows, len(counts_P) - rows, tuple(rungs))
    peak = int(held_PK.mean(axis=0).argmax())
    drop = resamples.mean(grouped(held_PK[:, -1:] - held_PK[:, peak : peak + 1])[:, 0], level)
    p_drop = downturn(grouped(held_PK), seed)
    return Meter(
        rows, len(counts_P) - rows, tuple(rungs), rho, recommend(held_PK), peak + 1, drop, p_drop,
        _warning(last, peak + 1, drop, p_drop, level),
    )  # fmt: skip


def ladder(most: int) -> list[int]:
    """The k that are shown: every one up to 16, then two in each octave, and the last."""
    steps = [2 ** (i // 2) * (2 + i % 2) for i in range(6, 60)]
    return sorted({*range(1, min(most, 16) + 1), *(k for k in steps if k < most), most})


def grouped(values_PK: Floats) -> Floats:
    """values_GK: at most GROUPS rows whose mean is that of the prompts and varies as much as it.

    Every GROUPS-th prompt goes into the same row, so that a bootstrap's memory and time do not grow
    with the file. A group that is one prompt larger than others moves nothing: what is summed is
    the distance from the mean.
    """
    prompts = len(values_PK)
    if prompts <= GROUPS:
        return values_PK
    mean_K = values_PK.mean(axis=0)
    gaps_GK = per_prompt(values_PK - mean_K, np.arange(prompts) % GROUPS, GROUPS)
    found: Floats = mean_K + gaps_GK * (GROUPS / prompts)
    return found


def recommend(held_PK: Floats) -> int:
    """The smallest k whose held-out value is within one paired standard error of the highest."""
    peak = int(held_PK.mean(axis=0).argmax())
    gap_PK = held_PK[:, peak : peak + 1] - held_PK
    error_K = gap_PK.std(axis=0, ddof=1) / math.sqrt(len(gap_PK))
    return int(np.flatnonzero(gap_PK.mean(axis=0) <= error_K)[0]) + 1


def downturn(held_PK: Floats, seed: int = 0, draws: int = RESAMPLES) -> float:
    """The p-value of the last value being below some earlier one, over all earlier ones at once.

    Prompts are drawn with replacement, whole, and each draw's greatest drop (in standard errors,
    less what was found) says how great a drop chance alone makes.
    """
    gap_PK = held_PK[:, :-1] - held_PK[:, -1:]
    rows = len(gap_PK)
    mean_K = gap_PK.mean(axis=0)
    error_K = gap_PK.std(axis=0, ddof=1) / math.sqrt(rows)
    varied_K = error_K > 1e-12 * np.abs(held_PK).max(initial=1e-300)
    if not varied_K.any():
        return 1.0
    found = float((mean_K[varied_K] / error_K[varied_K]).max())
    centred_PK = (gap_PK - mean_K)[:, varied_K] / (rows * error_K[varied_K])
    random = np.random.default_rng(seed % 2**64)
    beyond = 0
    for start in range(0, draws, CHUNK):
        count = min(CHUNK, draws - start)
        times_BP = random.multinomial(rows, np.full(rows, 1 / rows), count).astype(np.float64)
        beyond += int(((times_BP @ centred_PK).max(axis=1) >= found).sum())
    return (beyond + 1) / (draws + 1)


def gao_fit(kl_K: Floats, gain_K: Floats) -> tuple[float, float]:
    """(α, β) of gain = d(α − βd) with d = √KL, by least squares; at its highest d = α / 2β.

    `gain_K` is a held-out curve less its value at k = 1. β ≤ 0: no end in sight.
    Source: Gao et al. 2022 (2210.10760) §3.1.
    """
    d_K = np.sqrt(np.asarray(kl_K, np.float64))
    found, *_ = np.linalg.lstsq(np.stack([d_K, -d_K * d_K], axis=1), gain_K, rcond=None)
    return float(found[0]), float(found[1])


def _usual(counts_P: Ints) -> int:
    """The largest k that `SHARE` of the prompts have samples for."""
    order = np.sort(counts_P)[::-1]
    return int(order[max(0, math.ceil(SHARE * len(order)) - 1)]) if len(order) else 1


def _spreads(counts_P: Ints, scores_R: Floats, held_R: Floats | None) -> tuple[float, float, float]:
    """(mean σ of the scores, of the held-out ones, their correlation), all within prompts."""
    owner_R = np.repeat(np.arange(len(counts_P)), counts_P)
    other_R = scores_R if held_R is None else held_R

    def sums(values_R: Floats) -> Floats:
        return np.bincount(owner_R, values_R, len(counts_P)).astype(np.float64)

    def centred(values_R: Floats) -> Floats:
        return values_R - (sums(values_R) / counts_P)[owner_R]

    a_R, b_R = centred(scores_R), centred(other_R)
    aa_P, bb_P, both = sums(a_R * a_R), sums(b_R * b_R), float((a_R * b_R).sum())
    scale_P = np.array([_unbiased(int(n)) for n in counts_P])
    under = math.sqrt(float(aa_P.sum()) * float(bb_P.sum()))
    rho = both / under if under > 0 else 0.0
    return float((np.sqrt(aa_P) * scale_P).mean()), float((np.sqrt(bb_P) * scale_P).mean()), rho


def _unbiased(n: int) -> float:
    """What √(sum of squares) of n normal values is multiplied with for an unbiased σ."""
    if n < 2:
        return 0.0
    return math.exp(math.lgamma((n - 1) / 2) - math.lgamma(n / 2)) / math.sqrt(2)


def _warning(last: int, peak: int, drop: Interval, p_drop: float, level: float) -> str:
    if p_drop > 1 - level:
        return ""
    return (
        f"over-optimised: picked among {last}, the held-out score is {-drop.value:.3g} "
        f"(p = {p_drop:.2g}) below what picking among {peak} gives; use no more than {peak}"
    )
