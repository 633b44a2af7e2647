"""A loopback server of OpenAI's format that writes exact bytes and breaks as it is told.

What it answers follows from what it is asked (messages and seed), so an answer that is asked for
again is the same, and whole runs can be compared byte for byte. Which requests a fault hits follows
from a seed and the request alone: at any concurrency and in any order they are the same ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

WORDS = ["tide", "moon", "Wärme", "time", "light", "energy", "città", "river", "hill", "method"]
PROMPT = re.compile(r"[Ww]hat is number \d+\?")
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Then(Enum):
    """What becomes of a connection; without one of these it is kept."""

    CLOSE = "closed in order"
    RESET = "reset"
    HOLD = "held open in silence until the client leaves"


Part = bytes | float | Then  # to be sent, seconds to wait, or the end
Script = Callable[["Exchange"], Iterator[Part] | Sequence[Part]]


@dataclass(frozen=True)
class Fault:
    """What a hit request is answered with, and what a run is to make of that.

    `ends`: `drops` (rows that are hit every time are dropped, and `says` is in their reason),
    `stops` (a RunError that says so), `same` (an answer all the same, and the right one), `taken`
    (an answer that nobody can know to be wrong). `share` of all requests are hit, `lasting` of them
    every time and the others once. `model` is what the recipe says beside of the model.
    """

    name: str
    script: Script
    ends: str
    says: str = ""
    share: float = 0.5
    lasting: float = 0.5
    stream: bool | None = None  # None: either way
    model: dict[str, Any] = field(default_factory=dict)
    rows: str = "few"  # or many, where there are many forms of it
    forms: int = 1  # by number of row; each must be met

    @property
    def answers(self) -> bool:
        return self.ends in ("same", "taken")


def mixed(name: str, faults: Sequence[Fault], share: float = 1.0, lasting: float = 0.3) -> Fault:
    """All of these in one run of many rows: the number of a row says which of them it meets."""
    (ends,) = {one.ends for one in faults}
    ways = {one.stream for one in faults} - {None}
    return Fault(
        name, lambda x: faults[x.row % len(faults)].script(x), ends,
        "|".join(dict.fromkeys(one.says for one in faults)), share, lasting,
        stream=min(ways, default=None), rows="many", forms=len(faults),
        model={key: value for one in faults for key, value in one.model.items()},
    )  # fmt: skip


@dataclass
class Asked:
    """One request in the books: the prompt it belongs to, the answers it asked for, and whether
    they were given; `used`: the tokens its answer said, None where it said none."""

    prompt: str
    keys: tuple[str, ...]
    answered: bool = False
    used: tuple[int, int] | None = None


class Exchange:
    """One request, and the bytes a right answer to it has."""

    def __init__(self, body: dict[str, Any], secret: bytes, row: int, single: bool) -> None:
        self.body, self.secret, self.row = body, secret, row
        self.stream = bool(body.get("stream"))
        wanted = 1 if single or self.stream else body.get("n", 1)
        said = json.dumps(body["messages"])
        self.keys = tuple(f"{said}|{body['seed'] + place}" for place in range(wanted))
        self.texts = [_text(body, key) for key in self.keys]
        self.used: tuple[int, int] | None = (10, 7 * wanted)

    @property
    def usage(self) -> dict[str, Any]:
        assert self.used is not None
        return {"prompt_tokens": self.used[0], "completion_tokens": self.used[1]}

    def choices(self) -> list[dict[str, Any]]:
        return [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(self.texts)
        ]

    def tree(self, **more: Any) -> dict[str, Any]:
        """The completion as an object, with other fields where they are named."""
        tree = {"model": "loop", "choices": self.choices(), "usage": self.usage, **more}
        return {key: value for key, value in tree.items() if value is not ...}

    @property
    def json(self) -> bytes:
        return json.dumps(self.tree(), ensure_ascii=False).encode()

    def events(self) -> list[bytes]:
        """The answer as a stream: its words, why it ends, what it used, and the end."""
        words = re.findall(r"\S+\s*", self.texts[0])
        chunks = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        chunks.append({"choices": [], "usage": self.usage})
        return [*(event(chunk) for chunk in chunks), b"data: [DONE]\n\n"]

    @property
    def whole(self) -> bytes:
        """The right reply, head and body."""
        if self.stream:
            return chunked(*self.events(), kind="text/event-stream")
        return reply(self.json)


def event(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def head(*lines: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {kind}", *lines, "", ""]).encode()


def reply(
    body: bytes, *lines: str, status: str = "200 OK", kind: str = "application/json"
) -> bytes:
    return head(f"Content-Length: {len(body)}", *lines, status=status, kind=kind) + body


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def chunked(*parts: bytes, kind: str = "application/json") -> bytes:
    return head("Transfer-Encoding: chunked", kind=kind) + chunks(*parts) + b"0\r\n\r\n"


def draw(*parts: object) -> float:
    """A number from 0 to 1 that follows from the parts."""
    noise = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(noise, "big") / 2**64


def _text(body: dict[str, Any], key: str) -> str:
    """An answer of 4 to 30 words, or a grade where a form is asked for."""
    if form := body.get("response_format"):
        fields = form["json_schema"]["schema"]["properties"]
        return json.dumps({n: _grade(n, asked, key) for n, asked in fields.items()})
    count = 4 + int(27 * draw(key))
    return " ".join(WORDS[int(10 * draw(key, i))] for i in range(count)) + "."


def _grade(name: str, asked: dict[str, Any], key: str) -> Any:
    if name == "reasoning":
        return "Because."
    return asked["minimum"] + int((asked["maximum"] - asked["minimum"] + 1) * draw(key, name))


class FaultServer:
    """`with FaultServer() as server`; while `server.under(fault)`, it breaks."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self.prompts = list(prompts)
        self.single = False  # it knows no n and gives one answer, whatever is asked
        self._reset(None, 0)

    def _reset(self, fault: Fault | None, seed: int) -> None:
        self.fault, self.seed = fault, seed
        self.asked: list[Asked] = []
        self.forms: set[int] = set()  # of the fault, that were met
        self.lost: set[str] = set()  # prompts of which a request is hit every time
        self._tries: Counter[str] = Counter()

    @contextmanager
    def under(self, fault: Fault | None, seed: int = 0, *, single: bool = False) -> Iterator[Self]:
        """Fresh books, and this fault until the block ends; the books stay."""
        self._reset(fault, seed)
        self.single = single
        try:
            yield self
        finally:
            self.fault = None

    @property
    def answers(self) -> Counter[str]:
        """How often each answer was given whole."""
        return Counter(key for asked in self.asked if asked.answered for key in asked.keys)

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()

        async def start() -> None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2**22)
            self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
            ready.set()

        def target() -> None:
            self._loop.run_until_complete(start())
            self._loop.run_forever()

        self._thread = threading.Thread(target=target, daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        async def stop() -> None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(*NO_DELAY)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError):  # the client has left
            pass
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection is kept."""
        top = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"(?i)content-length: (\d+)", top)
        body = json.loads(await reader.readexactly(int(length)))
        (secret,) = re.findall(rb"(?i)authorization: Bearer (\S+)", top)
        (prompt,) = set(PROMPT.findall(body["messages"][-1]["content"]))
        made = Exchange(body, secret, self.prompts.index(prompt), self.single)
        fault, told = self._hit(made, prompt), Asked(prompt, made.keys)
        self.asked.append(told)
        script = [made.whole] if fault is None else fault.script(made)
        told.answered, told.used = fault is None or fault.answers, made.used
        try:
            return await play(script, reader, writer)
        except OSError:  # the client has left in the middle
            told.answered = False
            raise

    def _hit(self, made: Exchange, prompt: str) -> Fault | None:
        key = made.keys[0]
        if self.fault is None or (self.fault.stream and not made.stream):
            return None
        self._tries[key] += 1
        drawn = draw(self.seed, self.fault.name, key)
        if drawn >= self.fault.share:
            return None
        if drawn < self.fault.share * self.fault.lasting:
            self.lost.add(prompt)
        elif self._tries[key] > 1:
            return None
        self.forms.add(made.row % self.fault.forms)
        return self.fault


async def play(
    script: Iterator[Part] | Sequence[Part], reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:  # fmt: skip
    """Sends the parts in turn. Returns whether the connection is kept. Raises: OSError."""
    for part in script:
        if isinstance(part, bytes):
            writer.write(part)
            await writer.drain()
        elif isinstance(part, float):
            await asyncio.sleep(part)
        elif part is Then.HOLD:
            await reader.read()  # until it leaves
            return False
        elif part is Then.CLOSE:
            writer.close()
            await writer.wait_closed()
            return False
        else:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
    return True
