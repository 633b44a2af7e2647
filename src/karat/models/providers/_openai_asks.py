"""Embeddings, rerank and decisions in the formats of OpenAI-style services, as functions.

A provider of any such wire delegates to them. Where services differ, the difference is in the
service's own data: a path below base_url, after `FORMAT:` where the format is not the usual one
(`nvidia:/ranking`, `systemone:/systemone`), and `rename` for what a field or a purpose is called
(NVIDIA: purpose = input_type, document = passage).
Source: the API references of /v1/embeddings and /v1/decisions; Cohere's /v2/rerank, which Jina,
vLLM, Together and OpenRouter follow; NVIDIA NeMo Retriever, "Use reranking", /v1/ranking.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable
from math import isfinite
from typing import Any, TypeVar
from urllib.parse import urljoin

import numpy as np
import orjson

from karat.errors import ProviderError, did_you_mean
from karat.models.asks import (
    MOST_QUESTIONS,
    DecideReply,
    DecideRequest,
    EmbedReply,
    EmbedRequest,
    RerankReply,
    RerankRequest,
)
from karat.models.chat import Usage
from karat.models.providers import _decisions as decisions
from karat.models.providers._http import HttpProvider, count, parse
from karat.models.providers._openai_shapes import cost_nano
from karat.models.services import Service
from karat.models.transport import HttpReply
from karat.models.wire import Post

# The formats of each ask; the first is meant where none is written.
EMBEDDINGS, RERANKS = ("openai",), ("cohere", "nvidia")
T = TypeVar("T")
UNREADABLE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError,
    binascii.Error,
)  # fmt: skip


def embed_post(provider: HttpProvider, request: EmbedRequest) -> Post:
    """Vectors are asked for as base64, a third of the bytes, unless the service refuses it.

    Raises: ProviderError(kind="row") where the service has none.
    """
    service = provider.service
    _, url = endpoint(provider, "embeddings", service.embeddings, EMBEDDINGS)
    body: dict[str, Any] = {
        "model": provider.spec.name,
        **provider.spec.extra,
        "input": list(request.texts),
    }
    if "encoding_format" not in service.refuses:
        body["encoding_format"] = "base64"
    if request.dimensions is not None:
        body[service.rename.get("dimensions", "dimensions")] = request.dimensions
    if request.purpose and "purpose" in service.rename:
        purpose = service.rename.get(request.purpose, request.purpose)
        body[service.rename["purpose"]] = purpose
    return Post(url, orjson.dumps(body))


def read_embed(provider: HttpProvider, request: EmbedRequest, reply: HttpReply) -> EmbedReply:
    """Raises: ProviderError(kind="unreadable") unless every text has a vector of one length."""
    try:
        body = parse(reply.body)
        places = [item.get("index", i) for i, item in enumerate(body["data"])]
        vectors = in_order(
            zip(places, (_vector(item["embedding"]) for item in body["data"]), strict=True),
            len(request.texts),
        )
        if len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
            raise ValueError("vectors of different lengths")
    except UNREADABLE as error:
        raise provider.unreadable("a vector for every text", reply.body) from error
    usage = read_usage(body.get("usage"), provider.service, silent=True)
    return EmbedReply(vectors, usage, _model(body))


def _vector(value: Any) -> list[float]:
    """Raises: ValueError for what is no vector of finite numbers."""
    if isinstance(value, str):
        vector = np.frombuffer(base64.b64decode(value, validate=True), "<f4")
    else:
        vector = np.asarray(value, np.float64)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError("not a vector")
    found: list[float] = vector.tolist()
    return found


def rerank_post(provider: HttpProvider, request: RerankRequest) -> Post:
    """Raises: ProviderError(kind="row") where the service has no rerank."""
    form, url = endpoint(provider, "rerank", provider.service.rerank, RERANKS)
    body: dict[str, Any] = {"model": provider.spec.name}
    if form == "nvidia":
        body["query"] = {"text": request.query}
        body["passages"] = [{"text": document} for document in request.documents]
    else:
        body["query"] = request.query
        body["documents"] = list(request.documents)
        if "return_documents" not in provider.service.refuses:
            body["return_documents"] = False
    return Post(url, orjson.dumps({**body, **provider.spec.extra}))


def read_rerank(provider: HttpProvider, request: RerankRequest, reply: HttpReply) -> RerankReply:
    """Raises: ProviderError(kind="unreadable") unless every document has one score."""
    try:
        body = parse(reply.body)
        if "rankings" in body:
            found = [(item["index"], float(item["logit"])) for item in body["rankings"]]
        else:
            found = [(item["index"], float(item["relevance_score"])) for item in body["results"]]
        scores = in_order(found, len(request.documents))
        if not all(map(isfinite, scores)):
            raise ValueError("not a finite score")
    except UNREADABLE as error:
        raise provider.unreadable("a score for every document", reply.body) from error
    usage = body.get("usage") or (body.get("meta") or {}).get("tokens")
    usage = read_usage(usage, provider.service, silent=True)
    return RerankReply(scores, usage, _model(body))


def decide_post(provider: HttpProvider, request: DecideRequest) -> Post:
    """Raises: ProviderError(kind="row") where the service has no decisions, or too few options."""
    form, url = endpoint(provider, "decisions", provider.service.decisions, decisions.FORMATS)
    if len(request.questions) > MOST_QUESTIONS:
        raise ProviderError(f"over {MOST_QUESTIONS} questions in one request", kind="row")
    said = decisions.FORMATS[form].write(request)
    body = {"model": provider.spec.name, **provider.spec.extra, **said}
    return Post(url, orjson.dumps(body))


def read_decide(provider: HttpProvider, request: DecideRequest, reply: HttpReply) -> DecideReply:
    """Raises: ProviderError(kind="unreadable") unless every question has an answer or a refusal."""
    form, _ = endpoint(provider, "decisions", provider.service.decisions, decisions.FORMATS)
    try:
        body = parse(reply.body)
        verdicts = decisions.FORMATS[form].read(request, body["answers"])
    except UNREADABLE as error:
        raise provider.unreadable("an answer to every question", reply.body) from error
    usage = read_usage(body.get("usage"), provider.service, silent=True)
    return DecideReply(verdicts, usage, _model(body))


def read_usage(usage: Any, service: Service, *, silent: bool = False) -> Usage:
    """Tokens under either of OpenAI's names. `silent`: the request writes none."""
    usage = usage if isinstance(usage, dict) else {}
    read, wrote = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    read, wrote = (part if isinstance(part, dict) else {} for part in (read, wrote))
    total, nothing = (usage.get("total_tokens"), 0) if silent and usage else (None, None)
    return Usage(
        input=_first_count(usage.get("input_tokens"), usage.get("prompt_tokens"), total),
        cached=count(read.get("cached_tokens")) or 0,
        cache_write=count(read.get("cache_write_tokens")) or 0,
        output=_first_count(usage.get("output_tokens"), usage.get("completion_tokens"), nothing),
        reasoning=count(wrote.get("reasoning_tokens")) or 0,
        cost_nano=cost_nano(usage, service),
    )


def _first_count(*values: object) -> int | None:
    found = (count(value) for value in values)
    return next((value for value in found if value is not None), None)


def in_order(found: Iterable[tuple[Any, T]], size: int) -> list[T]:
    """The values by their index. Raises: ValueError, KeyError unless each is there once."""
    pairs = list(found)
    if len(pairs) != size:
        raise ValueError(f"{len(pairs)} for {size}")
    by_index = dict(pairs)
    return [by_index[i] for i in range(size)]


def endpoint(
    provider: HttpProvider, what: str, written: str, formats: Collection[str]
) -> tuple[str, str]:
    """(format, URL). `../` in a path leaves the API's version, never its host."""
    form, _, path = written.rpartition(":")
    form = form or next(iter(formats))
    if not path:
        raise ProviderError(
            f"{provider.spec.provider} offers no {what} that karat can reach", kind="row"
        )
    if form not in formats:
        raise ProviderError(
            f"{provider.spec.provider}: no {what} format '{form}'; {did_you_mean(form, formats)}",
            kind="row",
        )
    if path.startswith("../"):
        return form, urljoin(f"{provider.address}/", path)
    return form, f"{provider.address}/{path.lstrip('/')}"


def _model(body: Any) -> str:
    return str(body.get("model") or "")


class AskProvider(HttpProvider):
    """A connection that offers what else OpenAI's kind of service is asked, beside chat."""

    def embed(self, request: EmbedRequest) -> Post:
        return embed_post(self, request)

    def read_embed(self, request: EmbedRequest, reply: HttpReply) -> EmbedReply:
        return read_embed(self, request, reply)

    def rerank(self, request: RerankRequest) -> Post:
        return rerank_post(self, request)

    def read_rerank(self, request: RerankRequest, reply: HttpReply) -> RerankReply:
        return read_rerank(self, request, reply)

    def decide(self, request: DecideRequest) -> Post:
        return decide_post(self, request)

    def read_decide(self, request: DecideRequest, reply: HttpReply) -> DecideReply:
        return read_decide(self, request, reply)
