"""Embeddings, rerank and decisions on the wire, in every format that services speak."""

from __future__ import annotations

import base64

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import ProviderError
from karat.models.asks import (
    MOST_QUESTIONS,
    DecideRequest,
    EmbedRequest,
    Option,
    Question,
    RerankRequest,
)
from karat.models.chat import Usage
from karat.models.providers import _openai_asks as asks
from karat.models.providers._http import HttpProvider
from karat.models.services import Service
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply
from karat.row import Message

SAID = (Message("user", "My card was charged twice."),)
TEAMS = (Option("billing", "payments"), Option("sales"))
LEVELS = (Option("calm"), Option("cross"), Option("furious", "shouts"))
ASKED = DecideRequest(
    SAID,
    (
        Question("The customer wants money back."),
        Question("Which team?", "choice", "team", TEAMS),
        Question("How angry?", "score", "anger", LEVELS),
    ),
)


def provider(extra=None, **service):
    offered = Service(base_url="http://h/api/v1", **service)
    spec = ModelSpec("svc/m", service=offered, extra=extra or {})
    return HttpProvider(spec, None, 1, "http://h/api/v1")


def ok(tree):
    return HttpReply(200, {}, orjson.dumps(tree))


def said(post):
    return orjson.loads(post.body)


def unreadable(read, *args):
    with pytest.raises(ProviderError) as caught:
        read(*args)
    assert (caught.value.status, caught.value.kind) == (200, "unreadable")


# embeddings


def test_an_embeddings_request():
    post = asks.embed_post(provider(), EmbedRequest(("a", "b"), dimensions=3, purpose="query"))
    assert post.url == "http://h/api/v1/embeddings"
    asked = {"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 3}
    assert said(post) == asked


@pytest.mark.parametrize(("purpose", "written"), [("query", "query"), ("document", "passage")])
def test_a_purpose_is_said_in_the_services_words(purpose, written):
    nim = provider(
        rename={"purpose": "input_type", "document": "passage"},
        refuses=("encoding_format",),
        extra={"truncate": "END"},
    )
    post = asks.embed_post(nim, EmbedRequest(("a",), purpose=purpose))
    asked = {"model": "m", "input": ["a"], "input_type": written, "truncate": "END"}
    assert said(post) == asked


@given(
    st.lists(
        st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2
        ),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_vectors_come_back_exact_and_in_order(vectors, random, packed):
    def write(vector):
        return base64.b64encode(np.array(vector, "<f4").tobytes()).decode() if packed else vector

    data = [{"index": i, "embedding": write(v)} for i, v in enumerate(vectors)]
    random.shuffle(data)
    tree = {"data": data, "model": "m-1", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    read = asks.read_embed(provider(), EmbedRequest(("x",) * len(vectors)), ok(tree))
    assert read.vectors == vectors
    assert (read.usage, read.served_model) == (Usage(5, output=0), "m-1")


@pytest.mark.parametrize(
    "data",
    [
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [None]}],
        [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}],
        [{"index": 0, "embedding": "!!"}, {"index": 1, "embedding": "!!"}],
        [{"index": 0, "embedding": "AAA="}, {"index": 1, "embedding": "AAA="}],
        None,
    ],
)
def test_vectors_that_do_not_fit_are_unreadable(data):
    unreadable(asks.read_embed, provider(), EmbedRequest(("a", "b")), ok({"data": data}))


# rerank


def test_a_rerank_request_as_most_write_it():
    post = asks.rerank_post(provider(rerank="/rerank"), RerankRequest("q", ("a", "b")))
    assert post.url == "http://h/api/v1/rerank"
    asked = {"model": "m", "query": "q", "documents": ["a", "b"], "return_documents": False}
    assert said(post) == asked
    plain = provider(rerank="/rerank", refuses=("return_documents",))
    assert "return_documents" not in said(asks.rerank_post(plain, RerankRequest("q", ("a",))))


def test_a_rerank_request_as_nvidia_writes_it():
    post = asks.rerank_post(provider(rerank="nvidia:/ranking"), RerankRequest("q", ("a", "b")))
    assert post.url == "http://h/api/v1/ranking"
    asked = {"model": "m", "query": {"text": "q"}, "passages": [{"text": "a"}, {"text": "b"}]}
    assert said(post) == asked


def test_scores_come_back_in_the_order_asked():
    request = RerankRequest("q", ("a", "b", "c"))
    found = [(2, 0.9), (0, 0.5), (1, 0.1)]
    cohere = [{"index": i, "relevance_score": s} for i, s in found]
    meta = {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 12}}
    read = asks.read_rerank(provider(), request, ok({"results": cohere, "meta": meta}))
    assert (read.scores, read.usage) == ([0.5, 0.1, 0.9], Usage(12, output=0))
    jina = {"results": cohere, "usage": {"total_tokens": 30}}
    assert asks.read_rerank(provider(), request, ok(jina)).usage.input == 30
    nvidia = [{"index": i, "logit": -s} for i, s in found]
    assert asks.read_rerank(provider(), request, ok({"rankings": nvidia})).scores == [
        -0.5,
        -0.1,
        -0.9,
    ]


@pytest.mark.parametrize("found", [[], [(0, 1.0)], [(0, 1.0), (0, 1.0)], [(0, 1.0), (2, 1.0)]])
def test_a_document_without_a_score_is_unreadable(found):
    results = [{"index": i, "relevance_score": s} for i, s in found]
    unreadable(
        asks.read_rerank, provider(), RerankRequest("q", ("a", "b")), ok({"results": results})
    )


# what is not offered


@pytest.mark.parametrize(
    ("post", "request_", "service", "words"),
    [
        (asks.embed_post, EmbedRequest(("a",)), {"embeddings": ""}, "offers no embeddings"),
        (asks.rerank_post, RerankRequest("q", ("a",)), {}, "offers no rerank"),
        (asks.decide_post, ASKED, {}, "offers no decisions"),
        (asks.decide_post, ASKED, {"decisions": "sytemone:/d"}, "did you mean 'systemone'"),
        (
            asks.decide_post,
            DecideRequest(SAID, ASKED.questions[:1] * (MOST_QUESTIONS + 1)),
            {"decisions": "/decisions"},
            "over 400 questions",
        ),
    ],
)
def test_what_is_not_offered_is_refused_in_words(post, request_, service, words):
    with pytest.raises(ProviderError, match=words) as caught:
        post(provider(**service), request_)
    assert caught.value.kind == "row"
