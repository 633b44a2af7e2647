"""The body of `/v1/chat/completions` as karat's own request.

What karat cannot ask a model is refused by name before anything is spent; passed over are only
hints that change no answer (a user's id, metadata, a cache's key).
Source: the `openai` package 3.57, types/chat/completion_create_params.py and the messages it names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from karat.models.chat import EFFORTS, ChatRequest, Tool, ToolCall, Turn
from karat.row import Message
from karat.web.gateway.fields import MOST_TURNS, Sampled, Text, Whole, only
from karat.web.gateway.openai_words import reader
from karat.web.gateway.refusals import bad_request, check_tree

Parts = str | list[dict[str, Any]] | None
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


class _Called(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct):
    id: str
    function: _Called | None = None
    type: str = "function"


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Parts = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str = ""
    # What a client sends back of an answer it got, and what names a speaker.
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    annotations: Any = None
    audio: Any = None
    function_call: Any = None


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: Text
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | None = None
    name: str = ""
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class ChatBody(Sampled, kw_only=True, forbid_unknown_fields=True):
    """What a client may send."""

    messages: Annotated[list[_Said], msgspec.Meta(min_length=1, max_length=MOST_TURNS)]
    max_completion_tokens: Whole | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: _Format | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: Annotated[bool | None, only(True, None)] = None
    reasoning_effort: Annotated[str | None, only(*EFFORTS, None)] = None
    # Hints that change no answer; none goes further than here.
    metadata: Any = None
    store: Annotated[bool | None, only(False, None)] = None
    service_tier: Annotated[str | None, only("auto", "default", None)] = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    modalities: Annotated[list[str] | None, only(["text"], None)] = None


read = reader(ChatBody)


def request_of(body: ChatBody) -> ChatRequest:
    """What is asked of the model. Raises: Refused."""
    _refuse(body)
    most = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    return ChatRequest(
        tuple([_message(said, place) for place, said in enumerate(body.messages)]),
        body.n or 1,
        body.temperature,
        body.top_p,
        most,
        body.stops,
        body.seed,
        body.top_k,
        body.min_p,
        body.presence_penalty,
        body.frequency_penalty,
        (body.top_logprobs or 0) if body.logprobs else None,
        None if body.response_format is None else _schema(body.response_format),
        () if not body.tools else tuple([_tool(t, i) for i, t in enumerate(body.tools)]),
        "" if body.tool_choice is None else _choice(body),
        body.reasoning_effort,
    )


def _refuse(body: ChatBody) -> None:
    """Raises: Refused for what is read only to be refused in words."""
    if body.store:
        raise bad_request(
            "'store' is not supported: this gateway keeps no answers to ask for", "store"
        )
    if body.service_tier not in (None, "auto", "default"):
        raise bad_request("'service_tier' is not supported; leave it out", "service_tier")
    if body.parallel_tool_calls is False:
        raise bad_request(
            "'parallel_tool_calls: false' is not supported; leave it out", "parallel_tool_calls"
        )
    if body.modalities not in (None, ["text"]):
        raise bad_request("'modalities' may be text only", "modalities")
    if body.logit_bias:
        raise bad_request("'logit_bias' is not supported; leave it out", "logit_bias")
    if body.top_logprobs is not None and not body.logprobs:
        raise bad_request("'top_logprobs' needs logprobs: true", "top_logprobs")
    if body.reasoning_effort not in (None, *EFFORTS):
        raise bad_request(f"'reasoning_effort' is one of {', '.join(EFFORTS)}", "reasoning_effort")


def _message(said: _Said, place: int) -> Message:
    content = said.content
    text = content if isinstance(content, str) else _text(content, f"messages[{place}].content")
    if said.audio is not None or said.function_call is not None:
        field = "audio" if said.audio is not None else "function_call"
        raise bad_request(
            f"messages[{place}]: '{field}' is not supported; send text and tool_calls", "messages"
        )
    if said.role == "tool":
        if not said.tool_call_id:
            raise bad_request(f"messages[{place}].tool_call_id is missing", "messages")
        return Turn("tool", text, tool_call_id=said.tool_call_id)
    if said.name is not None:
        raise bad_request(
            f"messages[{place}].name is not supported; write who speaks into the text", "messages"
        )
    if said.tool_calls:
        if said.role != "assistant":
            raise bad_request(f"messages[{place}]: only an assistant has tool_calls", "messages")
        return Turn("assistant", text, tool_calls=tuple(_called(c, place) for c in said.tool_calls))
    if content is None and said.role != "assistant":
        raise bad_request(f"messages[{place}].content is missing", "messages")
    if not text and said.refusal:
        text = said.refusal
    return Message("system" if said.role == "developer" else said.role, text)


def _text(parts: list[dict[str, Any]] | None, where: str) -> str:
    """Parts of text, one after the other."""
    found: list[str] = []
    for part in parts or ():
        kind = part.get("type")
        text = part.get("refusal" if kind == "refusal" else "text")
        if kind not in ("text", "refusal"):
            raise bad_request(
                f"{where}: a part of type '{kind}' is not supported: this gateway takes text only, "
                "no images, audio or files", "messages", "unsupported_content",
            )  # fmt: skip
        if not isinstance(text, str):
            raise bad_request(f"{where}: a text part needs its text", "messages")
        found.append(text)
    return "".join(found)


def _called(call: _ToolCall, place: int) -> ToolCall:
    if call.function is None:
        raise bad_request(
            f"messages[{place}].tool_calls: only calls of functions are supported", "messages"
        )
    return ToolCall(call.id, call.function.name, call.function.arguments)


def _tool(tool: _Tool, place: int) -> Tool:
    function = tool.function
    if tool.type != "function" or function is None:
        raise bad_request(
            f"tools[{place}]: only tools of type function are supported, not '{tool.type}'", "tools"
        )
    check_tree(function.parameters, f"tools[{place}].function.parameters", "tools")
    return Tool(function.name, function.description or "", function.parameters or {})


def _choice(body: ChatBody) -> str:
    choice = body.tool_choice
    if not body.tools and choice != "none":
        raise bad_request("'tool_choice' needs tools", "tool_choice")
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise bad_request("'tool_choice' is auto, none, required or a function", "tool_choice")
        return choice if body.tools else ""
    function = (choice or {}).get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if (choice or {}).get("type") != "function" or not isinstance(name, str):
        raise bad_request("'tool_choice' is auto, none, required or a function", "tool_choice")
    if name not in [tool.function.name for tool in body.tools or () if tool.function]:
        raise bad_request(
            f"'tool_choice' names '{name}', which is none of the tools", "tool_choice"
        )
    return name


def _schema(form: _Format) -> dict[str, Any] | None:
    if form.type == "text":
        return None
    if form.type == "json_object":
        return _ANY_OBJECT
    if form.json_schema is None or form.json_schema.schema is None:
        raise bad_request("'response_format.json_schema.schema' is missing", "response_format")
    check_tree(form.json_schema.schema, "response_format.json_schema.schema", "response_format")
    return form.json_schema.schema
