"""/v1/models, and what holds for every route: many at once, whatever a model writes."""

from __future__ import annotations

import asyncio

import pytest
from conftest import wait_for
from gated import ASK, ask, gated, made, refusal, using
from later import later
from wired import Upstream, Wired

from karat.models.services import parse_service
from karat.web.gateway.listing import MOST, instead

openai = later("openai")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with gated(tmp_path_factory.mktemp("models")) as made:
        yield made


def test_many_at_once(world):
    async def main():
        async with openai.AsyncOpenAI(api_key="any", base_url=f"{world.wired.url}/v1") as client:
            asked = [{**ASK, "seed": number} for number in range(60)]
            found = await asyncio.gather(*(client.chat.completions.create(**a) for a in asked))
            stream = await client.chat.completions.create(**ASK, stream=True)
            return found, [chunk async for chunk in stream]

    found, chunks = asyncio.run(main())
    assert len({one.id for one in found}) == 60
    assert len({one.choices[0].message.content for one in found}) == 60
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_list_and_one_of_it(world, monkeypatch):
    client = world.client
    monkeypatch.setattr("karat.web.gateway.listing.KEPT_S", 0)
    names = [one.id for one in client.models.list()]
    assert names[0] == "loop"
    assert "embedded/smollm2-135m" in names
    assert client.models.retrieve("loop").owned_by == "openai"
    assert client.models.retrieve("embedded/smollm2-135m").id == "embedded/smollm2-135m"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_who_asks_for_another_model_hears_which_there_are(tmp_path):
    with Wired(tmp_path) as wired:  # without a config
        listed = [one.id for one in using(wired).models.list() if "helpsteer2" not in one.id]
        near = refusal(wired, "any", openai.NotFoundError, model="smollm")
        assert "no model 'smollm'; did you mean 'embedded/smollm2-135m'?" in str(near)
        far = str(refusal(wired, "any", openai.NotFoundError, model="zzz"))
        assert far.count("embedded/") == min(len(listed), MOST) >= 2
        own = made(wired, models=("teacher", "embedded/mini*"))
        told = str(refusal(wired, own, openai.PermissionDeniedError, model="zzz"))
        assert "embedded" not in told
        free = made(wired, "free", models=("zzz", "embedded/mini*"))
        told = str(refusal(wired, free, openai.NotFoundError, model="zzz"))
        assert "there is: embedded/minilm-static" in told
        assert "smollm2" not in told


def test_of_thousands_of_models_a_few_are_named():
    known = [f"far/{number:04}" for number in range(3000)]
    assert instead("zzz", known).endswith("and 2,992 more, which /v1/models lists")
    assert instead("far/0123", known) == "did you mean 'far/0123'?"
    assert instead("zzz", []) == "there are none that you may use"


def test_hostile_text_comes_as_it_is(tmp_path):
    hostile = "<script>alert(1)</script>\x1b[31m\u202e\x00 " + "x" * 200_000
    with gated(tmp_path, {"answer": lambda *_: hostile}) as (client, _, _):
        assert client.chat.completions.create(**ASK).choices[0].message.content == hostile


def test_half_a_character_does_not_break_an_answer(tmp_path):
    with gated(tmp_path, {"answer": lambda *_: "half \ud83d of one"}) as (client, _, _):
        text = client.chat.completions.create(**ASK).choices[0].message.content
        assert text.startswith("half ")
        assert text.endswith(" of one")
        for use in (None, {"x-karat-cache": "use"}):
            chunks = list(client.chat.completions.create(**ASK, stream=True, extra_headers=use))
            text = "".join(one.choices[0].delta.content or "" for one in chunks)
            assert text.startswith("half ")


def test_one_text_twice_is_bought_once(tmp_path):
    with gated(tmp_path) as (client, _, upstream):
        found = client.embeddings.create(model="loop", input=["a", "b", "a"]).data
        assert found[0].embedding == found[2].embedding != found[1].embedding
        assert [one["body"]["input"] for one in upstream.requests] == [["a", "b"]]


def test_a_model_that_was_turned_away_is_asked_again_after_a_rest(tmp_path, monkeypatch):
    monkeypatch.setattr("karat.models.endpoint.REST_S", (0.1, 0.2))
    locked = [True]

    def script(number, body):
        turned_away = body["model"] == "first" and locked[0]
        return (401, b'{"error": {"message": "no key"}}', {}) if turned_away else None

    with Upstream(script=script) as upstream:
        pair = [upstream.model(model=f"openai/{name}") for name in ("first", "second")]
        with Wired(tmp_path, {"pair": pair}) as wired:

            def who():
                return ask(wired, "any", model="pair").model

            assert [who(), who()] == ["openai/second"] * 2
            locked[0] = False
            wait_for(lambda: who() == "openai/first")


def test_names_that_a_service_does_not_know_are_forgotten(tmp_path, monkeypatch):
    gone = {"script": lambda *_: (404, b'{"error": {"message": "no such model"}}', {})}
    with gated(tmp_path, gone) as (client, wired, upstream):
        service = parse_service("mine", {"base_url": upstream.url})  # as config.toml would have it
        monkeypatch.setattr("karat.models.spec.own_services", lambda: {"mine": service})
        for number in range(3):
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(**{**ASK, "model": f"mine/{number}"})
        assert list(wired.gateway.client.models) == ["loop"]
        assert list(wired.gateway.client.endpoints) in ([], ["loop"])
        assert len(upstream.requests) == 3
