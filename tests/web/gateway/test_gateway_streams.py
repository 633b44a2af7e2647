"""Streamed chat: pieces as they are written, their cost, and what ends before its time."""

from __future__ import annotations

import socket
import time

import pytest
import requests
from conftest import wait_for
from gated import ASK, gated
from later import later
from server import text_for

openai = later("openai")

TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}
WHAT = "outcome, tokens_from, completion_tokens, cost_nano"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with gated(tmp_path_factory.mktemp("streams")) as made:
        yield made


@pytest.fixture
def client(world):
    return world.client


@pytest.fixture
def upstream(world):
    return world.upstream


def last(upstream):
    return upstream.requests[-1]["body"]


def test_a_stream(client, upstream):
    chunks = list(
        client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.strip() == text_for(last(upstream), 0)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 7)
    assert chunks[-1].usage.cost_usd == pytest.approx(80e-6)
    assert {c.id for c in chunks} == {chunks[0].id}


def test_a_stream_that_asks_for_no_usage_gets_none(client):
    made = client.chat.completions.with_raw_response.create(**ASK, stream=True)
    assert made.headers["content-type"].startswith("text/event-stream")
    assert (made.headers["x-karat-model"], made.headers["x-karat-cache"]) == ("openai/loop", "miss")
    assert all(chunk.choices and chunk.usage is None for chunk in made.parse())


def test_tools_in_a_stream(client):
    chunks = list(client.chat.completions.create(**ASK, tools=[TOOL], stream=True))
    pieces = [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or ()]
    assert "".join(piece.function.arguments for piece in pieces) == '{"place": "Brest"}'
    assert pieces[0].function.name == "tide"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_several_answers_in_a_streams_form(client):
    found = {}
    for chunk in client.chat.completions.create(**ASK, n=3, stream=True):
        (choice,) = chunk.choices
        found[choice.index] = found.get(choice.index, "") + (choice.delta.content or "")
    assert len(set(found.values())) == 3


def test_a_stream_that_breaks_off_ends_with_an_error(tmp_path):
    with gated(tmp_path, {"breaks": 3}) as (client, _, _):
        stream = iter(client.chat.completions.create(**ASK, stream=True))
        assert len([next(stream) for _ in range(3)]) == 3
        with pytest.raises(openai.APIError, match="half-way"):
            next(stream)


def test_what_fails_before_the_first_piece_has_a_status(tmp_path):
    with gated(tmp_path, {"breaks": 0}, {"attempts": 1}) as (client, _, _):
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**ASK, stream=True)
        assert caught.value.status_code == 502


def test_who_goes_stops_paying_for_more(tmp_path):
    with gated(tmp_path, {"slow_s": 0.1}) as (client, wired, _):
        with client.chat.completions.create(**ASK, stream=True) as stream:
            next(iter(stream))
        wait_for(lambda: bool(wired.ledger(WHAT)))
        ((outcome, source, tokens, cost),) = wired.ledger(WHAT)
        assert (outcome, source) == ("abandoned", "estimated")
        assert 1 <= tokens <= 8  # a few of thirteen words were heard, and they are not free
        assert cost >= 10_000 * tokens
        assert wired.gateway.purse.spent_nano == cost
        assert wired.gateway.client.endpoint("loop").tally.in_flight == 0


def test_who_goes_before_the_answer_ends_its_call(tmp_path):
    with gated(tmp_path, {"latency_s": 5}) as (_, wired, _):
        began = time.monotonic()
        with pytest.raises(requests.ReadTimeout):
            requests.post(f"{wired.url}/v1/chat/completions", json=ASK, timeout=0.3)
        wait_for(lambda: bool(wired.ledger(WHAT)))
        assert [made[:2] for made in wired.ledger(WHAT)] == [("abandoned", "worst")]
        assert time.monotonic() - began < 3


def test_a_request_that_never_comes_whole_asks_nobody(world):
    before = len(world.upstream.requests)
    with socket.create_connection(("127.0.0.1", world.wired.port)) as half:
        half.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{world.wired.port}\r\n"
            'content-type: application/json\r\ncontent-length: 900\r\n\r\n{"model"'.encode()
        )
    assert world.client.chat.completions.create(**ASK).choices
    assert len(world.upstream.requests) == before + 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_time_limit(tmp_path, stream):
    with gated(tmp_path, {"latency_s": 5, "slow_s": 5}, limit_s=0.3) as (_, wired, _):
        asked = {**ASK, "stream": stream}
        found = requests.post(f"{wired.url}/v1/chat/completions", json=asked, timeout=20)
        assert (found.status_code, found.json()["error"]["type"]) == (504, "timeout_error")


def test_a_time_limit_in_the_middle_of_a_stream(tmp_path):
    with gated(tmp_path, {"slow_s": 0.1}, limit_s=0.5) as (client, _, _):
        stream = iter(client.chat.completions.create(**ASK, stream=True))
        assert next(stream).choices
        with pytest.raises(openai.APIError, match="time limit"):
            list(stream)
