"""Candidates made of numbers, for tests of what is said and drawn about them."""

from __future__ import annotations

import numpy as np

from karat.comparison.candidates import Comparison, Measured, judge
from karat.report.recommendation import recommend


def measured(
    name, quality, cost=0.001, *, prompts=100, accepted=0.8, seconds=2.0, seed=0, apart=0.3
):
    """A candidate: prompts differ by 0.5, and by `apart` from one candidate to the next."""
    shared = np.random.default_rng(99).normal(0, 0.5, prompts)
    own = np.random.default_rng([seed, *name.encode()])
    noise = own.normal(0, apart, prompts)
    kept = quality + shared + noise - noise.mean() - shared.mean()
    return Measured(
        name, f"openai/{name}", kept, kept - 0.3,
        (np.arange(prompts) < accepted * prompts).astype(float),
        None if cost is None else np.full(prompts, cost, float),
        np.full(prompts, seconds), [seconds * 1000] * prompts, 4 * prompts,
    )  # fmt: skip


def compared(*candidates: Measured, **more) -> Comparison:
    """What is found when these are compared."""
    given = {"name": "test", "by": "r.reward", "scale": (0.0, 4.0), "n": 4, "best": 1, "seed": 7}
    found = judge(candidates, **{**given, "resamples": 2_000, **more})
    found.recommendation = recommend(found)
    return found
