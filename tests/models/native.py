"""What the tests of Anthropic's and Google's own formats share."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
from aiohttp import web
from hypothesis import strategies as st

from karat.errors import ProviderError
from karat.models.chat import Tool
from karat.models.services import Service
from karat.models.sse import events
from karat.models.transport import HttpReply

WIRES = Path(__file__).parent / "wires"
ANTHROPIC = Service(
    wire="anthropic",
    base_url="https://api.anthropic.com/v1",
    key_env=("ANTHROPIC_API_KEY",),
    auth="x-api-key",
    headers={"anthropic-version": "2023-06-01"},
    n=False,
    seed=False,
    batches="anthropic",
)
GOOGLE = Service(
    wire="gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    auth="x-goog-api-key",
)
# Any JSON, with the words of the formats often enough that a reader gets past its first line.
WORDS = st.sampled_from(
    """
    type message content text thinking tool_use name id input stop_reason usage input_tokens
    output_tokens model error index delta content_block text_delta partial_json karat_answer
    message_start message_delta content_block_start content_block_delta content_block_stop
    input_json_delta output_tokens_details error_code details candidates parts functionCall args
    thought usageMetadata promptFeedback blockReason finishReason STOP logprobsResult
    chosenCandidates topCandidates token logProbability embeddings values code status
    modelVersion reason promptTokenCount
    """.split()  # noqa: SIM905  (fifty words, not fifty lines)
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=20,
)


def failed(call):
    """The sort of error that a call ends in, empty where it ends well; any other is let through."""
    try:
        call()
    except ProviderError as error:
        return error.kind
    return ""


# One value a field that none has where nobody said anything.
SAID = {
    "n": 2, "temperature": 0.5, "top_p": 0.96, "max_tokens": 2000, "stop": ("END",), "seed": 5,
    "top_k": 7, "min_p": 0.1, "presence_penalty": 0.5, "frequency_penalty": 0.5, "logprobs": 1,
    "schema": {"type": "object", "properties": {}}, "tools": (Tool("tide"),), "reasoning": "low",
}  # fmt: skip


def written(provider, request):
    """The fields that change what is sent."""
    plain = provider.chat(request).body
    said = {name: msgspec.structs.replace(request, **{name: SAID[name]}) for name in SAID}
    return {name for name, asked in said.items() if provider.chat(asked).body != plain}


def recorded(vendor, name):
    return (WIRES / vendor / name).read_bytes()


def reply(body, status=200):
    return HttpReply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def mutated(tree, path, value):
    """A copy of a JSON tree with one place in it replaced: what a service's next version does."""
    if not path:
        return value
    place, rest = path[0], path[1:]
    if isinstance(tree, dict) and tree:
        key = list(tree)[place % len(tree)]
        return {**tree, key: mutated(tree[key], rest, value)}
    if isinstance(tree, list) and tree:
        at = place % len(tree)
        return [*tree[:at], mutated(tree[at], rest, value), *tree[at + 1 :]]
    return value


PATHS = st.lists(st.integers(0, 9), max_size=7)


def frames(body, size=17):
    """The events of a recorded stream, cut where no event ends."""

    async def main():
        async def pieces():
            for start in range(0, len(body), size):
                yield body[start : start + size]

        return [event async for event in events(pieces())]

    return asyncio.run(main())


def read(provider, body):
    """All deltas of a recorded stream."""
    reader = provider.reader()
    return [delta for name, data in frames(body) for delta in reader(name, data)]


def joined(deltas):
    """(content, reasoning, calls as [id, name, arguments]) of a streamed answer."""
    calls = {}
    for delta in deltas:
        if delta.tool is not None:
            place, made, name, piece = delta.tool
            held = calls.setdefault(place, ["", "", ""])
            calls[place] = [held[0] or made, held[1] or name, held[2] + piece]
    return (
        "".join(delta.content for delta in deltas),
        "".join(delta.reasoning for delta in deltas),
        [calls[place] for place in sorted(calls)],
    )


def last(deltas, name):
    """What the last delta that says anything of it says."""
    return [getattr(delta, name) for delta in deltas if getattr(delta, name)][-1]


async def served(work, body, content_type="application/json", status=200):
    """What `work(url)` returns, and the requests that the server on loopback got meanwhile."""
    got = []

    async def answer(request):
        got.append((str(request.rel_url), dict(request.headers), await request.json()))
        return web.Response(body=body, status=status, headers={"content-type": content_type})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return await work(f"http://127.0.0.1:{runner.addresses[0][1]}"), got
    finally:
        await runner.cleanup()
