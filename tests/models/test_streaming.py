"""Streamed answers: the same text, the time to the first token, recorded once, cut off in words."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from asking import ask, ledger, request, with_client
from server import Server

from karat.errors import ProviderError
from karat.models.endpoint import Asker

ASKER = Asker("s", "r")


def chunk(**fields):
    return f"data: {json.dumps(fields)}\n\n".encode()


def delta(content=None, finish=None):
    choice = {"index": 0, "delta": {"content": content} if content else {}}
    return chunk(model="served", choices=[{**choice, "finish_reason": finish}])


WORDS = ["The ", "moon ", "pulls ", "the ", "sea."]
WHOLE = [
    *(delta(word) for word in WORDS),
    delta(finish="stop"),
    chunk(choices=[], usage={"prompt_tokens": 11, "completion_tokens": 5}),
    b"data: [DONE]\n\n",
]


class Streaming(Server):
    """Streams these events, `pause_s` apart; answers as usual where no stream is asked for."""

    def __init__(self, events=WHOLE, pause_s=0.01, cut=False, **more):
        super().__init__(**more)
        self.events, self.pause_s, self.cut = events, pause_s, cut

    async def _chat(self, http):
        body = await http.json()
        if not body.get("stream"):
            return await super()._chat(http)
        self.requests.append({"body": body})
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(http)
        for event in self.events:
            await asyncio.sleep(self.pause_s)
            await reply.write(event)
        if self.cut:
            http.transport.abort()
        return reply


PRICE = {"input": 1.0, "output": 2.0}


def test_a_model_read_as_a_stream_answers_the_same_and_says_when_it_began(journal):
    with Streaming() as server:
        ((answer,),) = ask(journal, server.model(stream=True, price=PRICE), request())
        again = ask(journal, server.model(stream=True, price=PRICE), request())
        assert len(server.requests) == 1
    assert again == [[answer]]
    assert (answer.content, answer.finish_reason) == ("".join(WORDS), "stop")
    (attempt,) = ledger(journal, table="attempts")
    assert (attempt["prompt_tokens"], attempt["completion_tokens"]) == (11, 5)
    assert (attempt["cost_nano"], attempt["served"]) == (21_000, "served")
    assert 5 < attempt["ttft_ms"] < attempt["latency_ms"]


def test_a_whole_answer_where_a_stream_was_asked_for_is_taken_and_not_bought_again(journal):
    with Server() as server:  # knows of no streams
        pieces = listen(journal, server.model(stream=True, price=PRICE))
        ((answer,),) = ask(journal, server.model(stream=True, price=PRICE), request())
        assert len(server.requests) == 1
        assert server.requests[0]["body"]["stream"] is True
    assert "".join(piece.content for piece in pieces) == answer.content != ""
    assert pieces[-1].usage is not None
    (attempt,) = ledger(journal, table="attempts")
    assert attempt["outcome"] == "answered"
    assert attempt["cost_nano"] > 0


def listen(journal, model, **more):
    async def work(client):
        return [piece async for piece in client.stream("m", request(**more), ASKER)]

    return with_client(journal, model, work)


def test_pieces_come_as_they_are_written_and_the_answer_is_recorded(journal):
    with Streaming(pause_s=0.05) as server:

        async def work(client):
            loop, times, text = asyncio.get_running_loop(), [], ""
            async for piece in client.stream("m", request(), ASKER):
                times.append(loop.time())
                text += piece.content
            assert times[3] - times[0] > 0.1
            return text

        assert with_client(journal, server.model(), work) == "".join(WORDS)
        replayed = listen(journal, server.model())
        assert len(server.requests) == 1
    assert "".join(piece.content for piece in replayed) == "".join(WORDS)
    assert replayed[-1].finish_reason == "stop"
    # What a step asks for later finds what was streamed.
    assert [row["content"] for row in ledger(journal)] == ["".join(WORDS)]


@pytest.mark.parametrize("cut", [True, False])
def test_a_stream_that_breaks_off_is_tried_again_unless_it_was_heard(journal, cut):
    with Streaming(WHOLE[:3], cut=cut) as server:
        with pytest.raises(ProviderError):
            ask(journal, server.model(stream=True, attempts=2), request())
        assert len(server.requests) == 2
        with pytest.raises(ProviderError) as caught:
            listen(journal, server.model(attempts=3))
        assert len(server.requests) == 3
    assert caught.value.kind == "broken"
    assert ledger(journal) == []


def test_nobody_stands_in_for_half_an_answer(journal):
    with Streaming(WHOLE[:3]) as first, Streaming() as second:
        with pytest.raises(ProviderError):
            listen(journal, [first.model(), second.model(model="openai/other")])
        assert len(second.requests) == 0


def test_who_stops_listening_stops_the_call(journal):
    async def work(client):
        stream = client.stream("m", request(), ASKER)
        async for _ in stream:
            break
        await stream.aclose()
        return client.endpoint("m").limiter.in_flight

    with Streaming(pause_s=0.2) as server:
        assert with_client(journal, server.model(), work) == 0
    (attempt,) = ledger(journal, table="attempts")
    assert attempt["outcome"] == "abandoned"
    (minute,) = ledger(journal, table="minutes")
    assert (minute["answers"], minute["error"]) == (0, "abandoned")
    assert ledger(journal, table="latencies") == []


def test_a_refusal_instead_of_a_stream_is_sorted(journal):
    class Refusing(Server):
        async def _chat(self, http):
            self.requests.append({})
            return web.json_response({"error": {"message": "prompt is too long"}}, status=400)

    with Refusing() as server, pytest.raises(ProviderError, match="too long") as caught:
        listen(journal, server.model())
    assert caught.value.kind == "context"


@pytest.mark.parametrize("said", [{"message": "slow down", "code": 429}, {"message": "bad key"}])
def test_what_was_heard_is_not_said_again_whatever_goes_wrong(journal, said):
    error = {"type": "invalid_api_key", "code": "invalid_api_key", **said}
    events = [*WHOLE[:2], chunk(error=error)]
    with Streaming(events) as first, Streaming() as second:
        with pytest.raises(ProviderError) as caught:
            listen(journal, [first.model(), second.model(model="openai/other")])
        assert (len(first.requests), len(second.requests)) == (1, 0)
    assert caught.value.kind == "broken"
