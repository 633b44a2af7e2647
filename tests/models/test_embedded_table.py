"""The embedding model karat ships, as the client sees it: journaled, free, in need of nothing."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from asking import ask, request, with_client

from karat import reachable
from karat.curation.embedding import DIMENSIONS, IDENTITY, embed
from karat.errors import ProviderError, RecipeError, RunError
from karat.models import embedded
from karat.models.asks import EmbedRequest
from karat.models.embedded_table import TableTransport
from karat.models.endpoint import Asker
from karat.models.spec import parse_model

MODEL = "embedded/minilm-static"
TEXTS = ("Write a poem about rain.", "", "Write a poem about rain.", "日本")


def asked(journal, *requests):
    async def work(client):
        return [await client.embed("m", one, Asker("embed", "row")) for one in requests]

    return with_client(journal, MODEL, work)


def test_vectors_through_the_client_are_those_of_the_table(tmp_path):
    (found,) = asked(tmp_path / "j.sqlite", EmbedRequest(TEXTS))
    assert found.shape == (len(TEXTS), DIMENSIONS)
    assert np.abs(found - embed(TEXTS)).max() < 1e-6  # brought to length 1 once more
    assert not found[1].any()


def test_a_second_run_replays_the_journal(tmp_path, monkeypatch):
    (first,) = asked(tmp_path / "j.sqlite", EmbedRequest(TEXTS))

    async def broken(*args):
        raise AssertionError("asked again")

    monkeypatch.setattr(TableTransport, "post", broken)
    (again,) = asked(tmp_path / "j.sqlite", EmbedRequest(TEXTS))
    assert np.array_equal(first, again)


def test_fewer_dimensions_are_the_first_ones(tmp_path):
    whole, part = asked(
        tmp_path / "j.sqlite", EmbedRequest(TEXTS[:1]), EmbedRequest(TEXTS[:1], dimensions=64)
    )
    cut = whole[:, :64] / np.linalg.norm(whole[:, :64])
    assert part.shape == (1, 64)
    assert np.abs(part - cut).max() < 1e-6


@pytest.mark.parametrize("dimensions", [0, 257])
def test_dimensions_it_does_not_have(tmp_path, dimensions):
    with pytest.raises(ProviderError):
        asked(tmp_path / "j.sqlite", EmbedRequest(("a",), dimensions=dimensions))


def test_it_writes_nothing_and_says_so(tmp_path):
    with pytest.raises(RunError, match="embeds texts and writes none"):
        ask(tmp_path / "j.sqlite", MODEL, request())


def test_the_writing_model_embeds_nothing(tmp_path):
    if embedded.available() is not None:
        pytest.skip("needs xllamacpp")

    async def work(client):
        return await client.embed("m", EmbedRequest(("a",)), Asker("embed", "row"))

    with pytest.raises(ProviderError, match="no embeddings"):
        with_client(tmp_path / "j.sqlite", "embedded/smollm2-135m", work)


def test_it_needs_no_llama(monkeypatch):
    reason = "embedded models need xllamacpp"
    monkeypatch.setattr(embedded, "available", lambda: reason)
    monkeypatch.setattr("karat.models.providers.embedded.available", lambda: reason)
    monkeypatch.setattr(reachable, "available", lambda: reason)
    parse_model(MODEL).check()
    with pytest.raises(RecipeError, match="xllamacpp"):
        parse_model("embedded/smollm2-135m").check()
    services = [one for one in reachable.reach() if one.name == "embedded"]
    assert services[0].ready
    assert "minilm-static" in services[0].said
    models = {known.model: known for known in reachable.find_models("embedded", services)}
    assert models[MODEL].ready
    assert not models["embedded/smollm2-135m"].ready
    assert "xllamacpp" in models["embedded/smollm2-135m"].note


def test_it_is_free_licensed_and_named_after_its_table():
    known = reachable.find_models("minilm", reachable.reach())[0]
    assert known.ready
    assert known.rights.licence == "Apache-2.0"
    assert known.price is not None
    assert parse_model(MODEL).identity() == f"embedded/{IDENTITY}"


@pytest.mark.parametrize("name", ["minilm", "minilm-statics"])
def test_a_wrong_name_is_told_the_right_one(name):
    with pytest.raises(RecipeError, match="minilm-static"):
        parse_model(f"embedded/{name}").check()


@pytest.mark.parametrize(
    ("url", "body", "status"),
    [
        ("embedded:/embeddings", b"{", 400),
        ("embedded:/embeddings", b'{"input": 3}', 400),
        ("embedded:/chat/completions", b"{}", 404),
    ],
)
def test_refusals_are_replies(url, body, status):
    reply = asyncio.run(TableTransport().post(url, body, {}, 1))
    assert reply.status == status
    assert json.loads(reply.body)["error"]["message"]


def test_a_stream_comes_whole():
    async def main():
        body = json.dumps({"input": ["a"]}).encode()
        async with TableTransport().stream("POST", "embedded:/embeddings", body, {}, 1) as stream:
            return [piece async for piece in stream.pieces()]

    (piece,) = asyncio.run(main())
    assert json.loads(piece)["usage"]["prompt_tokens"] == 1
