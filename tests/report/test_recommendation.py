"""One line that says which model to take, and never more than the figures do."""

from __future__ import annotations

import numpy as np
import pytest
from candidates import compared, measured

from karat.intervals import Interval
from karat.report.recommendation import about, decimals, plain, rounded, said, seconds, times


def test_a_clear_winner_at_a_lower_cost():
    line = compared(measured("b", 3.2, 0.0004), measured("a", 2.9, 0.002)).recommendation
    assert line.startswith("b: quality 3.20 against 2.90 of a (difference 0.30, 0.2")
    assert line.endswith(", at a fifth of the cost per accepted row ($0.0005 against $0.0025)")


def test_a_clear_winner_at_a_higher_cost():
    line = compared(measured("b", 3.2, 0.002), measured("a", 2.9, 0.0004)).recommendation
    assert line.endswith(", at 5.0 times the cost per accepted row ($0.0025 against $0.0005)")


def test_with_several_the_next_best_is_named():
    found = compared(measured("b", 3.5), measured("a", 2.9), measured("c", 1.0))
    assert "against 2.90 of a, the next best (difference 0.60" in found.recommendation


def test_noise_is_called_noise():
    line = compared(measured("a", 3.0, 0.002), measured("b", 3.01, 0.004)).recommendation
    assert line.startswith("b and a cannot be told apart on 100 prompts (difference 0.01, −0.0")
    assert ": take a, at half the cost per accepted row ($0.0025 against $0.005); " in line
    assert line.endswith(" prompts would be needed to tell")


def test_the_number_of_prompts_is_the_one_that_power_asks_for():
    a, b = measured("a", 3.0), measured("b", 3.04, seed=1)
    gaps = b.kept - a.kept
    needed = ((1.96 + 0.8416) * gaps.std(ddof=1) / gaps.mean()) ** 2
    line = compared(a, b).recommendation
    told = int(line.split("about ")[1].split()[0].replace(",", ""))
    assert needed <= told <= 1.1 * needed


def test_hardly_any_difference_is_not_given_a_number():
    line = compared(measured("a", 3.0), measured("b", 3.0001)).recommendation
    assert line.endswith("more than 100,000 prompts would be needed to tell")
    same = compared(measured("a", 3.0, apart=0), measured("b", 3.0, apart=0)).recommendation
    assert same.endswith("no number of prompts would tell")


def test_of_three_alike_the_difference_is_named():
    found = compared(measured("a", 3.0, 3), measured("b", 3.01, 2), measured("c", 3.02, 1))
    assert found.recommendation.startswith(
        "c, b and a cannot be told apart on 100 prompts (difference of c and b 0.01"
    )
    assert ": take c, at half the cost per accepted row ($1.25 against $2.50)" in (
        found.recommendation
    )


def test_costs_that_cannot_be_told_apart_are_said_to_be():
    b = measured("b", 2.5)
    b = b._replace(cost=np.random.default_rng(1).lognormal(-7, 1, 100))
    a = measured("a", 3.0)._replace(cost=np.random.default_rng(2).lognormal(-7, 1, 100))
    assert (
        "at a cost per accepted row that cannot be told apart ($" in compared(a, b).recommendation
    )


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ((None, 0.1), "; the price of a is unknown, so their costs cannot be compared"),
        ((0.1, None), "; the price of b is unknown, so their costs cannot be compared"),
        ((0.0, 0.1), ", at no cost (b: $0.125 per accepted row)"),
        ((0.1, 0.0), ", at $0.125 per accepted row, where b costs nothing"),
        ((0.0, 0.0), "; neither costs anything (2.0 s a prompt against 2.0 s)"),
    ],
)
def test_what_is_known_of_costs_is_said_and_no_more(costs, words):
    found = compared(measured("a", 3.0, costs[0]), measured("b", 2.0, costs[1]))
    assert found.recommendation.endswith(words)


def test_one_that_is_accepted_nowhere():
    found = compared(measured("a", 3.0, accepted=0.0), measured("b", 2.0))
    assert found.recommendation.endswith("; no answer of a was accepted")


def test_only_one_that_can_be_judged_is_no_choice():
    a, b = measured("a", 3.0), measured("b", 2.0)
    b.kept[:80] = np.nan
    assert compared(a, b).recommendation == "No recommendation: only a can be judged."


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(0.5, "half"), (0.21, "a fifth of"), (0.1, "a tenth of"), (0.7, "70% of"), (0.004, "0.4% of"),
     (0.05, "5% of"), (1.3, "1.3 times"), (2.0, "twice"), (41.3, "41 times"), (0.97, "97% of")],
)  # fmt: skip
def test_ratios_in_words(ratio, words):
    assert times(ratio) == words


def test_small_sums_are_written_out():
    sums = (0.0000050, 0.00000393, 0.000102, 0.0123456, 3.93871, 0.0, None)
    told = ["$0.000005", "$0.00000393", "$0.000102", "$0.0123", "$3.94", "$0", "price unknown"]
    assert [rounded(usd) for usd in sums] == told


def test_numbers_have_as_many_digits_as_matter():
    assert said(Interval(0.14, 0.05, 0.23)) == "0.14, 0.05 to 0.23"
    assert said(Interval(-0.001, -0.08, float("inf"))) == "0.00, −0.08 to ∞"
    assert plain(-0.4, 1) == "−0.4"
    assert decimals(Interval(0.001, -0.002, 0.004)) == 4
    assert decimals(Interval(0.0, 0.0, 0.0)) == 2
    assert [seconds(s) for s in (0.0042, 0.42, 4.2, 420)] == ["4.2 ms", "420 ms", "4.2 s", "420 s"]
    assert [about(n) for n in (7, 78, 781, 5_537)] == [7, 78, 790, 5_600]
