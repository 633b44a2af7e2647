"""The curve from one pool is what all its subsets say."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from karat.scoring.best_of import curves, kl, normal_maximum

LEVELS = st.sampled_from([-3.0, 0.0, 0.5, 1.0, 2.0])  # few: ties are the rule
ANY = st.floats(-1e6, 1e6, allow_subnormal=False)


def by_hand(scores, values, k):
    """The mean over all subsets; among tied bests, the mean of theirs."""
    found = []
    for some in combinations(range(len(scores)), k):
        top = max(scores[i] for i in some)
        found.append(np.mean([values[i] for i in some if scores[i] == top]))
    return float(np.mean(found))


@st.composite
def pools(draw):
    """Prompts of 0 to 7 samples each, with a score and a second one."""
    kind = draw(st.sampled_from([LEVELS, ANY]))
    sample = st.tuples(kind, st.floats(-100, 100))
    return draw(st.lists(st.lists(sample, max_size=7), min_size=1, max_size=4))


@settings(deadline=None)
@given(pools())
def test_every_k_equals_brute_force_over_all_subsets(prompts):
    counts = np.array([len(prompt) for prompt in prompts])
    scores = np.array([s for prompt in prompts for s, _ in prompt], np.float64)
    held = np.array([h for prompt in prompts for _, h in prompt], np.float64)
    own_PK, held_PK = curves(counts, scores), curves(counts, scores, held)
    assert own_PK.shape == held_PK.shape == (len(prompts), counts.max())
    for row, prompt in enumerate(prompts):
        s, h = [a for a, _ in prompt], [b for _, b in prompt]
        for k in range(1, counts.max() + 1):
            if k > len(prompt):
                assert np.isnan(own_PK[row, k - 1])
                assert np.isnan(held_PK[row, k - 1])
                continue
            scale = max(1.0, max(map(abs, s)))
            assert own_PK[row, k - 1] == pytest.approx(by_hand(s, s, k), abs=1e-9 * scale)
            assert held_PK[row, k - 1] == pytest.approx(by_hand(s, h, k), abs=1e-9 * 100)


@given(pools(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_samples_changes_nothing(prompts, random):
    mixed = [random.sample(prompt, len(prompt)) for prompt in prompts]
    found = []
    for some in (prompts, mixed):
        flat = np.array([pair for prompt in some for pair in prompt], np.float64).reshape(-1, 2)
        counts = np.array([len(prompt) for prompt in some])
        found.append(curves(counts, flat[:, 0], flat[:, 1]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


def test_a_large_pool_neither_overflows_nor_loses_weight():
    """Binomials of 2,000 are beyond floats."""
    scores = np.arange(2_000.0)
    curve_K = curves(np.array([2_000]), scores)[0]
    k_K = np.arange(1, 2_001)
    np.testing.assert_allclose(curve_K, k_K * 2_001 / (k_K + 1) - 1, rtol=1e-11)
    ones = curves(np.array([2_000]), scores, np.ones(2_000))[0]
    np.testing.assert_allclose(ones, 1.0, rtol=1e-11)


def test_the_curve_of_a_pool_is_unbiased():
    """4,000 pools of 6 uniform draws: the mean best of k is k / (k + 1)."""
    pools_PN = np.random.default_rng(5).random((4_000, 6))
    found_PK = curves(np.full(4_000, 6), pools_PN.ravel())
    error_K = found_PK.std(axis=0) / math.sqrt(4_000)
    expected_K = np.arange(1, 7) / np.arange(2, 8)
    assert (np.abs(found_PK.mean(axis=0) - expected_K) < 4 * error_K).all()


@pytest.mark.parametrize("k", [2, 3, 8, 17, 128, 5_000])
def test_normal_maxima_equal_numeric_integration(k):
    expected, _ = integrate.quad(
        lambda x: x * k * stats.norm.pdf(x) * stats.norm.cdf(x) ** (k - 1), -12, 12,
        epsabs=1e-13, limit=200,
    )  # fmt: skip
    assert normal_maximum(k) == pytest.approx(expected, abs=1e-10)


def test_known_figures():
    assert normal_maximum(1) == 0
    assert normal_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-12)
    assert [round(normal_maximum(n), 2) for n in (4, 8, 16, 32, 64)] == [
        1.03, 1.42, 1.77, 2.07, 2.34,
    ]  # fmt: skip
    assert kl(1) == 0
    assert kl(4) == pytest.approx(math.log(4) - 3 / 4)


@pytest.mark.parametrize(
    ("counts", "scores", "told"),
    [
        ([2], [1.0], "1 values for 2 samples"),
        ([2], [1.0, math.nan], "finite"),
        ([-1, 2], [1.0], "negative"),
    ],
)
def test_what_is_no_pool_is_refused(counts, scores, told):
    with pytest.raises(ValueError, match=told):
        curves(np.array(counts), np.array(scores))
