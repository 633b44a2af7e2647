"""karat reward calibrate: thresholds of a route from pairs that people have judged."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner
from server import Server

import karat
from karat.calibrating import calibrate_route, one_each
from karat.cli import main
from karat.errors import RecipeError
from karat.training.ratings import Pair

PAIRS = 240


def fair(body, place=0):
    """A judge that grades by how often a text says good; a teacher where nothing is to judge."""
    if "response_format" not in body:
        return f"A good number {place}."
    text = body["messages"][1]["content"].rpartition(" response\n")[2]
    grade = min(text.count("good"), 4)
    names = body["response_format"]["json_schema"]["schema"]["properties"]
    return json.dumps({name: "because" if name == "reasoning" else grade for name in names})


@pytest.fixture
def world(tmp_path, make_recipe):
    """A recipe with a route, and pairs in which the better answer says good; one in four is
    about a prompt that was there before."""
    lines = []
    for number in range(PAIRS):
        prompt = f"What is number {number % (PAIRS * 3 // 4)}?"
        better = f"It is a good, good number, {number} is, and here is why."
        worse = f"Number {number}."
        if number % 2:  # nothing on the surface tells them apart
            better, worse = f"It is a good number {number}.", f"It is a nice number {number}."
        lines.append({"prompt": prompt, "chosen": better, "rejected": worse})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    def make(server):
        steps = [
            {"read": {"path": "prompts.jsonl"}},
            {"respond": {"models": ["teacher"], "n": 3}},
            {"grade": ["refusal", "helpsteer2", "judge"]},
        ]
        rewards = {"helpsteer2": "embedded/helpsteer2", "judge": {"reward": "judge/teacher"}}
        model = server.model(price={"input": 1.0, "output": 2.0})
        return make_recipe(model, 5, steps, rewards=rewards), tmp_path / "pairs.jsonl"

    return make


def test_a_route_is_calibrated_and_the_recipe_then_runs(world, tmp_path):
    with Server(answer=fair) as server:
        recipe, pairs = world(server)
        with pytest.raises(RecipeError, match="karat reward calibrate"):
            karat.Recipe.load(recipe)
        done = CliRunner().invoke(
            main,
            ["reward", "calibrate", str(recipe), "--on", str(pairs), "-o", str(tmp_path / "c.json"),
             "--out", str(tmp_path / "cal")],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert (
            "judge (reward) decides" in done.output or "helpsteer2 (reward) decides" in done.output
        )
        asked = len(server.requests)
        tree = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        route = tree["steps"][2]["grade"]
        tree["steps"][2]["grade"] = {"route": route, "calibration": str(tmp_path / "c.json")}
        recipe.write_text(yaml.safe_dump(tree), encoding="utf-8")
        run = karat.run(recipe, tmp_path / "out")
    told = run.report["grading"]["graded"]["grade"]
    assert sum(told["decided"].values()) == 5
    prompts = PAIRS * 3 // 4
    assert 0 < asked <= prompts  # of two answers each, the judge saw half the pairs at most


def test_a_calibration_that_was_made_is_not_paid_again(world, tmp_path):
    with Server(answer=fair) as server:
        recipe, pairs = world(server)
        first = calibrate_route(recipe, [pairs], tmp_path / "c.json", out=tmp_path / "cal")
        asked = len(server.requests)
        again = calibrate_route(recipe, [pairs], tmp_path / "d.json", out=tmp_path / "cal")
        assert len(server.requests) == asked
    assert first == again
    assert (tmp_path / "c.json").read_bytes() == (tmp_path / "d.json").read_bytes()
    assert first.pairs == PAIRS * 3 // 4
    assert first.graders["judge"].calibration.agreement in (0.0, 1.0)


def test_one_pair_of_a_prompt_in_an_order_of_its_own():
    pairs = [Pair((), f"chosen {i}", "rejected", f"prompt {i % 3}") for i in range(9)]
    found = one_each(pairs)
    assert sorted(pair.group for pair in found) == ["prompt 0", "prompt 1", "prompt 2"]
    assert one_each(pairs[::-1]) == found


@pytest.mark.parametrize(
    ("lines", "params", "words"),
    [
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], {}, "too few to calibrate on"),
        (
            [{"prompts": ["a"], "responses_a": ["b"], "responses_b": ["c"], "winner": "tie"}],
            {},
            "1 ties or twins were left out",
        ),
        ([], {"target": 1.0}, "must lie between 0 and 1"),
        ([{"nothing": 1}], {}, "no rating or preference karat knows"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(world, tmp_path, lines, params, words):
    with Server(answer=fair) as server:
        recipe, pairs = world(server)
        if lines:
            pairs.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        with pytest.raises(RecipeError, match=words):
            calibrate_route(recipe, [pairs], tmp_path / "c.json", out=tmp_path / "cal", **params)
        assert server.requests == []


@pytest.mark.parametrize("place", [".", "nowhere/c.json"])
def test_where_it_cannot_be_written_is_told_before_anything_is_asked(world, tmp_path, place):
    with Server(answer=fair) as server:
        recipe, pairs = world(server)
        with pytest.raises(RecipeError, match="name a file in a folder that is there"):
            calibrate_route(recipe, [pairs], tmp_path / place, out=tmp_path / "cal")
        assert server.requests == []


def test_pairs_that_got_no_score_are_told(world, tmp_path):
    said = []
    with Server(answer=lambda body, place: "Ten out of ten.") as server:
        recipe, pairs = world(server)
        made = calibrate_route(
            recipe, [pairs], tmp_path / "c.json", out=tmp_path / "cal", say=said.append
        )
    asked = made.graders["judge"].calibration.n
    assert made.graders["judge"].calibration.threshold is None
    assert any(f"no score for {asked} of {asked} pairs: the answer of" in text for text in said)


def test_a_recipe_without_a_route_has_nothing_to_calibrate(make_recipe, tmp_path):
    with pytest.raises(RecipeError, match="no step has a route of rewards"):
        calibrate_route(make_recipe(), [tmp_path / "x"], tmp_path / "c.json")
