"""The page of an evaluation: every figure, others' words as text, no script."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from test_grading_page import EVIL, Reader

from karat.evaluating.asking import Answers
from karat.evaluating.evaluate import Evaluation
from karat.evaluating.figures import Bill
from karat.evaluating.items import EvalSet, Item
from karat.evaluating.measuring import Measured, compare
from karat.intervals import Resamples
from karat.report.evaluation_page import page, percent, points
from karat.rewards.head import ATTRIBUTES, HeadReward
from karat.row import Message


def rated(prompts=150, seed=1):
    """Two rated responses to each prompt, a reward that sees them dimly, one that sees nothing."""
    random = np.random.default_rng(seed)
    items, good, blind = [], [], []
    for number in range(prompts):
        ratings = random.integers(0, 5, (2, 5)).astype(float)
        texts = tuple("a " * int(length) for length in random.integers(10, 200, 2))
        prompt = (Message("user", f"{EVIL} {number}"),)
        items.append(Item(prompt, texts, f"p{number}", ratings=tuple(map(tuple, ratings))))
        seen = np.clip(ratings + random.normal(scale=0.8, size=(2, 5)), 0, 4)
        good.append(np.column_stack([seen, seen.mean(axis=1)]))
        blind.append(random.random((2, 6)) * 4)
    found = EvalSet(EVIL, "ratings", items, ["a/b.jsonl"], {"tie": 3})
    return found, *(Answers([*ATTRIBUTES, "reward"], scores) for scores in (good, blind))


@pytest.fixture(scope="module")
def made():
    found, good, blind = rated()
    draws = Resamples(150, 1, 400)
    first, second = (Measured(found, one, "reward", draws) for one in (good, blind))
    told = first.figures(HeadReward())
    told.compared = compare(first, second)
    return Evaluation(
        EVIL, "id", "reward", [told], [Bill(EVIL, 3, 0.25, 0.5, 1.5)], [EVIL], "other", "score",
        told.compared[0],
    )  # fmt: skip


def test_the_page_is_one_file_that_runs_and_fetches_nothing(made):
    source = page(msgspec.to_builtins(made))
    reader = Reader(source)
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert len(reader.ids) == len(set(reader.ids))
    assert "default-src 'none'" in source
    assert reader.text.count("alert(") >= 4  # as words


def test_every_figure_is_on_the_page(made):
    text = Reader(page(msgspec.to_builtins(made))).text
    (found,) = made.sets
    for row in found.rows:
        assert percent(row.value.value) in text
        assert f"{percent(row.value.low)} … {percent(row.value.high)}" in text
        assert all(percent(one) in text for one in (row.random, row.longer, row.shorter))
    assert points(found.compared[0].difference.value) in text
    assert f"{found.compared[0].discordance.first} : {found.compared[0].discordance.second}" in text
    for one in found.attributes:
        assert f"{one.pearson.value:.2f}" in text
        assert f"{one.people:.3f}" in text
    assert percent(found.reliability.error.value) in text
    assert "$0.25" in text
    assert "As sure as it is right?" in text
    assert "Right whatever the length?" in text
    assert "3 left out (tie)" in text


def test_open_ends_and_nothing_to_tell(made):
    tree = msgspec.to_builtins(made)
    (found,) = tree["sets"]
    found["rows"][0]["value"] |= {"low": float("-inf"), "high": float("inf")}
    found["rows"][1] |= {"value": None, "longer": None, "shorter": None, "random": None, "n": 0}
    found |= {"reliability": None, "length": None, "attributes": [], "compared": []}
    tree |= {"overall": None, "against": ""}
    reader = Reader(page(tree))
    assert "inf" not in reader.text
    assert "nan" not in reader.text.lower().split()
