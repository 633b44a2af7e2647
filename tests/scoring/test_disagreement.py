"""Gaps between graders against a plain reading of their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from karat.scoring.disagreement import choice_gap, score_gap

Floats = NDArray[np.float64]


@st.composite
def graded(draw: st.DrawFn) -> tuple[Floats, Floats, NDArray[np.int64]]:
    responses = draw(st.integers(0, 20))
    score = st.one_of(st.integers(0, 3).map(float), st.floats(-5, 5), st.just(np.nan))
    x, y = draw(arrays(np.float64, (2, responses), elements=score))
    return x, y, np.sort(draw(arrays(np.int64, responses, elements=st.integers(0, 4))))


@given(graded())
def test_both_lose_at_least_the_gap(given_: tuple[Floats, Floats, NDArray[np.int64]]) -> None:
    x, y, prompt_R = given_
    gaps = choice_gap(x, y, prompt_R, 5)
    for prompt in range(5):
        rows = [i for i in range(len(x)) if prompt_R[i] == prompt and not np.isnan(x[i] + y[i])]
        if len(rows) < 2:
            assert np.isnan(gaps[prompt])
            continue
        mine = [i for i in rows if x[i] == max(x[rows])]
        theirs = [i for i in rows if y[i] == max(y[rows])]
        losses = (
            max(x[rows]) - max(x[i] for i in theirs), max(y[rows]) - max(y[i] for i in mine)
        )  # fmt: skip
        assert gaps[prompt] == min(losses)


@given(graded())
def test_the_widest_gap_between_scores(given_: tuple[Floats, Floats, NDArray[np.int64]]) -> None:
    x, y, prompt_R = given_
    gaps = score_gap(x, y, prompt_R, 5)
    for prompt in range(5):
        apart = [
            abs(a - b) for a, b in zip(x[prompt_R == prompt], y[prompt_R == prompt], strict=True)
        ]
        apart = [gap for gap in apart if not np.isnan(gap)]
        assert gaps[prompt] == max(apart) if apart else np.isnan(gaps[prompt])


def test_one_that_hardly_minds_leaves_the_choice_to_the_other() -> None:
    prompt_R = np.zeros(2, np.int64)
    keen, mild = np.array([0.0, 2.0]), np.array([0.1, 0.0])
    assert choice_gap(keen, mild, prompt_R, 1)[0] == pytest.approx(0.1)
    assert choice_gap(keen, 20 * mild, prompt_R, 1)[0] == pytest.approx(2)
    assert choice_gap(keen, np.zeros(2), prompt_R, 1)[0] == 0  # to a grader with no opinion, all
