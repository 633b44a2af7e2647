"""panel: scores of different graders made comparable, put together, and how far apart they are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from conftest import rows_of
from hypothesis import given
from hypothesis import strategies as st
from judging import graded, run, score
from scipy.stats import rankdata, zscore
from server import Server

from karat import RecipeError, RowError
from karat.rewards.load import load_reward
from karat.rewards.panel import ranks, votes, z_scores

TEXTS = ("a", "bb", "cccc")
NOBODY = {"model": "openai/none", "base_url": "http://127.0.0.1:9/v1"}


class Table:
    """Scores responses out of a table; one it lacks has no score. `fails` raises in its place."""

    rewards: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    licence = ""
    within_prompt: frozenset[str] = frozenset()

    def __init__(self, table: Mapping[str, float], fails: Exception | None = None) -> None:
        self.table, self.fails, self.asked = dict(table), fails, 0
        self.name = self.identity = "table"
        self.attributes = {"s": (-math.inf, math.inf), "minus": (-math.inf, math.inf)}

    def calls(self, n: int) -> int:
        return 0

    async def grade(self, ask: Any, job: Any) -> list[dict[str, float] | None]:
        self.asked += 1
        if self.fails:
            raise self.fails
        found = (self.table.get(text) for text in job.responses)
        return [None if v is None else {"s": v, "minus": -v} for v in found]


def table(*values, **more):
    return Table(dict(zip(TEXTS, values, strict=False)), **more)


def panel(folder, written, **others):
    (found,) = score(folder, NOBODY, written, TEXTS, **others)
    return found


def rewards(found):
    return [None if one is None else one["reward"] for one in found]


MEAN = {"reward": "panel/mean", "of": ["x.s", "y.s"]}


def test_raw_scores_are_never_averaged(tmp_path):
    """A grader on a scale of thousands weighs no more than one on a scale of 0 to 1."""
    found = panel(tmp_path, MEAN, x=table(1000, 2000, 3000), y=table(0.3, 0.2, 0.1))
    assert rewards(found) == pytest.approx([0, 0, 0])
    assert [one["disagreement"] for one in found] == pytest.approx([1.5**0.5, 0, 1.5**0.5])


def test_median_and_weights(tmp_path):
    others = {"x": table(0, 1, 2), "y": table(0, 1, 2), "z": table(2, 1, 0)}
    of = [f"{name}.s" for name in others]
    median = panel(tmp_path, {"reward": "panel/median", "of": of}, **others)
    assert rewards(median) == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    weighed = {"reward": "panel/mean", "of": of, "weights": {"z.s": 2}}
    assert rewards(panel(tmp_path, weighed, **others)) == pytest.approx([0, 0, 0])


def test_votes_are_shared_between_ties(tmp_path):
    others = {"x": table(1, 1, 0), "y": table(0, 5, 4), "z": table(3, 3, 3)}
    written = {"reward": "panel/vote", "of": [f"{name}.s" for name in others]}
    found = rewards(panel(tmp_path, written, **others))
    assert found == pytest.approx([(0.5 + 1 / 3) / 3, (0.5 + 1 + 1 / 3) / 3, 1 / 9])
    assert sum(found) == pytest.approx(1)


def test_two_attributes_of_one_reward_ask_it_once(tmp_path):
    x = table(0, 1, 2)
    found = panel(tmp_path, {"reward": "panel/mean", "of": ["x.s", "x.minus"]}, x=x)
    assert rewards(found) == pytest.approx([0, 0, 0])
    assert x.asked == 1


def test_ranks_leave_margins_out(tmp_path):
    found = panel(tmp_path, {**MEAN, "by": "rank"}, x=table(0, 1, 100), y=table(5, 5, 6))
    assert rewards(found) == pytest.approx([0.125, 0.375, 1])


# --- who has no score ---------------------------------------------------------------------------

THREE = {"reward": "panel/mean", "of": ["x.s", "y.s", "z.s"]}
FAILED = RowError("the judge says nothing")


def test_a_failing_member_fails_the_row_unless_it_may(tmp_path):
    others = {"x": table(0, 1, 2), "y": table(0, 1, 2), "z": table(fails=FAILED)}
    assert panel(tmp_path, THREE, **others) is FAILED
    found = panel(tmp_path, {**THREE, "missing": "skip"}, **others)
    assert rewards(found) == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    others["y"] = table(fails=FAILED)
    assert panel(tmp_path, {**THREE, "missing": "skip"}, **others) is FAILED  # below the quorum


def test_a_response_without_a_score_is_skipped_or_has_none(tmp_path):
    others = {"x": table(0, 1, 2), "y": table(0, 1, 2), "z": table(0, 1)}
    assert rewards(panel(tmp_path, THREE, **others))[2] is None
    found = panel(tmp_path, {**THREE, "missing": "skip"}, **others)
    assert rewards(found)[2] == pytest.approx(1.5**0.5)  # of the two who have one
    found = panel(tmp_path, {**THREE, "missing": "skip", "quorum": 3}, **others)
    assert rewards(found)[2] is None


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"reward": "panel/means", "of": ["x.s", "y.s"]}, "did you mean 'mean'"),
        ({"reward": "panel/mean", "of": ["x", "y.s"]}, "write reward.attribute"),
        ({"reward": "panel/mean", "of": ["x.s"]}, "two scores or more"),
        ({"reward": "panel/mean", "of": ["x.s", "x.s"]}, "each once"),
        ({"reward": "panel/mean"}, "of"),
        ({**MEAN, "weights": {"x": 2}}, "'x' is not in of; there is: x.s, y.s"),
        ({**MEAN, "weights": {"x.s": 0}}, "weights"),
        ({**MEAN, "reward": "panel/median", "weights": {"x.s": 2}}, "a median takes no weights"),
        ({**MEAN, "quorum": 2}, "needs missing: skip"),
        ({**MEAN, "missing": "skip", "quorum": 3}, "at most 2"),
    ],
)
def test_mistakes_are_said_before_anything_is_asked(tmp_path, written, words):
    with pytest.raises(RecipeError, match=re.escape(words)):
        load_reward(written, tmp_path)


def test_an_attribute_that_a_member_has_not_is_said_before_anyone_is_asked(tmp_path):
    x = table(0, 1, 2)
    found = panel(tmp_path, {"reward": "panel/mean", "of": ["x.s", "y.t"]}, x=x, y=table(0, 1, 2))
    assert isinstance(found, RecipeError)
    assert "reward 'y' gives no 't'" in str(found)
    assert not x.asked


# --- against references -------------------------------------------------------------------------

FLOATS = st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=8).map(np.array)


@given(FLOATS)
def test_z_scores_equal_scipys(scores_N):
    if np.ptp(scores_N) == 0:
        assert not z_scores(scores_N).any()
    else:
        np.testing.assert_allclose(z_scores(scores_N), zscore(scores_N), atol=1e-9)


@given(FLOATS)
def test_ranks_equal_scipys(scores_N):
    wanted = (rankdata(scores_N) - 1) / (len(scores_N) - 1)
    np.testing.assert_allclose(ranks(scores_N), wanted, atol=1e-9)


@given(FLOATS, st.integers(0, 7))
def test_a_missing_score_stays_missing_and_changes_no_other(scores_N, place):
    holed = np.insert(scores_N, place % (len(scores_N) + 1), np.nan)
    for standardise in (z_scores, ranks, votes):
        found = standardise(holed)
        assert (np.isnan(found) == np.isnan(holed)).all()
        np.testing.assert_array_equal(found[~np.isnan(holed)], standardise(scores_N))


@given(FLOATS, st.integers(1, 9), st.integers(-9, 9))
def test_a_members_scale_does_not_matter(scores_N, factor, shift):
    for standardise in (z_scores, ranks, votes):
        moved = standardise(scores_N * factor + shift)
        np.testing.assert_allclose(moved, standardise(scores_N), atol=1e-9)


def test_equal_scores_that_rounding_parted_are_equal():
    assert not z_scores(np.array([0.1 + 0.2, 0.3, 0.3])).any()


# --- whole runs ---------------------------------------------------------------------------------


def test_a_panel_of_a_judge_and_the_embedded_reward(tmp_path):
    rewards = {
        "it": {"reward": "panel/mean", "of": ["judge.helpfulness", "local.helpfulness"]},
        "judge": "judge/m",
        "local": "embedded/helpsteer2",
    }
    rows = [{"prompt": "What is a tide?", "responses": ["good good", "good", "bad", ""]}]
    best = {"reject": {"by": "it.reward", "best": 1}}
    with Server(answer=graded) as server:
        for _ in range(2):
            (row,) = rows_of(run(tmp_path, server.model(), rewards, rows, best).accepted_file)
        assert len(server.requests) == 3
        cut = {"reject": {"by": "it.reward", "minimum": 0.0}}
        with pytest.raises(RecipeError, match="one prompt only"):
            run(tmp_path, server.model(), rewards, rows, cut)
    assert sum(r.scores["it.reward"] for r in row.responses) == pytest.approx(0, abs=1e-9)
    assert all(r.scores["it.disagreement"] >= 0 for r in row.responses)


def test_a_judge_that_fails_is_skipped_where_that_is_said(tmp_path):
    rewards = {
        "it": {
            "reward": "panel/mean", "missing": "skip",
            "of": ["judge.score", "local.helpfulness", "local.correctness"],
        },
        "judge": {"reward": "judge/m", "ask": "score"},
        "local": "embedded/helpsteer2",
    }  # fmt: skip
    rows = [{"prompt": "What is a tide?", "responses": ["good good", "bad"]}]
    with Server(answer=lambda body, place: json.dumps({"score": 11})) as server:
        (row,) = rows_of(run(tmp_path, server.model(), rewards, rows).accepted_file)
    assert all("it.reward" in response.scores for response in row.responses)
