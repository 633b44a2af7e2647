"""Routes under attack: ties, refusals, graders that are not what they were."""

from __future__ import annotations

import json
from functools import partial

import msgspec
import pytest
from attacked import AWAY, PRICE, ROW, scored, vllm, wanted, write
from conftest import rows_of
from server import Server
from servers import VllmServer

import karat
from karat.errors import RecipeError
from karat.recipe import Recipe
from karat.scoring.calibration import Calibration
from karat.steps._route import VALUE, Calibrations, Trusted


@pytest.fixture
def written(tmp_path):
    return partial(write, tmp_path)


def steep(name, identity, threshold):
    """A calibration by which a small lead is nearly certain, and a tie is not."""
    made = Calibration(name, 1000.0, 0.001, threshold, 0.9, 0.8, 0.5, 200)
    return Trusted(identity, "reward", made)


def test_a_reward_that_thinks_little_of_a_response_does_not_fail_it(written, tmp_path):
    """Only a verifier puts a response out; what a reward put last goes on with the others."""
    row = {"prompt": "Say it?", "responses": ["good good", "good, good", "bad"]}
    rewards = {"judge": "judge/m", "last": {"reward": "judge/m", "ask": "pairwise"}}
    with Server(answer=wanted) as server:
        model = server.model()
        loaded = Recipe.load(written(rewards, scored("judge"), model=model, rows=[row]))
        known = {"judge": steep("judge", loaded.identity("judge"), 0.9)}
        (tmp_path / "sure.json").write_bytes(
            msgspec.json.encode(Calibrations(known, 0.8, 0.1, 200))
        )
        route = {"route": ["judge", "refusal", "last"], "calibration": "sure.json"}
        path = written(rewards, {"grade": route}, model=model, rows=[row])
        (found,) = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    assert found.meta["graded"]["by"] == "last"
    assert [r.scores["last.wins"] for r in found.responses] == [0.75, 0.75, 0.0]
    assert [r.scores[VALUE] for r in found.responses] == [0.75, 0.75, 0.0]


@pytest.mark.parametrize("status", [400, 500, 200])
def test_what_a_cheap_grader_refuses_goes_on_and_what_may_pass_waits(written, tmp_path, status):
    def script(number, body):
        said = b'{"error": {"message": "This text is too long for the model."}}'
        return (status, said, {}) if "odd" in json.dumps(body) else None

    rows = [ROW, {**ROW, "prompt": "An odd one?"}]
    with Server(answer=wanted) as server, VllmServer(script=script) as scores:
        at = f"http://127.0.0.1:{scores.port}"
        rewards = {"rm": vllm(base_url=at, attempts=1), "judge": "judge/m"}
        model = server.model()
        loaded = Recipe.load(written(rewards, scored("rm"), model=model))
        known = {"rm": steep("rm", loaded.identity("rm"), 0.6)}
        (tmp_path / "sure.json").write_bytes(
            msgspec.json.encode(Calibrations(known, 0.8, 0.1, 200))
        )
        route = {"grade": {"route": ["rm", "judge"], "calibration": "sure.json"}}
        run = karat.run(written(rewards, route, model=model, rows=rows), tmp_path / "out")
        assert len(server.requests) == (3 if status == 400 else 0)
    by = [row.meta["graded"]["by"] for row in rows_of(run.accepted_file)]
    assert by == (["rm", "judge"] if status == 400 else ["rm"])


def test_a_row_with_one_response_says_why_a_pairwise_judge_did_not_decide(written, tmp_path):
    rewards = {"duel": {"reward": "judge/m", "ask": "pairwise"}}
    row = {"prompt": "Hi?", "responses": ["only one"]}
    path = written(rewards, {"grade": ["refusal", "duel"]}, rows=[row])
    (found,) = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    assert found.meta["review"] == "duel has no score for some of the responses"


@pytest.mark.parametrize("change", [{"model": "openai/other"}, {"top_p": 0.5}])
def test_a_calibration_does_not_outlive_the_model_behind_its_judge(written, tmp_path, change):
    model = {"model": "openai/x", "base_url": AWAY}
    rewards = {"judge": "judge/m", "h": "embedded/helpsteer2"}
    loaded = Recipe.load(written(rewards, scored("judge"), model=model))
    known = {"judge": steep("judge", loaded.identity("judge"), 0.9)}
    (tmp_path / "sure.json").write_bytes(msgspec.json.encode(Calibrations(known, 0.8, 0.1, 200)))
    route = {"grade": {"route": ["judge", "h"], "calibration": "sure.json"}}
    Recipe.load(written(rewards, route, model=model))
    Recipe.load(written(rewards, route, model={**model, "price": PRICE, "concurrency": 2}))
    with pytest.raises(RecipeError, match=r"'judge' is not what .* was made with"):
        Recipe.load(written(rewards, route, model={**model, **change}))
