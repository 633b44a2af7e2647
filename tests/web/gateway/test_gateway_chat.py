"""/v1/chat/completions, /v1/completions and /v1/models, with the official client as the oracle."""

from __future__ import annotations

import json

import pytest
import requests
from gated import ASK, PRICE, gated, using
from later import later
from server import text_for
from wired import Upstream, Wired

openai = later("openai")

TOOL = {
    "type": "function",
    "function": {
        "name": "tide", "description": "High water",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}  # fmt: skip
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    "additionalProperties": False,
}  # fmt: skip


def unusual(number, body):
    """Faults by what is asked, so that one server shows all of them."""
    said = body["messages"][-1]["content"]
    words = {
        "refuse": (400, {"error": {"message": f"no: {said}", "code": "bad"}}, {}),
        "too long": (400, {"error": {"message": "maximum context length is 5 tokens"}}, {}),
        "break": (500, {"error": {"message": f"boom after {said}"}}, {}),
        "unknown": (404, {"error": {"message": "no such model"}}, {}),
        "locked": (401, {"error": {"message": "bad key sk-upstream-secret-key"}}, {}),
        "move": (307, {}, {"location": "http://127.0.0.1:9/v1/chat/completions"}),
    }
    for word, (status, tree, headers) in words.items():
        if said.startswith(word):
            return status, json.dumps(tree).encode(), headers
    return None


@pytest.fixture(scope="module")
def upstream():
    with Upstream(script=unusual, max_n=99) as made:
        yield made


@pytest.fixture(scope="module")
def wired(tmp_path_factory, upstream):
    models = {
        "loop": upstream.model(price=PRICE, attempts=2),
        "free": upstream.model(),
        "plain": {"model": "vllm/plain", "base_url": upstream.url, "price": PRICE, "attempts": 1},
        "pair": [
            {"model": "openai/dead", "base_url": "http://127.0.0.1:9/v1", "attempts": 1},
            upstream.model(price=PRICE),
        ],
    }
    with Wired(tmp_path_factory.mktemp("chat"), models) as made:
        yield made


@pytest.fixture
def client(wired):
    with using(wired) as made:
        yield made


def post(wired, body):
    url, named = f"{wired.url}/v1/chat/completions", {"content-type": "application/json"}
    return requests.post(url, data=body, headers=named, timeout=20)


def last(upstream):
    return upstream.requests[-1]["body"]


def user(text, **more):
    return {**ASK, "messages": [{"role": "user", "content": text}], **more}


def refused(client, kind, **asked):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{**ASK, **asked})
    return caught.value


def test_an_answer_with_its_cost(client, upstream):
    raw = client.chat.completions.with_raw_response.create(**ASK)
    found, heads = raw.parse(), raw.headers
    assert found.choices[0].message.content == text_for(last(upstream), 0)
    assert (found.choices[0].finish_reason, found.model) == ("stop", "openai/loop")
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (10, 7)
    assert found.usage.total_tokens == 17
    assert found.usage.cost_usd == pytest.approx(80e-6)
    assert heads["x-karat-cost-usd"] == "0.000080000"
    assert (heads["x-karat-model"], heads["x-karat-cache"]) == ("openai/loop", "miss")
    assert float(heads["x-karat-latency-ms"]) >= float(heads["x-karat-queue-ms"]) >= 0
    assert heads["x-request-id"] == f"req_{found.id.removeprefix('chatcmpl-')}"


def test_of_a_model_without_a_price_the_cost_is_unknown_and_not_nothing(client):
    raw = client.chat.completions.with_raw_response.create(**{**ASK, "model": "free"})
    assert raw.headers["x-karat-cost-usd"] == "unknown"
    assert raw.parse().usage.cost_usd is None


def test_all_that_is_asked_reaches_the_service_in_its_own_names(client, upstream):
    sent = {
        "temperature": 0.3, "top_p": 0.9, "max_tokens": 40, "stop": ["\n"], "seed": 7,
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "n": 3,
    }  # fmt: skip
    found = client.chat.completions.create(**ASK, **sent, user="u", metadata={"a": "b"})
    body = last(upstream)
    assert {key: body[key] for key in sent} == sent
    assert "user" not in body
    assert "metadata" not in body
    assert [one.index for one in found.choices] == [0, 1, 2]
    assert len({one.message.content for one in found.choices}) == 3
    assert found.usage.completion_tokens == 21


def test_the_newer_name_of_the_most_tokens(client, upstream):
    client.chat.completions.create(**ASK, max_completion_tokens=41)
    assert last(upstream)["max_tokens"] == 41


def test_parts_of_text_and_a_developers_words(client, upstream):
    parts = [{"type": "text", "text": "Why "}, {"type": "text", "text": "tides?"}]
    client.chat.completions.create(
        model="loop",
        messages=[{"role": "developer", "content": "Brief."}, {"role": "user", "content": parts}],
    )
    assert last(upstream)["messages"] == [
        {"role": "system", "content": "Brief."}, {"role": "user", "content": "Why tides?"},
    ]  # fmt: skip


def test_a_conversation_with_tools(client, upstream):
    first = client.chat.completions.create(**ASK, tools=[TOOL], tool_choice="required")
    (call,) = first.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("tide", '{"place": "Brest"}')
    assert first.choices[0].finish_reason == "tool_calls"
    assert last(upstream)["tool_choice"] == "required"
    result = {"role": "tool", "tool_call_id": call.id, "content": "14:03"}
    said = [*ASK["messages"], first.choices[0].message, result]
    client.chat.completions.create(model="loop", messages=said)
    assert last(upstream)["messages"][1]["tool_calls"][0]["function"]["name"] == "tide"
    assert last(upstream)["messages"][2] == result
    chosen = {"type": "function", "function": {"name": "tide"}}
    client.chat.completions.create(**ASK, tools=[TOOL], tool_choice=chosen)
    assert last(upstream)["tool_choice"] == chosen


def test_a_schema_is_asked_for(client, upstream):
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
    upstream.behaviour["answer"] = lambda *_: '{"city": "Brest"}'
    try:
        client.chat.completions.create(**ASK, response_format=form)
    finally:
        del upstream.behaviour["answer"]
    assert last(upstream)["response_format"]["json_schema"]["schema"] == SCHEMA
    assert last(upstream)["response_format"]["json_schema"]["strict"] is True


def test_json_is_freed_of_what_a_model_writes_around_it(tmp_path):
    said = 'Here:\n```json\n{"city": "Brest"}\n```'
    with gated(tmp_path, {"answer": lambda *_: said}) as (client, _, _):
        for form in ("json_object", "json_schema"):
            asked = {"type": form, "json_schema": {"name": "a", "schema": SCHEMA}}
            found = client.chat.completions.create(**ASK, response_format=asked)
            assert found.choices[0].message.content == '{"city":"Brest"}'


@pytest.mark.parametrize(
    ("asked", "param", "words"),
    [
        ({"extra_body": {"best": 1}}, "best", "not supported"),
        ({"temperature": 3}, "temperature", "2"),
        ({"n": 0}, "n", "1"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
        ({"top_logprobs": 3}, "top_logprobs", "needs logprobs"),
        ({"store": True}, "store", "not supported"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", "not supported"),
        ({"tool_choice": "required"}, "tool_choice", "needs tools"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "one of none"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "schema' is missing"),
        ({"messages": []}, "messages", "length >= 1"),
        ({"messages": [{"role": "user"}]}, "messages", "content is missing"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages", "tool_call_id"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "robot"),
    ],
)
def test_what_is_not_supported_is_refused_in_words(client, upstream, asked, param, words):
    before = len(upstream.requests)
    error = refused(client, openai.BadRequestError, **asked)
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert words in error.message
    assert len(upstream.requests) == before


def test_images_are_refused_plainly(client):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    said = [{"role": "user", "content": [{"type": "text", "text": "what?"}, image]}]
    assert "text only, no images" in refused(client, openai.BadRequestError, messages=said).message


def test_what_is_no_json_is_refused(wired):
    for body in (b"{", b"\xff", b"[1]", b"[" * 100_000):
        found = post(wired, body)
        assert found.status_code == 400
        assert found.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("text", "kind", "status", "code"),
    [
        ("refuse", "BadRequestError", 400, None),
        ("too long", "BadRequestError", 400, "context_length_exceeded"),
        ("break", "InternalServerError", 502, "upstream_error"),
        ("unknown", "NotFoundError", 404, "model_not_found"),
        ("move", "InternalServerError", 502, "upstream_unavailable"),
    ],
)
def test_a_services_errors_as_the_clients_own(client, text, kind, status, code):
    for stream in (False, True):
        error = refused(client, getattr(openai, kind), **user(text, model="plain", stream=stream))
        assert (error.status_code, error.code) == (status, code)


def test_the_gateways_own_key_is_no_business_of_the_callers(tmp_path, monkeypatch):
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret-key")
    model = {"key_env": "UPSTREAM_KEY", "attempts": 1}
    with gated(tmp_path, {"script": unusual}, model) as (_, wired, upstream):
        with using(wired, "mine", default_headers={"x-secret": "kept", "cookie": "a=b"}) as client:
            error = refused(client, openai.InternalServerError, **user("locked"))
        assert (error.status_code, error.code) == (502, "upstream_unavailable")
        assert "sk-upstream" not in str(error.body)
        (one,) = upstream.requests
        heads = {name.lower(): value for name, value in one["headers"].items()}
        assert heads["authorization"] == "Bearer sk-upstream-secret-key"
        # Nothing of the caller's request but what was asked goes further.
        assert set(heads) == {
            "host", "user-agent", "accept", "accept-encoding", "content-type", "content-length",
            "authorization",
        }  # fmt: skip
    assert b"sk-upstream" not in wired.written()


def test_no_such_model(client):
    for name in (
        "nothing",
        "nobody/nothing",
        "embedded//etc/passwd",
        "embedded/../x.gguf",
        "a" * 999,
    ):
        error = refused(client, openai.NotFoundError, model=name)
        assert (error.code, error.param) == ("model_not_found", "model")


def test_a_model_that_needs_a_key_which_is_not_there(client, monkeypatch):
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    error = refused(client, openai.NotFoundError, model="mistral/mistral-small-latest")
    assert "MISTRAL_API_KEY" in error.message


def test_an_address_is_never_taken_from_a_request(client, upstream):
    for field in ("base_url", "api_base", "key_env", "extra"):
        error = refused(client, openai.BadRequestError, extra_body={field: "http://127.0.0.1:9"})
        assert error.param == field


def test_a_fallback_answers_and_says_so(client):
    raw = client.chat.completions.with_raw_response.create(**{**ASK, "model": "pair"})
    assert raw.headers["x-karat-model"] == "openai/loop"


def test_unknown_addresses_answer_in_the_clients_words(wired):
    for method, path, *said in (
        ("POST", "/v1/files", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_supported"),
    ):
        found = requests.request(method, f"{wired.url}{path}", json={}, timeout=20)
        assert [found.status_code, found.json()["error"]["code"]] == said
