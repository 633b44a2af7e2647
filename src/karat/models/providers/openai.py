"""OpenAI's chat completions: the format most services speak.

`openai/NAME` is OpenAI itself with OPENAI_API_KEY; with `base_url` it is any compatible server
(vLLM, SGLang, llama.cpp, NIM …), which needs a key only where `key_env` names one.
Source: the API reference of /v1/chat/completions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import orjson

from karat.errors import ProviderError, RecipeError
from karat.models.chat import ChatReply, ChatRequest, Choice
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply, HttpTransport, Transport

OPENAI_URL = "https://api.openai.com/v1"
DEFAULT_CONCURRENCY = 64
NO_CREDIT = (b"insufficient_quota", b"billing_hard_limit_reached")
UNREADABLE = "unreadable"  # finish_reason of a choice of unknown form
TOKENS_PER_S = 40.0  # a middling hosted model


def check(spec: ModelSpec) -> None:
    """Raises: RecipeError when OpenAI itself is meant and its key is missing."""
    if spec.base_url is None and not os.environ.get(spec.key_env or "OPENAI_API_KEY"):
        raise RecipeError(
            f"model '{spec.model}' needs OPENAI_API_KEY; export it, name another variable in "
            "key_env, or say base_url for a server of your own"
        )
    _key(spec)


def _key(spec: ModelSpec) -> str:
    """The key to send; OpenAI's own never goes to somebody else's server. Raises: RecipeError."""
    if spec.base_url is not None and spec.key_env is None:
        return ""
    name = spec.key_env or "OPENAI_API_KEY"
    key = os.environ.get(name, "").strip()  # a key read from a file brings its line end along
    if not (key.isascii() and key.isprintable()):
        raise RecipeError(f"the key in {name} holds characters that no key has; set it again")
    return key


def identity(spec: ModelSpec) -> str:
    """The model and the server that answers for it."""
    return spec.model if spec.base_url is None else f"{spec.model} {spec.base_url.rstrip('/')}"


def width(spec: ModelSpec, n: int) -> int:
    """Requests under way at once, whatever their n."""
    return spec.concurrency or DEFAULT_CONCURRENCY


def connect(spec: ModelSpec) -> OpenAI:
    slots = width(spec, 1)
    return OpenAI(spec, HttpTransport(slots), spec.base_url or OPENAI_URL, slots, _key(spec))


class OpenAI:
    """Speaks /chat/completions over a transport."""

    def __init__(
        self, spec: ModelSpec, transport: Transport, base_url: str, concurrency: int, key: str
    ) -> None:
        self.transport = transport
        self.concurrency = concurrency
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.headers: Mapping[str, str] = {
            "content-type": "application/json",
            **({"authorization": f"Bearer {key}"} if key else {}),
        }
        self._key = key
        self._fixed = {"model": spec.name, **spec.extra}

    def encode(self, request: ChatRequest) -> bytes:
        """The request's body."""
        body: dict[str, Any] = {
            **self._fixed,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        }
        if request.n > 1:
            body["n"] = request.n
        for name in ("temperature", "top_p", "max_tokens", "seed"):
            value = getattr(request, name)
            if value is not None:
                body[name] = value
        if request.stop:
            body["stop"] = list(request.stop)
        return orjson.dumps(body)

    def decode(self, reply: HttpReply) -> ChatReply:
        """The answers. Raises: ProviderError when the body is not a chat completion."""
        try:
            body = _parse(reply.body)
            choices = [_choice(choice) for choice in body["choices"]]
            if all(choice.finish_reason == UNREADABLE for choice in choices):
                raise TypeError("no choice holds an answer")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            said = self._quote(reply.body.decode("utf-8", "replace"))
            raise ProviderError(f"not a chat completion: {said!r}", 200) from error
        usage = body.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return ChatReply(
            choices,
            _count(usage.get("prompt_tokens")),
            _count(usage.get("completion_tokens")),
            str(body.get("model") or ""),
        )

    def error(self, reply: HttpReply) -> str:
        """What the service says went wrong, in one line."""
        try:
            body = orjson.loads(reply.body)
            found = body.get("error", body)
            said = found.get("message", found) if isinstance(found, dict) else found
            return self._quote(said if isinstance(said, str) else orjson.dumps(said).decode())
        except (ValueError, TypeError, AttributeError):
            return repr(self._quote(reply.body.decode("utf-8", "replace")))

    def status(self, reply: HttpReply) -> int:
        """The status to go by: an empty account is no rate limit, though OpenAI answers 429."""
        if reply.status == 429 and any(word in reply.body for word in NO_CREDIT):
            return 402
        return reply.status

    def _quote(self, said: str, length: int = 300) -> str:
        """A service's words, without the key it may echo and without control codes."""
        hidden = said.replace(self._key, "[key]") if self._key else said
        printable = "".join(c if c.isprintable() else " " for c in hidden[: 4 * length])
        return " ".join(printable.split())[:length]

    async def close(self) -> None:
        await self.transport.close()


def _choice(choice: Any) -> Choice:
    """One answer; what cannot be read is an empty one: it was paid for with the others."""
    try:
        content = choice["message"].get("content") or ""
        if isinstance(content, list):  # parts, as some services answer
            content = "".join(part.get("text") or "" for part in content)
        if not isinstance(content, str):
            raise TypeError("content is not text")
        return Choice(content, str(choice.get("finish_reason") or ""), _count(choice.get("tokens")))
    except (TypeError, KeyError, AttributeError):
        return Choice("", UNREADABLE)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _parse(body: bytes) -> Any:
    """JSON; half a surrogate pair, where a text was cut within a character, is let through."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)
