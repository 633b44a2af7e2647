"""What is known of a recipe's scores: which compare within one prompt, and whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from karat.errors import RecipeError
from karat.recipe import Recipe
from karat.step import StepCall, find

REWARDS = {
    "hs": "embedded/helpsteer2",
    "bt": {"reward": "vllm/some/model", "base_url": "http://127.0.0.1:9"},
    "panel": {"reward": "panel/mean", "of": ["hs.reward", "bt.reward"]},
}
SUM = {"bt.reward": 1.0, "hs.reward": 0.5}


def call(name: str, **params: Any) -> StepCall:
    return find(name)(**params)


def recipe(*steps: StepCall) -> Recipe:
    graded = [call("grade", reward=name) for name in REWARDS]
    return Recipe([call("read", path=__file__), *graded, *steps], rewards=REWARDS)


MADE = {
    "a sum": ([call("reject", weights=SUM, best=4)], "weighted.reward"),
    "a sum of pairs": ([call("pairs", weights=SUM)], "weighted.reward"),
    "debiased": ([call("debias", by="bt.reward")], "bt.reward_debiased"),
    "debiased twice": (
        [call("debias", by="bt.reward"), call("debias", by="bt.reward_debiased")],
        "bt.reward_debiased_debiased",
    ),
    "a sum of debiased": (
        [call("debias", by="bt.reward"), call("reject", weights={"bt.reward_debiased": 1.0})],
        "weighted.reward",
    ),
    "a sum of a sum": (
        [call("reject", weights=SUM), call("reject", weights={"weighted.reward": 1.0})],
        "weighted.reward",
    ),
    "a panel": ([], "panel.reward"),
    "a panel debiased": ([call("debias", by="panel.reward")], "panel.reward_debiased"),
}


@pytest.mark.parametrize("name", list(MADE))
def test_what_is_made_of_a_score_within_prompts_is_cut_nowhere(name: str) -> None:
    steps, key = MADE[name]
    recipe(*steps, call("reject", by=key, margin_sigma=0.5))
    cuts: list[StepCall] = [
        call("reject", by=key, minimum=1.0),
        call("reject", by=key, top_share=0.5),
        call("reject", by="hs.reward", floors={key: 1.0}),
        call("pairs", by=key, minimum=1.0),
        call("cross_validate", graders=["hs.reward", key], by="score"),
    ]
    for cut in cuts:
        with pytest.raises(RecipeError, match=f"{key} compares responses to one prompt only"):
            recipe(*steps, cut)


def test_what_is_made_of_comparable_scores_may_be_cut() -> None:
    made = [
        call("debias", by="hs.reward"),
        call("reject", weights={"hs.reward_debiased": 1.0, "hs.coherence": 1.0}, best=2),
    ]
    found = recipe(*made, call("reject", by="weighted.reward", minimum=1.0))
    assert not found.graders.within_prompt("hs.reward_debiased")
    assert not found.graders.within_prompt("weighted.reward")
    # Whichever step of two makes it: the name is one.
    both = [*made, call("reject", weights=SUM), call("reject", by="weighted.reward")]
    assert recipe(*both).graders.within_prompt("weighted.reward")


def test_the_sources_of_a_score() -> None:
    made = recipe(call("reject", weights={"panel.reward": 1.0, "hs.reward": 1.0}))
    assert made.graders.sources("hs.coherence") == ["hs"]
    assert made.graders.sources("panel.reward") == ["panel", "hs", "bt"]
    assert made.graders.sources("weighted.reward") == ["panel", "hs", "bt"]
    assert made.graders.sources("human.helpfulness") == ["human"]


def test_a_reward_may_not_be_called_as_a_sum_is(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'weighted' is called as karat's own scores are"):
        Recipe([call("read", path=__file__)], rewards={"weighted": "embedded/helpsteer2"})
