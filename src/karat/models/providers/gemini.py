"""Google's generateContent: Gemini at its own address.

The key goes in a header, never in the URL, which lands in logs. Fields that a model takes otherwise
are translated by a stated rule or refused before anything is sent: see _gemini_models.py.
Source: Google's API reference, "Generating content" and "Embeddings" (v1beta); the `google-genai`
package 3.4, models.py (`*_to_mldev`).
"""

from __future__ import annotations

from contextlib import suppress
from math import isfinite
from typing import Any
from urllib.parse import quote

import orjson

from karat.errors import ProviderError
from karat.models.asks import EmbedReply, EmbedRequest
from karat.models.chat import ChatReply, ChatRequest, Usage
from karat.models.faults import fault
from karat.models.providers._gemini_models import Takes, gemini, sampling, thinking
from karat.models.providers._gemini_read import WRONG, BlockedError, Reader, read_reply
from karat.models.providers._gemini_turns import conversation, tools
from karat.models.providers._http import (
    HttpProvider,
    check_defaults,
    count,
    over_http,
    parse,
)
from karat.models.providers._openai_body import with_schema
from karat.models.providers._text import text
from karat.models.services import Service
from karat.models.spec import ModelSpec
from karat.models.takes import service_of
from karat.models.transport import HttpReply, Transport
from karat.models.wire import EventReader, Post

TAKES = (
    "messages", "n", "temperature", "top_p", "max_tokens", "stop", "seed", "top_k",
    "presence_penalty", "frequency_penalty", "logprobs", "schema", "tools", "tool_choice",
    "reasoning",
)  # fmt: skip
TOKENS_PER_S = 120.0  # a middling Flash
PLAIN = {
    "max_tokens": "maxOutputTokens",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
TASKS = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}
# How gemini-embedding-2, which takes no taskType, is told. Source: Google's docs, "Embeddings".
TASK_WORDS = {"query": "task: search result | query: {}", "document": "title: none | text: {}"}


def check(spec: ModelSpec) -> None:
    """Raises: RecipeError when it cannot be reached, or refuses what the model says of itself."""
    check_defaults(spec, refusal)


def refusal(spec: ModelSpec, request: ChatRequest) -> str:
    """What this very model does not take of a request, in words; empty: nothing."""
    try:
        _body(spec, service_of(spec), gemini(spec.name), request)
    except ProviderError as error:
        return str(error)
    return ""


def connect(spec: ModelSpec) -> Gemini:
    return over_http(Gemini, spec)


class Gemini(HttpProvider):
    """Speaks generateContent over a transport."""

    def __init__(
        self, spec: ModelSpec, transport: Transport, concurrency: int, url: str, key: str = ""
    ) -> None:
        super().__init__(spec, transport, concurrency, url, key)
        self._model = gemini(spec.name)
        most = self._model.max_n
        self.max_n = most if self.max_n is None else min(most, self.max_n)
        self._name = spec.name if "/" in spec.name else f"models/{spec.name}"
        self._url = f"{self.address}/{quote(self._name)}"

    def chat(self, request: ChatRequest, *, stream: bool = False) -> Post:
        """Raises: ProviderError for what this model does not take."""
        body = _body(self.spec, self.service, self._model, request)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return Post(f"{self._url}:{method}", orjson.dumps(body))

    def read_chat(self, reply: HttpReply) -> ChatReply:
        """Raises: ProviderError when the prompt was blocked or the body holds no answer."""
        try:
            return read_reply(parse(reply.body))
        except BlockedError as blocked:
            raise self._blocked(blocked) from None
        except WRONG as error:
            raise self.unreadable("an answer", reply.body) from error

    def reader(self) -> EventReader:
        return Reader(self._told, self.unreadable, self._blocked).read

    def embed(self, request: EmbedRequest) -> Post:
        tasks = self._model.tasks
        form = "{}" if tasks else TASK_WORDS.get(request.purpose, "{}")
        common: dict[str, Any] = {"model": self._name}
        if tasks and request.purpose in TASKS:
            common["taskType"] = TASKS[request.purpose]
        if request.dimensions is not None:
            common["outputDimensionality"] = request.dimensions
        asked = [
            {**common, "content": {"parts": [{"text": form.format(words)}]}}
            for words in request.texts
        ]
        return Post(f"{self._url}:batchEmbedContents", orjson.dumps({"requests": asked}))

    def read_embed(self, request: EmbedRequest, reply: HttpReply) -> EmbedReply:
        """Raises: ProviderError when the body does not hold one vector a text."""
        try:
            body = parse(reply.body)
            vectors = [[float(x) for x in found["values"]] for found in body["embeddings"]]
            if len(vectors) != len(request.texts) or not all(vectors):
                raise TypeError("not one vector a text")
            if not all(isfinite(x) for vector in vectors for x in vector):
                raise TypeError("not a vector")
            said = body.get("usageMetadata")
            tokens = count(said.get("promptTokenCount")) if isinstance(said, dict) else None
            return EmbedReply(vectors, Usage(tokens))
        except WRONG as error:
            raise self.unreadable("embeddings", reply.body) from error

    def fault(self, reply: HttpReply) -> ProviderError:
        """As everywhere, but for a key that is fine and yet may not be used from here."""
        said, words = self._said(reply.body)
        status = 403 if "FAILED_PRECONDITION" in words else reply.status
        return fault(status, said, words)

    def _told(self, body: bytes) -> ProviderError:
        """An error inside a stream as the error it would have been as a reply."""
        status = None
        with suppress(*WRONG):
            tree = parse(body)
            status = count((tree[0] if isinstance(tree, list) else tree)["error"]["code"])
        return self.fault(HttpReply(status if status and status >= 400 else 500, {}, body))

    def _said(self, body: bytes) -> tuple[str, str]:
        """The message and the status, and the reasons among the details (API_KEY_INVALID)."""
        said, words = super()._said(body)
        with suppress(*WRONG):
            tree = parse(body)
            details = (tree[0] if isinstance(tree, list) else tree)["error"]["details"]
            words += "".join(f" {text(found['reason'])}" for found in details if "reason" in found)
        return said, words

    def _blocked(self, blocked: BlockedError) -> ProviderError:
        said = self.quote(str(blocked))
        return ProviderError(f"the prompt was refused: {said}", 200, kind="content")


def _body(spec: ModelSpec, service: Service, model: Takes, request: ChatRequest) -> dict[str, Any]:
    """The request as JSON. Raises: ProviderError for what the model does not take."""
    system, contents = conversation(request.messages, signed=model.signed)
    body: dict[str, Any] = {
        **service.extra,
        **spec.extra,
        "contents": contents,
        **tools(request.tools, request.tool_choice),
    }
    if request.schema is not None and service.schema != "json_schema":
        said = [{"role": "system", "content": system}] if system else []
        system = with_schema(said, request.schema)[0]["content"]
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    there = body.get("generationConfig")
    config: dict[str, Any] = dict(there) if isinstance(there, dict) else {}
    config |= sampling(model, request) | thinking(model, request.reasoning)
    for name, written in PLAIN.items():
        if getattr(request, name) is not None:
            config[written] = getattr(request, name)
    if request.n > 1:
        config["candidateCount"] = request.n
    if request.stop:
        config["stopSequences"] = list(request.stop)
    if request.logprobs is not None:
        config["responseLogprobs"] = True
        if request.logprobs:
            config["logprobs"] = request.logprobs
    if request.schema is not None and service.schema != "prompt":
        config["responseMimeType"] = "application/json"
    if request.schema is not None and service.schema == "json_schema":
        config["responseJsonSchema"] = request.schema
    if config:
        body["generationConfig"] = config
    return body
