"""Google's own package as the oracle: what it sends and reads, karat sends and reads alike."""

import asyncio
import json

import pytest
from native import WIRES, joined, last, read, recorded, reply, served
from test_gemini import KEY, TIDE, ask, provider

from karat.models.asks import EmbedRequest
from karat.models.chat import ToolCall, Turn
from karat.row import Message

genai = pytest.importorskip("google.genai")
types = pytest.importorskip("google.genai.types")
# The package derives from aiohttp's session, of which aiohttp warns.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")

GRADE = {"type": "object", "properties": {"grade": {"type": "integer"}}, "required": ["grade"]}


def with_sdk(work, answer, content_type="application/json", status=200):
    """What `work(client)` returns, and the requests that the server got."""

    async def main(url):
        options = types.HttpOptions(base_url=url, api_version="v1beta")
        client = genai.Client(api_key=KEY, http_options=options)
        try:
            return await work(client.aio)
        finally:
            await client.aio.aclose()
            client.close()

    return asyncio.run(served(main, answer, content_type, status))


def asked(text="Why are there tides?", **config):
    """(contents, config) as a user of the package writes them."""
    contents = [types.Content(role="user", parts=[types.Part(text=text)])]
    return contents, types.GenerateContentConfig(**config) if config else None


def in_camels(value):
    """The package writes some names with underscores, which Google reads as the same names."""
    if isinstance(value, list):
        return [in_camels(item) for item in value]
    if not isinstance(value, dict):
        return value
    words = {name: name.split("_") for name in value}
    return {
        words[name][0] + "".join(word.capitalize() for word in words[name][1:]): in_camels(item)
        for name, item in value.items()
        if (name, item) != ("generationConfig", {})
    }


CALL = types.FunctionCall(id="a", name="tide", args={"place": "Brest"})
RESULT = types.FunctionResponse(id="a", name="tide", response={"output": "4"})
TOOLS = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="tide", description=TIDE.description, parameters_json_schema=TIDE.parameters
        )
    ]
)
ONLY = types.FunctionCallingConfig(mode="ANY", allowed_function_names=["tide"])
CASES = [
    ("gemini-2.5-flash", ask(), asked()),
    (
        "models/gemini-2.5-flash",
        ask(
            n=3, temperature=0.5, top_p=0.9, top_k=40, max_tokens=64, stop=("END",), seed=7,
            presence_penalty=0.1, frequency_penalty=0.2, logprobs=2,
        ),
        asked(
            candidate_count=3, temperature=0.5, top_p=0.9, top_k=40, max_output_tokens=64,
            stop_sequences=["END"], seed=7, presence_penalty=0.1, frequency_penalty=0.2,
            response_logprobs=True, logprobs=2,
        ),
    ),
    (
        "gemini-2.5-flash",
        ask(schema=GRADE, reasoning="low"),
        asked(
            response_mime_type="application/json", response_json_schema=GRADE,
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024),
        ),
    ),
    (
        "gemini-3-flash-preview",
        ask(reasoning="high"),
        asked(thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH")),
    ),
    (
        "gemini-2.5-flash",
        ask(
            Message("system", "Be brief."),
            Message("user", "?"),
            Turn("assistant", "", tool_calls=(ToolCall("a", "tide", '{"place": "Brest"}'),)),
            Turn("tool", "4", tool_call_id="a"),
            tools=(TIDE,),
            tool_choice="tide",
        ),
        (
            [
                types.Content(role="user", parts=[types.Part(text="?")]),
                types.Content(role="model", parts=[types.Part(function_call=CALL)]),
                types.Content(role="user", parts=[types.Part(function_response=RESULT)]),
            ],
            types.GenerateContentConfig(
                system_instruction=types.Content(parts=[types.Part(text="Be brief.")]),
                tools=[TOOLS],
                tool_config=types.ToolConfig(function_calling_config=ONLY),
            ),
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("model", "request_", "theirs"), CASES)
def test_it_sends_the_same_to_the_same_place(model, request_, theirs):
    contents, config = theirs

    async def work(client):
        return await client.models.generate_content(model=model, contents=contents, config=config)

    got, requests = with_sdk(work, recorded("gemini", "text.json"))
    assert got.text == "The moon pulls the water."
    path, headers, sent = requests[0]
    post = provider(model).chat(request_)
    assert post.url.endswith(path)
    assert json.loads(post.body) == in_camels(sent)
    assert headers["x-goog-api-key"] == KEY


def test_it_embeds_the_same():
    async def work(client):
        config = types.EmbedContentConfig(task_type="RETRIEVAL_DOCUMENT", output_dimensionality=3)
        return await client.models.embed_content(
            model="gemini-embedding-001", contents=["tide", "moon"], config=config
        )

    got, requests = with_sdk(work, recorded("gemini", "embeddings.json"))
    request = EmbedRequest(("tide", "moon"), 3, "document")
    post = provider("gemini-embedding-001").embed(request)
    ours = provider().read_embed(request, reply(recorded("gemini", "embeddings.json")))
    assert ours.vectors == [found.values for found in got.embeddings]
    path, _, sent = requests[0]
    assert post.url.endswith(path)
    for item in sent["requests"]:
        item["content"].pop("role", None)  # a query's or a document's text is nobody's turn
    assert json.loads(post.body) == sent


@pytest.mark.parametrize("name", ["text", "thinking", "tools", "logprobs", "blocked", "filtered"])
def test_its_types_hold_the_recorded_answers(name):
    whole = json.loads(recorded("gemini", f"{name}.json"))
    theirs = types.GenerateContentResponse.model_validate(whole)
    if name == "blocked":
        assert theirs.prompt_feedback.block_reason == "PROHIBITED_CONTENT"
        return
    ours = provider().read_chat(reply(whole))
    assert len(ours.choices) == len(theirs.candidates)
    for choice, candidate in zip(ours.choices, theirs.candidates, strict=True):
        parts = candidate.content.parts if candidate.content else []
        assert choice.content == "".join(p.text for p in parts if p.text and not p.thought)
        calls = [part.function_call for part in parts if part.function_call]
        assert [call.name for call in choice.tool_calls] == [call.name for call in calls]
    said = theirs.usage_metadata
    assert ours.usage.input + ours.usage.output == said.total_token_count


@pytest.mark.parametrize("name", ["text.sse", "tools.sse"])
def test_it_reads_the_recorded_streams_as_karat_does(name):
    async def work(client):
        stream = await client.models.generate_content_stream(model="gemini-2.5-flash", contents="?")
        return [chunk async for chunk in stream]

    chunks, requests = with_sdk(work, recorded("gemini", name), "text/event-stream")
    deltas = read(provider(), recorded("gemini", name))
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    content, thoughts, calls = joined(deltas)
    assert content == "".join(part.text for part in parts if part.text and not part.thought)
    assert thoughts == "".join(part.text for part in parts if part.thought)
    theirs = [part.function_call for part in parts if part.function_call]
    assert [(said, json.loads(given)) for _, said, given in calls] == [
        (call.name, call.args or {}) for call in theirs
    ]
    total = chunks[-1].usage_metadata.total_token_count
    used = last(deltas, "usage")
    assert used.input + used.output == total
    assert provider().chat(ask(), stream=True).url.endswith(requests[0][0])


@pytest.mark.parametrize("case", json.loads((WIRES / "gemini/errors.json").read_bytes()))
def test_it_raises_for_every_recorded_error(case):
    async def work(client):
        with pytest.raises(genai.errors.APIError) as caught:
            await client.models.generate_content(model="gemini-2.5-flash", contents="?")
        return caught.value

    error, _ = with_sdk(work, json.dumps({"error": case["error"]}).encode(), status=case["status"])
    assert error.code == case["status"]
    assert error.status == case["error"]["status"]
