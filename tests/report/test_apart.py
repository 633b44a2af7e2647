"""Two sides on the prompts both have: paired, with intervals that hold, and plainly worded."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from karat.intervals import Interval
from karat.report import apart as module
from karat.report.apart import Apart, apart
from karat.report.side import Side


def side(**numbers):
    count = len(next(iter(numbers.values())))
    keys = np.arange(count, dtype=np.uint64)
    columns = {name: np.array(values) for name, values in numbers.items()}
    return Side("x", keys, keys, np.arange(count), columns, {}, Counter())


def pairs(count):
    return np.stack([np.arange(count)] * 2, axis=1)


def test_what_prompts_share_is_not_in_the_interval():
    random = np.random.default_rng(3)
    hard = random.normal(0, 5, 400)
    one = side(s=hard + random.normal(0, 0.1, 400))
    other = side(s=hard + 0.1 + random.normal(0, 0.1, 400))
    (found,) = apart(one, other, pairs(400), ["s"])
    assert found.apart.value == pytest.approx(float((other.numbers["s"] - one.numbers["s"]).mean()))
    assert 0.05 < found.apart.low < 0.1 < found.apart.high < 0.15
    assert found.shown
    assert found.said.startswith("B is higher by 0.1")


def test_only_prompts_on_which_both_have_it_count():
    nan = np.nan
    one, other = side(s=[1.0, nan, 3.0, 4.0]), side(s=[2.0, 9.0, nan, 5.0])
    (found,) = apart(one, other, pairs(4), ["s"])
    assert (found.prompts, found.a, found.b, found.apart.value) == (2, 2.5, 3.5, 1.0)
    assert found.said == "too few to tell: only 2 prompts in common"
    assert apart(one, side(s=[nan] * 4), pairs(4), ["s"]) == []


def test_blocks_of_many_prompts_say_what_the_prompts_say(monkeypatch):
    random = np.random.default_rng(5)
    one = side(s=random.normal(0, 1, 6000))
    other = side(s=random.normal(0.03, 1, 6000))
    (blocks,) = apart(one, other, pairs(6000), ["s"])
    monkeypatch.setattr(module, "BLOCKS", 10_000)
    monkeypatch.setattr(module, "DRAWS", 1000)
    (whole,) = apart(one, other, pairs(6000), ["s"])
    width = whole.apart.high - whole.apart.low
    assert blocks.apart.value == pytest.approx(whole.apart.value)
    assert blocks.apart.low == pytest.approx(whole.apart.low, abs=0.1 * width)
    assert blocks.apart.high == pytest.approx(whole.apart.high, abs=0.1 * width)


def test_intervals_of_blocks_hold_their_level():
    """Of 200 pairs of sides without a difference about ten are said to have one."""
    random = np.random.default_rng(11)
    wrong = 0
    module_draws, module.DRAWS = module.DRAWS, 400
    try:
        for _ in range(200):
            one, other = side(s=random.gamma(1, 1, 2500)), side(s=random.gamma(1, 1, 2500))
            wrong += apart(one, other, pairs(2500), ["s"])[0].shown
    finally:
        module.DRAWS = module_draws
    assert 2 <= wrong <= 22


@pytest.mark.parametrize(
    ("apart", "needed", "said"),
    [
        (Interval(0.12, 0.09, 0.15), 40, "B is higher by 0.12 (0.09 to 0.15)"),
        (Interval(-0.12, -0.15, -0.09), 40, "B is lower by 0.12 (0.09 to 0.15)"),
        (Interval(0.02, -0.01, 0.05), 3400,
         "no clear difference: 0.02, −0.01 to 0.05; about 3,400 prompts in common would tell"),
        (Interval(0.02, -0.01, 0.05), None, "no clear difference: 0.02, −0.01 to 0.05"),
        (Interval(0.0, 0.0, 0.0), None, "no difference: the same on every prompt"),
    ],
)  # fmt: skip
def test_words(apart, needed, said):
    assert Apart("s", 100, 1.0, 1.0, apart, needed).said == said
