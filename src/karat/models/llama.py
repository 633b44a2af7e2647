"""One llama.cpp server inside this process, spoken to without a socket.

xllamacpp is a thin skin over llama.cpp's own HTTP server, and brings its habits along: it takes
over Ctrl-C, opens a port, and counts the tokens of one choice only. All of that is put right here,
so that the transport above sees a function from a request to every choice and its tokens.
"""

from __future__ import annotations

import ctypes
import os
import platform
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from karat.models.gguf_files import matrix_types

SLOTS = 8  # sequences one server writes at the same time
CONTEXT = 2048  # tokens of prompt and answer together, per sequence
MAX_SERVERS = 8
MEMORY_PER_SERVER = 4 << 30  # of the machine; a server itself takes 0.5 GB
PIECE = 63  # tokens read in one go: llama.cpp's tiled attention begins at 64
# Measured for llama.cpp's x86 build (AVX2, the same code on every x86 machine). Builds for other
# machines multiply larger batches with other kernels: there a request has a server to itself.
EXACT = platform.machine() in ("x86_64", "AMD64")
# Types of matrices (ggml's numbers: Q4_1, Q8_0) whose products were measured to be the same,
# whatever is computed beside them. Those of floats are not, to the last bit: with them a request
# has a server to itself as well.
SAME_ALONE = {3, 8}
_HANDLERS = threading.Lock()  # signal handlers belong to the process, not to one server


def server_count() -> int:
    """How many servers this machine carries: one per core that is ours, as memory allows."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    with suppress(OSError, ValueError):  # a container's share; "max" is no number
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = MEMORY_PER_SERVER
    return max(1, min(cores, memory // MEMORY_PER_SERVER, MAX_SERVERS))


class Choice(msgspec.Struct):
    """One answer as it streamed in. `tokens` counts what was generated, end mark included."""

    content: str = ""
    finish_reason: str = "stop"
    tokens: int = 0
    logprobs: list[Any] | None = None


class Answer(msgspec.Struct):
    """A whole reply, or the error llama.cpp gave instead."""

    choices: list[Choice]
    prompt_tokens: int = 0
    error: dict[str, Any] | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Logprobs(msgspec.Struct):
    content: list[Any] | None = None


class _Part(msgspec.Struct):
    index: int = 0
    delta: _Delta = _Delta()
    text: str | None = None  # of a completion, which has no delta
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Timings(msgspec.Struct):
    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Part] = []
    timings: _Timings | None = None
    error: dict[str, Any] | None = None


class Llama:
    """A model in memory with one compute thread and SLOTS sequences.

    One thread, because llama.cpp's threads wait for each other by spinning: two of them on two busy
    cores were slower than one. Further cores are used by further servers; the file is mapped, so
    they share its memory.
    """

    def __init__(self, runtime: Any, path: Path, adapter: Path | None = None) -> None:
        """`runtime` is the module xllamacpp; `adapter` a LoRA adapter in GGUF, applied in full.
        Takes half a second, in which it holds the GIL."""
        self.free = SLOTS
        files = [path] if adapter is None else [path, adapter]
        self.exact = EXACT and set().union(*map(matrix_types, files)) <= SAME_ALONE
        params = runtime.CommonParams()
        params.model.path = str(path)
        if adapter is not None:
            params.lora_adapters = [runtime.CommonAdapterLoraInfo(str(adapter), 1.0)]
        params.n_gpu_layers = 0
        params.n_parallel, params.n_ctx, params.kv_unified = SLOTS, SLOTS * CONTEXT, False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        # What makes an answer independent of what else is in flight (see `write`).
        params.flash_attn_type = runtime.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.n_batch, params.n_ubatch = 8 * PIECE, PIECE
        params.cache_prompt, params.cache_idle_slots, params.cache_ram_mib = self.exact, False, 0
        # The template's text is the answer's text: nothing is parsed out of it.
        params.force_pure_content_parser = True
        params.verbosity, params.warmup, params.fit_params = -1, False, False
        # The port it insists on opening answers to nobody.
        params.api_keys, params.n_threads_http = [secrets.token_hex(16)], 1
        params.endpoint_slots = False
        with _HANDLERS, _signal_handlers_kept():
            self._server: Any = runtime.Server(params)
        # A server that is dropped before its loop has begun never ends: wait for a first token.
        self.write({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}, lambda: True)

    def write(
        self, body: dict[str, Any], go_on: Callable[[], bool],
        hear: Callable[[bytes], None] | None = None, *, raw: bool = False,
    ) -> Answer:  # fmt: skip
        """Blocks until the answer is complete, or `go_on`, asked after every token, says no.

        `raw`: the body's `prompt` is gone on with as it stands, special tokens in it parsed and a
        BOS put before it where the model wants one, instead of `messages` in the chat template.
        `hear` gets every chunk as llama.cpp writes it.

        The same body gives the same bits whatever else the server does or did before. A token's
        sums must then not depend on how many tokens are computed beside it. They do in attention:
        without flash attention by whether one token or several are read, with it by whether at
        least 64 are (0.06 in a log probability). Flash attention in pieces of fewer takes the same
        path for every token, read or written, alone or not; so a prefix another request has left
        in memory may be used as well. Measured: nothing lost in reading, a quarter won in writing
        over the other exact way.
        """
        parts: list[bytes] = []

        def take(part: bytes) -> bool:
            parts.append(part)
            if hear is not None:
                hear(part)
            return not go_on()

        # Without `stream_options` each choice's last chunk brings its own counts.
        asked = {name: value for name, value in body.items() if name != "stream_options"}
        request = msgspec.json.encode({**asked, "stream": True, "cache_prompt": self.exact})
        try:
            if raw:
                self._server.handle_completions(request, take)
            else:
                self._server.handle_chat_completions(request, take)
        except (ValueError, RuntimeError) as error:  # how C++ refuses what is no such request
            refusal = {"code": 400, "message": str(error), "type": "invalid_request_error"}
            return Answer([], error=refusal)
        return _gather(parts)

    def close(self) -> None:
        """Frees the model's memory. No `write` may be running."""
        self._server = None


def _gather(parts: list[bytes]) -> Answer:
    """The answer that llama.cpp's stream of chunks spells."""
    answer = Answer([])
    for part in parts:
        chunk = msgspec.json.decode(part, type=_Chunk)
        if chunk.error is not None:
            return Answer([], error=chunk.error)
        for piece in chunk.choices:
            while len(answer.choices) <= piece.index:
                answer.choices.append(Choice())
            choice = answer.choices[piece.index]
            choice.content += piece.delta.content or piece.text or ""
            choice.finish_reason = piece.finish_reason or choice.finish_reason
            if piece.logprobs is not None:
                choice.logprobs = [*(choice.logprobs or []), *(piece.logprobs.content or [])]
            if chunk.timings is not None:
                choice.tokens = chunk.timings.predicted_n
                read = chunk.timings.prompt_n + chunk.timings.cache_n
                answer.prompt_tokens = max(answer.prompt_tokens, read)
    return answer


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Undoes llama.cpp's taking over SIGINT and SIGTERM.

    Through the C library, because Python sets handlers in the main thread only, and because the
    structure is given back whole, flags included.
    """
    if os.name != "posix":
        yield
        return
    libc = ctypes.CDLL(None)
    kept = {number: ctypes.create_string_buffer(512) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, action in kept.items():
        libc.sigaction(int(number), None, action)
    try:
        yield
    finally:
        for number, action in kept.items():
            libc.sigaction(int(number), action, None)
