"""The embedded model, the real one: same bytes at any concurrency, true counts, clean endings."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ALL

from karat.errors import ProviderError, RecipeError, RunError
from karat.models import embedded
from karat.models.embedded import EmbeddedTransport, available
from karat.models.llama import CONTEXT, SLOTS, Answer, Choice

URL = "embedded:/chat/completions"
RAIN = [{"role": "user", "content": "Write two sentences about rain."}]

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


@pytest.fixture(scope="module")
def smollm() -> Iterator[EmbeddedTransport]:
    transport = EmbeddedTransport("smollm2-135m")
    yield transport
    asyncio.run(transport.close())


async def ask(
    transport: EmbeddedTransport, timeout_s: float = 120, **fields: Any
) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"messages": RAIN, "max_tokens": 8, **fields}).encode()
    reply = await transport.post(URL, body, {}, timeout_s)
    return reply.status, json.loads(reply.body)


def texts(body: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in body["choices"]]


def requests_of_all_shapes() -> list[dict[str, Any]]:
    """Prompts of 30 to 160 tokens, some next to the sizes where kernels change."""
    words = ["rain", "market", "salt", "history", "ocean", "engine", "garden", "letter"] * 12
    lengths = [0, 1, 2, 3, 5, 8, 13, 27, 28, 29, 60, 90] if ALL else [0, 3, 27, 28, 29, 60]
    return [
        {
            "messages": [{"role": "user", "content": " ".join(["Explain:", *words[:length]])}],
            "seed": 1000 * i,
            "n": 4 if i % 5 == 0 else 1,
            "temperature": 1.0,
            "logprobs": True,
        }
        for i, length in enumerate(lengths)
    ]


def test_same_bytes_at_any_concurrency(smollm: EmbeddedTransport) -> None:
    requests = requests_of_all_shapes()

    async def at(width: int, order: list[dict[str, Any]]) -> list[Any]:
        turn = asyncio.Semaphore(width)

        async def one(fields: dict[str, Any]) -> Any:
            async with turn:
                status, body = await ask(smollm, **fields)
            assert status == 200
            return body["choices"]  # log probabilities included: to the last bit

        return await asyncio.gather(*(one(fields) for fields in order))

    alone = asyncio.run(at(1, requests))
    together = asyncio.run(at(8, requests[::-1]))[::-1]
    assert [a == b for a, b in zip(alone, together, strict=True)] == [True] * len(requests)


def test_n_choices_are_n_seeds_and_every_token_is_counted(smollm: EmbeddedTransport) -> None:
    n = SLOTS + 2  # more than one server writes at a time

    async def both() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        many = ask(smollm, n=n, seed=5, temperature=1.0, max_tokens=16, logprobs=True, stop=["."])
        ones = [
            ask(smollm, seed=5 + i, temperature=1.0, max_tokens=16, stop=["."]) for i in (0, 3, 9)
        ]
        (_, body), *rest = await asyncio.gather(many, *ones)
        return body, [reply for _, reply in rest]

    body, ones = asyncio.run(both())
    assert [choice["index"] for choice in body["choices"]] == list(range(n))
    assert len(set(texts(body))) == n
    assert [texts(one)[0] for one in ones] == [texts(body)[i] for i in (0, 3, 9)]
    for choice in body["choices"]:
        assert len(choice["logprobs"]["content"]) <= choice["tokens"] <= 16
        assert (choice["finish_reason"] == "length") <= (choice["tokens"] == 16)
    written = sum(choice["tokens"] for choice in body["choices"])
    alone = ones[0]["usage"]["prompt_tokens"]
    assert alone > 30
    assert body["usage"] == {
        "prompt_tokens": alone,
        "completion_tokens": written,
        "total_tokens": alone + written,
    }
    assert body["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": "hello"}, "messages"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n must be"),
        ({"n": "two"}, "n must be"),
        ({"messages": [{"role": "user", "content": "rain " * CONTEXT}]}, "exceeds"),
    ],
)
def test_a_bad_request_is_refused_with_a_reason(
    smollm: EmbeddedTransport, fields: dict[str, Any], message: str
) -> None:
    status, body = asyncio.run(ask(smollm, **fields))
    assert status == 400
    assert message in body["error"]["message"]


def test_what_is_no_chat_request_is_refused() -> None:
    async def replies() -> list[int]:
        transport = EmbeddedTransport("smollm2-135m")
        calls = [(URL, b"{"), (URL, b"[]"), ("embedded:/embeddings", b"{}")]
        answers = [await transport.post(url, body, {}, 5) for url, body in calls]
        await transport.close()
        return [reply.status for reply in answers]

    assert asyncio.run(replies()) == [400, 400, 404]


def test_a_cancelled_call_leaves_no_trace(smollm: EmbeddedTransport) -> None:
    async def main() -> tuple[Any, Any]:
        before = await ask(smollm, seed=1, n=2)
        long = [asyncio.create_task(ask(smollm, max_tokens=900, n=5)) for _ in range(6)]
        await asyncio.sleep(0.7)
        for task in long:
            task.cancel()
        ended = await asyncio.gather(*long, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        return before[1]["choices"], (await ask(smollm, seed=1, n=2))[1]["choices"]

    before, after = asyncio.run(main())
    assert before == after


class FakeLlama:
    """Counts how often a model is loaded; its `write` waits for `gate`."""

    loaded = 0
    gate = threading.Event()

    def __init__(self, runtime: object, path: Path, adapter: Path | None = None) -> None:
        type(self).loaded += 1
        self.free, self.exact = SLOTS, True

    def write(
        self, body: dict[str, Any], go_on: Callable[[], bool], hear: object = None, *, raw: bool
    ) -> Answer:
        self.gate.wait(1)
        return Answer([Choice("hello", "stop", 2)] * body["n"], 30)

    def close(self) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeLlama]:
    kind = type("Fake", (FakeLlama,), {"loaded": 0, "gate": threading.Event()})
    monkeypatch.setattr(embedded, "Llama", kind)
    monkeypatch.setattr(embedded, "fetch", lambda *args, **more: tmp_path)
    return kind


def test_64_first_calls_load_once(fake: type[FakeLlama]) -> None:
    fake.gate.set()

    async def main() -> int:
        transport = EmbeddedTransport("smollm2-135m")
        replies = await asyncio.gather(*(ask(transport, n=1 + i % 11) for i in range(64)))
        assert [len(body["choices"]) for _, body in replies] == [1 + i % 11 for i in range(64)]
        await transport.close()
        return transport.concurrency // SLOTS

    assert fake.loaded == 0
    assert asyncio.run(main()) == fake.loaded


def test_silence_is_an_error_without_status(fake: type[FakeLlama]) -> None:
    async def main() -> None:
        transport = EmbeddedTransport("smollm2-135m")
        with pytest.raises(ProviderError, match=r"no token within 0\.2 s") as error:
            await ask(transport, timeout_s=0.2)
        assert error.value.status == 0
        fake.gate.set()
        assert (await ask(transport))[0] == 200
        await transport.close()

    asyncio.run(main())


def test_a_file_llama_cannot_read_stops_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, not really")
    fetched: list[object] = []

    def fetch(*args: object, **more: object) -> Path:
        fetched.append(args)
        return broken

    monkeypatch.setattr(embedded, "fetch", fetch)

    async def main() -> None:
        transport = EmbeddedTransport("smollm2-135m")
        for _ in range(2):  # the second asks nobody again
            with pytest.raises(RunError, match=r"cannot load .*broken\.gguf.*delete it"):
                await ask(transport)
        await transport.close()

    asyncio.run(main())
    assert len(fetched) == 1
    assert capfd.readouterr() == ("", "")


def test_naming_a_model_costs_nothing(tmp_path: Path) -> None:
    script = """
import sys
from karat.models.embedded import EmbeddedTransport
transport = EmbeddedTransport("smollm2-135m")
print(transport.identity, transport.concurrency > 1)
print("xllamacpp" in sys.modules)
"""
    done = run_script(script, {"KARAT_CACHE": str(tmp_path / "cache")})
    named, imported = done.stdout.splitlines()
    assert named == "embedded/smollm2-135m@b179c9523d0e6a0f True"
    assert imported == "False"
    assert not (tmp_path / "cache").exists()
    with pytest.raises(RecipeError, match="did you mean 'smollm2-135m'"):
        EmbeddedTransport("smollm-135m")


def test_quiet_and_interruptible(smollm: EmbeddedTransport) -> None:
    """llama.cpp prints nothing, and Ctrl-C reaches Python although llama.cpp takes it over."""
    asyncio.run(ask(smollm, max_tokens=1))  # the weights are there: nothing to say about them
    script = """
import asyncio, json, os, signal
from karat.models.embedded import EmbeddedTransport
async def main():
    transport = EmbeddedTransport("smollm2-135m")
    body = {"messages": [{"role": "user", "content": "Tell a story."}], "max_tokens": 3}
    ask = lambda **more: transport.post(
        "/chat/completions", json.dumps({**body, **more}).encode(), {}, 60)
    print((await ask()).status)
    asyncio.get_running_loop().call_later(0.4, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.gather(*(ask(max_tokens=1500, n=4) for _ in range(8)))
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    done = run_script(script, {})
    assert (done.stdout.split(), done.stderr, done.returncode) == (["200", "interrupted"], "", 0)


def run_script(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_streamed_answer_is_the_same_text_piece_by_piece(journal):
    from asking import request, with_client

    from karat.models.endpoint import Asker

    async def work(client):
        asked = request("Name three colours.", max_tokens=12)
        pieces = [p async for p in client.stream("m", asked, Asker("s", "r"))]
        other = request("Name three colours.", max_tokens=12, stop=("\x00",))
        (plain,) = await client.chat("m", other, Asker("s", "r"))
        return pieces, plain

    pieces, plain = with_client(journal, "embedded/smollm2-135m", work)
    assert len([p for p in pieces if p.content]) > 3
    assert "".join(p.content for p in pieces) == plain.content
    assert pieces[-1].usage.output == 12
