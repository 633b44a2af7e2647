"""The any-llm library behind karat's transport, against a real server on loopback."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from aiohttp import web

from karat.errors import ProviderError, RecipeError
from karat.models import longtail
from karat.models.asks import EmbedRequest, RerankRequest
from karat.models.chat import ChatRequest, Delta, Tool, ToolCall, Usage
from karat.models.providers import anyllm
from karat.models.services import Service
from karat.models.spec import ModelSpec, load_wire
from karat.models.sse import events
from karat.row import Message

SERVICE = Service(
    wire="anyllm",
    n=False,
    seed=False,
    refuses=("top_k", "min_p", "encoding_format", "return_documents"),
    rerank="/rerank",
)
SECRET = "sk-1234567890-very-secret"
ASKED = ChatRequest((Message("user", "What is a tide?"),), temperature=0.5, max_tokens=9)
CALL = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 7,
    "total_tokens": 19,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
HEAD = {"id": "c", "created": 1, "model": "loop-1"}
ANSWER = {
    **HEAD,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "A tide.", "reasoning": "The moon."},
        }
    ],
    "usage": USAGE,
}
CHUNKS = [
    {"delta": {"role": "assistant", "reasoning": "The moon."}, "finish_reason": None},
    {"delta": {"content": "A "}, "finish_reason": None},
    {"delta": {"content": "tide."}, "finish_reason": None},
    {"delta": {}, "finish_reason": "stop"},
]


def any_llm():
    return pytest.importorskip("any_llm", reason="pip install 'karat[anyllm]'")


def spec(url="http://127.0.0.1:9/v1", model="anyllm/openai/loop", **more):
    return ModelSpec(model, base_url=url, service=SERVICE, **more)


def with_server(work, answer, **more):
    """What `work(provider)` returns, and the requests that `answer(body)` answered."""
    any_llm()
    seen = []

    async def handle(request):
        body = await request.json()
        seen.append((request.path, body, dict(request.headers)))
        found = await answer(request, body) if callable(answer) else answer
        return found if isinstance(found, web.StreamResponse) else web.json_response(found)

    async def main():
        app = web.Application()
        app.router.add_post("/v1/{tail:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        provider = anyllm.connect(spec(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", **more))
        try:
            return await work(provider)
        finally:
            await provider.close()
            await runner.cleanup()

    return asyncio.run(main()), seen


async def ask(provider, request=ASKED, timeout_s=5.0):
    post = provider.chat(request)
    reply = await provider.transport.post(post.url, post.body, provider.headers, timeout_s)
    if reply.status != 200:
        raise provider.fault(reply)
    return provider.read_chat(reply)


async def stream(provider, timeout_s=5.0):
    post, read = provider.chat(ASKED, stream=True), provider.reader()
    opened = provider.transport.stream("POST", post.url, post.body, provider.headers, timeout_s)
    async with opened as reply:
        if reply.status != 200:
            return reply.status, b"".join([piece async for piece in reply.pieces()])
        return [d async for event, data in events(reply.pieces()) for d in read(event, data)]


def failing(status, message, headers=None, **error):
    async def answer(request, body):
        said = {"error": {"message": message, **error}}
        return web.json_response(said, status=status, headers=headers)

    return answer


async def streaming(request, body):
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    pieces = [{"choices": [{"index": 0, **chunk}]} for chunk in CHUNKS]
    for piece in [*pieces, {"choices": [], "usage": USAGE}]:
        chunk = {**HEAD, "object": "chat.completion.chunk", **piece}
        await reply.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await reply.write(b"data: [DONE]\n\n")
    return reply


# what is told before anything is spent


def test_it_is_a_wire_that_says_what_it_lacks():
    assert load_wire("anyllm") is anyllm
    assert set(ChatRequest.__struct_fields__) - set(anyllm.TAKES) == {"top_k", "min_p"}


def test_without_the_library_the_command_is_told(monkeypatch):
    monkeypatch.setattr(longtail.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"pip install 'karat\[anyllm\]'"):
        anyllm.check(spec())


@pytest.mark.parametrize("model", ["anyllm/openai", "anyllm/openai/"])
def test_a_model_without_a_service_is_told_how_to_write_it(model):
    with pytest.raises(RecipeError, match="write anyllm/SERVICE/MODEL"):
        anyllm.check(spec(model=model))


def test_mistakes_are_told_in_words(monkeypatch):
    any_llm()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(RecipeError, match="did you mean 'mistral'"):
        anyllm.check(spec(model="anyllm/mistrall/m"))
    with pytest.raises(RecipeError, match="need OPENAI_API_KEY; export it, or name another"):
        anyllm.check(spec(None))
    with pytest.raises(RecipeError, match="leave batch out"):
        spec(batch=True).check_written()
    monkeypatch.setenv("MISTRAL_API_BASE", "http://elsewhere")
    provider = any_llm().AnyLLM.get_provider_class("mistral")
    monkeypatch.setattr(provider, "MISSING_PACKAGES_ERROR", None)
    with pytest.raises(RecipeError, match="MISTRAL_API_BASE is set; say that address as base_url"):
        anyllm.check(spec(None, "anyllm/mistral/m"))
    monkeypatch.setattr(provider, "MISSING_PACKAGES_ERROR", ImportError("mistralai"))
    with pytest.raises(RecipeError, match=r"pip install 'any-llm-sdk\[mistral\]'"):
        anyllm.check(spec(None, "anyllm/mistral/m"))
    anyllm.check(spec())


# answers


def test_an_answer_comes_back_in_openais_words():
    reply, seen = with_server(ask, ANSWER)
    (choice,) = reply.choices
    assert (choice.content, choice.finish_reason) == ("A tide.", "stop")
    assert choice.reasoning == "The moon."
    assert reply.usage == Usage(12, 4, 0, 7, 3)
    assert reply.served_model == "loop-1"
    ((path, body, _),) = seen
    assert path == "/v1/chat/completions"
    assert body["model"] == "loop"
    assert body["messages"] == [{"role": "user", "content": "What is a tide?"}]
    assert (body["temperature"], body["max_completion_tokens"]) == (0.5, 9)
    assert not {"seed", "n", "reasoning_effort"} & set(body)


def test_tools_go_there_and_back():
    async def answer(request, body):
        (tool,) = body["tools"]
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        assert tool["function"]["name"] == "look"
        return {**ANSWER, "choices": [choice]}

    tool = Tool("look", "out", {"type": "object", "properties": {}})
    asked = ChatRequest(ASKED.messages, tools=(tool,))
    reply, _ = with_server(lambda provider: ask(provider, asked), answer)
    assert reply.choices[0].tool_calls == (ToolCall("a", "look", "{}"),)


def test_a_stream_reads_as_the_whole():
    deltas, seen = with_server(stream, streaming)
    assert "".join(d.content for d in deltas) == "A tide."
    assert "".join(d.reasoning for d in deltas) == "The moon."
    assert [d.finish_reason for d in deltas if d.finish_reason] == ["stop"]
    assert [d.usage for d in deltas if d.usage] == [Usage(12, 4, 0, 7, 3)]
    assert isinstance(deltas[0], Delta)
    assert seen[0][1]["stream"] is True


def test_embeddings_and_what_a_service_lacks():
    async def work(provider):
        post = provider.embed(EmbedRequest(("a",)))
        reply = await provider.transport.post(post.url, post.body, {}, 5.0)
        refused = provider.rerank(RerankRequest("q", ("a",)))
        lacking = await provider.transport.post(refused.url, refused.body, {}, 5.0)
        return provider.read_embed(EmbedRequest(("a",)), reply), provider.fault(lacking)

    vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    tree = {"object": "list", "model": "loop-1", "data": [vector], "usage": usage}
    (found, lacking), _ = with_server(work, tree)
    assert found.vectors == [[0.5, 0.25]]
    assert (lacking.status, lacking.kind) == (400, "row")


# errors and keys


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (400, "bad field", None, "row"),
        (400, "maximum context length is 8", "context_length_exceeded", "context"),
        (400, "flagged", "content_filter", "content"),
        (401, "who are you", None, "model"),
        (402, "no money", None, "model"),
        (404, "no such model", None, "model"),
        (429, "slow down", None, "wait"),
        (500, "oops", None, "retry"),
        (503, "busy", None, "retry"),
    ],
)
def test_errors_keep_their_status_and_are_not_retried(status, message, code, kind):
    async def work(provider):
        with pytest.raises(ProviderError, match=message) as caught:
            await ask(provider)
        return caught.value

    answer = failing(status, message, {"retry-after": "3"}, code=code)
    error, seen = with_server(work, answer)
    assert (error.status, error.kind) == (status, kind)
    assert len(seen) == 1


def test_the_wait_a_service_asks_for_is_passed_on():
    async def work(provider):
        post = provider.chat(ASKED)
        return await provider.transport.post(post.url, post.body, {}, 5.0)

    reply, _ = with_server(work, failing(429, "slow down", {"retry-after": "3"}))
    assert (reply.status, reply.headers["retry-after"]) == (429, "3")


def test_a_refused_stream_keeps_its_status():
    (status, body), seen = with_server(stream, failing(429, "slow down"))
    assert status == 429
    assert b"slow down" in body
    assert len(seen) == 1


def test_nobody_there_is_a_connection_that_failed():
    any_llm()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    async def main():
        provider = anyllm.connect(spec(f"http://127.0.0.1:{port}/v1"))
        try:
            await ask(provider)
        finally:
            await provider.close()

    with pytest.raises(ProviderError) as caught:
        asyncio.run(main())
    assert (caught.value.status, caught.value.kind) == (0, "connection")


@pytest.mark.parametrize("call", [ask, stream])
def test_silence_is_a_timeout(call):
    async def answer(request, body):
        await asyncio.sleep(2)
        return ANSWER

    async def work(provider):
        with pytest.raises(ProviderError, match=r"within 0\.2 s") as caught:
            await call(provider, timeout_s=0.2)
        return caught.value

    error, _ = with_server(work, answer)
    assert (error.status, error.kind) == (0, "timeout")


def test_openais_key_is_not_sent_to_anybody_else(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    _, seen = with_server(ask, ANSWER)
    assert SECRET not in str(seen)


def test_a_key_that_is_named_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)

    async def work(provider):
        with pytest.raises(ProviderError) as caught:
            await ask(provider)
        return str(caught.value)

    said, seen = with_server(work, failing(401, f"bad key {SECRET}"), key_env="MY_KEY")
    assert seen[0][2]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in said
    assert "bad key [key]" in said
