"""compare: real servers of different quality and price, one recipe, figures that add up."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import ExitStack

import pytest
from conftest import journaled
from server import Server

import karat
from karat.comparing import compare
from karat.errors import RecipeError, RunError

STEPS = [
    {"read": {"path": "prompts.jsonl"}},
    {"respond": {"models": ["good"], "n": 2, "temperature": 0.9}},
    {"grade": {"reward": "r"}},
    {"reject": {"by": "r.length", "best": 1, "minimum": 1.0}},
    {"dedupe": {"on": "response"}},
]
CHEAP, DEAR = {"input": 1, "output": 1}, {"input": 10, "output": 10}


def writes(mean, spread=40):
    """Answers of about `mean` characters; a prompt that is hard for one model is so for all.

    Asked for a list of questions, it gives one.
    """

    def answer(body, place):
        prompt = body["messages"][-1]["content"]
        if "questions" in prompt.split():
            return f"1. Why do {body['seed'] % 1000} tides turn?"
        hard = int(hashlib.sha256(prompt.encode()).hexdigest()[:4], 16) % 60
        luck = hashlib.sha256(repr((body["seed"], place, mean)).encode()).digest()
        return "x" * (mean - hard + luck[0] * spread // 256)

    return answer


@pytest.fixture
def world(make_recipe, length_reward, tmp_path):
    """Servers `good`, `even`, `poor` and a recipe whose `respond` names the first."""
    with ExitStack() as stack:

        def make(rows=40, steps=STEPS, models=None, **servers):
            found = {
                name: stack.enter_context(Server(**behaviour))
                for name, behaviour in servers.items()
            }
            named = {
                name: server.model(model=f"openai/{name}", **(models or {}).get(name, {}))
                for name, server in found.items()
            }
            return make_recipe(rows=rows, steps=steps, models=named, rewards={"r": "x/y"}), found

        yield make


def test_the_better_and_cheaper_model_is_recommended(world, tmp_path):
    recipe, servers = world(
        good={"answer": writes(210)}, poor={"answer": writes(160)},
        models={"good": {"price": CHEAP}, "poor": {"price": DEAR}},
    )  # fmt: skip
    found = compare(recipe, ["poor", "good"], 40, tmp_path / "out")
    good, poor = found.candidates
    assert (found.pick, good.name, poor.name) == ("good", "good", "poor")
    assert found.tied == ["good"]
    pair = found.pairs[0]
    assert (pair.first, pair.second) == ("good", "poor")
    assert pair.apart.low < 0.5 < pair.apart.high
    assert pair.apart.high - pair.apart.low < 0.1  # paired: what prompts share is not in it
    assert good.quality.high - good.quality.low > 0.1
    # 10 tokens in and 14 out a prompt at $1 and at $10 a million.
    assert good.cost_usd == pytest.approx(40 * 24e-6)
    assert poor.cost_usd == pytest.approx(40 * 240e-6)
    assert good.accepted == 40
    assert good.cost_per_accepted.value == pytest.approx(24e-6)
    assert poor.cost_per_accepted.value == pytest.approx(40 * 240e-6 / poor.accepted)
    assert found.recommendation.startswith("good: quality ")
    assert "a tenth of the cost" in found.recommendation
    assert (good.frontier_cost, poor.frontier_cost) == (True, False)
    assert [len(server.requests) for server in servers.values()] == [40, 40]


def test_models_alike_are_said_to_be_and_the_cheaper_is_taken(world, tmp_path):
    recipe, _ = world(
        good={"answer": writes(200)}, even={"answer": writes(201)},
        models={"good": {"price": DEAR}, "even": {"price": CHEAP}},
    )  # fmt: skip
    found = compare(recipe, ["good", "even"], 40, tmp_path / "out")
    assert set(found.tied) == {"good", "even"}
    assert found.pick == "even"
    assert "cannot be told apart on 40 prompts" in found.recommendation
    assert "take even, at a tenth of the cost per accepted row" in found.recommendation
    assert "prompts would be needed to tell" in found.recommendation


def test_what_comes_before_respond_is_paid_once_and_again_is_free(world, tmp_path):
    steps = [
        {"topics": {"given": ["tides", "moons", "rivers", "hills"]}},
        {"prompts": {"model": "good", "per_topic": 1, "tasks": ["open_qa"]}},
        *STEPS[1:4],
    ]
    recipe, servers = world(
        steps=steps, good={"answer": writes(210)}, poor={"answer": writes(170)},
        models={"good": {"price": CHEAP}, "poor": {"price": CHEAP}},
    )  # fmt: skip
    found = compare(recipe, ["good", "poor"], 4, tmp_path / "out")
    asked = [len(server.requests) for server in servers.values()]
    assert found.prompts == 4
    assert asked[0] - asked[1] == 4  # the prompts, by one of them, for both
    assert found.shared_usd == pytest.approx(4 * 17e-6)
    again = compare(recipe, ["good", "poor"], 4, tmp_path / "out")
    assert [len(server.requests) for server in servers.values()] == asked
    assert again == found


def test_the_run_that_follows_does_not_pay_again(world, tmp_path):
    recipe, servers = world(good={"answer": writes(210)}, poor={"answer": writes(170)})
    compare(recipe, ["good", "poor"], 10, tmp_path / "out")
    assert len(servers["good"].requests) == 10
    run = karat.run(recipe, tmp_path / "out")
    assert len(servers["good"].requests) == 40
    karat.run(recipe, tmp_path / "own")
    compare(recipe, ["good", "poor"], 10, tmp_path / "own")
    assert len(servers["good"].requests) == 80
    assert run.report["rows"]["accepted"] > 0


def test_an_unknown_price_is_never_nothing(world, tmp_path):
    recipe, _ = world(
        good={"answer": writes(210)}, poor={"answer": writes(170)},
        models={"poor": {"price": CHEAP}},
    )  # fmt: skip
    found = compare(recipe, ["good", "poor"], 10, tmp_path / "out")
    good, poor = found.candidates
    assert good.cost_usd is None
    assert good.cost_per_accepted is None
    assert not good.frontier_cost
    assert poor.frontier_cost
    assert "price of good is unknown" in found.recommendation
    assert any("price of good is unknown" in note for note in found.notes)
    tree = json.loads((tmp_path / "out" / "compare.json").read_bytes())
    assert tree["candidates"][0]["cost_usd"] is None


def test_failed_prompts_are_left_out_for_both_and_still_cost(world, tmp_path):
    bad = {f"What is number {i}?" for i in (1, 4, 7)}

    def refuse(number, body):
        if body["messages"][-1]["content"] in bad:
            return 400, b'{"error": {"message": "content refused"}}', {}
        return None

    recipe, _ = world(
        good={"answer": writes(210), "script": refuse}, poor={"answer": writes(170)},
        models={"good": {"price": CHEAP}, "poor": {"price": CHEAP}},
    )  # fmt: skip
    found = compare(recipe, ["good", "poor"], 10, tmp_path / "out")
    good, poor = found.candidates
    assert (good.answered, poor.answered, found.compared, found.prompts) == (7, 10, 7, 10)
    assert good.accepted == 7
    assert good.accepted_share.value == pytest.approx(0.7)
    assert any("on the 7 of 10 prompts" in note for note in found.notes)


def test_a_reply_that_was_paid_for_and_unreadable_is_in_the_cost(world, tmp_path):
    def garble(number, body):
        return (200, b"{}", {}) if number == 1 else None

    recipe, _ = world(
        good={"answer": writes(210), "script": garble}, poor={"answer": writes(170)},
        models={"good": {"price": CHEAP}, "poor": {"price": CHEAP}},
    )  # fmt: skip
    found = compare(recipe, ["good", "poor"], 5, tmp_path / "out")
    good, poor = found.candidates
    assert good.answered == 5
    assert poor.cost_usd == pytest.approx(5 * 24e-6)
    assert good.cost_usd > 5 * 24e-6


def test_calls_that_failed_for_good_are_in_the_cost_of_their_model(world, tmp_path):
    def garble(number, body):
        return (200, b"{}", {}) if body["messages"][-1]["content"] == "What is number 2?" else None

    recipe, _ = world(
        good={"answer": writes(210), "script": garble}, poor={"answer": writes(170)},
        models={"good": {"price": CHEAP}, "poor": {"price": CHEAP}},
    )  # fmt: skip
    found = compare(recipe, ["good", "poor"], 5, tmp_path / "out")
    good, poor = found.candidates
    assert (good.answered, poor.answered) == (4, 5)
    assert poor.cost_usd == pytest.approx(5 * 24e-6)
    assert good.cost_usd > 5 * 24e-6


def test_another_respond_before_the_choice_is_left_out(world, tmp_path):
    steps = [*STEPS[:2], {"respond": {"models": ["even"], "n": 1}}, *STEPS[2:4]]
    recipe, servers = world(
        steps=steps, good={"answer": writes(210)}, even={"answer": writes(390)},
        poor={"answer": writes(170)},
    )  # fmt: skip
    found = compare(recipe, ["good", "poor"], 4, tmp_path / "out")
    assert servers["even"].requests == []
    assert [c.answers for c in found.candidates] == [8, 8]


def test_a_model_that_hardly_answers_is_not_compared(world, tmp_path):
    def refuse(number, body):
        number = int("".join(filter(str.isdigit, body["messages"][-1]["content"])))
        return None if number < 3 else (400, b'{"error": {"message": "no"}}', {})

    recipe, _ = world(
        good={"answer": writes(210)}, even={"answer": writes(205)},
        poor={"answer": writes(170), "script": refuse},
    )  # fmt: skip
    found = compare(recipe, ["good", "even", "poor"], 10, tmp_path / "out")
    assert found.compared == 10
    assert found.candidates[-1].name == "poor"
    assert found.candidates[-1].quality is None
    assert any(note.startswith("poor answered 3 of 10 prompts") for note in found.notes)
    assert len(found.pairs) == 1


def test_time_is_measured(world, tmp_path):
    recipe, _ = world(good={"answer": writes(210), "latency_s": 0.15}, poor={"answer": writes(170)})
    found = compare(recipe, ["good", "poor"], 6, tmp_path / "out")
    good, poor = found.candidates
    assert good.seconds.value > 0.15 > poor.seconds.value
    assert good.p95_s >= good.p50_s > 0.15
    assert (good.calls, good.answers) == (6, 12)
    assert (good.frontier_time, poor.frontier_time) == (True, True)


def test_one_model_at_two_settings_is_two_candidates(world, tmp_path):
    """They share an address; their calls must not be added up."""
    recipe, servers = world(good={"answer": writes(210)})
    loaded = karat.Recipe.load(recipe)
    base = servers["good"].model(model="openai/good", price=CHEAP)
    both = karat.Recipe(
        loaded.steps, name="two", models={"good": base, "cold": {**base, "top_p": 0.5}},
        rewards={"r": "x/y"}, folder=loaded.folder,
    )  # fmt: skip
    found = compare(both, ["good", "cold"], 5, tmp_path / "out")
    assert [c.cost_usd for c in found.candidates] == pytest.approx([5 * 24e-6] * 2)
    assert [c.calls for c in found.candidates] == [5, 5]


def test_answers_that_came_with_the_prompts_are_no_candidate(world, tmp_path):
    recipe, _ = world(good={"answer": writes(180)}, poor={"answer": writes(170)})
    lines = [{"prompt": f"What is {i}?", "response": "y" * 390 if i % 2 else "y"} for i in range(6)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "prompts.jsonl").write_text(text)
    found = compare(recipe, ["good", "poor"], 6, tmp_path / "out")
    for c in found.candidates:
        assert c.quality.value < 2
        assert c.accepted == 3  # where a person's answer is kept, the model's is not
        assert c.answers == 12


def test_without_reject_the_reward_decides(world, tmp_path):
    recipe, _ = world(steps=STEPS[:3], good={"answer": writes(210)}, poor={"answer": writes(170)})
    found = compare(recipe, ["good", "poor"], 5, tmp_path / "out")
    assert (found.by, found.best, found.scale) == ("r.reward", 1, (0.0, 4.0))
    assert [c.accepted for c in found.candidates] == [5, 5]


def test_thresholds_count_in_accepted_and_not_in_quality(world, tmp_path):
    strict = [*STEPS[:3], {"reject": {"by": "r.length", "minimum": 1.9}}]
    recipe, _ = world(steps=strict, good={"answer": writes(200)}, poor={"answer": writes(170)})
    found = compare(recipe, ["good", "poor"], 40, tmp_path / "out")
    good, poor = found.candidates
    assert 0 < good.accepted < 40
    assert good.answered == 40
    assert min(good.quality.low, poor.quality.value) < 1.9  # also of what was turned down
    assert poor.accepted < good.accepted


def test_files_are_written_and_hold_every_figure(world, tmp_path):
    recipe, _ = world(good={"answer": writes(210)}, poor={"answer": writes(170)})
    found = compare(recipe, ["good", "poor"], 5, tmp_path / "out")
    assert {"json", "html", "svg"} <= set(found.files)
    tree = json.loads((tmp_path / "out" / "compare.json").read_bytes())
    assert tree["recommendation"] == found.recommendation
    assert tree["pairs"][0]["apart"]["value"] == found.pairs[0].apart.value
    assert "compare.yaml" in {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / "accepted.parquet").exists()


def test_left_open_the_models_of_respond_are_compared(world, tmp_path):
    steps = [STEPS[0], {"respond": {"models": ["good", "poor"], "n": 2}}, *STEPS[2:4]]
    recipe, _ = world(steps=steps, good={"answer": writes(210)}, poor={"answer": writes(170)})
    found = compare(recipe, n=4, out=tmp_path / "out")
    assert [c.name for c in found.candidates] == ["good", "poor"]


@pytest.mark.parametrize(
    ("steps", "names", "words"),
    [
        (STEPS[:1], ["good", "poor"], "no step 'respond'"),
        (STEPS[:2], ["good", "poor"], "no 'grade' or 'reject' after 'respond'"),
        (STEPS, ["good"], "at least two models"),
        (STEPS, [], "at least two models"),
        (STEPS, ["good", "good"], "at least two models"),
        (STEPS, ["good", "god"], "no model 'god'.*did you mean 'good'"),
        (STEPS, ["good", "nowhere/x"], "nowhere/x"),
        (STEPS, ["good", "twin"], "are the same model"),
    ],
)
def test_mistakes_are_told_before_anything_is_spent(world, tmp_path, steps, names, words):
    recipe, servers = world(steps=steps, good={}, poor={})
    tree = recipe.read_text().replace(
        "rewards:", f"  twin: {json.dumps(servers['good'].model(model='openai/good'))}\nrewards:"
    )
    recipe.write_text(tree)
    with pytest.raises(RecipeError, match=words):
        compare(recipe, names, 5, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not any(server.requests for server in servers.values())


def test_the_count_of_rows_is_checked(world, tmp_path):
    recipe, _ = world(good={}, poor={})
    for n in (1, 10_001):
        with pytest.raises(RecipeError, match="2 to 10,000 rows"):
            compare(recipe, ["good", "poor"], n, tmp_path / "out")


def test_too_few_prompts_are_no_comparison(world, tmp_path):
    recipe, _ = world(rows=1, good={}, poor={})
    with pytest.raises(RunError, match="1 prompts came as far as 'respond'"):
        compare(recipe, ["good", "poor"], 5, tmp_path / "out")
    assert journaled(tmp_path / "out") > 0


def test_a_grader_of_the_candidates_family_is_pointed_out(make_recipe, length_reward, tmp_path):
    length_reward.name = "transformers/llama-3.1-nemotron-70b-reward"
    with Server(answer=writes(210)) as server:
        recipe = make_recipe(
            rows=4, steps=[*STEPS[:2], {"grade": {"reward": "judge"}}],
            models={
                "good": server.model(model="openai/Llama-3.3-70b"),
                "poor": server.model(model="openai/qwen3-8b"),
            },
            rewards={"judge": "nim/llama-3.1-nemotron-70b-reward"},
        )  # fmt: skip
        found = compare(recipe, ["good", "poor"], 4, tmp_path / "out")
    (note,) = [note for note in found.notes if "family" in note]
    assert note.startswith("judge would grade its own kind in good")


def test_sigma_thresholds_come_with_a_warning(world, tmp_path):
    steps = [*STEPS[:3], {"reject": {"by": "r.length", "minimum_sigma": 0.0}}]
    recipe, _ = world(steps=steps, good={"answer": writes(210)}, poor={"answer": writes(170)})
    assert not any(
        "σ" in note
        for note in compare(recipe, n=4, models=["good", "poor"], out=tmp_path / "a").notes
    )
    steps[-1]["reject"]["minimum_sigma"] = 0.5
    recipe, _ = world(steps=steps, good={"answer": writes(210)}, poor={"answer": writes(170)})
    found = compare(recipe, ["good", "poor"], 6, tmp_path / "b")
    assert any("σ" in note for note in found.notes)
    assert all(math.isfinite(c.quality.value) for c in found.candidates)
