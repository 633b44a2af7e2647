"""The client against a real server: what is bought, what is retried, what it cost, what stays secret."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server import Server

from karat.errors import ProviderError, RunError
from karat.journal import Journal
from karat.models.budget import Budget
from karat.models.chat import ChatRequest
from karat.models.client import Client
from karat.models.spec import Price, parse_model
from karat.row import Message


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal.sqlite"


def request(text="What is a tide?", n=1, **more):
    return ChatRequest((Message("user", text),), n, **{"seed": 5, **more})


def with_client(journal, model, work, budget=None):
    """What `work(client)` returns; the model is called `m`."""

    async def main():
        opened = Journal(journal)
        client = Client({"m": parse_model(model)}, opened, Budget(budget))
        try:
            return await work(client)
        finally:
            await client.close()
            await opened.close()

    return asyncio.run(main())


def ask(journal, model, *requests, budget=None):
    async def work(client):
        return await asyncio.gather(*(client.chat("m", r, "respond", "row") for r in requests))

    return with_client(journal, model, work, budget)


def ledger(journal, columns="*", table="calls"):
    base = sqlite3.connect(journal)
    base.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in base.execute(f"SELECT {columns} FROM {table}")]
    finally:
        base.close()


def test_n_samples_come_in_one_request_and_are_told_apart(journal):
    with Server() as server:
        ((found),) = ask(journal, server.model(), request(n=4))
        assert [c.index for c in found] == [0, 1, 2, 3]
        assert len({c.content for c in found}) == 4
        assert len(server.requests) == 1
    rows = ledger(journal)
    assert [row["key"].hex() for row in rows] == [c.call for c in found]
    assert len({row["request"] for row in rows}) == 1
    assert json.loads(rows[0]["body"])["n"] == 4
    assert [row["body"] for row in rows[1:]] == [None] * 3


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
    assert not any(row["estimated"] for row in rows)


@pytest.mark.parametrize("price", [{"input": 0.0375, "output": 0.0375}, {"input": 0.0001, "output": 0.0003}])
def test_the_shares_of_a_request_cost_what_the_request_costs(journal, price):
    with Server(usage={"prompt_tokens": 7, "completion_tokens": 23}) as server:
        ask(journal, server.model(price=price), request(n=8))
    assert sum(row["cost_nano"] for row in ledger(journal)) == Price(**price).cost_nano(7, 23)


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 10}, {"completion_tokens": 10}, "words", [], 3])
def test_tokens_nobody_reported_are_estimated_and_marked(journal, usage):
    with Server(usage=usage) as server:
        ask(journal, server.model(), request(n=2))
    rows = ledger(journal)
    assert all(row["estimated"] for row in rows)
    assert all(row["completion_tokens"] > 0 for row in rows)
    assert rows[0]["cost_nano"] is None


def faults(*answers):
    """A script that gives these answers to the first requests, then none."""

    def script(number, body):
        answer = answers[number - 1] if number <= len(answers) else None
        return answer and (answer[0], answer[1], answer[2] if len(answer) > 2 else {})

    return script


@pytest.mark.parametrize(
    "fault",
    [
        (500, b"broken"), (502, b""), (503, b"busy"), (408, b""), (900, b""), (901, b""),
        (200, b"<html>"), (200, b'{"choices": []}'), (200, b'{"choices": null}'), (200, b"[]"),
        (200, b'{"choices": [{"message": null}]}'), (200, b'{"choices": [{"mess'), (200, b""),
        (200, b'{"error": {"message": "overloaded"}}'),
    ],
    ids=lambda fault: f"{fault[0]}-{fault[1][:24].decode()}",
)  # fmt: skip
def test_what_may_pass_is_tried_again(journal, fault):
    with Server(script=faults(fault)) as server:
        ((answer,),) = ask(journal, server.model(), request())
        assert len(server.requests) == 2
    assert answer.content
    assert [row["retries"] for row in ledger(journal)] == [1]
    assert ledger(journal, table="failures") == []


def test_a_text_cut_within_a_character_is_an_answer(journal):
    reply = b'{"choices": [{"message": {"content": "good \\ud83d"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}'
    with Server(script=faults((200, reply), (200, reply), (200, reply))) as server:
        ((answer,),) = ask(journal, server.model(attempts=2), request())
        assert len(server.requests) == 1
    assert answer.content.startswith("good ")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_out(journal, status):
    with Server(script=faults((status, b"", {"retry-after": "0.7"}))) as server:
        started = time.monotonic()
        ask(journal, server.model(), request())
        assert 0.7 <= time.monotonic() - started < 3
        assert len(server.requests) == 2


@pytest.mark.parametrize("value", ["inf", "86400", "nan", "-5", "tomorrow"])
def test_no_retry_after_can_make_a_run_hang(journal, value):
    async def work(client):
        endpoint = client.endpoint("m")
        task = asyncio.ensure_future(client.chat("m", request(), "s", "r"))
        slept = []
        sleep = asyncio.sleep

        async def short(seconds, *args):
            slept.append(seconds)
            await sleep(0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("karat.models.client.asyncio.sleep", short)
            await asyncio.wait([task], timeout=5)
        assert endpoint.tally.calls == 1
        return max(slept)

    with Server(script=faults((503, b"", {"retry-after": value}))) as server:
        assert with_client(journal, server.model(), work) <= 120


def test_giving_up_says_what_was_tried_and_is_written_down(journal):
    with Server(script=lambda number, body: (500, b'{"error": "out of order"}', {})) as server:
        with pytest.raises(ProviderError, match=r"HTTP 500: out of order \(after 2 tries\)"):
            ask(journal, server.model(attempts=2), request())
        assert len(server.requests) == 2
    (failure,) = ledger(journal, table="failures")
    assert (failure["status"], failure["step"], failure["row"]) == (500, "respond", "row")


def test_a_refused_request_is_not_sent_again(journal):
    reply = b'{"error": {"message": "prompt too long"}}'
    with Server(script=lambda number, body: (400, reply, {})) as server:
        with pytest.raises(ProviderError, match="HTTP 400: prompt too long"):
            ask(journal, server.model(), request())
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "variable named in key_env"), (402, "top it up"), (403, "permissions"),
        (404, "check model and base_url"), (307, "final form into base_url"), (301, "base_url"),
    ],
)  # fmt: skip
def test_what_no_retry_can_mend_stops_the_run_with_advice(journal, status, advice):
    with Server() as other:
        moved = {"location": f"{other.url}/chat/completions"}
        with Server(script=lambda number, body: (status, b"{}", moved)) as server:
            with pytest.raises(RunError, match=advice):
                ask(journal, server.model(), request())
            assert (len(server.requests), len(other.requests)) == (1, 0)


def test_a_server_that_is_not_there_stops_the_run(journal):
    with Server() as server:
        model = server.model(attempts=2)
    with pytest.raises(RunError, match=r"http://127.* does not answer.*Is the server running"):
        ask(journal, model, request())


def test_an_answer_that_never_comes_fails_its_row_and_not_the_run(journal):
    # Otherwise one such row, when it is the last one missing, would stop every run for ever.
    def slow(number, body):
        return 5 if body["messages"][0]["content"] == "stuck" else 0

    with Server(slow=slow) as server:
        model = server.model(timeout_s=0.2, attempts=2)
        ask(journal, model, request("fine"))
        with pytest.raises(ProviderError, match=r"no answer within 0\.2 s"):
            ask(journal, model, request("stuck"))


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


def test_cancelled_calls_give_their_slots_back(journal):
    async def work(client):
        tasks = [asyncio.ensure_future(client.chat("m", request(f"{i}"), "s", "r")) for i in range(20)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        limiter, tally = client.endpoint("m").limiter, client.endpoint("m").tally
        assert (limiter.in_flight, tally.in_flight) == (0, 0)
        return await client.chat("m", request("after"), "s", "r")

    with Server(latency_s=0.2) as server:
        assert with_client(journal, server.model(concurrency=4), work)[0].content


def test_after_stop_nothing_is_sent_and_what_is_under_way_is_kept(journal):
    async def work(client):
        tasks = [asyncio.ensure_future(client.chat("m", request(f"{i}"), "s", "r")) for i in range(12)]
        await asyncio.sleep(0.1)
        client.stop()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(d, list) for d in done)

    with Server(latency_s=0.3) as server:
        kept = with_client(journal, server.model(concurrency=4), work)
        assert kept == len(server.requests) == len(ledger(journal)) == 4


def test_stop_does_not_wait_for_calls_that_are_only_pausing(journal):
    async def work(client):
        tasks = [asyncio.ensure_future(client.chat("m", request(f"{i}"), "s", "r")) for i in range(5)]
        await asyncio.sleep(0.2)
        client.stop()
        _, waiting = await asyncio.wait(tasks, timeout=1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(waiting)

    with Server(script=lambda number, body: (429, b"", {"retry-after": "30"})) as server:
        assert with_client(journal, server.model(), work) == 0


@given(st.integers(1, 50), st.lists(st.text(max_size=30), min_size=1, max_size=6), st.integers(0, 9999))
def test_shares_of_tokens_add_up_and_are_never_negative(prompt, texts, total):
    from karat.models.billing import _split
    from karat.models.chat import ChatReply, Choice

    shares, estimated = _split(ChatReply([Choice(t) for t in texts], prompt, total), len(texts))
    assert (sum(shares), estimated) == (total, False)
    assert min(shares) >= 0
