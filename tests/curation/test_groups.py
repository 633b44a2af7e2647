"""Groups of texts that pairs join, and which of them stay."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.curation.groups import Groups, Joined, leave

PAIRS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(PAIRS, max_size=5))
def test_few_of_many_are_grouped_as_all_would_be(rounds: list[list[tuple[int, int]]]) -> None:
    every, few = Groups(16), Joined()
    for pairs in rounds:
        left, right = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
        every.join(left, right)
        few.admit(np.append(left, right))
        few.join(np.searchsorted(few.members, left), np.searchsorted(few.members, right))
        few.dismiss()
        several = np.bincount(every.root, minlength=16)[every.root] > 1
        assert few.members.tolist() == np.flatnonzero(several).tolist()
        assert few.label.tolist() == every.root[several].tolist()


class Distance:
    """Near are numbers no further apart than 1."""

    def compare(self, left, right):
        apart = np.abs(left - right)
        return apart <= 1, 1.0 / (1 + apart)


def test_the_best_stay_and_take_what_is_near_them() -> None:
    label, place = np.zeros(6, np.int64), np.array([5, 0, 4, 3, 1, 2])
    assert leave(label, place, Distance()).repeats.tolist() == [1, -1, 1, 4, -1, 4]
    assert leave(label, place, Distance(), np.array([-1])).repeats.tolist() == [1, -1, 1, 4, -1, 4]
    one = leave(label, place, Distance(), np.array([1]))
    assert one.repeats.tolist() == [1, -1, 1, -1, -1, -1]
    assert one.similarity.tolist() == [0.5, 0, 0.5, 0, 0, 0]
