"""The client against a real server: what is bought, what is replayed, what it cost."""

from __future__ import annotations

import json

import pytest
from asking import ask, ledger, request
from hypothesis import given
from hypothesis import strategies as st
from server import Server

from karat.models.billing import shares


def test_n_samples_come_in_one_request_and_are_told_apart(journal):
    with Server() as server:
        ((found),) = ask(journal, server.model(), request(n=4))
        assert [c.index for c in found] == [0, 1, 2, 3]
        assert len({c.content for c in found}) == 4
        assert len(server.requests) == 1
    rows = ledger(journal)
    assert [row["key"].hex() for row in rows] == [c.call for c in found]
    assert len({row["attempt"] for row in rows}) == 1
    (attempt,) = ledger(journal, table="attempts")
    assert (attempt["id"], attempt["samples"]) == (rows[0]["attempt"], 4)
    assert json.loads(attempt["body"])["n"] == 4


def test_raising_n_buys_only_what_is_missing(journal):
    with Server() as server:
        ((four),) = ask(journal, server.model(), request(n=4))
        ((eight),) = ask(journal, server.model(), request(n=8))
        assert [r["body"].get("n") for r in server.requests] == [4, 4]
        assert [c.content for c in eight[:4]] == [c.content for c in four]
        assert len({c.content for c in eight}) == 8
        ask(journal, server.model(), request(n=3))
        assert len(server.requests) == 2


@pytest.mark.parametrize("max_n", [1, 2, 3])
def test_a_service_that_gives_fewer_is_asked_again_with_other_seeds(journal, max_n):
    with Server(max_n=max_n) as server:
        found = ask(journal, server.model(), *(request(f"{i}", n=5) for i in range(3)))
        assert all(len({c.content for c in answers}) == 5 for answers in found)
        per_prompt = {}
        for r in server.requests:
            per_prompt.setdefault(r["body"]["messages"][0]["content"], []).append(r["body"]["seed"])
        assert all(len(set(seeds)) == len(seeds) == -(-5 // max_n) for seeds in per_prompt.values())
        sent = len(server.requests)
        later = ask(journal, server.model(), *(request(f"{i}", n=5) for i in range(3)))
        assert (len(server.requests), later) == (sent, found)


def test_tokens_and_cost_are_exactly_the_servers(journal):
    price = {"input": 0.2, "output": 0.6}
    with Server(usage={"prompt_tokens": 13, "completion_tokens": 101}) as server:
        ask(journal, server.model(price=price), *(request(f"{i}", n=3) for i in range(5)))
    rows = ledger(journal)
    assert sum(row["prompt_tokens"] for row in rows) == 5 * 13
    assert sum(row["completion_tokens"] for row in rows) == 5 * 101
    assert sum(row["cost_nano"] for row in rows) == 5 * (13 * 200 + 101 * 600)
    assert {row["tokens_from"] for row in ledger(journal, table="attempts")} == {"reported"}


@pytest.mark.parametrize(
    "price", [{"input": 0.0375, "output": 0.0375}, {"input": 0.0001, "output": 0.0003}]
)
def test_the_shares_of_a_request_cost_what_the_request_costs(journal, price):
    with Server(usage={"prompt_tokens": 7, "completion_tokens": 23}) as server:
        ask(journal, server.model(price=price), request(n=8))
    (attempt,) = ledger(journal, table="attempts")
    exact = 1000 * (7 * price["input"] + 23 * price["output"])
    assert abs(attempt["cost_nano"] - exact) <= 0.5
    assert sum(row["cost_nano"] for row in ledger(journal)) == attempt["cost_nano"]


@pytest.mark.parametrize(
    "usage", [None, {"prompt_tokens": 10}, {"completion_tokens": 10}, "words", [], 3]
)
def test_tokens_nobody_reported_are_estimated_and_marked(journal, usage):
    with Server(usage=usage) as server:
        ask(journal, server.model(), request(n=2))
    rows = ledger(journal)
    assert {row["tokens_from"] for row in ledger(journal, table="attempts")} == {"estimated"}
    assert all(row["completion_tokens"] > 0 for row in rows)
    assert rows[0]["cost_nano"] is None


def test_the_same_question_asked_twice_at_once_is_bought_once(journal):
    with Server(latency_s=0.05) as server:
        one, other = ask(journal, server.model(), request(n=2), request(n=2))
        assert one == other
        assert sum(server.served.values()) * 2 == len(ledger(journal))


def test_the_ledger_holds_everything_the_service_billed(journal):
    with Server(latency_s=0.01, max_n=2) as server:
        ask(journal, server.model(), *(request(f"{i % 10}", n=1 + i % 3) for i in range(60)))
        billed = sum(min(r["body"].get("n", 1), 2) * 7 for r in server.requests)
    assert sum(row["completion_tokens"] for row in ledger(journal)) == billed


def test_in_flight_never_passes_concurrency(journal):
    with Server(latency_s=0.02) as server:
        ask(journal, server.model(concurrency=3), *(request(f"{i}") for i in range(30)))
        assert server.peak <= 3


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 10**12))
def test_shares_add_up_and_are_never_negative(weights, total):
    found = shares(total, weights)
    assert (sum(found), len(found)) == (total, len(weights))
    assert min(found) >= 0
