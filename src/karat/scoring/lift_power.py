"""What a comparison of arms could show, said before any of them is trained.

"No difference was found" means little where none of a likely size could have been. The least
difference that would be found four times in five follows from how many prompts and seeds there
are and how much each varies, so it can be stated beforehand; afterwards it is too late to be
believed. For prompts alone it is the usual formula: a difference of .2 standard deviations needs
196 of them.

Source: FACTS of power for paired designs, Cohen 1988, Statistical Power Analysis, §2; with two
sources of variance, Satterthwaite 1946 (Biometrics 2, 110–114).
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.intervals import LEVEL, POWER
from karat.scoring.student import density, tail

Floats = NDArray[np.float64]

NOISE = 0.5  # of the variance of a difference on one prompt: what another seed draws anew
DRAWS, CRITICAL = 10_000, 30  # lifts that are drawn, and points of a table of critical values
STEPS = 100  # of Newton's rule; at one degree of freedom each doubles z
NORMAL = 1e6  # degrees of freedom that are as good as a normal


class Power(msgspec.Struct, frozen=True):
    """What a design can show. `detectable` is the least true difference that is found with
    probability `power` when it is looked at alone, `detectable_holm` as the first of `family`
    contrasts. `error` is the true standard error of the difference."""

    prompts: int
    seeds: int
    prompt_sd: float
    seed_sd: float
    noise: float
    family: int
    error: float
    detectable: float
    detectable_holm: float
    power: float = POWER


def planned(
    prompts: int, seeds: int, prompt_sd: float, seed_sd: float, family: int = 1, *,
    noise: float = NOISE, power: float = POWER,
) -> Power:  # fmt: skip
    """What two arms of `seeds` students each can show on so many prompts, by the very test that
    `karat.scoring.lift.effect` makes, errors in its own estimates counted.

    `prompt_sd`: standard deviation over prompts of the difference of two students' values on one
    prompt, of whose square a share `noise` is redrawn by another seed; `seed_sd`: of one student's
    mean over all prompts, about its arm's.
    Raises: ValueError for fewer than two prompts, or no seed.
    """
    if prompts < 2 or seeds < 1:
        raise ValueError(f"{prompts} prompts and {seeds} seeds: two and one at least")
    test = _Test(prompts, seeds, (1 - noise) * prompt_sd**2, noise * prompt_sd**2, 2 * seed_sd**2)
    alone, first = (test.least(1 - (1 - LEVEL) / many, power) for many in (1, family))
    return Power(
        prompts, seeds, prompt_sd, seed_sd, noise, family, test.error, alone, first, power
    )  # fmt: skip


class _Test:
    """The test in a world of normals: its mean squares are then independent multiples of χ², so
    that thousands of lifts are drawn without a single prompt."""

    def __init__(
        self, prompts: int, seeds: int, lean: float, noise: float, of_seeds: float
    ) -> None:
        random, p, s = np.random.default_rng(0), prompts, seeds
        self.error = math.sqrt((lean + noise / s) / p + of_seeds / s)
        by_prompt = (lean + noise / s) / p * _square(random, p - 1)
        by_seed = cells = np.zeros(DRAWS)
        if s > 1:
            by_seed = (of_seeds + noise / p) / s * _square(random, s - 1)
            cells = noise / p / s * _square(random, (s - 1) * (p - 1))
        variance = by_prompt + np.maximum(by_seed - cells, 0)
        uncertain = by_prompt**2 / (p - 1) + by_seed**2 / max(s - 1, 1)
        uncertain += cells**2 / max((s - 1) * (p - 1), 1)
        self._told = np.sqrt(variance)
        with np.errstate(invalid="ignore"):
            self._freedom = np.clip(variance**2 / uncertain, 1, NORMAL)

    def least(self, level: float, power: float) -> float:
        """The true difference that is found with that probability."""
        if self.error == 0:
            return 0.0
        bar = np.interp(1 / self._freedom, *_critical(level)) * self._told / self.error
        low, high = 0.0, float(bar.max()) + 5
        for _ in range(50):
            middle = (low + high) / 2
            found = tail(bar - middle, NORMAL).mean()
            low, high = (middle, high) if found < power else (low, middle)
        return high * self.error


@lru_cache(maxsize=8)
def _critical(level: float) -> tuple[Floats, Floats]:
    """(1/df, critical value), equally spaced from many degrees of freedom down to one."""
    inverse = np.linspace(1 / NORMAL, 1, CRITICAL)
    return inverse, np.array([quantile((1 + level) / 2, 1 / one) for one in inverse])


def _square(random: np.random.Generator, freedom: int) -> Floats:
    """A mean square over its expectation, drawn many times."""
    found: Floats = random.chisquare(freedom, DRAWS) / freedom
    return found


def detectable(error: float, freedom: float, level: float = LEVEL, power: float = POWER) -> float:
    """The least true difference that is told from none with that probability."""
    return error * (quantile((1 + level) / 2, freedom) + quantile(power, freedom))


def prompts_for(effect_size: float, level: float = LEVEL, power: float = POWER) -> int:
    """Prompts that a paired difference of so many standard deviations needs, seeds aside."""
    z = quantile((1 + level) / 2, NORMAL) + quantile(power, NORMAL)
    return max(2, math.ceil((z / effect_size) ** 2 - 1e-9))


def two_sided(t: float, freedom: float) -> float:
    """How often chance alone is as far from 0."""
    return min(1.0, 2 * float(tail(np.array([abs(t)]), min(freedom, NORMAL))[0]))


def quantile(share: float, freedom: float) -> float:
    """What a standard t lies below with probability `share`, from .5 on.

    By Newton's rule from the normal's, which lies below it: to the right of 0 the share is concave,
    so that every step comes nearer and none goes beyond.
    """
    freedom = min(freedom, NORMAL)
    z = NormalDist().inv_cdf(share)
    for _ in range(STEPS):
        missing = _above(z, freedom) - (1 - share)
        z += missing / float(density(np.array([z]), freedom)[0])
        if missing <= 1e-12 * (1 - share):
            break
    return z


def _above(z: float, freedom: float) -> float:
    return float(tail(np.array([z]), min(freedom, NORMAL))[0])
