"""What one arm's students are ahead of another's: a paired bootstrap of prompts, nested over seeds.

A difference between two data sets is uncertain twice. Other prompts would have given another one,
and so would other seeds of training; a student trained once says nothing of the second. So whole
prompts are drawn, the same for both arms, and then seeds. A seed begins both arms' students with
the same adapter and shows them their prompts in the same order, so students of one seed are drawn
together: what it does to both cancels. Three seeds drawn with replacement look more alike than
three new ones: their deviations are enlarged by √(S/(S−1)). And what one seed does on one prompt
would be counted twice, with the prompts and with the seeds: what prompts explain of the spread
between seeds is taken off it.

The draws give the standard error. The interval and p are Student's t with Satterthwaite's degrees
of freedom, as three seeds have two, and no count of draws makes more of them: the percentiles of
such draws end where the best of the three seeds does. Nor can labels be permuted: three pairs of
students have eight arrangements, so that no p could be below .25. Signs of prompts can: a few that
differ, all one way, are a rare thing 2 times in 2^D, and p is never below that, however alike they
are. By simulation (answers of 0 and 1, and shares, on 40 to 300 prompts), chance is taken for a
difference 1 to 7% of the time with three seeds, 4 to 6% with five, and up to 10% with two. Of four
contrasts after Holm, the first 0 to 3% (two seeds: 8%); for any of them up to 10% (two: 25%) where
students' means move by 5 points or more from seed to seed: so few seeds have long tails.

Source: nesting and the enlargement: Davison and Hinkley 1997, Bootstrap Methods and their
Application, §3.8; drawing rows and columns: Owen 2007 (Annals of Applied Statistics 1, 386–411);
degrees of freedom: Satterthwaite 1946 (Biometrics 2, 110–114); Holm 1979 (Scandinavian Journal of
Statistics 6, 65–70).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.intervals import CHUNK, LEVEL, RESAMPLES, Interval
from karat.scoring.lift_power import quantile, two_sided

Floats = NDArray[np.float64]


class Effect(msgspec.Struct, frozen=True):
    """A difference of two arms' means: its interval, two-sided p, standard error and degrees of
    freedom. `prompts_error` and `seeds_error` are the parts of the error; `seeds` is how many
    students each arm has: with 1 the second part is not known, and not in the error."""

    difference: Interval
    p: float
    error: float
    freedom: float
    prompts_error: float
    seeds_error: float
    seeds: tuple[int, int]


class Contrast(msgspec.Struct, frozen=True):
    """One effect of a family: `p_holm` is its p once all of them are looked at."""

    first: str
    second: str
    effect: Effect
    p_holm: float


class _Seeds(NamedTuple):
    """The spread of students, or of pairs of them: `deviations_S` of their means, enlarged, and
    without what their answers to single prompts explain; the mean squares of means and of what is
    left."""

    deviations_S: Floats
    means_square: float  # variance of the students' means, over seeds
    cells_square: float  # of what a student does on one prompt beside both means, over P·S


def effect(
    first_SP: Floats, second_SP: Floats, *, seed: int = 0, resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Effect:  # fmt: skip
    """The mean of `first_SP` less that of `second_SP`: a value of each student on each prompt.

    S: students, each of another seed, in the same order in both arms; P: prompts, the same in both.
    Arms of different sizes share no seeds, and each one's are drawn apart; an arm that was not
    trained has one line, and nothing is drawn of it but prompts.
    Raises: ValueError where the prompts differ, a value is not finite, or there are fewer than two.
    """
    arms = [np.atleast_2d(np.asarray(one, np.float64)) for one in (first_SP, second_SP)]
    prompts = arms[0].shape[1]
    if arms[1].shape[1] != prompts or prompts < 2:
        raise ValueError(f"{prompts} and {arms[1].shape[1]} prompts: two or more, the same in both")
    if not all(np.isfinite(arm).all() for arm in arms):
        raise ValueError("every value must be finite; leave out prompts that lack one")
    gap_P = arms[0].mean(axis=0) - arms[1].mean(axis=0)
    value = float(gap_P.mean())
    together = len(arms[0]) == len(arms[1])
    spreads = [_seeds(arms[0] - arms[1])] if together else [_seeds(arm) for arm in arms]
    random = np.random.default_rng(seed)
    drawn_B = _of_prompts(gap_P, random, resamples)
    for spread in spreads:
        drawn_B += _of_seeds(spread.deviations_S, random, resamples)
    # Prompts drawn with replacement are as much too alike as seeds are, by √((P−1)/P).
    of_prompts = math.sqrt(float(gap_P.var(ddof=1)) / prompts)
    of_seeds = math.sqrt(sum(_mean_variance(one.deviations_S) for one in spreads))
    shortfall = (of_prompts / prompts**0.5) ** 2
    error = math.sqrt(float(drawn_B.var()) + shortfall)
    if max(error, abs(value)) <= 1e-12 * max(1e-300, *(float(np.abs(arm).max()) for arm in arms)):
        error = value = 0.0  # equal but for rounding
    freedom = _freedom(error, of_prompts, prompts, spreads)
    half = quantile((1 + level) / 2, freedom) * error
    p = two_sided(value / error, freedom) if error else float(value == 0)
    p = max(p, _by_signs(gap_P))
    return Effect(
        Interval(value, value - half, value + half), p, error, freedom, of_prompts, of_seeds,
        (len(arms[0]), len(arms[1])),
    )  # fmt: skip


def _by_signs(gap_P: Floats) -> float:
    """The least p that so many prompts with a difference allow, whatever the differences are."""
    alike = 1e-12 * max(1e-300, float(np.abs(gap_P).max()))
    return float(min(1.0, 2.0 ** (1 - int((np.abs(gap_P) > alike).sum()))))


def contrasts(
    arms: Mapping[str, Floats], pairs: Sequence[tuple[str, str]], *, seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Contrast]:  # fmt: skip
    """The effects of a family, in order, with Holm's correction for looking at all of them."""
    found = [effect(arms[a], arms[b], seed=seed, resamples=resamples) for a, b in pairs]
    corrected = holm([one.p for one in found])
    return [Contrast(a, b, one, p) for (a, b), one, p in zip(pairs, found, corrected, strict=True)]


def holm(p_K: Sequence[float]) -> list[float]:
    """The p of each of K, such that none false is below α with a probability above α."""
    order = sorted(range(len(p_K)), key=lambda k: p_K[k])
    found, highest = [0.0] * len(p_K), 0.0
    for place, k in enumerate(order):
        highest = max(highest, min(1.0, (len(p_K) - place) * p_K[k]))
        found[k] = highest
    return found


def _seeds(arm_SP: Floats) -> _Seeds:
    """What an arm's students differ by. One student differs from nobody."""
    students, prompts = arm_SP.shape
    if students < 2:
        return _Seeds(np.zeros(1), 0.0, 0.0)
    means_S = arm_SP.mean(axis=1)
    square = float(means_S.var(ddof=1))
    rest_SP = arm_SP - means_S[:, None] - arm_SP.mean(axis=0) + arm_SP.mean()
    cells = float((rest_SP**2).sum()) / ((students - 1) * (prompts - 1))
    kept = max(0.0, 1 - cells / prompts / square) if square > 0 else 0.0
    enlarged = math.sqrt(students / (students - 1) * kept)
    return _Seeds((means_S - means_S.mean()) * enlarged, square / students,
                  cells / (prompts * students))  # fmt: skip


def _of_prompts(gap_P: Floats, random: np.random.Generator, resamples: int) -> Floats:
    """The mean gap of each draw of prompts."""
    parts = [
        gap_P[random.integers(0, len(gap_P), (min(CHUNK, resamples - start), len(gap_P)))]
        for start in range(0, resamples, CHUNK)
    ]
    return np.concatenate([part.mean(axis=1) for part in parts])


def _of_seeds(deviations_S: Floats, random: np.random.Generator, resamples: int) -> Floats:
    """The mean deviation of each draw of seeds."""
    drawn_BS = random.integers(0, len(deviations_S), (resamples, len(deviations_S)))
    found: Floats = deviations_S[drawn_BS].mean(axis=1)
    return found


def _mean_variance(deviations_S: Floats) -> float:
    """Of the mean of as many draws of them."""
    return float((deviations_S**2).mean()) / len(deviations_S)


def _freedom(error: float, of_prompts: float, prompts: int, spreads: Sequence[_Seeds]) -> float:
    """Satterthwaite's: parts that are uncertain count for what they are worth, the spread of seeds
    before anything was taken off it."""
    uncertain = of_prompts**4 / (prompts - 1)
    for one in spreads:
        if (students := len(one.deviations_S)) > 1:
            uncertain += one.means_square**2 / (students - 1)
            uncertain += one.cells_square**2 / ((students - 1) * (prompts - 1))
    return max(1.0, error**4 / uncertain) if uncertain > 0 else float(prompts - 1)
