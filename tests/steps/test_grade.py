"""grade: every response gets every attribute, on the reward's own scale, once."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import rows_of
from server import Server

import karat
from karat import RunError

STEPS = [
    {"read": {"path": "prompts.jsonl"}},
    {"respond": {"models": ["teacher"], "n": 3}},
    {"grade": {"reward": "mine"}},
]


@pytest.fixture
def graded(make_recipe, tmp_path):
    def run(server, steps=STEPS, rows=4, out="out"):
        path = make_recipe(server.model(), rows, steps, rewards={"mine": "x/y"})
        return karat.run(path, tmp_path / out)

    return run


def test_scores_stand_under_the_recipes_name_of_the_reward(graded, length_reward):
    with Server() as server:
        rows = rows_of(graded(server).accepted_file)
    for row in rows:
        texts = [r.content for r in row.responses]
        wanted = length_reward.score(row.messages, texts)
        found = [[r.scores["mine.length"], r.scores["mine.reward"]] for r in row.responses]
        np.testing.assert_array_equal(found, wanted)


def test_what_was_graded_is_not_graded_again(graded, length_reward):
    with Server() as server:
        graded(server)
        assert length_reward.calls == 12
        steps = [*STEPS, {"reject": {"by": "mine.reward", "best": 1}}]
        graded(server, steps)
        assert length_reward.calls == 12
        graded(server, [STEPS[0], {"respond": {"models": ["teacher"], "n": 4}}, STEPS[2]])
        assert length_reward.calls == 16
        length_reward.identity = "length/2"
        graded(server)
        assert length_reward.calls == 28


def test_a_row_without_responses_is_let_through(graded, length_reward):
    with Server() as server:
        run = graded(server, [STEPS[0], STEPS[2]])
    assert run.report["rows"]["accepted"] == 4
    assert length_reward.calls == 0


def test_equal_texts_get_equal_scores(graded, length_reward):
    with Server(answer=lambda body, place: "the same") as server:
        rows = rows_of(graded(server).accepted_file)
    assert all(len({str(r.scores) for r in row.responses}) == 1 for row in rows)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_drops_its_row(graded, length_reward, value, monkeypatch):
    def score(prompt, responses):
        bad = prompt[-1].content == "What is number 2?"
        return np.full((len(responses), 2), value if bad else 1.0)

    monkeypatch.setattr(length_reward, "score", score)
    with Server() as server:
        run = graded(server)
        (dropped,) = rows_of(run.dropped_file)
        assert f"its length is {value}, which is no score" in dropped.dropped
        assert len(rows_of(run.accepted_file)) == 3


@pytest.mark.parametrize("shape", [(2, 2), (3, 1), (3, 3)])
def test_a_reward_of_the_wrong_shape_stops_the_run(graded, length_reward, monkeypatch, shape):
    monkeypatch.setattr(length_reward, "score", lambda prompt, responses: np.ones(shape))
    with Server() as server, pytest.raises(RunError, match="step 'grade'"):
        graded(server)


def test_the_embedded_reward_grades_on_its_scale(make_recipe, tmp_path):
    steps = [{"read": {"path": "prompts.jsonl"}}, *STEPS[1:]]
    with Server() as server:
        path = make_recipe(server.model(), 2, steps, rewards={"mine": "embedded/helpsteer2"})
        rows = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    names = {"helpfulness", "correctness", "coherence", "complexity", "verbosity"}
    for response in (r for row in rows for r in row.responses):
        assert {f"mine.{name}" for name in names} <= set(response.scores)
        assert all(-2 < value < 6 for value in response.scores.values())
