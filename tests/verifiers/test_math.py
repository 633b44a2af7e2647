"""math: equal answers pass however they are written, and nothing SymPy does holds up a run."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import mostly_slow
from hypothesis import given
from hypothesis import strategies as st

from karat.verifiers.base import Item, find

pytest.importorskip("math_verify")
GSM8K = Path(__file__).parents[3] / "shared/data/prompts/gsm8k-test.jsonl"


def check(gold, response, **options):
    return find("math").verify(Item((), response, "stop", {"answer": gold}), **options)


def solutions():
    with GSM8K.open(encoding="utf-8") as lines:
        return [json.loads(line)["answer"] for line in lines]


@pytest.mark.skipif(not GSM8K.exists(), reason="shared data is not here")
def test_every_human_solution_of_gsm8k_passes_and_no_other_number_does():
    wrong, missed = [], []
    for solution in solutions():
        steps, _, number = solution.rpartition("#### ")
        other = str(int(number.replace(",", "")) + 1)
        if not check(solution, solution).passed:
            missed.append(number)
        if check(solution, f"{steps}#### {other}").passed is not False:
            wrong.append(number)
        if check(solution, f"{steps}\nThe answer is \\boxed{{{other}}}.").passed is not False:
            wrong.append(number)
    assert (missed, wrong) == ([], [])


@pytest.mark.skipif(not GSM8K.exists(), reason="shared data is not here")
def test_the_last_sentence_of_a_solution_says_its_answer():
    for solution in solutions()[:60]:
        steps, _, number = solution.rpartition("#### ")
        assert check(solution, f"{steps}\nSo the answer is {number}.").passed, number
        assert check(number, f"**{number}**").passed, number


SAME = [
    (18, "so 18"),
    (70000, "$70,000"),
    ("70,000", "\\boxed{70{,}000}"),
    ("1 000 000", "\\boxed{1000000}"),
    ("1/2", "It is 0.5."),
    ("\\frac{1}{2}", "\\boxed{0.5}"),
    ("\\frac{1}{2}", "\\frac{1}{2}"),
    ("3 1/2", "\\boxed{3.5}"),
    ("3.5", "we need 3 1/2 cups"),
    ("50%", "\\boxed{0.5}"),
    ("50\\%", "\\boxed{50}"),
    ("0.5", "50%"),
    ("12 cm", "The length is 12 cm."),
    ("18 dollars", "\\boxed{18}"),
    ("12", "\\boxed{12\\text{ cm}}"),
    ("1,2", "\\boxed{2,1}"),
    ("1 and 2", "\\boxed{1} and \\boxed{2}"),
    ("\\{1,2\\}", "\\boxed{1,2}"),
    ("[1,2)", "\\boxed{1\\le x<2}"),
    ("x=3", "3"),
    (3, "\\boxed{x=3}"),
    ("x^2+2x+1", "\\boxed{(x+1)^2}"),
    ("B", "\\boxed{\\text{B}}"),
    ("Monday", "\\boxed{Monday}"),
    ("1e-3", "0.001"),
    (0.001, "\\boxed{10^{-3}}"),
    ("-\\frac{1}{3}", "-0.3333333"),
    ([4, 5], "5"),
    ("4", "Earlier \\boxed{3}\nso \\boxed{4}"),
    ("7", "$$\\boxed{7}$$\nCheck: 3 + 4 = 7, and 8 is not."),
    ("42", "#### Step 4: done\nThe answer is 42."),
    ("#### 42", "6 * 7\n#### 42"),
    ("-5", "The answer is \u22125."),  # a minus sign
    ("\\$45", "45 dollars"),
    ("45", "€45"),
    ("45.50", "45.50 €"),
    ("3", "I thought \\boxed{4}. But correcting, \\boxed{3}."),
    ("101_2", "\\boxed{101_{2}}"),
    ("B", "The answer is (B)."),
    ("(B)", "**Answer: B**"),
    ("B", "The answer is **B**, not A."),
    ("B", "Option A is wrong. So I pick B"),
    ("ab", "\\boxed{ba}"),
    ("Paris", "\\boxed{\\text{paris}}"),
    ("3:4", "The ratio is 3:4."),
]
OTHER = [
    ("5", ""),
    ("5", "I do not know."),
    ("2", "\\frac{1}{2}"),
    ("-5", "\\boxed{5}"),
    ("(1,2)", "\\boxed{(2,1)}"),
    ("[1,2)", "\\boxed{[1,2]}"),
    ("3", "First \\boxed{3}, no, \\boxed{4}"),
    ("Monday", "\\boxed{\\text{Tuesday}}"),
    ("1/3", "\\boxed{0.33}"),
    ("#### 42", "42 - 2\n#### 40"),
    ("42", "\\boxed{}"),
    ("5", "The answer is \u22125."),
    ("4", "I thought \\boxed{4}. But correcting, \\boxed{3}."),
    ("2", "x=\\boxed{1}, y=\\boxed{2}"),
    ("11_2", "\\boxed{11_3}"),  # to math-verify a base is nothing
    ("C", "The answer is (B)."),
    ("A", "The answer is B, not A."),
    ("A", "The answer is a bit hard."),
    ("A", "The answer is A + B"),
    ("cat", "\\boxed{\\text{act}}"),
    ("no", "\\boxed{on}"),
    ("3", "The ratio is 3:4"),
    ("12", "It leaves at 12:30."),
    ("A", "\\boxed{A, B}"),
]


@pytest.mark.parametrize(("gold", "response"), SAME)
def test_the_same_answer(gold, response):
    assert check(gold, response).passed is True


@pytest.mark.parametrize(("gold", "response"), OTHER)
def test_another_answer_or_none(gold, response):
    assert check(gold, response).passed is False


@pytest.mark.parametrize("gold", ["@@", "", None, True, {"a": 1}, [], ["3", None], "\\boxed{"])
def test_an_answer_of_the_row_that_cannot_be_read_decides_nothing(gold):
    verdict = check(gold, "3")
    assert verdict.passed is None
    assert verdict.reason.startswith("the row's answer is not")


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_whole_numbers_are_compared_as_numbers(one, two):
    for shown in (str(one), f"{one:,}", f"{one}.00", f"{one:,}".replace(",", "{,}")):
        assert check(two, f"\\boxed{{{shown}}}").passed is (one == two)
        assert check(f"{two:,}", f"#### {shown}").passed is (one == two)


@pytest.mark.parametrize(
    ("gold", "response"),
    mostly_slow(
        [
            ("3", "\\boxed{9^{9^{9^{9}}}}"),
            ("9^{9^{9^{9}}}", "\\boxed{3}"),
            ("3.5", "\\boxed{10000000!}"),
        ],
        3,
    ),
)
def test_what_would_take_for_ever_is_stopped_without_a_verdict(gold, response):
    start = time.monotonic()
    verdict = check(gold, response, seconds=1)
    assert verdict.passed is None
    assert verdict.reason.startswith("stopped")
    assert time.monotonic() - start < 60
    assert check("1/2", "0.5").passed  # in a new process


@pytest.mark.parametrize(
    "response",
    ["9**9**9**9", "\\boxed{" + "(" * 3000, "\\boxed{" + "\\frac{1}{" * 500, "1/0", "$" * 5000],
)
def test_odd_answers_are_not_right(response):
    assert check("1/3", response).passed is not True


def test_threads_may_ask_at_once():
    pairs = [("1/2", "0.5"), ("1/3", "0.5"), ("2\\pi", "\\boxed{6.283185307}"), ("x", "y")] * 6
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pair: check(*pair).passed, pairs))
    assert found == [True, False, True, False] * 6
