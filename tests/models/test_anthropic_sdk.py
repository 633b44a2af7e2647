"""Anthropic's own package as the oracle: what it types and reads, karat sends and reads alike.

It types the newest API version only, which has no sampling fields.
"""

import asyncio
import json

import pytest
from later import later
from native import WIRES, joined, last, read, recorded, reply, served
from test_anthropic import GRADE, KEY, TIDE, ask, body, provider

from karat.models.chat import ToolCall, Turn
from karat.models.providers._anthropic_schema import closed
from karat.row import Message

anthropic = later("anthropic")
pydantic = pytest.importorskip("pydantic")

CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "?"),
    Turn("assistant", "", tool_calls=(ToolCall("t1", "tide", '{"place": "Brest"}'),)),
    Turn("tool", "high at 4", tool_call_id="t1"),
    Message("user", "So?"),
)
REQUESTS = [
    (ask(max_tokens=50), "claude-opus-4-8"),
    (ask(*CONVERSATION, tools=(TIDE,), tool_choice="tide", stop=("END",)), "claude-opus-4-8"),
    (ask(reasoning="xhigh", schema=GRADE), "claude-opus-5"),
    (ask(reasoning="none"), "claude-haiku-5-5"),
    (ask(reasoning="low"), "claude-haiku-4-5"),
    (ask(schema=GRADE), "claude-3-haiku-20240307"),
]


def unrolled(value):
    """Lists where pydantic left generators."""
    if isinstance(value, dict):
        return {key: unrolled(item) for key, item in value.items()}
    if isinstance(value, str | int | float | None):
        return value
    return [unrolled(item) for item in value]


@pytest.mark.parametrize(("request_", "model"), REQUESTS)
def test_its_types_hold_every_field_of_a_request(request_, model):
    params = anthropic.types.message_create_params.MessageCreateParamsNonStreaming
    sent = body(request_, model)
    assert unrolled(pydantic.TypeAdapter(params).validate_python(sent)) == sent


@pytest.mark.parametrize(("request_", "model"), REQUESTS)
def test_it_sends_the_same_to_the_same_place(request_, model):
    sent = body(request_, model)

    async def work(url):
        headers = {"anthropic-version": "2023-06-01"}
        async with anthropic.AsyncAnthropic(
            api_key=KEY, base_url=url, max_retries=0, default_headers=headers
        ) as client:
            return await client.messages.create(**sent)

    got, requests = asyncio.run(served(work, recorded("anthropic", "text.json")))
    assert got.content[0].text == "The moon pulls the water."
    path, headers, theirs = requests[0]
    assert path == "/v1/messages"
    assert theirs == sent
    assert {name.lower() for name in provider().headers} <= {
        *(name.lower() for name in headers), "x-api-key",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["text", "thinking", "tools", "refusal", "length"])
def test_it_reads_the_recorded_messages_as_karat_does(name):
    theirs = anthropic.types.Message.model_validate_json(recorded("anthropic", f"{name}.json"))
    ours = provider().read_chat(reply(recorded("anthropic", f"{name}.json")))
    texts = [block.text for block in theirs.content if block.type == "text"]
    calls = [block for block in theirs.content if block.type == "tool_use"]
    choice = ours.choices[0]
    assert choice.content == "".join(texts)
    assert [json.loads(call.arguments) for call in choice.tool_calls] == [c.input for c in calls]
    assert ours.usage.output == theirs.usage.output_tokens
    assert ours.served_model == theirs.model


@pytest.mark.parametrize("name", ["text.sse", "tools.sse"])
def test_it_reads_the_recorded_streams_as_karat_does(name):
    async def work(url):
        client = anthropic.AsyncAnthropic(api_key=KEY, base_url=url, max_retries=0)
        async with client, client.messages.stream(**body(ask())) as stream:
            return await stream.get_final_message()

    message, _ = asyncio.run(served(work, recorded("anthropic", name), "text/event-stream"))
    deltas = read(provider(), recorded("anthropic", name))
    content, thoughts, calls = joined(deltas)
    theirs = [block for block in message.content if block.type == "tool_use"]
    assert content == "".join(block.text for block in message.content if block.type == "text")
    assert thoughts == "".join(b.thinking for b in message.content if b.type == "thinking")
    assert [(made, said, json.loads(given)) for made, said, given in calls] == [
        (block.id, block.name, block.input) for block in theirs
    ]
    used = last(deltas, "usage")
    assert used.output == message.usage.output_tokens
    said = message.usage
    assert used.input == said.input_tokens + sum(
        count or 0 for count in (said.cache_creation_input_tokens, said.cache_read_input_tokens)
    )


@pytest.mark.parametrize("case", json.loads((WIRES / "anthropic/errors.json").read_bytes()))
def test_it_raises_for_every_recorded_error(case):
    sent = json.dumps({"type": "error", "error": case["error"]}).encode()

    async def work(url):
        async with anthropic.AsyncAnthropic(api_key=KEY, base_url=url, max_retries=0) as client:
            with pytest.raises(anthropic.APIStatusError) as caught:
                await client.messages.create(**body(ask()))
            return caught.value

    error, _ = asyncio.run(served(work, sent, status=case["status"]))
    assert error.status_code == case["status"]
    assert error.type == case["error"]["type"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1},
        {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "properties": {}}}},
        {"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"},
        {"oneOf": [{"const": 1}, {"type": "string", "title": "T"}]},
    ],
)
def test_a_schema_is_made_fit_as_it_does(schema):
    transform = pytest.importorskip("anthropic.lib._parse._transform")
    assert closed(schema) == transform.transform_schema(schema)
