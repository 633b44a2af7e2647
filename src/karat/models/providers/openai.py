"""OpenAI's chat completions, and the older ones of raw text: the format most services speak.

`openai/NAME` is OpenAI itself with OPENAI_API_KEY; with `base_url` it is any compatible server,
which needs a key only where `key_env` names one. How a service differs is data, in
data/services.toml: this file knows no service by name.
Source: the API reference of /v1/chat/completions and /v1/completions; the `openai` package 3.54,
types/chat, types/completion_create_params.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from karat.errors import ProviderError
from karat.models.asks import CompleteRequest
from karat.models.chat import ChatReply, ChatRequest, Choice
from karat.models.faults import fault
from karat.models.providers import _openai_asks as asks
from karat.models.providers._http import (
    check_reachable,
    over_http,
    parse,
)
from karat.models.providers._openai_body import Writer
from karat.models.providers._openai_shapes import (
    UNREADABLE,
    read_choice,
    read_continuation,
    read_usage,
)
from karat.models.providers._openai_stream import Reader
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply, Transport
from karat.models.wire import EventReader, Post

TAKES = ChatRequest.__struct_fields__
COMPLETES = True  # raw text, where the service has an address for it
TOKENS_PER_S = 40.0  # a middling hosted model
# An error under status 200 names itself in words where another would have a status.
STATUS_WORDS = (
    (429, re.compile(r"rate[ _-]?limit|too many requests|insufficient_quota", re.IGNORECASE)),
    (404, re.compile(r"model_not_found|no such model|model .{0,80}does not exist", re.IGNORECASE)),
)


def check(spec: ModelSpec) -> None:
    """Raises: RecipeError when the address or the key is missing."""
    check_reachable(spec)


def connect(spec: ModelSpec) -> OpenAI:
    return over_http(OpenAI, spec)


class OpenAI(asks.AskProvider):
    """Speaks /chat/completions over a transport."""

    def __init__(
        self, spec: ModelSpec, transport: Transport, concurrency: int, url: str, key: str = ""
    ) -> None:
        super().__init__(spec, transport, concurrency, url, key)
        self.max_n = self.service.max_n if self.service.n else 1
        self._url = f"{self.address}/chat/completions"
        self._writer = Writer(spec, self.service)

    def chat(self, request: ChatRequest, *, stream: bool = False) -> Post:
        return Post(self._url, self._writer.write(request, stream=stream))

    def read_chat(self, reply: HttpReply) -> ChatReply:
        """Raises: ProviderError when the body is no chat completion."""
        return self._answers(reply, read_choice, "a chat completion")

    def complete(self, request: CompleteRequest) -> Post:
        """Raises: ProviderError(kind="row") where the service has none."""
        what, path = "completion of raw text", self.service.completions
        _, url = asks.endpoint(self, what, path, ("openai",))
        return Post(url, self._writer.write_prompt(request))

    def read_complete(self, reply: HttpReply) -> ChatReply:
        """Raises: ProviderError when the body is no completion."""
        return self._answers(reply, read_continuation, "a completion")

    def _answers(self, reply: HttpReply, read: Callable[[Any], Choice], what: str) -> ChatReply:
        try:
            body = parse(reply.body)
            choices = body.get("choices")
            if not choices and (body.get("error") or body.get("object") == "error"):
                raise self.told(body.get("error") or body)
            found = [read(choice) for choice in choices]
            if all(choice.finish_reason == UNREADABLE for choice in found):
                raise self._no_answer(choices, reply.body, what)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self.unreadable(what, reply.body) from error
        usage = read_usage(body.get("usage"), self.service)
        return ChatReply(found, usage, str(body.get("model") or ""))

    def reader(self) -> EventReader:
        return Reader(self).read

    def told(self, error: Any) -> ProviderError:
        """An error sent where an answer was due, under status 200, in its own words and sort."""
        said, words = self._said(orjson.dumps({"error": error}))
        status = _status_in(error)
        if status is None:
            named = f"{words} {said}"
            status = next((s for s, pattern in STATUS_WORDS if pattern.search(named)), 400)
            found = fault(status, said, words)
            # Words that say nothing about the request itself speak of a mishap at the service.
            if found.kind == "row" and "invalid_request" not in named:
                return ProviderError(f"HTTP 200: {said}", 200, kind="retry")
            return found
        return fault(status, said, words)

    def _no_answer(self, choices: list[Any], body: bytes, what: str) -> ProviderError:
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error"):
                return self.told(choice["error"])
        return self.unreadable(what, body)


def _status_in(error: Any) -> int | None:
    """The HTTP status an error names as its code, as OpenRouter and vLLM do."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isdecimal():
        code = int(code[:4])
    return code if isinstance(code, int) and 400 <= code < 600 else None
