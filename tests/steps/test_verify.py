"""verify: checks of each response as scores that reject can use, with reasons and counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import rows_of
from server import Server

import karat
from karat import Recipe, RecipeError
from karat.step import find

ALL, SHARE = "verifier.instructions", "verifier.instructions_share"
NO_COMMA = {"id": "punctuation:no_comma", "kwargs": {}}
SHORT = {
    "id": "length_constraints:number_words",
    "kwargs": {"num_words": 4, "relation": "less than"},
}
READ = {"read": {"path": "prompts.jsonl"}}
FLOOR = {"reject": {"by": "mine.reward", "floors": {ALL: 1}}}
TEXTS = ["one two", "one, two", "one, two three four", ""]


@pytest.fixture
def verified(make_recipe, tmp_path, length_reward):
    """Four responses to each line, verified; further steps after it."""

    def run(*lines, then=(), out="out", texts=TEXTS, **params):
        respond = {"respond": {"models": ["teacher"], "n": 4}}
        steps = [READ, respond, {"grade": {"reward": "mine"}}, {"verify": params}, *then]
        answers = {"answer": lambda body, place: texts[place]}
        with Server(**answers) as server:
            path = make_recipe(server.model(), 0, steps, rewards={"mine": "x/y"})
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            (tmp_path / "prompts.jsonl").write_text(text, encoding="utf-8")
            return karat.run(path, tmp_path / out)

    return run


def scores(row, key):
    return [response.scores.get(f"verifier.{key}") for response in row.responses]


def test_each_response_gets_the_share_it_follows_and_whether_that_is_all(verified):
    run = verified({"prompt": "Count.", "constraints": [NO_COMMA, SHORT]})
    (row,) = rows_of(run.accepted_file)
    assert scores(row, "instructions") == [1, 0, 0, 0]
    assert scores(row, "instructions_share") == [1, 0.5, 0, 0]
    assert all("mine.reward" in response.scores for response in row.responses)
    assert {ALL, SHARE} <= run.report["scores"].keys()


def test_a_floor_keeps_only_what_follows_everything(verified):
    commas = {"id": "keywords:existence", "kwargs": {"keywords": [",", "six"]}}
    run = verified(
        {"prompt": "Count.", "constraints": [NO_COMMA, SHORT]},
        {"prompt": "Count on.", "constraints": [commas]},
        then=[FLOOR],
    )
    (row,) = rows_of(run.accepted_file)
    assert [response.content for response in row.kept()] == ["one two"]
    (lost,) = rows_of(run.dropped_file)
    assert lost.dropped == f"reject: below floor {ALL} (best 0.00)"


def test_where_nothing_was_asked_nothing_is_broken(verified):
    run = verified({"prompt": "Count."}, {"prompt": "Go on.", "constraints": []}, then=[FLOOR])
    rows = rows_of(run.accepted_file)
    assert len(rows) == 2
    assert all(scores(row, "instructions") == [1, 1, 1, 1] for row in rows)
    assert all(scores(row, "instructions_share") == [1, 1, 1, 1] for row in rows)


def test_ifevals_own_columns_are_read(verified):
    line = {
        "prompt": "Count.",
        "instruction_id_list": [NO_COMMA["id"], SHORT["id"]],
        "kwargs": [{"num_words": None}, {**SHORT["kwargs"], "letter": None}],
    }
    (row,) = rows_of(verified(line).accepted_file)
    assert scores(row, "instructions") == [1, 0, 0, 0]
    assert scores(row, "instructions_share") == [1, 0.5, 0, 0]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"constraints": "no commas"}, "constraints must be a list"),
        ({"constraints": [{"id": "punctuation:no_comma"}]}, "constraints must be a list"),
        ({"constraints": [{"id": "punctuation:none", "kwargs": {}}]}, "no instruction"),
        ({"constraints": [{**NO_COMMA, "kwargs": {"n": 1}}]}, "kwargs of punctuation:no_comma"),
        ({"instruction_id_list": ["punctuation:no_comma"]}, "of the same length"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "of the same length"),
    ],
)
def test_instructions_that_cannot_be_read_drop_their_row(verified, fields, reason):
    (row,) = rows_of(verified({"prompt": "Count.", **fields}).dropped_file)
    assert reason in row.dropped


def test_a_recipe_may_name_its_scores_after_it_and_not_before(length_reward):
    grade, verify = {"grade": {"reward": "mine"}}, {"verify": {}}

    def recipe(*steps):
        return Recipe(
            [find(name)(**params) for one in steps for name, params in one.items()],
            rewards={"mine": "x/y"},
        )

    topics = {"topics": {"given": ["tea"]}}
    assert recipe(topics, grade, verify, FLOOR)
    with pytest.raises(RecipeError, match=f"no score '{ALL}' at this point"):
        recipe(topics, grade, FLOOR, verify)
    typo = {"reject": {"by": "mine.reward", "floors": {"verifier.instructons": 1}}}
    with pytest.raises(RecipeError, match=r"did you mean 'verifier\.instructions'"):
        recipe(topics, grade, verify, typo)
    high = {"reject": {"by": "mine.reward", "floors": {ALL: 2}}}
    with pytest.raises(RecipeError, match="above the scale"):
        recipe(topics, grade, verify, high)


LOOP = "It is a star, it is a star, " * 9
MIXED = ["Bread is good for you.", "I'm sorry, but I can't help with that.", LOOP, "👍"]
CHECKS = ["refusal", "repetition", "truncation"]


def test_every_check_gives_its_score_and_none_where_it_cannot_decide(verified):
    run = verified({"prompt": "Is bread good for you?"}, texts=MIXED, checks=CHECKS)
    (row,) = rows_of(run.accepted_file)
    assert scores(row, "refusal") == [1, 0, 1, 1]
    assert scores(row, "repetition") == [1, 1, 0, None]
    assert scores(row, "truncation") == [1, 1, 0, 1]
    assert scores(row, "refusal_share") == [None] * 4
    assert scores(row, "repetition_share")[:2] == [1, 1]
    assert scores(row, "instructions") == [None] * 4
    (verify,) = [step for step in run.report["funnel"] if step["label"] == "verify"]
    assert verify["notes"]["counts"] == {
        "refusal: passed": 3, "refusal: failed": 1, "repetition: passed": 2,
        "repetition: failed": 1, "repetition: undecided": 1, "truncation: passed": 3,
        "truncation: failed": 1,
    }  # fmt: skip


def test_a_row_says_why_its_responses_failed(verified):
    run = verified({"prompt": "Is bread good for you?"}, texts=MIXED, checks=CHECKS)
    (row,) = rows_of(run.accepted_file)
    found = [(one["check"], one["response"]) for one in row.meta["failed_checks"]]
    assert found == [("refusal", 1), ("repetition", 2), ("truncation", 2)]
    assert row.meta["failed_checks"][0]["reason"].startswith("declines: I'm sorry")
    run = verified({"prompt": "Bread?"}, texts=["Yes."] * 4, checks=CHECKS, out="fine")
    (row,) = rows_of(run.accepted_file)
    assert "failed_checks" not in row.meta


def test_reasons_are_few_and_short(verified):
    refusals = [f"I can't help with that, {'and again ' * 30}" for _ in range(4)]
    twice = [{"verify": {"checks": CHECKS}}] * 2
    lines = {"prompt": "Is bread good for you?"}
    run = verified(lines, texts=refusals, checks=CHECKS, then=twice)
    (row,) = rows_of(run.accepted_file)
    assert len(row.meta["failed_checks"]) == 8  # of twelve
    assert all(len(one["reason"]) <= 200 for one in row.meta["failed_checks"])


def test_options_reach_their_check(verified):
    polite = "I can't give legal advice, but here are three general rules that most people follow."
    for number, (options, expected) in enumerate([({}, 1), ({"partial": True}, 0)]):
        checks = [{"refusal": options}]
        run = verified({"prompt": "?"}, texts=[polite] * 4, checks=checks, out=f"out{number}")
        (row,) = rows_of(run.accepted_file)
        assert scores(row, "refusal") == [expected] * 4


def test_required_checks_turn_responses_down_and_drop_rows_without_any_other(verified):
    fine = {"prompt": "Is bread good for you?"}
    then = [{"reject": {"by": "mine.reward", "best": 2}}]
    run = verified(fine, texts=MIXED, checks=CHECKS, require="all")
    (row,) = rows_of(run.accepted_file)
    assert [response.kept for response in row.responses] == [True, False, False, True]
    run = verified(fine, texts=MIXED, checks=CHECKS, require="all", then=then, out="chosen")
    (row,) = rows_of(run.accepted_file)
    assert {response.content for response in row.kept()} == {MIXED[0], MIXED[3]}
    bad = [MIXED[1], MIXED[1], LOOP, LOOP]
    run = verified(fine, texts=bad, checks=["refusal", "repetition"], require="all", out="bad")
    (row,) = rows_of(run.dropped_file)
    assert row.dropped == "verify: no response passes (refusal 2, repetition 2)"
    assert not row.failed  # nothing to be tried again


def test_a_row_without_a_field_that_a_check_needs_is_undecided_and_said_so(verified, monkeypatch):
    from karat.verifiers import refusal

    monkeypatch.setattr(refusal, "NEEDS", ("answer",))
    run = verified({"prompt": "Bread?"}, {"prompt": "Tea?", "answer": "yes"}, checks=["refusal"])
    rows = {row.prompt: row for row in rows_of(run.accepted_file)}
    assert scores(rows["Bread?"], "refusal") == [None] * 4
    assert scores(rows["Tea?"], "refusal") == [1] * 4
    assert any("needs the meta field 'answer'" in text for text in run.report["warnings"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"checks": ["refusel"]}, r"checks: no verifier 'refusel'; did you mean 'refusal'\?"),
        ({"checks": [{"refusal": {"partiel": True}}]}, "did you mean 'partial'"),
        ({"checks": [{"refusal": {"partial": 3}}]}, "partial"),
        ({"checks": [{"repetition": {"most": 2}}]}, "most"),
        ({"checks": []}, "checks is empty"),
        ({"checks": ["refusal", {"refusal": {}}]}, "'refusal' is listed twice"),
        ({"checks": [{"refusal": {}, "copied": {}}]}, "one name with its options"),
        ({"checks": "refusal"}, r"write a list: \[refusal\]"),
        ({"require": "any"}, "one of all, none"),
    ],
)
def test_what_is_wrong_with_checks_is_said_before_anything_runs(params, message):
    with pytest.raises(RecipeError, match=message):
        find("verify")(**params)


def test_a_recipe_whose_rows_cannot_have_what_a_check_needs_is_refused(monkeypatch):
    from karat.verifiers import refusal

    monkeypatch.setattr(refusal, "NEEDS", ("answer",))
    verify = find("verify")(checks=["refusal"])
    with pytest.raises(RecipeError, match="'refusal' needs rows with the meta field 'answer'"):
        Recipe([find("topics")(given=["tea"]), verify])


def test_only_scores_that_the_checks_give_may_be_named(length_reward):
    def recipe(key, *checks):
        steps = [("topics", {"given": ["tea"]}), ("grade", {"reward": "mine"}),
                 ("verify", {"checks": list(checks)}),
                 ("reject", {"by": "mine.reward", "floors": {key: 1}})]  # fmt: skip
        return Recipe([find(name)(**params) for name, params in steps], rewards={"mine": "x/y"})

    assert recipe("verifier.refusal", "refusal")
    assert recipe("verifier.repetition_share", "repetition")
    with pytest.raises(RecipeError, match=r"no score 'verifier\.instructions'"):
        recipe("verifier.instructions", "refusal")
    with pytest.raises(RecipeError, match=r"no score 'verifier\.refusal_share'"):
        recipe("verifier.refusal_share", "refusal")


def test_a_slow_check_does_not_hold_up_the_event_loop(monkeypatch):
    import asyncio
    import time

    from karat.row import Response, Row
    from karat.steps.verify import verify
    from karat.verifiers import refusal
    from karat.verifiers.base import Verdict

    class Counter:
        def count(self, name):
            pass

    def slow(item, *, partial=False, asking=False):
        time.sleep(0.2)
        return Verdict(passed=True)

    async def run():
        row = Row("1", responses=[Response("a"), Response("b")])
        waiting = asyncio.create_task(verify.function(row, Counter(), checks=["refusal"]))
        longest, before = 0.0, time.perf_counter()
        while not waiting.done():
            await asyncio.sleep(0.002)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
        await waiting
        return longest, row

    monkeypatch.setattr(refusal, "verify", slow)
    longest, row = asyncio.run(run())
    assert longest < 0.1  # seconds; a check in the loop itself would take 0.2
    assert scores(row, "refusal") == [1, 1]


def test_a_check_that_changes_unseals_what_it_decided(monkeypatch, tmp_path):
    from karat.steps.verify import verify

    before = verify.source()
    monkeypatch.setattr(sys.modules["karat.step"], "SHARED", ("curation", "scoring"))
    assert verify.source() != before


IFEVAL = Path(__file__).parents[3] / "shared" / "data" / "prompts" / "ifeval.jsonl"


@pytest.mark.skipif(not IFEVAL.exists(), reason="the shared data are not here")
def test_the_benchmarks_own_file_can_be_read_and_verified(make_recipe, tmp_path):
    lines = IFEVAL.read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if "response_language" not in line][:200]
    steps = [READ, {"respond": {"models": ["teacher"]}}, {"verify": {}}]
    with Server() as server:
        path = make_recipe(server.model(), 0, steps)
        (tmp_path / "prompts.jsonl").write_text("\n".join(told), encoding="utf-8")
        rows = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    assert len(rows) == 200
    assert {response.scores[ALL] for row in rows for response in row.responses} == {0.0, 1.0}
