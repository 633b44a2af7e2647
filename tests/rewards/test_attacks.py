"""What a recipe, a reply or a kill may do to grading: no flattery, no second bill, no secret."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
from functools import partial

import pytest
from attacked import PRICE, ROW, scored, vllm, wanted, write
from conftest import rows_of, slow, start_karat, wait_for
from judging import graded
from server import Server
from servers import VllmServer

import karat
from karat.errors import RecipeError
from karat.recipe import Recipe


@pytest.fixture
def written(tmp_path):
    return partial(write, tmp_path)


PANEL = {"reward": "panel/mean", "of": ["a.reward", "b.reward"]}
OTHER = "http://127.0.0.1:8"


@pytest.mark.parametrize(
    ("rewards", "words", "top"),
    [
        ({"math": "judge/m"}, "'math' is called as karat's own scores are", {}),
        ({"route": "judge/m"}, "'route' is called as karat's own scores are", {}),
        (
            {"p": PANEL, "a": vllm(), "b": vllm(base_url=OTHER, price=PRICE)},
            r"needs the price of model 'reward a' \(vllm/x\)", {"budget_usd": 1},
        ),
        (
            {"a": vllm(price=PRICE), "b": vllm(price=PRICE, budget_usd=1)},
            "rewards 'a' and 'b' are one model on one server on two sets of terms", {},
        ),
        (
            {"a": "judge/m", "b": "judge/m", "p": {**PANEL, "of": ["a.reward", "b.nope"]}},
            "reward 'p': reward 'b' gives no 'nope'; there is: coherence", {},
        ),
        ({"p": PANEL, "a": "judge/m", "b": "judge/m"}, "'a' and 'b' are the same reward", {}),
        (
            {"a": {"reward": "judge/m", "rubric": "Be fair.", "attributes": {"a.b": [0, 1]}}},
            "'a.b: .*' is no name and scale", {},
        ),
        ({"a": "human/~nobodyx/rated.jsonl"}, "no file can be called", {}),
        ({"a": {"reward": "judge/m", "rubric": "a\0b.md"}}, "no file can be called", {}),
        ({"a": {"reward": "judge/m", "rubric": "half a \ud800"}}, "not valid UTF-8", {}),
    ],
    ids=["verifier", "route", "price", "terms", "panel", "twice", "dot", "home", "nul", "half"],
)  # fmt: skip
def test_what_could_go_wrong_later_is_refused_before_anything_is_spent(
    written, rewards, words, top
):
    with pytest.raises(RecipeError, match=words):
        Recipe.load(written(rewards, scored(next(iter(rewards))), **top))


SECRET = "sk-abcdefghijklmnop1234"


@pytest.mark.parametrize(
    "more",
    [
        {"base_url": f"http://user:{SECRET}@host/v1"},
        {"base_url": f"http://host/v1?api_key={SECRET}"},
        {"extra": {"auth": {"api_key": SECRET}}},
        {"extra": {"with": [{"it": SECRET}]}},
        {"key_env": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
    ],
    ids=["user", "query", "nested", "value", "key_env", "headers"],
)
def test_a_secret_is_refused_and_not_repeated_even_where_no_step_asks(written, more):
    with pytest.raises(RecipeError) as caught:
        Recipe.load(written({"judge": "judge/m", "spare": vllm(**more)}, scored("judge")))
    assert SECRET not in str(caught.value)


def test_a_recipe_keeps_the_rewards_it_was_made_with(written):
    given = {"judge": {"reward": "judge/m"}}
    loaded = Recipe.load(written(given, scored("judge")))
    made = Recipe(loaded.steps, models=loaded.models, rewards=given, folder=loaded.folder)
    given["judge"]["samples"] = 5
    assert made.resolved()["rewards"] == {"judge": {"reward": "judge/m"}}


def calls_of(path, out):
    return {line.model: line.calls for line in karat.plan(path, out) if line.model}


def test_a_plan_counts_what_a_run_asks_and_then_nothing(written, tmp_path):
    rewards = {
        "m": {"reward": "judge/m", "ask": "pairwise"},  # called as its model is
        "p": {"reward": "panel/mean", "of": ["rm.reward", "m.wins"]},
        "q": {"reward": "panel/mean", "of": ["p.reward", "m.consistency"]},
    }
    rows = [{"prompt": f"Q{i}?", "responses": ROW["responses"]} for i in range(3)]
    with Server(answer=wanted) as server, VllmServer() as scores:
        rewards["rm"] = vllm(base_url=f"http://127.0.0.1:{scores.port}", price=PRICE)
        respond = {"respond": {"models": ["m"], "n": 3}}
        steps = [respond, scored("q")]
        rows = [{"prompt": row["prompt"]} for row in rows]
        path = written(rewards, *steps, model=server.model(price=PRICE), rows=rows)
        planned = {(line.label, line.model): line for line in karat.plan(path, tmp_path / "out")}
        karat.run(path, tmp_path / "out")
        judged = sum("response_format" in one["body"] for one in server.requests)
        assert planned["grade", "openai/loop"].calls == judged == 3 * 3 * 2
        assert planned["grade", "vllm/x"].calls == len(scores.requests) == 9
        assert planned["grade", "vllm/x"].completion_tokens == 0
        # What a judge is shown is more than the conversation: its rubric, and two responses.
        assert planned["grade", "openai/loop"].prompt_tokens > 18 * (120 + 2 * 300)
        assert set(calls_of(path, tmp_path / "out").values()) == {0}


def test_what_is_held_is_counted_for_one_of_two_judges(written, tmp_path):
    rewards = {
        "grade": "judge/m", "duel": {"reward": "judge/m", "ask": "pairwise"},
        "p": {"reward": "panel/mean", "of": ["grade.reward", "duel.wins"]},
    }  # fmt: skip

    def script(number, body):
        return (401, b'{"error": {"message": "no"}}', {}) if number > 4 else None

    with Server(answer=wanted, script=script) as server:
        path = written(rewards, scored("p"), model=server.model(concurrency=1))
        with pytest.raises(karat.KaratError, match="not accepted"):
            karat.run(path, tmp_path / "out")
        lines = [line for line in karat.plan(path, tmp_path / "out") if line.model]
    assert [line.samples for line in lines] == [3, 6]
    assert sum(line.recorded for line in lines) == 4


def test_more_responses_buy_only_the_pairs_that_are_new(written, tmp_path):
    rewards = {"duel": {"reward": "judge/m", "ask": "pairwise"}}
    with Server(answer=wanted) as server:
        for n, most in ((4, 12), (8, 32)):
            steps = [{"respond": {"models": ["m"], "n": n}}, scored("duel")]
            path = written(rewards, *steps, model=server.model(), rows=[{"prompt": "Why?"}])
            karat.run(path, tmp_path / "out")
            asked = [json.dumps(one["body"], sort_keys=True) for one in server.requests]
            assert len(set(asked)) == len(asked)
            judged = sum("response_format" in one for one in asked)
            assert judged <= most + 12 * (n == 8)
    assert 12 < judged < 12 + 32


@pytest.mark.parametrize("ask", ["rubric", "pairwise"])
def test_a_judge_that_calls_a_tool_nobody_offered_fails_the_row(written, tmp_path, ask):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    reply = {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]}

    def script(number, body):
        return (200, json.dumps(reply).encode(), {}) if "odd" in json.dumps(body) else None

    rows = [ROW, {**ROW, "prompt": "An odd one?"}]
    with Server(answer=wanted, script=script) as server:
        path = written({"it": {"reward": "judge/m", "ask": ask}}, scored("it"),
                       model=server.model(), rows=rows)  # fmt: skip
        run = karat.run(path, tmp_path / "out")
    (row,) = rows_of(run.dropped_file)
    assert "after 3 tries: it holds nothing" in row.dropped
    assert run.report["rows"]["accepted"] == 1


JUDGES = {
    "rubric": "judge/m",
    "pairwise": {"reward": "judge/m", "ask": "pairwise"},
    "genrm": {"reward": "genrm/m", "form": "principle", "principle": "It is short."},
}


@pytest.mark.parametrize("way", JUDGES)
def test_what_a_judge_could_not_be_read_in_is_asked_again_by_the_next_run(written, tmp_path, way):
    broken = True

    def answer(body, place):
        if broken and "odd" in json.dumps(body):
            return "I would say ten out of ten."
        return graded(body) if "response_format" in body else "Final Judgement: Yes"

    rows = [ROW, {**ROW, "prompt": "An odd one?"}]
    with Server(answer=answer) as server:
        path = written({"it": JUDGES[way]}, scored("it"), model=server.model(), rows=rows)
        run = karat.run(path, tmp_path / "out")
        assert run.report["rows"]["dropped"] == 1
        kept = sqlite3.connect(tmp_path / "out" / "journal.sqlite").execute(
            "SELECT count(*) FROM calls WHERE content LIKE '%ten out of ten%'"
        )
        assert kept.fetchone()[0] >= 3
        broken, before = False, len(server.requests)
        run = karat.run(path, tmp_path / "out")
        assert run.report["rows"]["accepted"] == 2
        assert 0 < len(server.requests) - before <= 6
        asked = len(server.requests)
        assert karat.run(path, tmp_path / "out").report["rows"]["accepted"] == 2
        assert len(server.requests) == asked


@slow
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(written, tmp_path):
    rewards = {
        "judge": "judge/m", "duel": {"reward": "judge/m", "ask": "pairwise"},
        "panel": {"reward": "panel/mean", "of": ["rm.reward", "judge.reward", "duel.wins"]},
    }  # fmt: skip
    steps = [{"respond": {"models": ["m"], "n": 3}}, scored("panel")]
    dice = random.Random(11)
    with Server(answer=wanted, latency_s=0.05) as server, VllmServer(latency_s=0.02) as scores:
        rewards["rm"] = vllm(base_url=f"http://127.0.0.1:{scores.port}", price=PRICE)
        rows = [{"prompt": f"What is number {i}?"} for i in range(4)]
        model = server.model(price=PRICE, concurrency=2)
        path = written(rewards, *steps, model=model, rows=rows)
        whole = karat.run(path, tmp_path / "whole")
        asked = len(server.requests)
        server.requests.clear()
        kills = 0
        for _ in range(3):
            with start_karat("run", path, "--out", tmp_path / "out") as process:
                enough = len(server.requests) + dice.randint(3, 12)
                wait_for(lambda: process.poll() is not None or len(server.requests) >= enough)  # noqa: B023
                kills += process.poll() is None
                process.send_signal(dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
                process.communicate(timeout=30)
        run = karat.run(path, tmp_path / "out")
    assert kills >= 2
    assert run.accepted_file.read_bytes() == whole.accepted_file.read_bytes()
    assert asked <= len(server.requests) <= asked + 2 * kills  # in flight: the concurrency
    paid = [one.report["cost_usd"] for one in (run, whole)]
    assert paid[0] == paid[1]


@pytest.mark.parametrize(("ask", "calls"), [("rubric", 5 * 3), ("pairwise", 5 * 6)])
def test_a_plan_counts_the_responses_that_a_file_brings(written, tmp_path, ask, calls):
    rows = [{**ROW, "prompt": f"What is number {i}?"} for i in range(5)]
    path = written({"it": {"reward": "judge/m", "ask": ask}}, scored("it"), rows=rows)
    assert calls_of(path, tmp_path / "out") == {"openai/x": calls}
