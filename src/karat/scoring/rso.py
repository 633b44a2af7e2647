"""Statistical rejection sampling: a prompt's answers thinned to what a better policy would write.

Best-of-n keeps the top and with it whatever the reward overrates. RSO keeps an answer with
probability exp((r − r_max) / β), so what is kept is distributed as π(y) · exp(r / β), the policy
that maximises reward at a KL price of β; β → 0 is best-of-n, β → ∞ is a random choice.

All prompts are walked through at once, one pass of the paper's outer loop after another. Random
numbers are a function of (seed, answer, pass) and not a stream, so no prompt's draw depends on
which others are there.
"""

from __future__ import annotations

from itertools import count

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

BETA = 0.5  # Source: RSO (2309.06657) §5, for a reward that is a logit
_STEP = 0x9E3779B97F4A7C15


def statistical_rejection(
    scores_R: Floats, owner_R: Ints, seed_R: Hashes, accept: int, beta: float
) -> Flags:
    """accepted_R: up to `accept` of each owner's responses, all of them where it has no more.

    `owner_R` is not decreasing; `beta` > 0 is in units of the score; `seed_R` differs from response
    to response. After each pass over an owner's candidates the accepted ones leave and r_max is
    taken anew over those that remain, so that every pass accepts at least one. Candidates come in
    an order drawn from their seeds: the paper's are exchangeable samples of one policy, while a
    row's may be sorted by model, and a pass that ends early would favour the first.

    Source: RSO (2309.06657) Algorithm 1, appendix A.1.
    """
    order = np.lexsort((uniforms(seed_R, 0), owner_R))
    score, owner, seed = scores_R[order], owner_R[order], seed_R[order]
    owners = int(owner_R[-1]) + 1 if len(owner_R) else 0
    wanted_P = np.full(owners, accept)
    left = np.ones(len(order), np.bool_)
    for turn in count(1):
        at = np.flatnonzero(left & (wanted_P[owner] > 0))
        if not len(at):
            break
        top_P = np.full(owners, -np.inf)
        np.maximum.at(top_P, owner[at], score[at])
        chance = np.exp((score[at] - top_P[owner[at]]) / beta)
        drawn = at[uniforms(seed[at], turn) < chance]
        drawn = drawn[places(owner[drawn]) < wanted_P[owner[drawn]]]
        left[drawn] = False
        wanted_P -= np.bincount(owner[drawn], minlength=owners)
    accepted_R = np.zeros(len(order), np.bool_)
    accepted_R[order] = ~left
    return accepted_R


def places(owner: Ints) -> Ints:
    """Of each element of a sorted array, its place among those equal to it: 0, 1, …"""
    at = np.arange(len(owner))
    fresh = np.append(True, owner[1:] != owner[:-1])[: len(owner)]
    return at - np.maximum.accumulate(np.where(fresh, at, 0))


def uniforms(seed: Hashes, draw: int) -> Floats:
    """The draw-th number in [0, 1) of each seed.

    Source: SplitMix64, Steele, Lea and Flood 2014 (OOPSLA), figure 17.
    """
    z = seed + np.uint64((draw + 1) * _STEP % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
