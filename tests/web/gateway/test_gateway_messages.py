"""/v1/messages, with Anthropic's own package as the oracle, over a model that speaks OpenAI."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
import requests
from conftest import wait_for
from later import later
from server import text_for
from wired import Upstream, Wired

from karat.web.gateway.keys import FOLDER, add

anthropic = later("anthropic")

TIDE = {
    "name": "tide", "description": "High water",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
}  # fmt: skip
ASK = {"model": "loop", "max_tokens": 50, "messages": [{"role": "user", "content": "Why tides?"}]}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as made:
        yield made


@pytest.fixture(scope="module")
def wired(tmp_path_factory, upstream):
    dead = {"model": "openai/x", "base_url": "http://127.0.0.1:9/v1", "attempts": 1}
    models = {
        "loop": upstream.model(price={"input": 1, "output": 10}), "free": upstream.model(),
        "dead": dead,
    }  # fmt: skip
    with Wired(tmp_path_factory.mktemp("messages"), models) as made:
        yield made


@pytest.fixture
def client(wired):
    with anthropic.Anthropic(api_key="any", base_url=wired.url, max_retries=0) as made:
        yield made


def last(upstream):
    return upstream.requests[-1]["body"]


def test_a_message(client, upstream):
    raw = client.messages.with_raw_response.create(**ASK, system="Be brief.")
    found = raw.parse()
    assert found.role == "assistant"
    assert found.model == "loop"
    assert found.stop_reason == "end_turn"
    assert found.content[0].text == text_for(last(upstream), 0)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (10, 7)
    assert raw.headers["x-karat-cost-usd"] == "0.000080000"
    assert found.usage.cost_usd == 0.00008
    assert found._request_id == raw.headers["x-request-id"]
    assert raw.headers["x-karat-model"] == "openai/loop"
    sent = last(upstream)
    assert [turn["role"] for turn in sent["messages"]] == ["system", "user"]
    assert 50 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


def test_a_price_nobody_knows(client):
    raw = client.messages.with_raw_response.create(**{**ASK, "model": "free"})
    assert raw.headers["x-karat-cost-usd"] == "unknown"
    assert raw.parse().usage.cost_usd is None


def test_tools_there_and_back(client, upstream):
    first = client.messages.create(**ASK, tools=[TIDE], tool_choice={"type": "any"})
    assert first.stop_reason == "tool_use"
    text, call = first.content
    assert text.text == "Let me see."
    assert (call.name, call.input) == ("tide", {"place": "Brest"})
    assert last(upstream)["tool_choice"] == "required"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "high at 4"}
    turns = [
        *ASK["messages"], {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]  # fmt: skip
    client.messages.create(**{**ASK, "messages": turns})
    sent = last(upstream)["messages"]
    assert [turn["role"] for turn in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == call.id
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"place": "Brest"}
    assert sent[2]["content"] == "high at 4"


def test_a_schema(client, upstream):
    form = {"type": "json_schema", "schema": TIDE["input_schema"]}
    upstream.behaviour["answer"] = lambda body, place: 'Here: {"place": "Brest"}'
    try:
        found = client.messages.create(**ASK, output_config={"format": form})
    finally:
        del upstream.behaviour["answer"]
    assert json.loads(found.content[0].text) == {"place": "Brest"}
    assert last(upstream)["response_format"]["type"] == "json_schema"


def test_a_stream(client, upstream):
    with client.messages.stream(**ASK) as stream:
        pieces = list(stream.text_stream)
        found = stream.get_final_message()
    assert len(pieces) > 5
    assert "".join(pieces).strip() == text_for(last(upstream), 0)
    assert found.content[0].text == "".join(pieces)
    assert found.stop_reason == "end_turn"
    assert (found.usage.input_tokens, found.usage.output_tokens) == (10, 7)


def test_raw_events_of_a_stream(client):
    events = list(client.messages.create(**ASK, stream=True))
    kinds = [one.type for one in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[-2].usage.cost_usd == 0.00008


def test_a_stream_with_tools(client):
    with client.messages.stream(**ASK, tools=[TIDE, {**TIDE, "name": "moon"}]) as stream:
        for _ in stream:
            pass
        found = stream.get_final_message()
    assert [block.type for block in found.content] == ["text", "tool_use", "tool_use"]
    assert [block.name for block in found.content[1:]] == ["tide", "moon"]
    assert found.content[2].input == {"place": "Brest"}
    assert found.stop_reason == "tool_use"


def test_the_async_client(wired):
    async def work():
        async with anthropic.AsyncAnthropic(api_key="any", base_url=wired.url) as client:
            whole = await client.messages.create(**ASK)
            async with client.messages.stream(**ASK) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            return whole, text

    whole, text = asyncio.run(work())
    assert whole.content[0].text
    assert text.endswith(". ")


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"model": "nothing"}, "NotFoundError", "nothing"),
        ({"max_tokens": 0}, "BadRequestError", "max_tokens"),
        ({"messages": []}, "BadRequestError", "messages is empty"),
        ({"model": "dead"}, "InternalServerError", "does not answer"),
        ({"model": "dead", "stream": True}, "InternalServerError", "does not answer"),
    ],
)
def test_errors_have_their_types(client, more, error, words):
    with pytest.raises(getattr(anthropic, error), match=words) as caught:
        client.messages.create(**{**ASK, **more})
    body = caught.value.body
    assert body["type"] == "error"
    assert body["request_id"].startswith("req_")


def test_a_body_that_is_no_json(wired):
    headers = {"content-type": "application/json", "x-api-key": "any"}
    found = requests.post(f"{wired.url}/v1/messages", data=b"{", headers=headers, timeout=30)
    assert found.status_code == 400
    assert found.json()["error"]["type"] == "invalid_request_error"


def test_a_stream_that_breaks_off_ends_in_an_error_event(client, upstream):
    upstream.behaviour["breaks"] = 2
    try:
        with pytest.raises(anthropic.APIStatusError, match="broke off") as caught:
            list(client.messages.create(**ASK, stream=True))
    finally:
        del upstream.behaviour["breaks"]
    assert caught.value.body["error"]["type"] == "api_error"


def test_who_stops_listening_stops_paying(client, wired, upstream):
    upstream.behaviour["slow_s"] = 0.05
    try:
        stream = client.messages.create(**ASK, stream=True)
        for one in stream:
            if one.type == "content_block_delta":
                break
        began = time.monotonic()
        stream.close()
        wait_for(lambda: wired.ledger("outcome")[-1:] == [("abandoned",)], 5)
        assert time.monotonic() - began < 0.6
    finally:
        del upstream.behaviour["slow_s"]


def test_keys_are_asked_for_in_its_header(tmp_path, upstream):
    priced = upstream.model(price={"input": 1, "output": 10})
    secret = add(tmp_path / FOLDER, "team")
    poor = add(tmp_path / FOLDER, "poor", budget_usd=1e-9)
    with Wired(tmp_path, {"loop": priced}) as made:

        def ask(key):
            with anthropic.Anthropic(api_key=key, base_url=made.url, max_retries=2) as client:
                return client.messages.create(**ASK)

        assert ask(secret).stop_reason == "end_turn"
        with pytest.raises(anthropic.AuthenticationError) as caught:
            ask("sk-karat-wrong")
        assert caught.value.body["error"]["type"] == "authentication_error"
        before = len(upstream.requests)
        with pytest.raises(anthropic.RateLimitError, match="budget of key 'poor'") as caught:
            ask(poor)
        assert caught.value.body["error"]["type"] == "billing_error"
        assert len(upstream.requests) == before
        wait_for(lambda: ("key:team",) in made.ledger("step"))
        assert secret.encode() not in made.written()
