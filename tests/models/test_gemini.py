"""Gemini's generateContent: what is sent, what is refused, what a reply and an error mean."""

import asyncio
import json

import msgspec
import pytest
from native import GOOGLE, recorded, reply, served, written

from karat.errors import ProviderError, RecipeError
from karat.models.asks import EmbedRequest, RerankRequest
from karat.models.chat import ChatRequest, Tool, ToolCall, Turn, Usage
from karat.models.providers import gemini
from karat.models.spec import ModelSpec
from karat.row import Message

KEY = "AIzaSyA-secret"
URL = "https://generativelanguage.googleapis.com/v1beta"
TIDE = Tool("tide", "The tide at a place.", {"type": "object", "properties": {"place": {}}})


def provider(model="gemini-2.5-flash", service=GOOGLE, **more):
    spec = ModelSpec(model=f"google/{model}", service=service, **more)
    return gemini.Gemini(spec, None, 1, URL, KEY)


def ask(*messages, **more):
    return ChatRequest(messages or (Message("user", "Why are there tides?"),), **more)


def body(request, model="gemini-2.5-flash", **spec):
    return json.loads(provider(model, **spec).chat(request).body)


def config(model="gemini-2.5-flash", **asked):
    return body(ask(**asked), model).get("generationConfig", {})


def refusal(request, model="gemini-2.5-flash"):
    with pytest.raises(ProviderError) as caught:
        provider(model).chat(request)
    assert caught.value.kind == "row"
    return str(caught.value)


# --- what is sent ----------------------------------------------------------------------------


def test_a_plain_request_is_small():
    post = provider().chat(ask())
    assert post.url == f"{URL}/models/gemini-2.5-flash:generateContent"
    sent = {"contents": [{"role": "user", "parts": [{"text": "Why are there tides?"}]}]}
    assert json.loads(post.body) == sent


def test_the_key_goes_in_a_header_and_never_in_the_url():
    made = provider()
    assert made.headers["x-goog-api-key"] == KEY
    for post in (made.chat(ask()), made.chat(ask(), stream=True), made.embed(EmbedRequest(("a",)))):
        assert KEY not in post.url
        assert KEY.encode() not in post.body


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("tunedModels/mine-1", "tunedModels/mine-1"),
        ("odd?name#x", "models/odd%3Fname%23x"),
    ],
)
def test_a_name_may_say_models_or_not(name, path):
    assert provider(name).chat(ask()).url == f"{URL}/{path}:generateContent"
    assert provider(name).chat(ask(), stream=True).url == (
        f"{URL}/{path}:streamGenerateContent?alt=sse"
    )


def test_every_field_has_its_place():
    asked = {
        "n": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "max_tokens": 64, "stop": ("END",),
        "seed": 7, "presence_penalty": 0.1, "frequency_penalty": 0.2, "logprobs": 2,
    }  # fmt: skip
    assert config(**asked) == {
        "candidateCount": 3, "temperature": 0.5, "topP": 0.9, "topK": 40, "maxOutputTokens": 64,
        "stopSequences": ["END"], "seed": 7, "presencePenalty": 0.1, "frequencyPenalty": 0.2,
        "responseLogprobs": True, "logprobs": 2,
    }  # fmt: skip
    assert config(logprobs=0) == {"responseLogprobs": True}
    assert config(temperature=0.0, seed=0) == {"temperature": 0.0, "seed": 0}


def test_a_schema_is_sent_as_it_is():
    schema = {"type": "object", "properties": {"grade": {"type": "integer", "maximum": 4}}}
    assert config(schema=schema) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }


@pytest.mark.parametrize("form", ["prompt", "json_object"])
def test_a_service_that_takes_no_schema_is_told_it_in_words(form):
    made = provider(service=msgspec.structs.replace(GOOGLE, schema=form))
    asked = ask(Message("system", "Be brief."), Message("user", "?"), schema={"const": "tide"})
    sent = json.loads(made.chat(asked).body)
    (part,) = sent["systemInstruction"]["parts"]
    assert part["text"].startswith("Be brief.\n\n")
    assert '"tide"' in part["text"]
    left = {} if form == "prompt" else {"responseMimeType": "application/json"}
    assert sent.get("generationConfig", {}) == left


def test_the_system_text_stands_apart():
    sent = body(
        ask(Message("system", "Be brief."), Message("system", "Be kind."), Message("user", "?"))
    )
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief.\n\nBe kind."}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "?"}]}]


def test_what_the_format_has_no_place_for_is_refused():
    late = ask(Message("user", "a"), Message("system", "b"))
    assert "system" in refusal(late)
    stray = ask(Message("user", "a"), Turn("tool", "4", tool_call_id="nobody's"))
    assert "nobody's" in refusal(stray)
    broken = Turn("assistant", "", tool_calls=(ToolCall("t", "tide", "[1]"),))
    assert "'tide'" in refusal(ask(Message("user", "a"), broken))


def test_turns_of_one_role_are_joined():
    sent = body(ask(Message("user", "a"), Message("user", "b"), Message("assistant", "c")))
    assert sent["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}]},
    ]


def test_calls_and_their_results_come_back_as_parts():
    calls = (ToolCall("a", "tide", '{"place": "Brest"}'), ToolCall("b", "now", ""))
    asked = ask(
        Message("user", "?"),
        Turn("assistant", "A moment.", tool_calls=calls),
        Turn("tool", '{"high": 4}', tool_call_id="a"),
        Turn("tool", "3 pm", tool_call_id="b"),
        tools=(TIDE, Tool("now")),
    )
    sent = body(asked)
    assert sent["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "A moment."},
                {"functionCall": {"id": "a", "name": "tide", "args": {"place": "Brest"}}},
                {"functionCall": {"id": "b", "name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "a", "name": "tide", "response": {"high": 4}}},
                {"functionResponse": {"id": "b", "name": "now", "response": {"output": "3 pm"}}},
            ],
        },
    ]
    assert sent["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "tide",
                    "description": TIDE.description,
                    "parametersJsonSchema": TIDE.parameters,
                },
                {"name": "now"},
            ]
        }
    ]
    # Another model made the calls, so they are unsigned; Gemini 3 wants that said, once a turn.
    parts = body(asked, "gemini-3-flash-preview")["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [
        None, "skip_thought_signature_validator", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ("tide", {"mode": "ANY", "allowedFunctionNames": ["tide"]}),
    ],
)
def test_a_tool_choice_is_written_their_way(choice, sent):
    found = body(ask(tools=(TIDE,), tool_choice=choice))["toolConfig"]
    assert found == {"functionCallingConfig": sent}
    assert "toolConfig" not in body(ask(tool_choice=choice))


def test_extra_is_merged_and_what_the_request_says_wins():
    extra = {
        "safetySettings": [],
        "generationConfig": {"mediaResolution": "LOW", "maxOutputTokens": 1},
    }
    sent = body(ask(max_tokens=5), extra=extra)
    assert sent["safetySettings"] == []
    assert sent["generationConfig"] == {"mediaResolution": "LOW", "maxOutputTokens": 5}
    assert extra["generationConfig"]["maxOutputTokens"] == 1


def test_what_it_says_to_take_is_what_it_writes():
    always = {"messages", "tool_choice"}
    assert written(provider(), ask()) == set(gemini.TAKES) - always


# --- embeddings ------------------------------------------------------------------------------


def test_embeddings():
    request = EmbedRequest(("tide", "moon"), 3, "query")
    post = provider("gemini-embedding-001").embed(request)
    assert post.url == f"{URL}/models/gemini-embedding-001:batchEmbedContents"
    first = {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "tide"}]},
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 3,
    }
    second = {**first, "content": {"parts": [{"text": "moon"}]}}
    assert json.loads(post.body) == {"requests": [first, second]}
    got = provider().read_embed(request, reply(recorded("gemini", "embeddings.json")))
    assert got.vectors == [[0.25, -0.5, 0.125], [1.0, 0.0, 0.5]]
    assert got.usage == Usage(9)


def test_the_newer_embeddings_are_told_the_purpose_in_words():
    post = provider("gemini-embedding-2").embed(EmbedRequest(("a {}",), purpose="document"))
    (sent,) = json.loads(post.body)["requests"]
    assert "taskType" not in sent
    assert sent["content"]["parts"][0]["text"] == "title: none | text: a {}"
    plain = json.loads(provider("gemini-embedding-2").embed(EmbedRequest(("a",))).body)
    assert plain["requests"][0]["content"]["parts"][0]["text"] == "a"


@pytest.mark.parametrize("texts", [("a",), ("a", "b", "c")])
def test_a_vector_too_many_or_too_few_is_unreadable(texts):
    with pytest.raises(ProviderError, match="not embeddings"):
        provider().read_embed(EmbedRequest(texts), reply(recorded("gemini", "embeddings.json")))


def test_it_ranks_nothing():
    with pytest.raises(ProviderError, match="no rerank"):
        provider().rerank(RerankRequest("a", ("b",)))


# --- before anything is spent ----------------------------------------------------------------


def test_check_wants_one_of_two_keys(monkeypatch):
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    spec = ModelSpec(model="google/gemini-2.5-flash", service=GOOGLE)
    with pytest.raises(RecipeError, match="GEMINI_API_KEY or GOOGLE_API_KEY"):
        gemini.check(spec)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    gemini.check(spec)


@pytest.mark.parametrize("said", [{"temperature": 0.7}, {"reasoning": "none"}, {"top_k": 3}])
def test_check_refuses_what_the_model_says_of_itself_in_vain(monkeypatch, said):
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    spec = ModelSpec(model="google/gemini-3.8-flash", service=GOOGLE, **said)
    with pytest.raises(RecipeError, match=r"gemini-3\.8-flash"):
        gemini.check(spec)


def test_one_answer_over_http(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)

    async def work(url):
        spec = ModelSpec(
            model="google/gemini-2.5-flash", service=GOOGLE, base_url=f"{url}/v1beta/",
            key_env="MY_KEY",
        )  # fmt: skip
        made = gemini.connect(spec)
        try:
            post = made.chat(ask())
            return made.read_chat(await made.transport.post(*post, made.headers, 10))
        finally:
            await made.close()

    got, requests = asyncio.run(served(work, recorded("gemini", "text.json")))
    assert got.choices[0].content == "The moon pulls the water."
    path, headers, sent = requests[0]
    assert path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert headers["x-goog-api-key"] == KEY
    assert sent["contents"][0]["parts"] == [{"text": "Why are there tides?"}]
