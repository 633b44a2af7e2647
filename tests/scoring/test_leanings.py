"""What graders lean towards, on worlds where the leaning is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from karat.intervals import Resamples
from karat.scoring.leanings import (
    family_preference,
    first_preference,
    length_slope,
    swap_consistency,
)

VERDICTS = st.sampled_from([1.0, 0.0, -1.0, np.nan])


@given(st.lists(st.tuples(VERDICTS, VERDICTS), max_size=20))
def test_swapped_verdicts_are_counted(verdicts: list[tuple[float, float]]) -> None:
    forward, backward = np.array(verdicts).reshape(-1, 2).T
    place = np.arange(len(forward)), len(forward)
    judged = [(f, b) for f, b in verdicts if not np.isnan([f, b]).any()]
    same = swap_consistency(forward, backward, *place).value
    assert same == (sum(f == b for f, b in judged) / len(judged) if judged else None)
    first = sum((f == 1) + (b == -1) for f, b in judged)
    decided = sum((f != 0) + (b != 0) for f, b in judged)
    preference = first_preference(forward, backward, *place).value
    assert preference == (first / decided if decided else None)


def test_a_judge_that_always_takes_the_first_is_never_consistent() -> None:
    a, b = np.ones(40), -np.ones(40)
    draws = Resamples(40, 1, 500)
    consistent = swap_consistency(a, b, np.arange(40), 40).interval(draws)
    first = first_preference(a, b, np.arange(40), 40).interval(draws)
    assert consistent is not None
    assert first is not None
    assert (consistent.value, first.value) == (0, 1)
    assert consistent.high > 0.05  # 40 pairs are not all there are
    assert first.low < 0.95


def lengthy(prompts: int, each: int, slope: float, seed: int = 1) -> tuple[np.ndarray, ...]:
    """Scores of unit σ within prompts that rise by `slope` a doubling, and that of the prompts is
    the other way round."""
    random = np.random.default_rng(seed)
    prompt_R = np.repeat(np.arange(prompts), each)
    doublings = random.normal(size=len(prompt_R)) / 2
    noise = random.normal(size=len(prompt_R)) * np.sqrt(1 - (slope / 2) ** 2)
    base = random.normal(size=prompts)[prompt_R]
    scores = slope * doublings + noise - 9 * base
    return scores, 200 * 2 ** (doublings + 3 * base), prompt_R


def test_a_length_slope_is_found_within_prompts_and_in_sigma() -> None:
    scores, lengths, prompt_R = lengthy(800, 4, 0.5, seed=2)
    found = length_slope(scores, lengths, prompt_R, 800).interval(Resamples(800, 1, 2_000))
    assert found is not None
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.2
    assert length_slope(7 * scores, lengths, prompt_R, 800).value == pytest.approx(found.value)
    over_all = length_slope(scores, lengths, prompt_R, 800, apart=False).value
    assert over_all is not None
    assert over_all < -0.3  # what the prompts do


def test_the_slope_over_all_is_scipys() -> None:
    scores, lengths, _ = lengthy(60, 1, 0.4)
    theirs = stats.linregress(np.log2(lengths), scores / scores.std(ddof=1)).slope
    for centre, shift in ((0, 0), (1e6, 1e6)):
        found = length_slope(
            scores + shift, lengths, np.arange(60), 60, apart=False, centre=centre
        ).value
        assert found == pytest.approx(theirs, abs=1e-9)


def test_nothing_to_draw_a_line_through_is_none() -> None:
    prompt_R, flat = np.repeat(np.arange(5), 2), np.full(10, 0.1)
    rising = np.arange(10.0) + 1
    for scores, lengths in (
        (flat, rising), (rising, flat), (np.full(10, np.nan), rising), (rising, np.zeros(10)),
    ):  # fmt: skip
        for apart in (True, False):
            assert length_slope(scores, lengths, prompt_R, 5, apart).value is None
    assert length_slope(rising, rising, np.arange(10), 10).value is None  # one response a prompt
    assert length_slope(rising[:0], rising[:0], prompt_R[:0], 0).value is None


def families(bias: float, worth: float, prompts: int = 400) -> tuple[np.ndarray, ...]:
    """Three graders of different units; the first favours half of the responses by `bias` σ, which
    for all of them are worth `worth` more."""
    random = np.random.default_rng(3)
    prompt_R = np.repeat(np.arange(prompts), 4)
    ours = np.tile([True, True, False, False], prompts)
    scores = random.normal(size=(len(prompt_R), 3)) + worth * ours[:, None]
    scores[:, 0] += bias * ours
    return scores * [1, 10, 0.01] + [0, 50, -3], ours, prompt_R, prompts


def test_a_preference_for_ones_own_is_told_from_quality() -> None:
    draws = Resamples(400, 1, 2_000)
    for bias in (0.0, 0.5):
        found = family_preference(*families(bias, worth=1.0), 0, [1, 2]).interval(draws)
        assert found is not None
        # In σ, which what the graders see in the responses widens: √(1 + gap²·⅓).
        truth = (1 + bias) / np.sqrt(1 + (1 + bias) ** 2 / 3) - 1 / np.sqrt(4 / 3)
        assert found.low < truth < found.high
        assert (found.low > 0) == (bias > 0)
    harder = family_preference(*families(-0.5, worth=0.0), 0, [1, 2]).value
    assert harder == pytest.approx(-0.48, abs=0.08)


def test_a_family_without_a_rival_or_a_grader_without_another_has_no_preference() -> None:
    scores, ours, prompt_R, prompts = families(0.5, 1.0, 20)
    everyone = np.ones_like(ours)
    flat = scores.copy()
    flat[:, 2] = 1.0
    ungraded = np.full_like(scores, np.nan)
    assert family_preference(scores, everyone, prompt_R, prompts, 0, [1, 2]).value is None
    assert family_preference(scores, ours, np.arange(80), 80, 0, [1, 2]).value is None
    assert family_preference(scores, ours, prompt_R, prompts, 0, []).value is None
    assert family_preference(flat, ours, prompt_R, prompts, 0, [1, 2]).value is None
    assert family_preference(ungraded, ours, prompt_R, prompts, 0, [1]).value is None
