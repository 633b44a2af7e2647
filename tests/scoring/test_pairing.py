"""Pairs against a brute force that tries every set of pairs the words allow."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.scoring.pairing import Pair, Rule, pair_up

RULES = get_args(Rule)


def one_after_another(
    scores: list[float], rule: str, n: int, margins: tuple[float, float], choosable: list[bool]
) -> list[Pair]:
    """The rules in words: who is chosen first, then who is rejected, then both are gone."""
    left, found = set(range(len(scores))), []
    target = np.mean(scores) - 2 * np.std(scores) if scores else 0.0
    while len(found) < n:
        options = {
            c: [r for r in left if margins[0] <= scores[c] - scores[r] <= margins[1] and
                scores[c] > scores[r]]
            for c in left if choosable[c]
        }  # fmt: skip
        options = {c: rejected for c, rejected in options.items() if rejected}
        if not options:
            break
        if rule == "moderate_margin":
            every = [(c, r) for c, rejected in options.items() for r in rejected]
            c, r = min(every, key=lambda p: (-(scores[p[0]] + scores[p[1]]), p))
        else:
            c = min(options, key=lambda i: (-scores[i], i))
            off = {r: round(abs(scores[r] - target), 9) for r in options[c]}
            if rule == "max_min":
                off = dict.fromkeys(off, 0.0)
            r = min(options[c], key=lambda i: (off[i], scores[i], i))
        found.append(Pair(c, r, scores[c] - scores[r]))
        left -= {c, r}
    return found


@given(
    st.lists(st.tuples(st.integers(-8, 8), st.booleans()), max_size=9),
    st.sampled_from(RULES),
    st.integers(1, 4),
    st.sampled_from([(0, math.inf), (0.5, 1.5), (1, 4), (3, math.inf)]),
)
def test_equals_the_rules_in_words(
    answers: list[tuple[int, bool]], rule: Rule, n: int, margins: tuple[float, float]
) -> None:
    scores, choosable = [i / 4 for i, _ in answers], [flag for _, flag in answers]
    found = pair_up(scores, rule, n, margins, choosable)
    assert found == one_after_another(scores, rule, n, margins, choosable)


SCORES = [0.0, 1.0, 5.0, 6.0, 6.5, 7.0, 7.5, 9.0]  # μ 5.25, σ 2.92, μ − 2σ −0.58


def test_the_rules_on_one_pool() -> None:
    assert pair_up(SCORES, "max_min") == [Pair(7, 0, 9.0)]
    far = [-9.0, *([5.0, 6.0, 7.0, 6.5, 5.5, 6.2] * 4), 0.0, 8.0]
    assert pair_up(far, "max_min")[0].rejected == 0
    assert pair_up(far, "mu_minus_2sigma")[0].rejected == 25  # 0.0, not the wreck at −9
    assert pair_up(SCORES, "moderate_margin", margins=(1, 2)) == [Pair(7, 6, 1.5)]
    assert pair_up(SCORES, "max_min", 3) == [Pair(7, 0, 9.0), Pair(6, 1, 6.5), Pair(5, 2, 2.0)]


def test_in_a_small_pool_mu_minus_2sigma_is_the_lowest() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        scores = random.normal(size=4).tolist()
        assert pair_up(scores, "mu_minus_2sigma") == pair_up(scores, "max_min")


@pytest.mark.parametrize("rule", RULES)
def test_no_pair_of_equals_and_none_of_nothing(rule: Rule) -> None:
    assert pair_up([], rule) == []
    assert pair_up([1.0], rule) == []
    assert pair_up([2.0, 2.0, 2.0], rule, 5) == []
    assert pair_up([2.0, 1.0], rule, 5) == [Pair(0, 1, 1.0)]
    assert pair_up([2.0, 1.0], rule, choosable_N=[False, True]) == []
