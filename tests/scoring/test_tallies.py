"""Tallies: intervals are those of plain resampling, of any file length, and fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
from conftest import mostly_slow
from numpy.typing import NDArray

from karat.intervals import Interval, Resamples
from karat.scoring.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, on_scale
from karat.scoring.leanings import family_preference, length_slope
from karat.scoring.rankings import kendall_tau, pair_agreement, tau_within
from karat.scoring.tallies import Running, Tally, share

Ints = NDArray[np.int64]
EACH, GRADERS = 4, 3


def graders(prompts: int, seed: int) -> tuple[NDArray[np.float64], Ints, Ints]:
    """scores_RG about 0 … 4 of graders that mostly agree, levels_RG, prompt_R."""
    random = np.random.default_rng(seed)
    prompt_R = np.repeat(np.arange(prompts), EACH)
    true_R = 2 + random.normal(size=prompts)[prompt_R] + random.normal(size=len(prompt_R)) / 2
    scores_RG = true_R[:, None] + random.normal(size=(len(prompt_R), GRADERS)) * 0.7
    scores_RG[random.random(scores_RG.shape) < 0.05] = np.nan
    levels = [on_scale(scores_RG[:, grader], 0, 4, 5) for grader in range(GRADERS)]
    return scores_RG, np.stack(levels, axis=1), prompt_R


def all_of(scores_RG: NDArray[np.float64], levels_RG: Ints, prompt_R: Ints, n: int) -> list[Tally]:
    x, y, _ = scores_RG.T
    places = np.arange(len(x))
    return [
        cohen_kappa(levels_RG[:, 0], levels_RG[:, 1], 5, prompt_R, n),
        fleiss_kappa(levels_RG, 5, prompt_R, n),
        krippendorff_alpha(levels_RG, 5, prompt_R, n),
        tau_within(x, y, prompt_R, n),
        pair_agreement(x, y, prompt_R, n),
        length_slope(x, np.exp(np.nan_to_num(y)) * 100, prompt_R, n),
        length_slope(x, np.exp(np.nan_to_num(y)) * 100, prompt_R, n, apart=False),
        family_preference(scores_RG, places % EACH < 2, prompt_R, n, 0, [1, 2]),
        share(np.isnan(x), places >= 0, prompt_R, n),
    ]


NAMES = ["cohen", "fleiss", "alpha", "tau", "pairs", "slope", "slope over all", "family", "share"]


@pytest.mark.parametrize("which", mostly_slow(range(len(NAMES)), 3))
def test_an_interval_is_that_of_drawing_prompts_and_starting_again(which: int) -> None:
    """What adds up over prompts is not only fast: it is the same."""
    prompts = 80
    world = graders(prompts, 4)
    ours = all_of(*world, prompts)[which].interval(Resamples(prompts, 1, 4_000))
    assert ours is not None
    random, redrawn = np.random.default_rng(2), []
    for _ in range(1_000):
        drawn = random.integers(0, prompts, prompts)
        rows = (drawn[:, None] * EACH + np.arange(EACH)).ravel()
        parts = (world[0][rows], world[1][rows], np.repeat(np.arange(prompts), EACH))
        redrawn.append(all_of(*parts, prompts)[which].value)
    low, high = np.quantile(np.array(redrawn, np.float64), [0.025, 0.975])
    assert ours.low < ours.value < ours.high
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.2 * (high - low))


@pytest.mark.parametrize("size", [7, 64, 500])
def test_batches_add_up_to_the_whole_file(size: int) -> None:
    prompts, whole = 500, graders(500, 8)
    running = Running(groups=128)
    for first in range(0, prompts, size):
        count = min(size, prompts - first)
        rows = slice(first * EACH, (first + count) * EACH)
        part = (whole[0][rows], whole[1][rows], whole[2][rows] - first)
        for name, tally in zip(NAMES, all_of(*part, count), strict=True):
            running.add(name, tally, first)
    found = running.tallies(prompts)
    draws, few = Resamples(prompts, 3, 4_000), Resamples(128, 3, 4_000)
    for name, tally in zip(NAMES, all_of(*whole, prompts), strict=True):
        assert found[name].sums.shape[0] == 128
        one, other = tally.interval(draws), found[name].interval(few)
        assert one is not None
        assert other is not None
        assert other.value == pytest.approx(one.value, abs=1e-9)
        width = one.high - one.low
        assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=0.2 * width)


def test_three_graders_of_a_thousand_prompts_take_a_few_cpu_seconds() -> None:
    world = graders(1_000, 1)
    start = time.process_time()
    draws = Resamples(1_000, 7, 2_000)
    tallies = [*all_of(*world, 1_000), kendall_tau(*world[0].T[:2], world[2], 1_000)]
    intervals = [tally.interval(draws) for tally in tallies]
    assert time.process_time() - start < 3
    assert all(found.low < found.value < found.high for found in intervals if found is not None)
    assert None not in intervals


def test_the_same_seed_gives_the_same_interval() -> None:
    levels_RG, prompt_R = graders(50, 1)[1:]
    tally = krippendorff_alpha(levels_RG, 5, prompt_R, 50)
    one, same, other = (tally.interval(Resamples(50, seed, 500)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_one_prompt_says_nothing_about_others() -> None:
    tally = krippendorff_alpha(np.array([[1, 2], [3, 3]]), 5, np.zeros(2, np.int64), 1)
    assert tally.interval(Resamples(1, 1, 10)) == Interval(tally.value, -np.inf, np.inf)


def test_draws_on_which_a_statistic_is_undefined_are_left_out() -> None:
    """One prompt of thirty holds all the variation there is: a third of the draws miss it."""
    levels_RG = np.full((30, 2), 2)
    levels_RG[0] = [1, 3]
    found = krippendorff_alpha(levels_RG, 5, np.arange(30), 30).interval(Resamples(30, 1, 2_000))
    assert found is not None
    assert np.isfinite([found.low, found.high]).all()


def test_a_statistic_undefined_on_most_draws_has_open_ends() -> None:
    """A draw has one certain prompt exactly once in 37% of the cases."""

    def figure(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(sums[..., 0] == 1, 0.5, np.nan)

    found = Tally(np.eye(30)[:, :1], figure).interval(Resamples(30, 1, 1_000))
    assert found == Interval(0.5, -np.inf, np.inf)


@pytest.mark.parametrize("hits", [0, 20])
def test_a_share_that_never_varies_has_wilsons_interval(hits: int) -> None:
    """Of 20 prompts with three responses each: the prompts count, not the 60 responses."""
    prompt_R = np.repeat(np.arange(20), 3)
    tally = share(np.full(60, hits > 0), np.ones(60, np.bool_), prompt_R, 20)
    found = tally.interval(Resamples(20, 1, 100))
    assert found is not None
    assert found.value == (hits > 0)
    assert found.high - found.low == pytest.approx(0.16113, abs=1e-4)  # 1.96² / (20 + 1.96²)
