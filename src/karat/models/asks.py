"""What else a model can be asked: how a text goes on, embeddings, an order, decisions.

Decisions are questions answered as probabilities without generated text: is this so, which of
these, how much on these levels. They map onto attribute grading, so they stand beside chat.
Source of their shape: the `openai` package 3.54, types/decision.py, decision_create_params.py.
"""

from __future__ import annotations

import msgspec

from karat.models.chat import Usage
from karat.row import Message

MOST_QUESTIONS = 400  # of one request, as OpenAI has it


class CompleteRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request for `n` independent continuations of `prompt`, as it stands: no chat template is
    applied, and special tokens written in it are special tokens. None leaves a value to the model.
    """

    prompt: str
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


class EmbedRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """`texts` as vectors. `purpose` is query or document where the two are embedded apart."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    purpose: str = ""


class EmbedReply(msgspec.Struct):
    """One vector a text, in the order asked."""

    vectors: list[list[float]]
    usage: Usage
    served_model: str = ""


class RerankRequest(msgspec.Struct, frozen=True):
    """How relevant each document is to the query."""

    query: str
    documents: tuple[str, ...]


class RerankReply(msgspec.Struct):
    """One relevance a document, in the order asked, on the service's own scale."""

    scores: list[float]
    usage: Usage
    served_model: str = ""


class Option(msgspec.Struct, frozen=True, omit_defaults=True):
    """One choice, or one level of a scale; levels go from low to high."""

    value: str
    description: str = ""


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question about the input.

    `kind` is predicate (is the statement in `instructions` true), choice (which of `options`) or
    score (which level of `options`, counted from 0).
    """

    instructions: str
    kind: str = "predicate"
    name: str = ""
    options: tuple[Option, ...] = ()


class DecideRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Questions about one conversation; each is answered by itself."""

    messages: tuple[Message, ...]
    questions: tuple[Question, ...]


class Verdict(msgspec.Struct, omit_defaults=True):
    """The answer to one question.

    `probability` is that of the statement, or of the likeliest option. `value` is that option, None
    where the model declined. `score` is the expected level of a score question.
    `probabilities` are (option, probability), in the question's order.
    """

    name: str = ""
    value: str | None = None
    probability: float = 0.0
    score: float | None = None
    probabilities: list[tuple[str, float]] = []


class DecideReply(msgspec.Struct):
    """One verdict a question, in the order asked."""

    verdicts: list[Verdict]
    usage: Usage
    served_model: str = ""
