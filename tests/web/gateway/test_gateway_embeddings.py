"""/v1/embeddings, with the official client as the oracle."""

from __future__ import annotations

import struct

import pytest
from conftest import wait_for
from later import later
from wired import Upstream, Wired, vector_of

openai = later("openai")

TEXTS = ["high water", "low water"]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    with Upstream() as upstream:
        model = upstream.model(price={"input": 1, "output": 0})
        folder = tmp_path_factory.mktemp("embeddings")
        with Wired(folder, {"vectors": model}, budget_usd=1) as wired:
            yield wired, upstream


@pytest.fixture
def client(both):
    wired, _ = both
    with openai.OpenAI(api_key="any", base_url=f"{wired.url}/v1", max_retries=0) as made:
        yield made


def floats(text):
    return list(struct.unpack("<4f", struct.pack("<4f", *vector_of(text))))


def test_a_list_in_the_clients_own_encoding(client):
    found = client.embeddings.create(model="vectors", input=TEXTS)
    assert [one.index for one in found.data] == [0, 1]
    assert [one.embedding for one in found.data] == [floats(text) for text in TEXTS]
    assert found.model == "vectors"
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (6, 6)


def test_a_text_as_numbers_and_the_headers(client, both):
    raw = client.embeddings.with_raw_response.create(
        model="vectors", input="high water", encoding_format="float"
    )
    assert raw.parse().data[0].embedding == floats("high water")
    assert raw.headers["x-karat-cost-usd"] == "0.000003000"
    assert raw.headers["x-karat-cache"] == "miss"
    assert raw.headers["x-karat-model"] == "openai/loop"
    assert float(raw.headers["x-karat-latency-ms"]) > 0


def test_dimensions_and_a_purpose_are_passed_on(client, both):
    _, upstream = both
    found = client.embeddings.create(
        model="vectors", input="x", dimensions=2, encoding_format="float", user="somebody"
    )
    assert len(found.data[0].embedding) == 2
    assert upstream.requests[-1]["body"]["dimensions"] == 2
    assert "somebody" not in str(upstream.requests[-1])


def test_equal_texts_are_bought_once_and_with_the_cache_never_again(client, both):
    _, upstream = both
    before = len(upstream.requests)
    found = client.embeddings.create(model="vectors", input=["same", "same", "other"])
    assert found.data[0].embedding == found.data[1].embedding != found.data[2].embedding
    assert len(upstream.requests) == before + 1
    use = {"x-karat-cache": "use"}
    for hit in ("miss", "hit"):
        raw = client.embeddings.with_raw_response.create(
            model="vectors", input=["kept", "too"], extra_headers=use
        )
        assert raw.headers["x-karat-cache"] == hit
        assert raw.parse().usage.prompt_tokens == 6
    assert len(upstream.requests) == before + 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"input": ""}, "input.0"),
        ({"input": []}, "a list of texts"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": [1, 2]}, "token ids"),
        ({"input": [[1, 2], [3]]}, "token ids"),
        ({"input": ["a"] * 2049}, "at most 2048"),
        ({"input": {"a": 1}}, "a list of texts"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "extra_body": {"colour": 1}}, "colour"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_bought(client, both, more, words):
    _, upstream = both
    before = len(upstream.requests)
    with pytest.raises(openai.BadRequestError, match=words):
        client.embeddings.create(model="vectors", **more)
    assert len(upstream.requests) == before


def test_no_such_model(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nothing", input="x")


def test_nothing_that_was_embedded_is_kept(client, both):
    wired, _ = both
    raw = client.embeddings.with_raw_response.create(model="vectors", input="a very private text")
    wait_for(lambda: raw.headers["x-request-id"].encode() in wired.written())
    assert b"very private" not in wired.written()
