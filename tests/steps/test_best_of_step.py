"""best_of: draws come to what was asked, stop by the rule, and none is paid twice."""

from __future__ import annotations

import hashlib

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
        ({"by": "verifier.math"}, "verifier.math"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(drawn, params, told):
    with Server() as server:
        with pytest.raises(RecipeError, match=told):
            drawn(server, **params)
        assert not server.requests
