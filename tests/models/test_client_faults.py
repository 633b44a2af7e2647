"""The client when things go wrong: what is tried again, what stops, what is kept."""

from __future__ import annotations

import asyncio
import time

import pytest
from asking import ask, ledger, request, with_client
from server import Server

from karat.errors import ProviderError, RunError
from karat.models.call import Call
from karat.models.endpoint import Asker


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
    attempts = ledger(journal, table="attempts")
    assert [row["outcome"] for row in attempts] == ["retried", "answered"]
    assert [row["try_number"] for row in attempts] == [0, 1]
    assert attempts[0]["error"]


def test_a_text_cut_within_a_character_is_an_answer(journal):
    reply = b'{"choices": [{"message": {"content": "good \\ud83d"}}]}'
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
        task = asyncio.ensure_future(client.chat("m", request(), Asker("s", "r")))
        slept = []

        async def short(call, seconds):
            slept.append(seconds)
            await asyncio.sleep(0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Call, "_pause", short)
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
    first, failure = ledger(journal, table="attempts")
    assert (first["outcome"], failure["outcome"]) == ("retried", "failed")
    assert (failure["status"], failure["step"], failure["row"]) == (500, "respond", "row")
    assert (failure["error"], failure["cost_nano"]) == ("retry", 0)


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


def test_cancelled_calls_give_their_slots_back(journal):
    async def work(client):
        tasks = [
            asyncio.ensure_future(client.chat("m", request(f"{i}"), Asker("s", "r")))
            for i in range(20)
        ]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        limiter, tally = client.endpoint("m").limiter, client.endpoint("m").tally
        assert (limiter.in_flight, tally.in_flight) == (0, 0)
        return await client.chat("m", request("after"), Asker("s", "r"))

    with Server(latency_s=0.2) as server:
        assert with_client(journal, server.model(concurrency=4), work)[0].content


def test_after_stop_nothing_is_sent_and_what_is_under_way_is_kept(journal):
    async def work(client):
        tasks = [
            asyncio.ensure_future(client.chat("m", request(f"{i}"), Asker("s", "r")))
            for i in range(12)
        ]
        await asyncio.sleep(0.1)
        client.stop()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(d, list) for d in done)

    with Server(latency_s=0.3) as server:
        kept = with_client(journal, server.model(concurrency=4), work)
        assert kept == len(server.requests) == len(ledger(journal)) == 4


def test_stop_does_not_wait_for_calls_that_are_only_pausing(journal):
    async def work(client):
        tasks = [
            asyncio.ensure_future(client.chat("m", request(f"{i}"), Asker("s", "r")))
            for i in range(5)
        ]
        await asyncio.sleep(0.2)
        client.stop()
        _, waiting = await asyncio.wait(tasks, timeout=1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(waiting)

    with Server(script=lambda number, body: (429, b"", {"retry-after": "30"})) as server:
        assert with_client(journal, server.model(), work) == 0


def test_a_service_that_refuses_n_is_asked_one_by_one(journal):
    def script(number, body):
        return (400, b'{"error": {"message": "n must be 1"}}', {}) if body.get("n", 1) > 1 else None

    with Server(script=script) as server:
        (first, second) = ask(journal, server.model(concurrency=1), request(n=4), request("b", n=4))
    assert [len({c.content for c in answers}) for answers in (first, second)] == [4, 4]
    assert len(server.requests) <= 2 + 8
    assert len({r["body"]["seed"] for r in server.requests}) == 4


def test_an_empty_account_stops_the_run_though_it_comes_as_a_rate_limit(journal):
    reply = b'{"error": {"code": "insufficient_quota", "message": "pay first"}}'
    with Server(script=lambda number, body: (429, reply, {})) as server:
        with pytest.raises(RunError, match="top it up"):
            ask(journal, server.model(), request())
        assert len(server.requests) == 1


def test_one_moderated_row_does_not_stop_the_others(journal):
    def script(number, body):
        bad = body["messages"][0]["content"] == "bad"
        return (403, b'{"error": {"message": "flagged"}}', {}) if bad else None

    with Server(script=script) as server:
        model = server.model(concurrency=1)
        with pytest.raises(ProviderError, match="flagged"):
            ask(journal, model, request("fine"), request("bad"), request("fine too"))
    assert len(ledger(journal)) == 2


def test_an_unreadable_choice_costs_only_itself(journal):
    reply = (
        b'{"choices": [{"message": {"content": "one"}}, {"odd": 1},'
        b' {"message": {"content": [{"type": "text", "text": "th"}, {"text": "ree"}]}}]}'
    )
    with Server(script=lambda number, body: (200, reply, {})) as server:
        ((one, odd, three),) = ask(journal, server.model(), request(n=3))
        assert len(server.requests) == 1
    assert [one.content, odd.content, three.content] == ["one", "", "three"]
    assert odd.finish_reason == "unreadable"


def test_a_paid_reply_that_cannot_be_read_is_bought_twice_at_most(journal):
    with Server(script=lambda number, body: (200, b'{"choices": []}', {})) as server:
        with pytest.raises(ProviderError, match="not a chat completion"):
            ask(journal, server.model(), request())
        assert len(server.requests) == 2
