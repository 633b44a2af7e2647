"""Anthropic's messages: Claude at its own address.

A request's fields that Claude does not take as they are said are translated by a stated rule or
refused before anything is sent: see _anthropic_models.py for efforts and sampling. The version
asked for is 2023-06-01: the one after it takes no temperature from any model.
A schema goes to output_config.format, for models before 4.5 into a tool the model must call, and
into the system text for a service that takes none.
Source: Anthropic's API reference, "Messages", "Errors", "API versioning"; the `anthropic` package
2.12, types/message_create_params.py.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson

from karat.errors import ProviderError
from karat.models.chat import ChatReply, ChatRequest
from karat.models.faults import fault
from karat.models.providers._anthropic_models import Claude, claude, sampling, thinking
from karat.models.providers._anthropic_read import WRONG, Reader, read_message
from karat.models.providers._anthropic_schema import closed
from karat.models.providers._anthropic_turns import answer_tool, conversation, tools
from karat.models.providers._http import (
    HttpProvider,
    check_defaults,
    over_http,
    parse,
    refused,
)
from karat.models.providers._openai_body import with_schema
from karat.models.providers._text import text
from karat.models.services import Service
from karat.models.spec import ModelSpec
from karat.models.takes import service_of
from karat.models.transport import HttpReply, Transport
from karat.models.wire import EventReader, Post

TAKES = (
    "messages", "temperature", "top_p", "max_tokens", "stop", "top_k", "schema", "tools",
    "tool_choice", "reasoning",
)  # fmt: skip
MAX_TEMPERATURE = 1.0
TOKENS_PER_S = 60.0  # a middling Claude
VERSION = "2023-06-01"
# The statuses of errors that come inside a stream, where there is none.
STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402,
    "permission_error": 403, "not_found_error": 404, "request_too_large": 413,
    "rate_limit_error": 429, "api_error": 500, "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip


def check(spec: ModelSpec) -> None:
    """Raises: RecipeError when it cannot be reached, or refuses what the model says of itself."""
    check_defaults(spec, refusal)


def refusal(spec: ModelSpec, request: ChatRequest) -> str:
    """What this very model does not take of a request, in words; empty: nothing."""
    try:
        _body(spec, service_of(spec), claude(spec.name), request)
    except ProviderError as error:
        return str(error)
    return ""


def connect(spec: ModelSpec) -> Anthropic:
    return over_http(Anthropic, spec)


class Anthropic(HttpProvider):
    """Speaks /messages over a transport."""

    def __init__(
        self, spec: ModelSpec, transport: Transport, concurrency: int, url: str, key: str = ""
    ) -> None:
        super().__init__(spec, transport, concurrency, url, key)
        self.headers = {"anthropic-version": VERSION, **self.headers}
        self.max_n = 1  # the format has no n
        self._url = f"{self.address}/messages"
        self._model = claude(spec.name)
        self.default_max_tokens = self._model.max_tokens

    def chat(self, request: ChatRequest, *, stream: bool = False) -> Post:
        """Raises: ProviderError for what this model does not take."""
        body = _body(self.spec, self.service, self._model, request)
        if stream:
            body["stream"] = True
        return Post(self._url, orjson.dumps(body))

    def read_chat(self, reply: HttpReply) -> ChatReply:
        """Raises: ProviderError when the body is not a message."""
        try:
            return read_message(parse(reply.body))
        except WRONG as error:
            raise self.unreadable("a message", reply.body) from error

    def reader(self) -> EventReader:
        return Reader(self._told, self.unreadable).read

    def _told(self, body: bytes) -> ProviderError:
        """An error event as the error it would have been as a reply."""
        said, words = self._said(body)
        status = next((STATUS[word] for word in words.split() if word in STATUS), 500)
        return fault(status, said, words)

    def _said(self, body: bytes) -> tuple[str, str]:
        """The message and the type, and the code that tells a spent limit from a full minute."""
        said, words = super()._said(body)
        with suppress(*WRONG):
            words += f" {text(parse(body)['error']['details']['error_code'])}"
        return said, words


def _body(spec: ModelSpec, service: Service, model: Claude, request: ChatRequest) -> dict[str, Any]:
    """The request as JSON. Raises: ProviderError for what the model does not take."""
    max_tokens = request.max_tokens or model.max_tokens
    system, turns = conversation(request.messages)
    body: dict[str, Any] = {
        **service.extra,
        **spec.extra,
        "model": spec.name,
        "max_tokens": max_tokens,
        "messages": turns,
        **sampling(model, request),
        **tools(request.tools, request.tool_choice),
    }
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    asked = thinking(model, request.reasoning, max_tokens)
    config = {**_mapping(body.get("output_config")), **asked.pop("output_config", {})}
    if request.schema is not None:
        if service.schema != "json_schema":
            told = [{"role": "system", "content": system}] if system else []
            system = with_schema(told, request.schema)[0]["content"]
        elif model.structured:
            config["format"] = {"type": "json_schema", "schema": closed(request.schema)}
        else:
            body.update(_early_schema(model, request))
    if system:
        body["system"] = system
    if config:
        body["output_config"] = config
    return {**body, **asked}


def _early_schema(model: Claude, request: ChatRequest) -> dict[str, Any]:
    schema = request.schema or {}
    if request.tools:
        raise refused(f"{model.name} follows a schema by a tool; it can have no other tools then")
    if request.reasoning not in (None, "none"):
        raise refused(f"{model.name} cannot think and follow a schema at once; leave one out")
    if schema.get("type") != "object":
        raise refused(f"{model.name} follows a schema only where its type is object")
    return answer_tool(schema)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
