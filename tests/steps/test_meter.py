"""meter: curves of the pools of a run, on the grading score and on one held out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from staged import run

from karat.errors import RecipeError
from karat.recipe import Recipe
from karat.row import Message, Response, Row
from karat.step import find

meter = find("meter")
N = 6


def rows(count, worth, offset=0.0, reward="r"):
    """Prompts with N responses; `worth(x)` is what a response of grade x is worth."""
    random = np.random.default_rng(3)
    made = []
    for number in range(count):
        grades = random.normal(size=N) + offset * number
        scores = [
            {f"{reward}.reward": x, "other.reward": worth(x - offset * number)} for x in grades
        ]
        responses = [Response("a", scores=one) for one in scores]
        made.append(Row(f"r{number}", [Message("user", "?")], responses))
    return made


def curve(folder, made, by="r.reward", held_out=None):
    """(notes, warnings)"""
    decision, after, ctx = run(folder, meter, made, by=by, held_out=held_out)
    assert after == made
    return decision.notes, ctx.warnings


def test_the_curve_is_the_mean_best_of_all_subsets(tmp_path):
    made = rows(30, lambda x: x)
    notes, warnings = curve(tmp_path, made)
    assert "without held_out" in warnings[0]
    rungs = notes["curve"]["rungs"]
    for rung in rungs:
        k = rung["k"]
        best = [
            np.mean([max(some) for some in itertools.combinations(scores, k)])
            for row in made
            for scores in [[r.scores["r.reward"] for r in row.responses]]
        ]
        assert rung["grading"]["value"] == pytest.approx(np.mean(best), abs=1e-9)
        assert rung["grading"]["low"] <= rung["grading"]["value"] <= rung["grading"]["high"]
    assert [rung["k"] for rung in rungs] == [1, 2, 3, 4, 5, 6]


def test_a_reward_that_picks_its_own_mistakes_is_warned_of(tmp_path):
    made = rows(300, lambda x: -(x**2))
    notes, (warning,) = curve(tmp_path, made, held_out="other.reward")
    assert notes["curve"]["recommended"] < N
    assert "over-optimised" in warning


def test_a_good_reward_is_not_warned_of(tmp_path):
    notes, warnings = curve(tmp_path, rows(200, lambda x: x), held_out="other.reward")
    assert notes["curve"]["recommended"] == N
    assert warnings == []


def test_scores_of_one_prompt_only_are_measured_from_its_mean(tmp_path):
    plain, _ = curve(tmp_path, rows(40, lambda x: x, reward="bt"), "bt.reward")
    moved, _ = curve(tmp_path, rows(40, lambda x: x, offset=100.0, reward="bt"), "bt.reward")
    for one, other in zip(plain["curve"]["rungs"], moved["curve"]["rungs"], strict=True):
        assert one["grading"]["value"] == pytest.approx(other["grading"]["value"], abs=1e-6)
    assert plain["curve"]["rungs"][0]["grading"]["value"] == pytest.approx(0, abs=1e-9)


def test_nothing_graded_is_said_and_stops_nothing(tmp_path):
    notes, (warning,) = curve(tmp_path, [Row("r", [], [Response("a")])])
    assert "curve" not in notes
    assert "nothing to measure" in warning


@pytest.mark.parametrize(
    ("by", "held_out"),
    [
        ("r.reward", "r.helpfulness"),
        ("r.reward", "r.reward_debiased"),
        ("r.reward", "panel.reward"),
        ("panel.reward", "r.helpfulness"),
        ("weighted.reward", "r.reward"),
    ],
)
def test_a_reward_is_not_held_out_of_itself(by, held_out):
    steps = [find("grade")(reward=name) for name in ("r", "s", "panel")]
    steps += [find("debias")(by="r.reward")]
    steps += [find("reject")(weights={"r.reward": 1.0, "s.reward": 1.0}, best=4)]
    rewards = {
        "r": "embedded/helpsteer2",
        "s": {"reward": "vllm/some/model", "base_url": "http://127.0.0.1:9"},
        "panel": {"reward": "panel/mean", "of": ["r.reward", "s.reward"]},
    }
    begun = [find("read")(path=__file__), *steps]
    fine = meter(by="r.reward", held_out="s.reward")
    Recipe([*begun, fine], rewards=rewards)
    with pytest.raises(RecipeError, match=r"of the reward that picks \(r\)"):
        Recipe([*begun, meter(by=by, held_out=held_out)], rewards=rewards)
