"""What is asked of a model and what comes back, in no provider's words.

Steps and the client speak these types; a provider's file turns them into its wire format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from karat.row import Message

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


class ToolCall(msgspec.Struct, frozen=True):
    """A call the model wants made. `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


class Turn(Message, frozen=True, omit_defaults=True):
    """A message of a conversation with tools: an assistant's calls, or one call's result.

    A result has role `tool` and the id of the call it answers.
    """

    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function the model may call. `parameters` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class ChatRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request for `n` independent answers to `messages`. None leaves a value to the model.

    `schema` is the JSON schema the answer must follow. `logprobs` asks for each token's
    log-probability and that many alternatives (0: none beside the token itself). `reasoning` is an
    effort of EFFORTS. `tool_choice` is auto, none, required, or a tool's name.
    """

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: int | None = None
    schema: dict[str, Any] | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = ""
    reasoning: str | None = None


class TokenLogprob(msgspec.Struct, omit_defaults=True):
    """One token of an answer; `top` holds its likeliest alternatives, itself among them."""

    token: str
    logprob: float
    top: list[tuple[str, float]] = []


class Usage(msgspec.Struct):
    """What a request used, in tokens, and what the provider says it cost.

    `input` counts every prompt token, cached ones too, whatever the provider's own field counts;
    `cached` of them were read from a cache and `cache_write` written to one. `output` counts every
    token written, `reasoning` of them thoughts. None: the provider did not say.
    """

    input: int | None = None
    cached: int = 0
    cache_write: int = 0
    output: int | None = None
    reasoning: int = 0
    cost_nano: int | None = None  # billionths of a dollar


class Choice(msgspec.Struct):
    """One answer. `tokens` is None where the service counts the whole request only."""

    content: str
    finish_reason: str = ""  # stop, length, tool_calls, content_filter, or the service's own word
    tokens: int | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: list[TokenLogprob] | None = None


class ChatReply(msgspec.Struct):
    """The answers of one request and what they used."""

    choices: list[Choice]
    usage: Usage
    served_model: str = ""


class Delta(msgspec.Struct):
    """A piece of a streamed answer.

    `tool` is (index, id, name, piece of the arguments); id and name come with a call's first
    piece. `usage` and `served_model` come whenever the service says them, the last one counts.
    """

    content: str = ""
    reasoning: str = ""
    tool: tuple[int, str, str, str] | None = None
    finish_reason: str = ""
    usage: Usage | None = None
    served_model: str = ""


class Completion(msgspec.Struct):
    """One answer as a step sees it.

    `model` is the one that answered, which after a fallback is not the first one asked. `call` is
    the hex key of the journal record behind it.
    `value` is the parsed answer where a schema was given.
    """

    content: str
    finish_reason: str
    model: str
    index: int
    call: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: list[TokenLogprob] | None = None
    value: Any = None


R = TypeVar("R", bound=msgspec.Struct)


def with_defaults(request: R, defaults: Mapping[str, Any]) -> R:
    """The model's own sampling values where the step left one open."""
    fill = {name: value for name, value in defaults.items() if getattr(request, name) is None}
    return msgspec.structs.replace(request, **fill) if fill else request
