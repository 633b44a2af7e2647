"""OpenAI's Responses API: typed items where chat completions have messages.

`{model: openai/gpt-5, wire: responses}`: some models answer here only, and here alone a reasoning
model says a summary of its thoughts. OpenAI gives that to verified organisations and refuses the
request of others, so it comes only where asked for: `extra: {reasoning: {summary: auto}}`. Nothing
is stored at the service: `store` is false unless `extra` says otherwise. The format has no n, seed
or stop.
Source: the API reference of /v1/responses; the `openai` package 3.54, types/responses.
"""

from __future__ import annotations

from typing import Any

import orjson

from karat.errors import ProviderError
from karat.models.chat import (
    ChatReply,
    ChatRequest,
    Choice,
    TokenLogprob,
    Tool,
    ToolCall,
    Turn,
)
from karat.models.faults import fault
from karat.models.providers import _openai_asks as asks
from karat.models.providers._http import (
    check_reachable,
    over_http,
    parse,
)
from karat.models.providers._openai_body import CHOICES, is_strict, with_schema
from karat.models.providers._openai_shapes import log_probability
from karat.models.providers._responses_stream import Reader, finish_reason
from karat.models.providers._text import text
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply, Transport
from karat.models.wire import EventReader, Post
from karat.row import Message

TAKES = (
    "temperature", "top_p", "max_tokens", "logprobs", "schema", "tools", "tool_choice", "reasoning",
)  # fmt: skip
TOKENS_PER_S = 40.0  # a middling hosted model
WRITTEN = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_output_tokens"}
# response.status "failed": what its error code would have been as a status (response_error.py).
STATUS = {"rate_limit_exceeded": 429, "server_error": 500, "vector_store_timeout": 504}


def check(spec: ModelSpec) -> None:
    """Raises: RecipeError when the address or the key is missing."""
    check_reachable(spec)


def connect(spec: ModelSpec) -> Responses:
    return over_http(Responses, spec)


class Responses(asks.AskProvider):
    """Speaks /responses over a transport."""

    def __init__(
        self, spec: ModelSpec, transport: Transport, concurrency: int, url: str, key: str = ""
    ) -> None:
        super().__init__(spec, transport, concurrency, url, key)
        self.max_n = 1
        self._fixed = {"model": spec.name, "store": False, **self.service.extra, **spec.extra}

    def chat(self, request: ChatRequest, *, stream: bool = False) -> Post:
        body = self._fixed.copy()
        messages = request.messages
        body["input"] = [item for message in messages for item in _items(message)]
        for name, written in WRITTEN.items():
            value = getattr(request, name)
            if value is not None:
                body[written] = value
        if request.logprobs is not None:
            body["include"] = [*body.get("include", ()), "message.output_text.logprobs"]
            body["top_logprobs"] = request.logprobs
        if request.schema is not None:
            self._add_schema(body, request.schema)
        if request.tools:
            body["tools"] = [*body.get("tools", ()), *(_tool(tool) for tool in request.tools)]
            if request.tool_choice:
                body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.reasoning is not None:
            body["reasoning"] = {**body.get("reasoning", {}), "effort": request.reasoning}
        if stream:
            body["stream"] = True
        return Post(f"{self.address}/responses", orjson.dumps(body))

    def _add_schema(self, body: dict[str, Any], schema: dict[str, Any]) -> None:
        form: dict[str, Any] | None = None
        if self.service.schema == "json_schema":
            form = {
                "type": "json_schema",
                "name": "answer",
                "schema": schema,
                "strict": is_strict(schema),
            }
        else:
            body["input"] = with_schema(body["input"], schema)
            if self.service.schema == "json_object":
                form = {"type": "json_object"}
        if form is not None:
            body["text"] = {**body.get("text", {}), "format": form}

    def read_chat(self, reply: HttpReply) -> ChatReply:
        """Raises: ProviderError when the body is no response, or one that failed."""
        try:
            body = parse(reply.body)
            if body.get("status") == "failed" or (body.get("error") and not body.get("output")):
                raise self.told(body.get("error"))
            choice = read_choice(body)
            usage = asks.read_usage(body.get("usage"), self.service)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self.unreadable("a response", reply.body) from error
        return ChatReply([choice], usage, str(body.get("model") or ""))

    def reader(self) -> EventReader:
        return Reader(self).read

    def told(self, error: Any) -> ProviderError:
        """An error sent where an answer was due, under status 200."""
        said, words = self._said(orjson.dumps({"error": error or "no reason given"}))
        code = str(error.get("code") or "") if isinstance(error, dict) else ""
        if code.endswith(("_policy", "_policy_violation")):
            return ProviderError(f"HTTP 200: {said}", 200, kind="content")
        status = int(code) if code.isdecimal() else STATUS.get(code, 400 if code else 500)
        return fault(status if 400 <= status < 600 else 500, said, words)


def _items(message: Message) -> list[dict[str, Any]]:
    """A message as input items: a call and its result are items of their own."""
    if isinstance(message, Turn) and message.tool_call_id:
        output = {"call_id": message.tool_call_id, "output": message.content}
        return [{"type": "function_call_output", **output}]
    items: list[dict[str, Any]] = [{"role": message.role, "content": message.content}]
    if isinstance(message, Turn) and message.tool_calls:
        calls = [
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
            }
            for call in message.tool_calls
        ]
        return [*(items if message.content else ()), *calls]
    return items


def _tool(tool: Tool) -> dict[str, Any]:
    """`strict` is said: left out, the service takes it as true and refuses open schemas."""
    written: dict[str, Any] = {
        "type": "function",
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
        "strict": is_strict(tool.parameters),
    }
    if tool.description:
        written["description"] = tool.description
    return written


def _tool_choice(choice: str) -> Any:
    return choice if choice in CHOICES else {"type": "function", "name": choice}


def read_choice(body: Any) -> Choice:
    """The answer in a response's output. Raises: TypeError and its like for anything else."""
    choice = Choice("")
    refused, calls, thoughts = False, list[ToolCall](), list[str]()
    for item in body["output"]:
        kind = item.get("type")
        if kind == "message":
            for part in item["content"]:
                refused |= part.get("type") == "refusal"
                choice.content += _text(
                    part, "refusal" if part.get("type") == "refusal" else "text"
                )
                choice.logprobs = _logprobs(choice.logprobs, part.get("logprobs"))
        elif kind == "reasoning":
            parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
            thoughts += [_text(part, "text") for part in parts]
        elif kind == "function_call":
            said = [text(item[name]) for name in ("call_id", "name", "arguments")]
            calls.append(ToolCall(*said))
    choice.reasoning, choice.tool_calls = "\n\n".join(thoughts), tuple(calls)
    choice.finish_reason = finish_reason(body, refused, bool(calls))
    return choice


def _text(part: Any, name: str) -> str:
    return text(part.get(name) or "")


def _logprobs(before: list[TokenLogprob] | None, found: Any) -> list[TokenLogprob] | None:
    """Those of one more part; a service that was not asked sends an empty list."""
    if not found:
        return before
    read = [
        TokenLogprob(
            text(token["token"]),
            log_probability(token["logprob"]),
            [
                (text(other["token"]), log_probability(other["logprob"]))
                for other in token.get("top_logprobs") or ()
            ],
        )
        for token in found
    ]
    return [*(before or ()), *read]
