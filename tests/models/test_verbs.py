"""Embeddings, rerank and decisions through the client: bought once, in order, in the ledger."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from aiohttp import web
from asking import ledger, with_client
from server import Server

from karat.errors import ProviderError
from karat.models.asks import DecideRequest, EmbedRequest, Option, Question, RerankRequest
from karat.models.embedded import available
from karat.models.endpoint import Asker
from karat.row import Message

ASKER = Asker("s", "r")
PRICE = {"input": 1.0, "output": 1.0}


def vector(text):
    return [float(len(text)), 0.5, -1.0]


class Verbs(Server):
    """Embeddings, rerank and decisions beside chat."""

    odd = None  # the body of an answer that is none
    refuse = False

    async def _start_routes(self, app):
        raise NotImplementedError

    async def _chat(self, http):
        body = await http.json()
        self.requests.append({"path": http.path, "body": body})
        if self.refuse:
            return web.json_response({"error": {"message": "no"}}, status=400)
        if self.odd is not None:
            return web.json_response(self.odd)
        made = {
            "/v1/embeddings": self._embeddings, "/v1/rerank": self._rerank,
            "/v1/decisions": self._decisions,
        }[http.path](body)  # fmt: skip
        return web.json_response({"model": "served", **made})

    def _embeddings(self, body):
        def form(numbers):
            if body.get("encoding_format") != "base64":
                return numbers
            return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode()

        data = [{"index": i, "embedding": form(vector(t))} for i, t in enumerate(body["input"])]
        tokens = sum(len(text.split()) for text in body["input"])
        return {"data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}

    def _rerank(self, body):
        found = [
            {"index": i, "relevance_score": len(text) / 10}
            for i, text in enumerate(body["documents"])
        ]
        return {"results": sorted(found, key=lambda one: -one["relevance_score"])}

    def _decisions(self, body):
        answers = [
            {"type": "predicate", "name": q.get("name"), "probability": 0.25}
            for q in body["questions"]
        ]
        usage = {
            "input_tokens": 9, "output_tokens": 0, "total_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip
        return {"answers": answers, "usage": usage}


@pytest.fixture
def server(monkeypatch):
    add = web.UrlDispatcher.add_post

    def add_all(router, path, handler, **more):
        for verb in ("embeddings", "rerank", "decisions"):
            add(router, f"/v1/{verb}", handler, **more)
        return add(router, path, handler, **more)

    monkeypatch.setattr(web.UrlDispatcher, "add_post", add_all)
    with Verbs() as running:
        yield running


def spec(server, **more):
    service = {"base_url": server.url, "rerank": "/rerank", "decisions": "/decisions"}
    return {"model": "mine/m", "service": service, "price": PRICE, **more}


def test_texts_become_vectors_in_order_and_are_bought_once(server, journal):
    texts = [f"text {'x' * (i + 1)}" for i in range(600)]

    async def work(client):
        first = await client.embed("m", EmbedRequest(tuple(texts[:300])), ASKER)
        every = await client.embed("m", EmbedRequest(tuple(texts)), ASKER)
        return first, every

    first, every = with_client(journal, spec(server), work)
    assert every.dtype == np.float32
    assert np.array_equal(every, np.array([vector(text) for text in texts], np.float32))
    assert np.array_equal(first, every[:300])
    asked = [text for r in server.requests for text in r["body"]["input"]]
    assert sorted(asked) == sorted(texts)
    attempts = ledger(journal, table="attempts")
    assert sum(a["prompt_tokens"] for a in attempts) == 2 * 600
    assert sum(a["cost_nano"] for a in attempts) == 2 * 600 * 1000
    assert sum(row["cost_nano"] for row in ledger(journal)) == 2 * 600 * 1000
    assert {a["kind"] for a in attempts} == {"embed"}


def test_documents_are_scored_in_the_order_given(server, journal):
    asked = RerankRequest("q", ("aaa", "a", "aa"))

    async def work(client):
        return [await client.rerank("m", asked, ASKER) for _ in range(2)]

    assert with_client(journal, spec(server), work) == [[0.3, 0.1, 0.2]] * 2
    assert len(server.requests) == 1


def test_questions_are_answered_in_order_and_400_at_a_time(server, journal):
    questions = tuple(Question(f"Is it {i}?", name=f"q{i}") for i in range(401))
    asked = DecideRequest((Message("user", "text"),), questions)

    async def work(client):
        return [await client.decide("m", asked, ASKER) for _ in range(2)]

    once, again = with_client(journal, spec(server), work)
    assert once == again
    assert [v.name for v in once] == [q.name for q in questions]
    assert {v.probability for v in once} == {0.25}
    assert sorted(len(r["body"]["questions"]) for r in server.requests) == [1, 400]


@pytest.mark.parametrize("odd", [{}, {"data": []}, {"data": [{"index": 0, "embedding": ["x"]}]}])
def test_an_answer_that_is_none_is_paid_for_twice_at_most(server, journal, odd):
    server.odd = odd

    async def work(client):
        await client.embed("m", EmbedRequest(("a", "b")), ASKER)

    with pytest.raises(ProviderError) as caught:
        with_client(journal, spec(server), work)
    assert caught.value.kind == "unreadable"
    assert len(server.requests) == 2


@pytest.mark.skipif(available() is not None, reason=str(available()))
def test_a_model_without_the_endpoint_decides_by_its_first_token(journal):
    levels = (Option("bad"), Option("good"))
    questions = (
        Question("The text is about a cat."),
        Question("What is the text about?", "choice", "topic", (Option("cat"), Option("car"))),
        Question("How good is it?", "score", "how", levels),
    )
    asked = DecideRequest((Message("user", "A cat sat on the mat."),), questions)

    async def work(client):
        return [await client.decide("m", asked, ASKER) for _ in range(2)]

    once, again = with_client(journal, "embedded/smollm2-135m", work)
    assert once == again
    _, choice, score = once
    assert sum(p for _, p in choice.probabilities) == pytest.approx(1)
    assert 0 <= score.score <= 1


def test_a_text_that_comes_twice_is_bought_once(server, journal):
    texts = ("a", "bb", "a", "ccc", "bb")

    async def work(client):
        return await client.embed("m", EmbedRequest(texts), ASKER)

    assert with_client(journal, spec(server), work).tolist() == [vector(text) for text in texts]
    assert [r["body"]["input"] for r in server.requests] == [["a", "bb", "ccc"]]


def test_texts_between_recorded_ones_are_one_request(server, journal):
    async def work(client):
        await client.embed("m", EmbedRequest(("b", "d")), ASKER)
        await client.embed("m", EmbedRequest(("a", "b", "c", "d", "e")), ASKER)

    with_client(journal, spec(server), work)
    assert [r["body"]["input"] for r in server.requests] == [["b", "d"], ["a", "c", "e"]]


def test_one_refused_question_changes_nothing_for_the_others(server, journal):
    def asked(text):
        return DecideRequest((Message("user", text),), (Question("Is it?"),))

    async def work(client):
        await client.decide("m", asked("first"), ASKER)
        server.refuse = True
        with pytest.raises(ProviderError, match="400"):
            await client.decide("m", asked("odd"), ASKER)
        server.refuse = False
        return await client.decide("m", asked("last"), ASKER)

    (verdict,) = with_client(journal, spec(server), work)
    assert verdict.probability == 0.25
    assert {r["path"] for r in server.requests} == {"/v1/decisions"}
