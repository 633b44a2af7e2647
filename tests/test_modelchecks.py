"""What a recipe's mistakes are told as, before anything is spent."""

from __future__ import annotations

from typing import Any

import pytest

from karat.errors import RecipeError
from karat.modelchecks import score_hint
from karat.recipe import Recipe
from karat.step import find

GRADED = ["hs.reward", "hs.coherence", "judge.score"]


@pytest.mark.parametrize(
    ("key", "graded", "hint"),
    [
        ("hs.rewrd", GRADED, "did you mean 'hs.reward'?"),
        ("hs", GRADED, "write the reward and what it rates: hs.coherence, hs.reward"),
        ("verifier.math", GRADED, "put verify: {checks: [math]} before it"),
        ("verifier.code_share", [], "put verify: {checks: [code]} before it"),
        ("route.value", GRADED, "a route of graders gives it, such as grade: [refusal, judge]"),
        ("hs.reward", [], "no earlier step grades anything"),
    ],
)
def test_what_to_do_about_a_missing_score(key: str, graded: list[str], hint: str) -> None:
    assert score_hint(key, graded, None) == hint


def test_a_score_whose_reward_has_not_graded_yet() -> None:
    scales = {"reward": (0, 4)}
    assert score_hint("hs.reward", [], scales) == "put grade: {reward: hs} before it"
    assert score_hint("hs.rewrd", GRADED, scales) == "did you mean 'hs.reward'?"


@pytest.mark.parametrize(
    "cut",
    [
        {"minimum": 5},
        {"floors": {"hs.coherence": 5}},
        {"minimum": 2, "also": {"hs.coherence": 5}},
    ],
)
def test_a_bar_above_the_scale_is_refused(cut: dict[str, Any]) -> None:
    steps = [find("read")(path=__file__), find("grade")(reward="hs")]
    with pytest.raises(RecipeError, match=r"5 is above the scale of hs\.\w+ \(0 to 4\)"):
        Recipe(
            [*steps, find("reject")(by="hs.reward", **cut)], rewards={"hs": "embedded/helpsteer2"}
        )
