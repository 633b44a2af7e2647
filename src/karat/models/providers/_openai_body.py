"""A request for samples as OpenAI's format writes it, each service's way.

Written once a model, not once a request: what depends on the service alone is settled in advance,
because a run sends millions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from karat.models.asks import CompleteRequest
from karat.models.chat import ChatRequest, Tool, Turn
from karat.models.services import Service
from karat.models.spec import ModelSpec
from karat.row import Message

# Fields that are written as they are, where they are said.
PLAIN = (
    "temperature", "top_p", "max_tokens", "seed", "top_k", "min_p", "presence_penalty",
    "frequency_penalty",
)  # fmt: skip
CHOICES = ("auto", "none", "required")
# Keywords that OpenAI's strict mode refuses ("Structured model outputs", "Supported schemas").
NOT_STRICT = {
    "allOf", "oneOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else",
    "patternProperties", "propertyNames", "unevaluatedProperties", "contains", "uniqueItems",
}  # fmt: skip


class Writer:
    """Writes the requests of one model."""

    def __init__(self, spec: ModelSpec, service: Service) -> None:
        self._fixed: dict[str, Any] = {"model": spec.name, **service.extra}
        merge(self._fixed, spec.extra)
        self._service = service
        plain = (name for name in PLAIN if name != "seed" or service.seed)
        self._plain = [(name, service.rename.get(name, name)) for name in plain]

    def write(self, request: ChatRequest, *, stream: bool = False) -> bytes:
        """The request's body."""
        body: dict[str, Any] = self._fixed.copy()
        body["messages"] = [_message(message) for message in request.messages]
        if request.n > 1:
            body["n"] = request.n
        for name, written in self._plain:
            value = getattr(request, name)
            if value is not None:
                body[written] = value
        if request.stop:
            body["stop"] = request.stop
        if request.logprobs is not None:
            body.update(self._logprobs(request.logprobs))
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
            if request.tool_choice:
                body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.schema is not None:
            self._add_schema(body, request.schema)
        if request.reasoning is not None:
            merge(body, reasoning(request.reasoning, self._service.reasoning))
        if stream:
            body["stream"] = True
            if self._service.stream_usage:
                body["stream_options"] = {"include_usage": True}
        return orjson.dumps(body)

    def write_prompt(self, request: CompleteRequest) -> bytes:
        """The body of a request to go on with a text."""
        body: dict[str, Any] = {**self._fixed, "prompt": request.prompt}
        if request.n > 1:
            body["n"] = request.n
        for name, written in self._plain:
            value = getattr(request, name)
            if value is not None:  # the newer name came after this endpoint was closed
                body[name if written == "max_completion_tokens" else written] = value
        if request.stop:
            body["stop"] = request.stop
        return orjson.dumps(body)

    def _logprobs(self, alternatives: int) -> dict[str, Any]:
        if self._service.logprobs == "number":
            return {"logprobs": max(1, alternatives)}
        return {"logprobs": True, **({"top_logprobs": alternatives} if alternatives else {})}

    def _add_schema(self, body: dict[str, Any], schema: dict[str, Any]) -> None:
        form = self._service.schema
        if form == "json_schema":
            asked = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": asked}
            return
        body["messages"] = with_schema(body["messages"], schema)
        if form == "json_object":
            body["response_format"] = {"type": "json_object"}


def _message(message: Message) -> dict[str, Any]:
    if type(message) is not Turn:
        return {"role": message.role, "content": message.content}
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        written["content"] = message.content or None  # as the service itself writes it
        written["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        written["tool_call_id"] = message.tool_call_id
    return written


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> Any:
    return choice if choice in CHOICES else {"type": "function", "function": {"name": choice}}


def reasoning(effort: str, style: str) -> dict[str, Any]:
    """The fields that ask for an effort.

    Chat templates differ in what they call the switch, and overlook what they do not know: Qwen and
    Nemotron read enable_thinking, DeepSeek and Kimi thinking, gpt-oss reasoning_effort.
    """
    thinks = effort != "none"
    level: dict[str, Any] = {"reasoning_effort": effort}
    if style == "nested":
        return {"reasoning": {"effort": effort}}
    if style == "thinking":
        if not thinks:
            return {"thinking": {"type": "disabled"}}
        return {"thinking": {"type": "enabled"}, **level}
    if style == "template":
        switch: dict[str, Any] = {"enable_thinking": thinks, "thinking": thinks}
        if not thinks:
            return {"chat_template_kwargs": switch}
        return {"chat_template_kwargs": {**switch, **level}, **level}
    return level


def is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes the schema: all objects closed, all fields required."""
    try:
        return isinstance(schema, dict) and schema.get("type") == "object" and _closed(schema)
    except (TypeError, AttributeError, RecursionError):  # no schema at all: the service will say so
        return False


def _closed(part: Any) -> bool:
    if isinstance(part, list):
        return all(_closed(item) for item in part)
    if not isinstance(part, dict):
        return True
    if not NOT_STRICT.isdisjoint(part):
        return False
    if part.get("type") == "object" or "properties" in part:
        properties = part.get("properties")
        if not isinstance(properties, dict) or part.get("additionalProperties") is not False:
            return False
        if set(properties) != set(part.get("required", ())):
            return False
    named = ("properties", "$defs", "definitions")
    inside = [item for name in named for item in part.get(name, {}).values()]
    return _closed(inside) and all(
        _closed(part[name]) for name in ("items", "prefixItems", "anyOf") if name in part
    )


def with_schema(messages: list[dict[str, Any]], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversation with the schema in words, at the end of what its system message says."""
    asked = (
        "Answer with one JSON value that follows this JSON schema, and with nothing else:\n"
        + orjson.dumps(schema).decode()
    )
    first = messages[0] if messages else {}
    if first.get("role") != "system":
        return [{"role": "system", "content": asked}, *messages]
    return [{**first, "content": f"{first['content']}\n\n{asked}"}, *messages[1:]]


def merge(body: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Adds fields; of an object that is there already, those it lacks or says otherwise."""
    for name, value in more.items():
        there = body.get(name)
        both = isinstance(there, dict) and isinstance(value, dict)
        body[name] = {**there, **value} if both and there else value
