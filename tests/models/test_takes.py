"""What a model does not take is said before anything is spent."""

from __future__ import annotations

import pytest

from karat.models import catalogue, takes
from karat.models.catalogue import Card
from karat.models.chat import ChatRequest, Tool, Turn
from karat.models.services import COMPATIBLE, Service, shipped
from karat.models.spec import load_wire, parse_model
from karat.row import Message

ASKED = (Message("user", "?"),)
TOOLS = (Tool("tide"),)
EVERY = {
    "temperature": 0.5, "top_p": 0.5, "max_tokens": 10, "stop": ("x",), "top_k": 10, "min_p": 0.1,
    "presence_penalty": 0.1, "frequency_penalty": 0.1, "logprobs": 1, "schema": {"type": "object"},
    "tools": TOOLS, "tool_choice": "auto", "reasoning": "low",
}  # fmt: skip


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """Nothing is known of any model but what a test says."""
    cards = {}
    monkeypatch.setattr(catalogue, "card", lambda service, name: cards.get((service, name)))
    return cards


def refused(model, **asked):
    spec = parse_model(model)
    return takes.refusals(spec, ChatRequest(asked.pop("messages", ASKED), **asked))


@pytest.mark.parametrize(
    ("model", "asked", "said"),
    [
        ("openai/gpt", {"top_k": 40}, ["openai/gpt takes no top_k; leave it out"]),
        ("openai/gpt", {"top_p": 0.9, "stop": ("a",), "max_tokens": 5}, []),
        ("openai/gpt", {"stop": tuple("abcde")}, ["openai/gpt takes at most 4 stop sequences"]),
        ("openai/gpt", {"stop": tuple("abcd")}, []),
        ("openai/gpt", {"logprobs": 21}, ["openai/gpt takes at most 20 logprobs"]),
        ("openai/gpt", {"logprobs": 20}, []),
        (
            "openai/gpt",
            {"reasoning": "hihg"},
            ["openai/gpt takes no reasoning 'hihg'; did you mean 'high'?"],
        ),
        ("groq/x", {"logprobs": 0}, ["groq/x takes no logprobs; leave it out"]),
        ("groq/x", {"n": 8, "seed": 5}, []),
        ("deepseek/x", {"n": 8, "seed": 5, "schema": {}}, []),
        ("deepseek/x", {"temperature": 1.0, "reasoning": "none"}, []),
        (
            "deepseek/x",
            {"temperature": 1.0, "reasoning": "high"},
            ["deepseek/x takes no temperature while it thinks; leave out one of the two"],
        ),
        (
            "deepseek/deepseek-v4-pro",  # thinks unless told not to
            {"temperature": 1.0},
            [
                "deepseek/deepseek-v4-pro takes no temperature while it thinks; say reasoning: "
                "none, or leave it out"
            ],
        ),
        ("deepseek/deepseek-v4-pro", {"temperature": 1.0, "reasoning": "none"}, []),
        ("deepseek/deepseek-v4-pro", {"top_p": 0.5}, []),
        ("mistral/x", {"temperature": 1.6}, ["mistral/x takes a temperature of at most 1.5"]),
        ("mistral/x", {"temperature": 1.5}, []),
        ("openai/gpt", {"temperature": 2.1}, ["openai/gpt takes a temperature of at most 2"]),
        ("lmstudio/x", {"reasoning": "low"}, ["lmstudio/x takes no reasoning; leave it out"]),
        ("vllm/x", {name: v for name, v in EVERY.items() if name != "tool_choice"}, []),
        (
            "vllm/x",
            {"tool_choice": "auto"},
            ["vllm/x was given a tool_choice and no tools; leave it out"],
        ),
        ("vllm/x", {"tool_choice": "auto", "tools": TOOLS}, []),
        (
            {"model": "vllm/x", "stream": True},
            {"logprobs": 1},
            ["vllm/x says no logprobs in a stream; leave out stream or logprobs"],
        ),
    ],
)
def test_what_is_refused(model, asked, said):
    assert refused(model, **asked) == said


def test_messages_of_any_kind_are_taken():
    assert refused("openai/gpt", messages=(Message("system", "s"), Turn("tool", "4 m"))) == []


@pytest.mark.parametrize(
    ("card", "asked", "said"),
    [
        (Card(temperature=False), {"temperature": 1.0}, "temperature"),
        (Card(temperature=False), {"top_p": 0.9}, "top_p"),
        (Card(temperature=True), {"temperature": 1.0}, None),
        (Card(), {"temperature": 1.0, "reasoning": "low", "tools": TOOLS}, None),
        (Card(reasoning=False), {"reasoning": "low"}, "reasoning"),
        (Card(tools=False), {"tools": TOOLS}, "tools"),
        (Card(structured_output=False), {"schema": {}}, None),
    ],
)
def test_what_the_catalogue_knows_of_a_model(known, card, asked, said):
    known["openai", "o9"] = card
    wanted = [f"openai/o9 takes no {said}; leave it out"] if said else []
    assert refused("openai/o9", **asked) == wanted
    # A server of one's own may serve anything under that name.
    assert refused({"model": "openai/o9", "base_url": "http://h/v1"}, **asked) == []


def test_a_model_known_not_to_think_takes_what_thinkers_do_not(known):
    known["deepseek", "chat"] = Card(reasoning=False)
    known["deepseek", "pro"] = Card(reasoning=True)
    assert refused("deepseek/chat", temperature=1.0) == []
    assert len(refused("deepseek/pro", temperature=1.0)) == 1


def test_a_model_without_structured_output_gets_the_schema_in_its_prompt(known):
    assert takes.service_of(parse_model("openai/old")).schema == "json_schema"
    known["openai", "old"] = Card(structured_output=False)
    assert takes.service_of(parse_model("openai/old")).schema == "prompt"
    assert shipped()["openai"].schema == "json_schema"


def test_openai_at_another_address_has_none_of_openais_quirks():
    spec = parse_model({"model": "openai/x", "base_url": "http://h/v1"})
    assert takes.service_of(spec) is COMPATIBLE
    assert takes.refusals(spec, ChatRequest(ASKED, top_k=40, min_p=0.1)) == []
    own = {"openai": Service(base_url="http://h/v1", refuses=("top_k",))}
    assert takes.service_of(parse_model("openai/x", own)).refuses == ("top_k",)


def test_a_users_own_service_refuses_what_it_says():
    own = {"mine": Service(base_url="http://h/v1", refuses=("temperature",), max_stop=1)}
    spec = parse_model("mine/m", own)
    assert takes.refusals(spec, ChatRequest(ASKED, temperature=1.0, stop=("a", "b"))) == [
        "mine/m takes no temperature; leave it out", "mine/m takes at most 1 stop sequences",
    ]  # fmt: skip


@pytest.mark.parametrize("service", shipped())
def test_every_field_a_wire_lacks_is_refused(service):
    spec = parse_model({"model": f"{service}/x", "base_url": "http://h/v1"})
    takes_all = load_wire(spec.format).TAKES
    said = takes.refusals(spec, ChatRequest(ASKED, **EVERY))
    for name in EVERY:
        refused = any(f" {name};" in text or f" {name} " in text for text in said)
        assert refused or name in takes_all
