"""Agreement coefficients equal those of scikit-learn, statsmodels and irrCAC, and say when there
is none to measure."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from irrCAC import raw, table
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from karat.scoring.agreement import (
    MISSING,
    by_rank,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    on_scale,
    rank_cuts,
    scale_levels,
)
from karat.scoring.tallies import Tally

Ints = NDArray[np.int64]
LEVELS = 5
EXACT = 1e-9


@st.composite
def ratings(draw: st.DrawFn, missing: bool = False, graders: int | None = None) -> Ints:
    """levels_RG, of few levels or many, down to one response and one level."""
    shape = (draw(st.integers(1, 30)), graders or draw(st.integers(2, 5)))
    used = draw(st.lists(st.integers(0, LEVELS - 1), min_size=1, max_size=LEVELS))
    return draw(arrays(np.int64, shape, elements=st.sampled_from(used + [MISSING] * missing)))


def alone(rows: int) -> tuple[Ints, int]:
    """Every response to a prompt of its own."""
    return np.arange(rows), rows


def quietly(call: Any) -> Any:
    """Reference libraries divide by zero with a warning where there is nothing to measure."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return call()


def irrcac(levels_RG: Ints, method: str, weights: Any = "identity") -> float:
    """Unrounded. It drops responses without any rating itself, and needs two responses, for it
    divides by their number less 1 to get a variance."""
    frame = pd.DataFrame(np.where(levels_RG == MISSING, np.nan, levels_RG))
    categories = [float(level) for level in range(LEVELS)]

    def call() -> float:
        made = raw.CAC(frame, weights=weights, categories=categories, digits=15)
        return getattr(made, method)()["est"]["coefficient_value"]

    return quietly(call)


def ordinal_gaps(levels_RG: Ints) -> NDArray[np.float64]:
    """Krippendorff's ordinal distances, spelled out from his 2011 text: (Σ n_g − (n_c + n_k)/2)²,
    g from c to k, over the ratings that have a partner."""
    paired = levels_RG[(levels_RG >= 0).sum(axis=1) >= 2]
    n = [int((paired == level).sum()) for level in range(LEVELS)]
    gaps = np.zeros((LEVELS, LEVELS))
    for c in range(LEVELS):
        for k in range(c, LEVELS):
            gaps[c, k] = gaps[k, c] = (sum(n[c : k + 1]) - (n[c] + n[k]) / 2) ** 2
    return gaps


def alpha_by_hand(levels_RG: Ints, gaps: NDArray[np.float64]) -> float | None:
    """Observed and expected disagreement, one pair of ratings after the other."""
    units = [[v for v in unit.tolist() if v >= 0] for unit in levels_RG]
    units = [unit for unit in units if len(unit) >= 2]
    values = [v for unit in units for v in unit]
    observed = sum(gaps[a, b] / (len(unit) - 1) for unit in units for a in unit for b in unit)
    expected = sum(gaps[a, b] for a in values for b in values)
    return None if expected == 0 else 1 - (len(values) - 1) * observed / expected


def two_paired(levels_RG: Ints) -> bool:
    return bool(((levels_RG >= 0).sum(axis=1) >= 2).sum() >= 2)


@given(ratings(missing=True, graders=2))
def test_cohens_kappa_equals_scikit_learn_and_irrcac(levels_RG: Ints) -> None:
    these, those = levels_RG.T
    ours = cohen_kappa(these, those, LEVELS, *alone(len(these))).value
    both = (levels_RG >= 0).all(axis=1)
    if not both.any():
        assert ours is None
        return
    a, b = levels_RG[both].T
    labels = list(range(LEVELS))
    theirs = quietly(lambda: cohen_kappa_score(a, b, labels=labels, weights="quadratic"))
    if np.isnan(theirs):
        assert ours is None
        assert len({*a.tolist(), *b.tolist()}) == 1
        return
    assert ours == pytest.approx(theirs, abs=EXACT)
    counts = np.zeros((LEVELS, LEVELS))
    np.add.at(counts, (a, b), 1)
    frame = pd.DataFrame(counts)
    other = quietly(lambda: table.CAC(frame, weights="quadratic", digits=15).cohen())
    assert ours == pytest.approx(other["est"]["coefficient_value"], abs=EXACT)


@given(ratings())
def test_fleiss_kappa_equals_statsmodels(levels_RG: Ints) -> None:
    ours = fleiss_kappa(levels_RG, LEVELS, *alone(len(levels_RG))).value
    counts, _ = aggregate_raters(levels_RG, n_cat=LEVELS)
    if len(np.unique(levels_RG)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(quietly(lambda: statsmodels_fleiss(counts)), abs=EXACT)


@given(ratings(missing=True))
def test_fleiss_kappa_with_missing_ratings_equals_irrcac(levels_RG: Ints) -> None:
    ours = fleiss_kappa(levels_RG, LEVELS, *alone(len(levels_RG))).value
    paired = (levels_RG >= 0).sum(axis=1) >= 2
    if not paired.any() or len(np.unique(levels_RG[levels_RG >= 0])) == 1:
        assert ours is None
    elif (levels_RG >= 0).any(axis=1).sum() >= 2:
        assert ours == pytest.approx(irrcac(levels_RG, "fleiss"), abs=EXACT)


@given(ratings(missing=True))
def test_ordinal_alpha_equals_irrcac_and_its_definition(levels_RG: Ints) -> None:
    """irrCAC's own `ordinal` weights are Gwet's, which do not depend on how often a level is used;
    given Krippendorff's distances as weights it computes his coefficient."""
    ours = krippendorff_alpha(levels_RG, LEVELS, *alone(len(levels_RG))).value
    gaps = ordinal_gaps(levels_RG)
    by_hand = alpha_by_hand(levels_RG, gaps)
    if by_hand is None:
        assert ours is None
        return
    assert ours == pytest.approx(by_hand, abs=EXACT)
    if two_paired(levels_RG):
        theirs = irrcac(levels_RG, "krippendorff", 1 - gaps / gaps.max())
        assert ours == pytest.approx(theirs, abs=EXACT)


@given(ratings(missing=True), st.sampled_from([("interval", "quadratic"), ("nominal", "identity")]))
def test_alpha_of_other_distances_equals_irrcac(levels_RG: Ints, names: tuple[Any, str]) -> None:
    ours = krippendorff_alpha(levels_RG, LEVELS, *alone(len(levels_RG)), metric=names[0]).value
    paired = levels_RG[(levels_RG >= 0).sum(axis=1) >= 2]
    if len(np.unique(paired[paired >= 0])) < 2:
        assert ours is None
    elif two_paired(levels_RG):
        assert ours == pytest.approx(irrcac(levels_RG, "krippendorff", names[1]), abs=EXACT)


def test_the_worked_example_of_krippendorffs_text() -> None:
    """Krippendorff 2011, section C: four observers, twelve units; ordinal α = .815."""
    o = MISSING
    levels_RG = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, o, o, o],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, o, 3],
            [o, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, o],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, o],
        ]
    ).T
    for metric, alpha in (("ordinal", 0.815), ("nominal", 0.743), ("interval", 0.849)):
        found = krippendorff_alpha(levels_RG, 6, *alone(12), metric=metric).value  # type: ignore[arg-type]
        assert found == pytest.approx(alpha, abs=5e-4)


def test_alpha_is_that_of_ranks_whatever_the_levels_are_called() -> None:
    levels_RG = np.random.default_rng(2).integers(0, 3, (40, 3))
    spread = np.array([0, 1, 4])[levels_RG]
    ours = [krippendorff_alpha(x, LEVELS, *alone(40)).value for x in (levels_RG, spread)]
    assert ours[0] == pytest.approx(ours[1])


@pytest.mark.parametrize("statistic", [fleiss_kappa, krippendorff_alpha])
def test_nothing_to_agree_on_is_none(statistic: Any) -> None:
    nobody = np.full((4, 3), MISSING)
    lonely = np.array([[1, MISSING], [MISSING, 2]])
    constant = np.full((4, 3), 2)
    for levels_RG in (nobody, lonely, constant, constant[:1], np.zeros((0, 2), np.int64)):
        assert statistic(levels_RG, LEVELS, *alone(len(levels_RG))).value is None


def test_kappa_without_a_common_response_is_none_and_of_one_constant_grader_nought() -> None:
    none, two = np.full(4, MISSING), np.full(4, 2)
    assert cohen_kappa(none, two, LEVELS, *alone(4)).value is None
    assert cohen_kappa(two, two, LEVELS, *alone(4)).value is None
    assert cohen_kappa(two[:0], two[:0], LEVELS, *alone(0)).value is None
    assert cohen_kappa(two, np.array([1, 2, 2, 4]), LEVELS, *alone(4)).value == 0


@pytest.mark.parametrize("wrong", [-2, LEVELS])
def test_a_rating_that_is_no_level_is_refused(wrong: int) -> None:
    bad = np.array([[0, wrong]])
    for call in (
        lambda: cohen_kappa(bad[:, 0], bad[:, 1], LEVELS, *alone(1)),
        lambda: fleiss_kappa(bad, LEVELS, *alone(1)),
        lambda: krippendorff_alpha(bad, LEVELS, *alone(1)),
    ):
        with pytest.raises(ValueError, match="must lie in 0 … 4"):
            call()


@given(ratings(missing=True), st.integers(1, 8))
def test_prompts_add_up_to_the_same_statistic(levels_RG: Ints, prompts: int) -> None:
    """However responses are shared out among prompts, in whatever order."""
    rows = len(levels_RG)
    prompt_R = np.arange(rows) * 7 % prompts

    def each(prompt_R: Ints, prompts: int) -> list[Tally]:
        return [
            cohen_kappa(levels_RG[:, 0], levels_RG[:, 1], LEVELS, prompt_R, prompts),
            fleiss_kappa(levels_RG, LEVELS, prompt_R, prompts),
            krippendorff_alpha(levels_RG, LEVELS, prompt_R, prompts),
        ]

    for one, other in zip(each(prompt_R, prompts), each(*alone(rows)), strict=True):
        assert (one.value is None) == (other.value is None)
        if one.value is not None:
            assert one.value == pytest.approx(other.value, abs=EXACT)


def test_a_scales_points_are_levels_and_what_lies_beyond_is_its_end() -> None:
    scores = np.array([-0.3, 0.0, 0.49, 0.5, 1.5, 2.5, 3.4, 4.09, np.nan])
    assert on_scale(scores, 0, 4, 5).tolist() == [0, 0, 0, 1, 2, 3, 3, 4, MISSING]
    assert on_scale(np.array([1.0, 5.4, 10.0]), 1, 10, 10).tolist() == [0, 4, 9]
    assert on_scale(np.array([0.0, 0.3, 1.0]), 0, 1, 5).tolist() == [0, 1, 4]


def test_which_scales_have_points() -> None:
    found = [scale_levels(*s) for s in ((0, 4), (1, 10), (0, 1), (0, 100), (0, 0.5), (2, 2))]
    assert found == [5, 10, 2, None, None, None]
    assert scale_levels(-np.inf, np.inf) is None


def test_ranks_are_cut_into_classes_of_equal_numbers() -> None:
    scores = np.random.default_rng(1).normal(size=1000)
    found = by_rank(scores, rank_cuts(scores, 5))
    assert np.bincount(found).tolist() == pytest.approx([200] * 5, abs=1)
    assert by_rank(np.array([np.nan, -9.0, 9.0]), rank_cuts(scores, 5)).tolist() == [MISSING, 0, 4]
    again = by_rank(np.exp(scores), rank_cuts(np.exp(scores), 5))
    assert (again == found).all()  # a monotone change of the scores changes nothing
    assert len(set(by_rank(np.ones(9), rank_cuts(np.ones(9), 5)).tolist())) == 1
    with pytest.raises(ValueError, match="nothing to cut"):
        rank_cuts(np.array([np.nan]), 5)
