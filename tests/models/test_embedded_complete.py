"""Raw text through the embedded model, the real one: nothing is put before or around a prompt."""

from __future__ import annotations

import asyncio
import json

import pytest
from conftest import ALL

from karat.models.embedded import EmbeddedTransport, available
from karat.models.llama import CONTEXT, SLOTS

CHAT, RAW = "embedded:/chat/completions", "embedded:/completions"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
BEFORE = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


@pytest.fixture(scope="module")
def smollm():
    transport = EmbeddedTransport("smollm2-135m")
    yield transport
    asyncio.run(transport.close())


async def ask(transport, url=RAW, **fields):
    reply = await transport.post(url, json.dumps(fields).encode(), {}, 120)
    return reply.status, json.loads(reply.body)


def complete(transport, *several):
    async def all_of_them():
        return await asyncio.gather(*(ask(transport, **fields) for fields in several))

    found = asyncio.run(all_of_them())
    assert [status for status, _ in found] == [200] * len(several)
    return [body for _, body in found]


def prompts():
    """Texts of 1 to 150 tokens, with special tokens and without, some where kernels change."""
    words = ["rain", "market", "salt", "history", "ocean", "engine", "garden", "letter"] * 19
    return [
        {
            "prompt": (BEFORE if i % 2 else "") + " ".join(words[:length]),
            "seed": 1000 * i, "n": 4 if i % 5 == 0 else 1, "temperature": 1.0, "max_tokens": 8,
        }
        for i, length in enumerate([1, 0, 2, 13, 61, 63, 64, 150] if ALL else [13, 0, 63, 64])
    ]  # fmt: skip


def test_same_bytes_with_one_and_with_eight_in_flight(smollm):
    async def at(width, order):
        turn = asyncio.Semaphore(width)

        async def one(fields):
            async with turn:
                status, body = await ask(smollm, **fields)
            assert status == 200
            return body["choices"]

        return await asyncio.gather(*(one(fields) for fields in order))

    requests = prompts()
    alone = asyncio.run(at(1, requests))
    together = asyncio.run(at(8, requests[::-1]))[::-1]
    assert [a == b for a, b in zip(alone, together, strict=True)] == [True] * len(requests)
    assert len({choice["text"] for choices in alone for choice in choices}) > len(requests)


def test_beside_chats_it_gives_the_same_bytes(smollm):
    fields = {"prompt": BEFORE, "seed": 3, "n": 2, "max_tokens": 12, "temperature": 1.0}

    async def beside():
        talk = [{"role": "user", "content": "Tell a long story about salt."}]
        chats = [ask(smollm, CHAT, messages=talk, seed=i, max_tokens=16) for i in range(4)]
        (_, body), *_ = await asyncio.gather(ask(smollm, **fields), *chats)
        return body["choices"]

    (alone,) = complete(smollm, fields)
    assert asyncio.run(beside()) == alone["choices"]


def test_a_chat_written_out_is_that_chat(smollm):
    """To the token: no template is put around it, no BOS before it, and marks are marks."""
    talk = [{"role": "user", "content": "What is rain?"}]
    how = {"seed": 11, "max_tokens": 12, "temperature": 1.0}
    written = f"{BEFORE}What is rain?<|im_end|>\n<|im_start|>assistant\n"
    (raw,) = complete(smollm, {"prompt": written, **how})
    _, chat = asyncio.run(ask(smollm, CHAT, messages=talk, **how))
    assert raw["choices"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert raw["usage"] == chat["usage"]


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [("a", 1), ("<|im_start|>", 1), ("a<|im_start|>b", 3), ("<|im_start|>user\n", 3)],
)
def test_marks_are_one_token_each_and_nothing_is_put_before(smollm, prompt, tokens):
    (body,) = complete(smollm, {"prompt": prompt, "max_tokens": 1})
    assert body["usage"]["prompt_tokens"] == tokens


def test_the_end_of_a_turn_ends_a_text_and_is_not_in_it(smollm):
    (body,) = complete(
        smollm, {"prompt": BEFORE, "n": SLOTS, "seed": 1, "max_tokens": 80, "temperature": 1.0}
    )
    ended = [c for c in body["choices"] if c["finish_reason"] == "stop"]
    assert ended
    assert not any("<|im_end|>" in choice["text"] for choice in ended)
    assert all(choice["tokens"] < 80 for choice in ended)


def test_n_samples_are_n_seeds_and_every_token_is_counted(smollm):
    how = {"prompt": BEFORE, "max_tokens": 10, "temperature": 1.0, "stop": ["."]}
    n = SLOTS + 2  # more than one server writes at a time
    many, *ones = complete(
        smollm, {**how, "n": n, "seed": 5}, *({**how, "seed": 5 + i} for i in (0, 3, 9))
    )
    assert [choice["index"] for choice in many["choices"]] == list(range(n))
    found = [choice["text"] for choice in many["choices"]]
    assert [one["choices"][0]["text"] for one in ones] == [found[i] for i in (0, 3, 9)]
    written = sum(choice["tokens"] for choice in many["choices"])
    assert many["usage"]["completion_tokens"] == written
    assert many["usage"]["prompt_tokens"] == ones[0]["usage"]["prompt_tokens"]
    assert many["object"] == "text_completion"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("", "not empty"), (None, "be text"), (["a"], "be text"), ("x " * CONTEXT, "exceed")],
)
def test_a_bad_prompt_is_refused_with_a_reason(smollm, prompt, message):
    status, body = asyncio.run(ask(smollm, prompt=prompt, max_tokens=1))
    assert status == 400
    assert message in body["error"]["message"]
