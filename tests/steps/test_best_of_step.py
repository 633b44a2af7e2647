"""best_of: draws come to what was asked, stop by the rule, and none is paid twice."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from conftest import rows_of
from server import Server

import karat
from karat import RecipeError
from karat.errors import RunError
from karat.scoring.stopping import Prior, Rule, cost_for_budget

PILOT = [
    {"read": {"path": "prompts.jsonl"}},
    {"respond": {"models": ["teacher"], "n": 4}},
    {"grade": {"reward": "mine"}},
]
BY = "mine.length"
ROUTED = [*PILOT[:2], {"grade": {"route": ["refusal", "mine"]}}]
DEBIASED = [*PILOT, {"debias": {"by": BY}}]


def varied(body, place):
    """Answers of about 50 characters; of a narrower kind to every other prompt."""
    prompt = body["messages"][-1]["content"]
    key = f"{prompt} {body.get('seed')} {place}".encode()
    noise = sum(hashlib.sha256(key).digest()[:8]) / (8 * 255)  # a sum of uniforms: nearly normal
    even = int("".join(c for c in prompt if c.isdigit()) or 0) % 2 == 0
    return "x" * round(50 + (8 if even else 20) * 3 * (noise - 0.5))


@pytest.fixture
def drawn(make_recipe, tmp_path, length_reward):
    def run(server, rows=40, pilot=PILOT, out="out", model=None, **params):
        steps = [*pilot, {"best_of": {"model": "teacher", "by": BY, "calls": 6, **params}}]
        made = make_recipe(server.model(**(model or {})), rows, steps, rewards={"mine": "x/y"})
        return karat.run(made, tmp_path / out)

    run.folder = tmp_path
    return run


def test_draws_come_to_what_was_asked_and_stop_where_the_rule_says(drawn):
    with Server(answer=varied) as server:
        run = drawn(server)
    rows = rows_of(run.accepted_file)
    counts = [len(row.responses) for row in rows]
    assert sum(counts) / len(counts) == pytest.approx(6, rel=0.15)
    assert max(counts) > min(counts) == 4
    scores = [[response.scores[BY] for response in row.responses] for row in rows]
    pilot = np.array([row[:4] for row in scores]).ravel()
    prior = Prior.from_pilot(np.full(len(rows), 4), pilot, (0.0, 4.0))
    cost = cost_for_budget(prior, np.full(len(rows), 4), pilot, 6, least=4, most=16)
    for row in scores:
        assert not Rule(cost, 4, 16).go_on(row, prior)
        assert all(Rule(cost, 4, 16).go_on(row[:n], prior) for n in range(len(row)))
    for row in rows:
        assert all(BY in response.scores for response in row.responses)
        assert len({response.call for response in row.responses}) == len(row.responses)
    (counted,) = [
        one["notes"]["counts"] for one in run.report["funnel"] if one["label"] == "best_of"
    ]
    assert counted["answers_drawn"] == sum(counts) - 4 * len(counts)
    assert counted["rows_drawn_on"] == sum(count > 4 for count in counts)


def checked(*checks):
    """A pilot that is checked, not graded."""
    return [*PILOT[:2], {"verify": {"checks": list(checks)}}]


def sometimes_json(body, place):
    """An object for one answer in five, in prose for another one; to prompt 3 always prose."""
    prompt = body["messages"][-1]["content"]
    key = f"{prompt} {body.get('seed')} {place}".encode()
    kind = hashlib.sha256(key).digest()[0] % 5
    if "number 3?" in prompt or kind > 1:
        return "It is a number."
    return '{"n": 1}' if kind else 'Here:\n```json\n{"n": 1}\n```'


def passes(row, key="verifier.json"):
    return [response.scores[key] for response in row.responses]


def test_a_row_ends_with_the_first_answer_that_passes_a_check(drawn):
    with Server(answer=sometimes_json) as server:
        run = drawn(server, pilot=checked("json"), by="verifier.json", calls=8, most=12)
    rows = rows_of(run.accepted_file)
    assert len(rows) == 40
    later = [passes(row)[4:] for row in rows]
    assert all(not any(found[:-1]) for found in later)
    assert any(found and found[-1] for found in later)
    assert all(any(passes(row)) or len(row.responses) > 4 for row in rows)
    assert all(len(row.responses) == 4 for row in rows if any(passes(row)[:4]))
    (never,) = [row for row in rows if "number 3?" in row.messages[0].content]
    assert not any(passes(never))
    (counted,) = [
        one["notes"]["counts"] for one in run.report["funnel"] if one["label"] == "best_of"
    ]
    assert counted["json: passed"] + counted["json: failed"] == counted["answers_drawn"]


def test_new_answers_are_checked_as_the_pilot_was(drawn):
    with Server(answer=sometimes_json) as server:
        strict = {"json": {"fenced": False}}
        run = drawn(server, pilot=checked("refusal", strict), by="verifier.json", calls=8)
    for row in rows_of(run.accepted_file):
        assert passes(row) == [float(r.content.startswith("{")) for r in row.responses]
        assert all("verifier.refusal" in r.scores for r in row.responses[:4])
        failed = [place for place, passed in enumerate(passes(row)) if not passed]
        noted = [one["response"] for one in row.meta["failed_checks"] if one["check"] == "json"]
        assert noted == failed[:8]


def test_a_share_is_drawn_for_as_well(drawn):
    asked = [
        {"id": "punctuation:no_comma", "kwargs": {}},
        {"id": "detectable_format:json_format", "kwargs": {}},
    ]
    pilot = [{"read": {"path": "asked.jsonl"}}, *checked("instructions")[1:]]
    lines = [json.dumps({"prompt": f"Number {i}?", "constraints": asked}) for i in range(20)]
    drawn.folder.joinpath("asked.jsonl").write_text("\n".join(lines), "utf-8")
    with Server(answer=sometimes_json) as server:
        run = drawn(server, pilot=pilot, by="verifier.instructions_share", calls=7)
    shares = [passes(row, "verifier.instructions_share") for row in rows_of(run.accepted_file)]
    assert {share for row in shares for share in row} == {0.5, 1.0}
    assert all(1.0 not in row[:-1] for row in shares if len(row) > 4)
    assert max(map(len, shares)) > 4


def test_rows_that_no_check_can_decide_are_not_drawn_for(drawn):
    lines = [{"prompt": f"Number {i}?", "answer": "1"} if i % 2 else {"prompt": f"Number {i}?"}
             for i in range(12)]  # fmt: skip
    drawn.folder.joinpath("some.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    pilot = [{"read": {"path": "some.jsonl"}}, *checked("math")[1:]]
    with Server(answer=lambda body, place: "2") as server:
        rows = rows_of(drawn(server, pilot=pilot, by="verifier.math", calls=6).accepted_file)
    assert {len(row.responses) for row in rows if "answer" not in row.meta} == {4}
    assert min(len(row.responses) for row in rows if "answer" in row.meta) > 4


def test_a_plan_of_checked_draws_asks_the_model_and_no_grader(make_recipe):
    steps = [*checked("json"), {"best_of": {"model": "teacher", "by": "verifier.json", "calls": 6}}]
    with Server() as server:
        plan = karat.plan(make_recipe(server.model(), 10, steps))
        told = [(line.label, line.samples) for line in plan if line.model]
    assert told == [("respond", 40), ("best_of", 60)]


def test_the_same_draws_at_any_concurrency(drawn):
    found = []
    for place, width in enumerate((1, 50)):
        with Server(answer=varied) as server:
            run = drawn(server, out=f"out{place}", model={"concurrency": width})
        rows = rows_of(run.accepted_file)
        found.append([(row.id, [r.content for r in row.responses]) for row in rows])
    assert found[0] == found[1]


def test_more_calls_buy_only_what_is_missing(drawn):
    with Server(answer=varied) as server:
        few = rows_of(drawn(server, calls=5).accepted_file)
        paid = len(server.requests)
        more = rows_of(drawn(server, calls=8).accepted_file)
        bought = len(server.requests) - paid
    before = {row.id: [r.content for r in row.responses] for row in few}
    assert all(
        [r.content for r in row.responses][: len(before[row.id])] == before[row.id] for row in more
    )
    assert bought == sum(len(r.responses) for r in more) - sum(len(r.responses) for r in few)


def test_batches_are_drawn_together(drawn):
    with Server(answer=varied) as server:
        rows = rows_of(drawn(server, batch=3, most=9).accepted_file)
    assert {len(row.responses) for row in rows} <= {4, 7, 9}


def test_without_a_pilot_the_run_says_what_to_put_before(drawn):
    with Server() as server, pytest.raises(RunError, match="put respond with n: 4 and grade"):
        drawn(server, pilot=[PILOT[0], PILOT[2]])


def test_fewer_calls_than_the_pilot_has_taken_are_refused(drawn):
    with Server() as server, pytest.raises(RunError, match="at least the 4 graded answers"):
        drawn(server, calls=3)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"temperature": 0}, "raise temperature"),
        ({"calls": 20}, "more than most"),
        ({"by": "verifier.math"}, "no score 'verifier.math'"),
        ({"by": "verifier.json", "pilot": checked("refusal")}, "no score 'verifier.json'"),
        ({"by": "mine.length_debiased", "pilot": DEBIASED}, "no reward's or check's score"),
        ({"by": "route.value", "pilot": ROUTED}, "no reward's or check's score"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(drawn, params, told):
    with Server() as server:
        with pytest.raises(RecipeError, match=told):
            drawn(server, **params)
        assert not server.requests
