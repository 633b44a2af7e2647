"""Decisions on the wire: both formats, the same verdicts."""

from __future__ import annotations

import orjson
import pytest

from karat.errors import ProviderError
from karat.models.asks import DecideRequest, Option, Question, Verdict
from karat.models.chat import ToolCall, Turn, Usage
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


def test_decisions_as_openai_writes_them():
    post = asks.decide_post(provider(decisions="/decisions"), ASKED)
    assert post.url == "http://h/api/v1/decisions"
    assert said(post) == {
        "model": "m",
        "input": "My card was charged twice.",
        "questions": [
            {"type": "predicate", "instructions": "The customer wants money back."},
            {
                "type": "choice",
                "name": "team",
                "instructions": "Which team?",
                "choices": [{"value": "billing", "description": "payments"}, {"value": "sales"}],
            },
            {
                "type": "score",
                "name": "anger",
                "instructions": "How angry?",
                "levels": [
                    {"label": "calm"},
                    {"label": "cross"},
                    {"label": "furious", "description": "shouts"},
                ],
            },
        ],
    }


def test_a_conversation_keeps_its_roles_and_calls():
    turns = (
        *SAID,
        Turn("assistant", "", tool_calls=(ToolCall("a", "refund", "{}"),)),
        Turn("tool", "done", tool_call_id="a"),
    )
    asked = DecideRequest(turns, ASKED.questions[:1])
    post = asks.decide_post(provider(decisions="/decisions"), asked)
    assert said(post)["input"] == [
        {"role": "user", "content": "My card was charged twice."},
        {"type": "function_call", "call_id": "a", "name": "refund", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "done"},
    ]
    system_one = provider(decisions="systemone:/systemone")
    roles = [item["role"] for item in said(asks.decide_post(system_one, asked))["state"]]
    assert roles == ["user", "assistant", "tool"]


OPENAI_ANSWERS = [
    {"type": "predicate", "name": None, "probability": 0.75},
    {
        "type": "choice",
        "name": "team",
        "choice": "billing",
        "confidence": 0.8,
        "probabilities": [
            {"value": "sales", "probability": 0.125},
            {"value": "billing", "probability": 0.875},
        ],
    },
    {
        "type": "score",
        "name": "anger",
        "score": 1.25,
        "confidence": 0.4,
        "probabilities": [
            {"label": "calm", "value": 0, "probability": 0.25},
            {"label": "cross", "value": 1, "probability": 0.25},
            {"label": "furious", "value": 2, "probability": 0.5},
        ],
    },
]
SYSTEM_ONE_ANSWERS = {
    "2": {
        "type": "score",
        "score": 1.25,
        "confidence": 0.4,
        "legend": {"0": "calm", "1": "cross", "2": "furious: shouts"},
        "probabilities": {"0": 0.25, "1": 0.25, "2": 0.5},
    },
    "0": {"type": "noul", "noul": 0.75},
    "1": {
        "type": "choice",
        "choice": "billing",
        "confidence": 0.8,
        "probabilities": {"sales": 0.125, "billing": 0.875},
    },
}
VERDICTS = [
    Verdict("", "yes", 0.75, None, [("yes", 0.75), ("no", 0.25)]),
    Verdict("team", "billing", 0.875, None, [("billing", 0.875), ("sales", 0.125)]),
    Verdict("anger", "furious", 0.5, 1.25, [("calm", 0.25), ("cross", 0.25), ("furious", 0.5)]),
]


@pytest.mark.parametrize(
    ("path", "answers"),
    [("/decisions", OPENAI_ANSWERS), ("systemone:/systemone", SYSTEM_ONE_ANSWERS)],
)
def test_both_formats_give_the_same_verdicts(path, answers):
    usage = {
        "input_tokens": 40,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 16},
        "output_tokens": 0,
        "cost": 0.0000125,
    }
    tree = {"model": "m-1", "answers": answers, "usage": usage}
    read = asks.read_decide(provider(decisions=path, cost="cost"), ASKED, ok(tree))
    assert read.verdicts == VERDICTS
    assert read.usage == Usage(40, 8, 16, 0, cost_nano=12500)
    assert read.served_model == "m-1"


def test_decisions_as_system_one_writes_them():
    openrouter = provider(decisions="systemone:../alpha/decisions")
    post = asks.decide_post(openrouter, ASKED)
    assert post.url == "http://h/api/alpha/decisions"
    assert said(post) == {
        "model": "m",
        "state": "My card was charged twice.",
        "questions": {
            "0": {"type": "noul", "instructions": "The customer wants money back."},
            "1": {
                "type": "choice",
                "instructions": "Which team?",
                "criteria": {"billing": "payments", "sales": None},
            },
            "2": {
                "type": "score",
                "instructions": "How angry?",
                "criteria": ["calm", "cross", "furious: shouts"],
            },
        },
    }


@pytest.mark.parametrize("path", ["/decisions", "systemone:/systemone"])
def test_a_refusal_is_a_verdict_without_a_value(path):
    one = DecideRequest(SAID, (Question("Is it so?", name="q"),))
    refusal = {"type": "refusal", "name": "q"}
    answers = [refusal] if path == "/decisions" else {"0": refusal}
    (verdict,) = asks.read_decide(provider(decisions=path), one, ok({"answers": answers})).verdicts
    assert verdict == Verdict("q")
    assert verdict.value is None


@pytest.mark.parametrize(
    "answers",
    [
        [],
        OPENAI_ANSWERS[:2],
        [OPENAI_ANSWERS[1], *OPENAI_ANSWERS[1:]],
        [{"type": "predicate", "probability": 1.5}, *OPENAI_ANSWERS[1:]],
        [*OPENAI_ANSWERS[:1], {"type": "choice", "probabilities": []}, *OPENAI_ANSWERS[2:]],
        None,
    ],
)
def test_an_answer_missing_or_of_another_kind_is_unreadable(answers):
    service = provider(decisions="/decisions")
    unreadable(asks.read_decide, service, ASKED, ok({"answers": answers}))
