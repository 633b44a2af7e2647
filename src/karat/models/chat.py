"""What is asked of a model and what comes back, in no provider's words.

Steps and the client speak these types; a provider's file turns them into its wire format.
"""

from __future__ import annotations

import msgspec

from karat.row import Message


class ChatRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request for `n` independent answers to `messages`. None leaves a value to the model."""

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


class Choice(msgspec.Struct):
    """One answer. `tokens` is None where the service counts the whole request only."""

    content: str
    finish_reason: str = ""
    tokens: int | None = None


class ChatReply(msgspec.Struct):
    """The answers of one request and its bill. None tokens: the service did not say."""

    choices: list[Choice]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    served_model: str = ""


class Completion(msgspec.Struct):
    """One answer as a step sees it; `call` is the hex key of the journal record behind it."""

    content: str
    finish_reason: str
    model: str
    index: int
    call: str
