"""Weighted rewards: published weights as published, sums across rewards on one footing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import RecipeError
from karat.scoring.weights import PUBLISHED, needs_standardising, published, weighted


def test_published_weights_name_the_attributes_of_a_reward() -> None:
    assert published("nemotron-4-340b", "hs") == {
        "hs.helpfulness": 0.30,
        "hs.correctness": 0.74,
        "hs.coherence": 0.46,
        "hs.complexity": 0.47,
        "hs.verbosity": -0.33,
    }
    assert published("llama3-70b", "hs")["hs.verbosity"] == -0.40
    assert published("goodness", "a/b") == {
        "a/b.helpfulness": 0.65,
        "a/b.correctness": 0.8,
        "a/b.coherence": 0.45,
    }


def test_a_wrong_name_is_answered_with_the_right_one() -> None:
    with pytest.raises(RecipeError, match="did you mean 'nemotron-4-340b'"):
        published("nemotron4-340b", "hs")
    with pytest.raises(RecipeError, match="there is: goodness, llama3-70b, nemotron-4-340b"):
        published("mine", "hs")


def test_the_mean_annotation_of_helpsteer2_by_hand() -> None:
    means = [2.87, 2.96, 3.64, 1.70, 2.00]  # FACTS §2
    for name, total in (("nemotron-4-340b", 4.8648), ("llama3-70b", 6.0065), ("goodness", 5.8715)):
        columns = [np.array([mean]) for mean in means]
        assert weighted(columns, PUBLISHED[name])[0] == pytest.approx(total)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_sum_of_standard_scores(seed: int, parts: int) -> None:
    random = np.random.default_rng(seed)
    columns = [random.normal(random.normal() * 50, 10 ** random.normal(), 40) for _ in range(parts)]
    weights = random.normal(size=parts).tolist()
    scales = [(float(c.mean()), float(c.std())) for c in columns]
    want = sum(w * (c - c.mean()) / c.std() for w, c in zip(weights, columns, strict=True))
    np.testing.assert_allclose(weighted(columns, weights, scales), want, rtol=1e-9, atol=1e-12)
    # The unit of a score is nobody's business: a reward in hundredths ranks the same.
    columns[0] = columns[0] * 100 + 7
    scales[0] = (scales[0][0] * 100 + 7, scales[0][1] * 100)
    np.testing.assert_allclose(weighted(columns, weights, scales), want, rtol=1e-9, atol=1e-9)


def test_a_missing_part_makes_no_sum_and_a_constant_one_adds_nothing() -> None:
    columns = [np.array([1.0, np.nan, 3.0]), np.array([5.0, 5.0, np.nan])]
    assert np.isnan(weighted(columns, [1, 1])).tolist() == [False, True, True]
    found = weighted(columns, [1, 1], [(2.0, 1.0), (5.0, 0.0)])
    assert found[0] == -1.0
    assert np.isnan(found[1:]).all()


def test_which_sums_need_a_common_footing() -> None:
    assert not needs_standardising({"a.x": 1, "a.y": 1})
    assert not needs_standardising({"vendor/a.1.x": 1, "vendor/a.1.y": 1})
    assert needs_standardising({"a.x": 1, "b.x": 1})
