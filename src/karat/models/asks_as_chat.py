"""Decisions by a chat model: the first token of an answer in one letter, or in yes or no.

A model without a decisions endpoint still knows how likely it is to say each letter: one answer of
one token, with the likeliest alternatives to that token, holds the whole distribution, at the price
of reading the conversation once a question. What the model would rather have said is left out of
the distribution; where that is most of it, the answer is refused rather than blown up to 1.
Source of the method: Hendrycks et al. 2021 (MMLU), section 4.1; SGLang's documentation, "Decision
models", How answers are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from string import ascii_uppercase
from typing import Protocol

from karat.errors import ProviderError
from karat.models.asks import DecideRequest, Question, Verdict
from karat.models.chat import ChatRequest, TokenLogprob
from karat.models.providers._decisions import NO, YES, verdict_of
from karat.row import Message

TOP = 20  # alternatives to a token: the most that OpenAI and those like it give
MIN_MASS = 0.25  # the least share of the first token's probability that must be on the options
_STRIP = " \t\n▁Ġ\"'`*()[].:"  # what may stand around a letter: spaces, their marks, punctuation


class Answered(Protocol):
    """What a verdict is read from: a Choice or a Completion."""

    finish_reason: str
    logprobs: list[TokenLogprob] | None


def as_chat(request: DecideRequest, max_tokens: int = 1, top: int = TOP) -> list[ChatRequest]:
    """One request a question, in order.

    `max_tokens` is for services that refuse to write a single one (OpenAI's Responses: 16), `top`
    for those that give fewer alternatives.
    Raises: ProviderError(kind="row") for a question with under 2 options or over 20.
    """
    return [
        ChatRequest(
            _with_question(request.messages, _words(question)),
            temperature=0.0,
            max_tokens=max_tokens,
            logprobs=top,
        )
        for question in request.questions
    ]


def _with_question(messages: tuple[Message, ...], words: str) -> tuple[Message, ...]:
    """At the end of the user's turn, where it is theirs: many templates take no two in a row."""
    if messages and messages[-1].role == "user":
        return (*messages[:-1], Message("user", f"{messages[-1].content}\n\n{words}"))
    return (*messages, Message("user", words))


def from_chat(request: DecideRequest, replies: Sequence[Answered]) -> list[Verdict]:
    """One verdict a question. `replies` are the answers to as_chat's requests, in order.

    Raises: ProviderError(kind="row") for an answer without log-probabilities, or one whose first
    token is most likely none of the options.
    """
    pairs = zip(request.questions, replies, strict=True)
    return [_verdict(question, reply) for question, reply in pairs]


def _words(question: Question) -> str:
    if question.kind == "predicate":
        ask, lines, end = "Is this statement about the conversation above true?", [], "yes or no"
    else:
        ask = {
            "choice": "Which option fits the conversation above?",
            "score": "Which level fits the conversation above? Levels go from low to high.",
        }[question.kind]
        lines = [
            f"{letter}: {option.value}" + (f" - {option.description}" if option.description else "")
            for letter, option in zip(_labels(question), question.options, strict=True)
        ]
        end = "one letter"
    return "\n".join(
        [ask, question.instructions, "", *lines, f"Answer with {end} and nothing else."]
    )


def _labels(question: Question) -> list[str]:
    """What the model is to say for each option, in capitals."""
    if question.kind == "predicate":
        return [YES.upper(), NO.upper()]
    size = len(question.options)
    if not 2 <= size <= TOP:
        raise ProviderError(
            f"a question to a chat model has 2 to {TOP} options, not {size}; ask a model with a "
            "decisions endpoint, or ask in two steps",
            kind="row",
        )
    return list(ascii_uppercase[:size])


def _verdict(question: Question, reply: Answered) -> Verdict:
    if reply.finish_reason == "content_filter":
        return Verdict(question.name)
    weights = _weights(question, reply)
    mass = sum(weights)
    if mass < MIN_MASS:
        first = (reply.logprobs or [])[0].token
        raise ProviderError(
            f"the first token is {first!r}, and only {mass:.0%} of its probability is on the "
            "options; turn reasoning off (reasoning: none), or ask another model",
            kind="row",
        )
    return verdict_of(question, [min(1.0, weight / mass) for weight in weights])


def _weights(question: Question, reply: Answered) -> list[float]:
    """Each option's probability: the sum over the spellings of its letter, or of yes and no.

    Of the first token that is not blank: some models begin a turn with a space or a line break.
    """
    if not reply.logprobs:
        raise ProviderError(
            "the answer came without log-probabilities; decisions need a model that gives them, or "
            "a service with a decisions endpoint",
            kind="row",
        )
    written = (token for token in reply.logprobs if token.token.strip(_STRIP))
    token = next(written, reply.logprobs[0])
    spellings = dict(token.top)
    spellings.setdefault(token.token, token.logprob)
    weights = dict.fromkeys(_labels(question), 0.0)
    for text, logprob in spellings.items():
        label = text.strip(_STRIP).upper()
        if label in weights:
            weights[label] += exp(logprob)
    return list(weights.values())
