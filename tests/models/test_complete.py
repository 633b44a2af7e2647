"""Raw text completion through the client: bought once a sample, in the ledger, as chat is."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from asking import ledger, with_client
from completions import Completions, text_of

from karat.errors import ProviderError, RecipeError, RunError
from karat.models.asks import CompleteRequest
from karat.models.client import MOST_TOKENS
from karat.models.endpoint import Asker
from karat.models.providers._http import over_http
from karat.models.services import shipped
from karat.models.spec import ModelSpec, load_wire, parse_model
from karat.models.takes import cannot_complete
from karat.models.transport import HttpReply
from karat.row import SEED_RANGE

ASKER = Asker("draw", "row")
START = "<|im_start|>user\n"
PRICE = {"input": 1.0, "output": 2.0}


def asked(n=1, prompt=START, **more):
    return CompleteRequest(prompt, n, **{"seed": 5, **more})


def complete(journal, model, *requests, budget=None):
    async def work(client):
        return [await client.complete("m", request, ASKER) for request in requests]

    return with_client(journal, model, work, budget)


def texts(answers):
    return [answer.content for answer in answers]


# on the wire


def test_the_prompt_is_sent_as_it_is_and_the_text_comes_back_as_it_is(journal):
    with Completions() as server:
        ((one,),) = complete(
            journal, server.model(), asked(temperature=0.5, top_k=3, stop=("<|im_end|>",))
        )
        (request,) = server.requests
    assert request["body"] == {
        "model": "loop", "prompt": START, "temperature": 0.5, "max_tokens": MOST_TOKENS, "seed": 5,
        "top_k": 3, "stop": ["<|im_end|>"],
    }  # fmt: skip
    assert one.content == text_of(request["body"], 0)
    assert one.content.startswith(" ")
    assert one.content.endswith("\n")
    assert (one.finish_reason, one.index, one.model) == ("stop", 0, "openai/loop")


@pytest.mark.parametrize(
    ("said", "own", "sent"), [(7, 20, 7), (None, 20, 20), (None, None, MOST_TOKENS)]
)
def test_a_limit_is_always_said(journal, said, own, sent):
    """A service's own is 16 tokens, so that what is left open must not be left out."""
    model = {} if own is None else {"max_tokens": own}
    with Completions() as server:
        complete(journal, server.model(**model), asked(max_tokens=said))
        assert server.requests[0]["body"]["max_tokens"] == sent


def test_a_models_own_values_apply_but_for_what_only_a_chat_has(journal):
    with Completions() as server:
        model = server.model(temperature=0.3, reasoning="low", extra={"min_tokens": 2})
        complete(journal, model, asked(), asked(temperature=0.9))
        first, second = (r["body"] for r in server.requests)
    assert (first["temperature"], second["temperature"]) == (0.3, 0.9)
    assert first["min_tokens"] == 2
    assert not any("reasoning" in name for name in first)


def test_openais_newer_name_for_a_limit_is_not_used_here(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    provider = load_wire("openai").connect(ModelSpec("openai/davinci-002"))
    post = provider.complete(asked(max_tokens=3))
    assert post.url == "https://api.openai.com/v1/completions"
    assert orjson.loads(post.body) == {
        "model": "davinci-002", "prompt": START, "max_tokens": 3, "seed": 5,
    }  # fmt: skip


def test_a_streaming_model_completes_in_one_piece(journal):
    with Completions() as server:
        ((one,),) = complete(journal, server.model(stream=True), asked())
        assert "stream" not in server.requests[0]["body"]
    assert one.content


@pytest.mark.parametrize(
    ("choice", "content", "reason"),
    [
        ({"text": "a", "finish_reason": "eos"}, "a", "stop"),
        ({"text": "a", "finish_reason": "length"}, "a", "length"),
        ({"text": "<think>b</think>a", "finish_reason": "stop"}, "<think>b</think>a", "stop"),
        ({"text": ""}, "", ""),
    ],
)
def test_a_choice_is_read_in_every_services_words(choice, content, reason):
    provider = over_http(load_wire("openai").OpenAI, ModelSpec("vllm/m"))
    tree = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    reply = provider.read_complete(HttpReply(200, {}, orjson.dumps(tree)))
    (found,) = reply.choices
    assert (found.content, found.finish_reason, found.reasoning) == (content, reason, "")
    assert (reply.usage.input, reply.usage.output) == (3, 4)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": "a"}}]}']
)
def test_what_holds_no_text_is_paid_for_twice_at_most(journal, body):
    with Completions(script=lambda number, _: (200, body, {})) as server:
        with pytest.raises(ProviderError, match="not a completion") as caught:
            complete(journal, server.model(), asked())
        assert len(server.requests) == 2
    assert caught.value.kind == "unreadable"


# what the client promises of every answer


def test_more_samples_buy_only_what_is_missing(journal):
    with Completions() as server:
        four, eight, again = complete(journal, server.model(), asked(4), asked(8), asked(8))
        bodies = [r["body"] for r in server.requests]
    assert texts(eight) == texts(again) == [text_of(bodies[0], i) for i in range(8)]
    assert texts(four) == texts(eight)[:4]
    assert [(body["n"], body["seed"]) for body in bodies] == [(4, 5), (4, 9)]
    assert len({answer.call for answer in eight}) == 8


def test_seeds_count_upwards_and_start_again_at_the_end_of_their_range(journal):
    with Completions(max_n=1) as server:
        complete(journal, server.model(), asked(3, seed=SEED_RANGE - 1))
        assert [r["body"]["seed"] for r in server.requests][:1] == [SEED_RANGE - 1]
        assert {r["body"]["seed"] for r in server.requests[1:]} == {0, 1}


def test_a_service_that_takes_one_sample_is_asked_for_each(journal):
    with Completions() as server:
        model = {"model": "lmstudio/m", "base_url": server.url}
        (answers,) = complete(journal, model, asked(3))
        assert [r["body"].get("n") for r in server.requests] == [None] * 3
        assert sorted(r["body"]["seed"] for r in server.requests) == [5, 6, 7]
    assert len(set(texts(answers))) == 3


def test_the_ledger_knows_what_it_was_and_what_it_cost(journal):
    with Completions() as server:
        complete(journal, server.model(price=PRICE), asked(4))
    (attempt,) = ledger(journal, table="attempts")
    assert (attempt["kind"], attempt["step"], attempt["samples"]) == ("complete", "draw", 4)
    assert (attempt["prompt_tokens"], attempt["completion_tokens"]) == (9, 20)
    assert attempt["cost_nano"] == 9 * 1000 + 20 * 2000
    calls = ledger(journal)
    assert {row["kind"] for row in calls} == {"complete"}
    assert sum(row["cost_nano"] for row in calls) == attempt["cost_nano"]


def test_a_chat_of_the_same_words_is_another_answer(journal):
    from karat.models.chat import ChatRequest
    from karat.row import Message

    async def work(client):
        chat = ChatRequest((Message("user", START),), seed=5)
        return [*await client.chat("m", chat, ASKER), *await client.complete("m", asked(), ASKER)]

    with Completions() as server:
        first, second = with_client(journal, server.model(), work)
        assert len(server.requests) == 2
    assert first.call != second.call


def test_two_rows_that_want_the_same_buy_it_once(journal):
    async def work(client):
        both = (client.complete("m", asked(2), Asker("draw", row)) for row in "ab")
        return await asyncio.gather(*both)

    with Completions(latency_s=0.05) as server:
        first, second = with_client(journal, server.model(), work)
        assert len(server.requests) == 1
    assert first == second


def test_trouble_is_tried_again(journal):
    def script(number, body):
        return (503, b"busy", {}) if number < 3 else None

    with Completions(script=script) as server:
        ((one,),) = complete(journal, server.model(), asked())
        assert len(server.requests) == 3
    assert one.content
    outcomes = [row["outcome"] for row in ledger(journal, "outcome", "attempts")]
    assert sorted(outcomes) == ["answered", "retried", "retried"]


def test_another_model_answers_while_the_first_is_down(journal):
    def script(number, body):
        return (401, b"{}", {}) if body["model"] == "loop" else None

    with Completions(script=script) as server:
        other = {**server.model(), "model": "openai/other"}
        ((one,),) = complete(journal, [server.model(attempts=1), other], asked())
    assert one.model == "openai/other"


def test_a_budget_holds_before_anything_is_sent(journal):
    with Completions() as server:
        with pytest.raises(RunError, match="budget"):
            complete(journal, server.model(price=PRICE), asked(max_tokens=1000), budget=0.001)
        assert server.requests == []


def test_a_parameter_that_a_service_does_not_take_is_refused(journal, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(RecipeError, match="takes no min_p"):
        complete(journal, "openai/davinci-002", asked(min_p=0.1))
    with pytest.raises(RecipeError, match="takes at most 4 stop"):
        complete(journal, "openai/davinci-002", asked(stop=tuple("abcde")))


def test_with_batches_it_is_asked_for_directly(journal):
    service = {"batches": "openai", "completions": "/completions"}
    with Completions() as server:
        service["base_url"] = server.url
        ((one,),) = complete(
            journal, {"model": "mine/m", "service": service, "batch": True}, asked()
        )
    assert one.content


# who offers it


def test_services_that_put_a_prompt_into_a_template_do_not_offer_it():
    """Ollama's /completions does."""
    offering = {name for name, service in shipped().items() if service.completions}
    assert offering == {
        "openai", "together", "fireworks", "vllm", "sglang", "lmstudio", "llamacpp", "embedded",
    }  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash", "groq/llama-3.3-70b",
        "ollama/qwen2.5", {"model": "openai/gpt-4.1", "wire": "responses"},
        "anyllm/bedrock/nova",
    ],
)  # fmt: skip
def test_a_service_or_format_without_it_is_known_beforehand(model):
    words = cannot_complete(parse_model(model))
    assert "no completion of raw text" in words
    assert "vllm" in words


def test_a_service_of_ones_own_is_told_how_to_say_that_it_has(journal):
    mine = {"base_url": "http://127.0.0.1:1/v1"}
    words = cannot_complete(parse_model({"model": "mine/m", "service": mine}))
    assert words.endswith("say completions: /completions under providers")
    assert cannot_complete(parse_model({"model": "openai/m", **mine})) == ""
    mine["completions"] = "/completions"
    assert cannot_complete(parse_model({"model": "mine/m", "service": mine})) == ""


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("google/gemini-2.5-flash", "GEMINI_API_KEY"),
        ({"model": "openai/gpt-4.1", "wire": "responses"}, "OPENAI_API_KEY"),
        ("groq/llama-3.3-70b", "GROQ_API_KEY"),
    ],
)
def test_asked_for_all_the_same_nothing_is_sent(journal, monkeypatch, model, keys):
    monkeypatch.setenv(keys, "k")
    with pytest.raises(ProviderError, match="offers no completion of raw text") as caught:
        complete(journal, model, asked())
    assert caught.value.kind == "row"
    assert ledger(journal, table="attempts") == []
