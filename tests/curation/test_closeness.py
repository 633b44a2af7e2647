"""How alike texts must be, by length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.closeness import BY_LENGTH, Closeness, fixed


def test_the_figures_that_dedupe_states() -> None:
    words = np.array([5, 20, 40, 100, 200, 5000])
    found = BY_LENGTH.at(2 * words + 1)
    assert found.round(2).tolist() == [0.85, 0.85, 0.78, 0.68, 0.6, 0.6]
    assert BY_LENGTH.least == 0.6


@given(st.lists(st.integers(0, 3000), min_size=2, max_size=2))
def test_longer_texts_need_no_more(sizes: list[int]) -> None:
    short, long = BY_LENGTH.at(np.sort(np.array(sizes)))
    assert 0.6 <= long <= short <= 0.85
    assert fixed(0.7).at(np.array(sizes)).tolist() == [0.7, 0.7]


def test_out_of_range() -> None:
    for one, two in ((0.2, 0.5), (0.5, 0.2), (1.1, 0.5)):
        with pytest.raises(ValueError, match=r"0\.3 … 1"):
            Closeness(one, two)
