"""Adaptive n: when another draw for a prompt is not expected to be worth what it costs.

Best-of-n with recall is a search problem: a draw costs c, the best so far is kept. With a known
distribution the rule that loses nothing is Weitzman's: draw while E[(X − best)⁺] > c. One cost for
all prompts is also how a budget is best shared out, since a call then goes where it adds most: to
prompts whose answers differ much and whose best is not yet high among them.

A prompt's distribution is not known, but prompts are alike. A normal-inverse-gamma prior fitted to
the pilot draws of all of them (empirical Bayes) says where a prompt's mean and spread may lie; its
own draws narrow that down, and the next draw follows a Student t. The rule looks one draw ahead:
what a draw teaches beyond its score is left out, since on simulated prompts even a policy learned
by backward induction saved no calls by it. A row's decision depends on its own draws and the prior
alone, never on the order in which rows come by.

Scores are taken for normal. A scale's top is known to the rule: a score there stops at once, and no
draw is worth more than what is left above the best. Where scores pile up under the top (skewed to
the left) gains are overrated and calls a little misplaced, where they are skewed to the right
underrated; what is drawn still is a best of n, so only the saving suffers, never the choice. Of
verdicts, 0 or 1, failures are all alike: any rule that learns from scores ends with the first
success or after so many failures, and a beta prior would stop where this one does.

Source: Weitzman 1979 (Econometrica 47, 641–654), reservation values; for LLM samples: 2510.01394
(reservation values learned on the fly, 15–35% fewer generations) and 2510.15945 (BEACON, a
normal-inverse-gamma prior over the prompt's own draws). The prior from all prompts is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from karat.scoring.best_of import Floats, Ints, check
from karat.scoring.student import improvement

DEFAULT_SHAPE = 4.0  # where no prompt has the draws to tell: as on pools of a small model
WORTH = 20  # prompts that the default counts for beside those that tell
SHAPES = (2.5, 1e4)  # of the inverse gamma: spreads that differ by half, spreads all alike
STRENGTHS = (1e-6, 1e6)  # draws that the prior mean counts for
PATHS = 4_096  # simulated prompts that a cost is worked out on, at least
TINY = 1e-150


class Prior(msgspec.Struct, frozen=True):
    """What is known of a prompt before its first draw.

    Variances σ² follow an inverse gamma (`shape`, `rate`), means a normal about `mean` with
    variance σ² / `strength`. `high` is the top of the reward's scale, infinite where it has none.
    """

    mean: float
    strength: float
    shape: float
    rate: float
    high: float = math.inf

    @classmethod
    def from_pilot(
        cls, counts_P: Ints, scores_R: Floats, scale: tuple[float, float] | None = None
    ) -> Prior:
        """The prior that has the pilot's moments: `counts_P` draws of each prompt, `scores_R`
        prompt after prompt.

        Mean and strength are those of an analysis of variance. How much spreads differ from prompt
        to prompt needs four draws of a prompt: of fewer, or by likelihood under normal scores,
        heavy tails pass for different spreads, and the rule would follow every high score with more
        draws. It is shrunk towards `DEFAULT_SHAPE`.

        Raises: ValueError where shapes differ, a score is not finite, or no prompt has two draws.
        """
        check(counts_P, scores_R)
        counts_P = counts_P[counts_P > 0]
        if not (counts_P > 1).any():
            raise ValueError("a prior needs prompts with two draws or more")
        owner_R = np.repeat(np.arange(len(counts_P)), counts_P)
        mean_P = np.bincount(owner_R, scores_R) / counts_P
        gap_R = scores_R - mean_P[owner_R]
        squares_P = np.bincount(owner_R, gap_R**2).astype(np.float64)
        fourths_P = np.bincount(owner_R, gap_R**4).astype(np.float64)
        within = float(squares_P.sum() / (counts_P - 1).sum())
        shape = _shape(counts_P, squares_P, fourths_P)
        between = 0.0
        if len(mean_P) > 1:
            between = float(mean_P.var(ddof=1) - (within / counts_P).mean())
        strength = within / between if between > 0 else math.inf
        strength = min(max(strength, STRENGTHS[0]), STRENGTHS[1])
        high = math.inf if scale is None else scale[1]
        return cls(float(mean_P.mean()), strength, shape, (shape - 1) * within, high)


def _shape(counts_P: Ints, squares_P: Floats, fourths_P: Floats) -> float:
    """The inverse gamma's shape: 2 + 1/V, where V is the squared coefficient of variation of σ².

    E[σ⁴] is taken without bias whatever the scores' kurtosis: a sample variance scatters by
    2σ⁴/(n−1) + κ₄/n, and the fourth cumulant κ₄ has an unbiased estimate (Fisher's k₄) of its own.
    """
    some_P = counts_P >= 4
    count = int(some_P.sum())
    n_P = counts_P[some_P].astype(np.float64)
    s2_P = squares_P[some_P] / np.maximum(n_P - 1, 1)
    level = float(s2_P.mean()) ** 2 if count else 0.0
    default = 1 / (DEFAULT_SHAPE - 2)
    if count < 2 or level <= 0:
        return DEFAULT_SHAPE
    k4_P = (n_P * (n_P + 1) * fourths_P[some_P] - 3 * (n_P - 1) * squares_P[some_P] ** 2) / (
        (n_P - 1) * (n_P - 2) * (n_P - 3)
    )
    fourth = float(((s2_P**2 - k4_P / n_P) * (n_P - 1) / (n_P + 1)).mean())
    level -= float(s2_P.var(ddof=1)) / count  # the square of a mean is too great by its variance
    varied = fourth / level - 1 if level > 0 else default
    varied = (count * varied + WORTH * default) / (count + WORTH)
    return min(max(2 + 1 / varied, SHAPES[0]), SHAPES[1]) if varied > 0 else SHAPES[1]


class Draws(msgspec.Struct):
    """What the rule must know of prompts with `n` draws each: means, squares about them, bests."""

    n: int
    mean_P: Floats
    squares_P: Floats
    best_P: Floats

    @classmethod
    def of(cls, scores_PN: Floats) -> Draws:
        """Of N draws of each prompt."""
        mean_P = scores_PN.mean(axis=1)
        squares_P = ((scores_PN - mean_P[:, None]) ** 2).sum(axis=1)
        return cls(scores_PN.shape[1], mean_P, squares_P, scores_PN.max(axis=1))

    def add(self, score_P: Floats) -> Draws:
        """With one more draw of each."""
        gap_P, n = score_P - self.mean_P, self.n + 1
        return Draws(
            n,
            self.mean_P + gap_P / n,
            self.squares_P + gap_P * gap_P * self.n / n,
            np.maximum(self.best_P, score_P),
        )


class Posterior(msgspec.Struct):
    """What is known of prompts after their draws; fields as in Prior."""

    mean_P: Floats
    strength: float
    shape: float
    rate_P: Floats

    def sample(self, random: np.random.Generator, count: int) -> Floats:
        """score_PN: `count` draws to come of each prompt, its mean and spread drawn first."""
        variance_P = self.rate_P / random.gamma(self.shape, size=len(self.rate_P))
        mean_P = self.mean_P + random.normal(size=len(variance_P)) * np.sqrt(
            variance_P / self.strength
        )
        noise_PN = random.normal(size=(len(variance_P), count))
        found: Floats = mean_P[:, None] + np.sqrt(variance_P)[:, None] * noise_PN
        return found


def posterior(prior: Prior, draws: Draws) -> Posterior:
    """The prior, updated by draws.

    Source: Gelman et al. 2013 (Bayesian Data Analysis, 3rd edition) §3.3, with shape = ν/2 and
    rate = νσ²/2.
    """
    strength = prior.strength + draws.n
    gap_P = draws.mean_P - prior.mean
    return Posterior(
        prior.mean + gap_P * draws.n / strength,
        strength,
        prior.shape + draws.n / 2,
        prior.rate + draws.squares_P / 2 + gap_P**2 * prior.strength * draws.n / strength / 2,
    )


def gains(prior: Prior, draws: Draws) -> Floats:
    """gain_P: what the next draw is expected to add to each prompt's best, on the reward's scale.

    E[(min(X, top of the scale) − best)⁺], X being Student's t with 2 `shape` degrees of freedom.
    """
    after = posterior(prior, draws)
    spread_P = np.sqrt(after.rate_P * (after.strength + 1) / (after.shape * after.strength))
    spread_P = np.maximum(spread_P, TINY)

    def beyond(level_P: Floats | float) -> Floats:
        return spread_P * improvement((level_P - after.mean_P) / spread_P, 2 * after.shape)

    if not math.isfinite(prior.high):
        return beyond(draws.best_P)
    gain_P = np.maximum(beyond(draws.best_P) - beyond(prior.high), 0.0)
    return np.where(draws.best_P >= prior.high, 0.0, gain_P)


def gain(scores: Sequence[float], prior: Prior) -> float:
    """What one more draw is expected to add to the best of these scores of a prompt.

    Raises: ValueError without a score.
    """
    if not len(scores):
        raise ValueError("a gain needs a first draw")
    return float(gains(prior, Draws.of(np.array([scores], np.float64)))[0])


class Rule(msgspec.Struct, frozen=True):
    """Draw on while another draw is expected to add more than `cost`, on the reward's scale; at
    least `least` draws, at most `most`."""

    cost: float
    least: int
    most: int

    def go_on(self, scores: Sequence[float], prior: Prior) -> bool:
        """Whether a prompt with these scores gets one more draw."""
        if len(scores) < max(self.least, 1):
            return True
        return len(scores) < self.most and gain(scores, prior) > self.cost

    def lengths(self, scores_PN: Floats, prior: Prior) -> Ints:
        """n_P: how many of its draws, taken in order, each prompt would have got.

        Raises: ValueError where there are fewer than `most`.
        """
        if scores_PN.shape[1] < self.most:
            raise ValueError(f"{scores_PN.shape[1]} draws cannot replay up to {self.most}")
        falling_PN = falling_gains(scores_PN[:, : self.most], prior, self.least)
        found: Ints = self.least + (falling_PN > self.cost).sum(axis=1, dtype=np.int64)
        return found


def falling_gains(scores_PN: Floats, prior: Prior, least: int) -> Floats:
    """least_PN: the lowest gain so far, after `least` draws, one more, … N − 1.

    A prompt is drawn on while its gain is above the cost, that is while the lowest so far is: one
    pass over the draws tells where every cost would stop.
    """
    draws, found = Draws.of(scores_PN[:, :least]), []
    for n in range(least, scores_PN.shape[1]):
        found.append(gains(prior, draws))
        draws = draws.add(scores_PN[:, n])
    gain_PN = np.stack(found, axis=1) if found else np.empty((len(scores_PN), 0))
    return np.minimum.accumulate(gain_PN, axis=1)


def cost_for_budget(
    prior: Prior, counts_P: Ints, scores_R: Floats, budget: float, *, least: int, most: int,
    seed: int = 0,
) -> float:  # fmt: skip
    """The least cost at which prompts like the pilot's are expected to take `budget` draws each.

    Every pilot prompt's draws are taken as they are, and those to come are drawn from what the
    prior and they say, `PATHS` prompts in all or more. Each becomes the nearest of the pilot's
    scores: of verdicts, 0 or 1, draws in between would pass for progress, and twice the budget be
    spent. Give the rule's own `least` and `most`.

    Raises: ValueError where shapes differ, a score is not finite, a prompt has no draw, or the
    budget is below `least`.
    """
    check(counts_P, scores_R)
    if not len(counts_P) or int(counts_P.min()) < 1:
        raise ValueError("every prompt of a pilot needs a draw")
    if budget < least or most < least or least < 1:
        raise ValueError(f"a budget of {budget:g} draws needs 1 ≤ least ≤ budget, least ≤ most")
    random = np.random.default_rng(seed % 2**64)
    repeats, levels_L = -(-PATHS // len(counts_P)), np.unique(scores_R)
    middles_L = (levels_L[1:] + levels_L[:-1]) / 2
    starts_P, parts = np.cumsum(counts_P) - counts_P, []
    for n in np.unique(counts_P):
        rows = np.repeat(np.flatnonzero(counts_P == n), repeats)
        given_PN = scores_R[starts_P[rows][:, None] + np.arange(n)]
        after = posterior(prior, Draws.of(given_PN))
        come_PN = after.sample(random, max(0, most - int(n)))
        come_PN = levels_L[np.searchsorted(middles_L, come_PN)]
        drawn_PN = np.concatenate([given_PN, come_PN], axis=1)[:, :most]
        parts.append(falling_gains(drawn_PN, prior, least))
    falling_R = np.sort(np.concatenate(parts).ravel())[::-1]
    allowed = math.floor((budget - least) * repeats * len(counts_P) + 1e-9)
    return float(falling_R[allowed]) if allowed < len(falling_R) else 0.0
