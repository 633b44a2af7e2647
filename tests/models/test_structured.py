"""Answers that must follow a schema: what fits, what is asked for again, what is given up."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import example, given
from test_loose_json import BRACKETED, PROSE, VALUES

from karat.errors import RecipeError, RowError
from karat.models.chat import ChatRequest, Completion, Tool, ToolCall
from karat.models.structured import (
    Fitted,
    Invalid,
    Parsed,
    chat_structured,
    check_schema,
    parse_answer,
)
from karat.row import SEED_RANGE, Message

SCORE = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 0, "maximum": 4},
        "why": {"type": ["string", "null"]},
        "sure": {"type": "boolean"},
        "weights": {"type": "array", "items": {"type": "number"}},
        "year": {"type": ["integer", "null"]},
    },
    "required": ["score"],
    "additionalProperties": False,
}


def schema_of(value):
    """The narrowest schema that says a value's types."""
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {name: schema_of(item) for name, item in value.items()},
            "required": list(value),
            "additionalProperties": False,
        }
    if isinstance(value, list):
        items = {"prefixItems": [schema_of(item) for item in value]} if value else {}
        return {"type": "array", **items, "minItems": len(value), "items": False}
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return {"type": names[type(value)]}


# the schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("string", "a schema is a mapping"),
        ({"type": "strin"}, r"\$\.type: \"strin\""),
        ({"type": "object", "properties": []}, r"\$\.properties: \[\]"),
        ({"requird": ["a"]}, "did you mean 'required'"),
        ({"properties": {"a": {"minimun": 3}}}, "did you mean 'minimum'"),
        ({"anyOf": [{"items": {"enums": [1]}}]}, "did you mean 'enum'"),
        ({"$ref": "#/$defs/nope"}, "does not exist"),
        ({"items": {"$ref": "http://h/x.json"}}, "leaves the schema"),
        ({"$defs": {"a": {"$ref": "file:///etc/passwd"}}}, "leaves the schema"),
        ({"pattern": "("}, "regex"),
        ({1: 2}, "str"),
    ],
)
def test_a_schema_that_is_wrong_is_told_before_anything_is_spent(schema, words):
    with pytest.raises(RecipeError, match=words):
        check_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        SCORE,
        {"properties": {"requird": {}, "$ref": {"type": "string"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"type": "string", "x-note": "mine", "example": "a"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
    ],
)
def test_a_schema_that_is_right_passes(schema):
    check_schema(schema)


@given(VALUES)
def test_the_narrowest_schema_of_any_value_passes(value):
    check_schema(schema_of(value))


# one answer


@given(BRACKETED, PROSE, PROSE)
@example([], '"', '"')
def test_any_value_survives_its_wrapping(value, before, after):
    schema = schema_of(value)
    text = json.dumps(value)
    assert parse_answer(text, schema) == Parsed(value)
    assert parse_answer(f"{before}\n```json\n{text}\n```\n{after}", schema).value == value
    assert parse_answer(f"{before}{text}{after}", schema).value == value


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ('{"score": 3}', {"score": 3}, ()),
        ('{"score": "3", "sure": "True"}', {"score": 3, "sure": True}, ("type",)),
        ('{"score": 3, "weights": ["0.5", "2"]}', {"score": 3, "weights": [0.5, 2]}, ("type",)),
        ('{"score": 3, "year": "1999"}', {"score": 3, "year": 1999}, ("type",)),
        ('{"score": 3, "why": "7"}', {"score": 3, "why": "7"}, ()),
        ('As in [1]: {"score": 3}', {"score": 3}, ("text around it",)),
        ('For example {"score": 9}. Mine: {"score": 1}', {"score": 1}, ("text around it",)),
        ('{"score": 2} I repeat: {"score": 2}', {"score": 2}, ("text around it",)),
    ],
)
def test_what_an_answer_means_is_read(text, value, repairs):
    assert parse_answer(text, SCORE) == Parsed(value, repairs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No idea.", "no JSON value"),
        ('{"score": 7}', r"\$\.score: 7 is greater"),
        ('{"why": "x"}', '"score" is a required property'),
        ('{"score": 1, "whi": "x"}', "'whi' was unexpected"),
        ('{"score": "three"}', "not of type"),
        ('{"score": "03"}', "not of type"),
        ('{"score": ""}', "not of type"),
        ('{"score": 1} or {"score": 2}', "several JSON values"),
        ('{"score": 1, "why": "\\ud83d"}', "half a character"),
        ('{"score": 1, "weights": [1e999]}', "a number"),
        ('{"score": 1, "weights": ["a", "b", "c", "d"]}', r"weights\[2\]"),
    ],
)
def test_what_does_not_fit_says_where(text, words):
    with pytest.raises(Invalid, match=words) as caught:
        parse_answer(text, SCORE)
    assert "weights[3]" not in str(caught.value)  # the model is told of the first few


def test_a_reason_is_short_however_long_the_answer():
    with pytest.raises(Invalid) as caught:
        parse_answer(json.dumps({"score": "x" * 10_000}), SCORE)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ['{"score": 3', '{"score": 3, "why": "x"', '{"score": 3,'])
def test_an_answer_that_was_cut_is_not_completed(text):
    assert parse_answer(text, SCORE).value["score"] == 3
    with pytest.raises(Invalid):
        parse_answer(text, SCORE, "length")


def test_a_number_that_was_cut_may_go_on():
    assert parse_answer("12", {"type": "integer"}).value == 12
    with pytest.raises(Invalid, match="cut off"):
        parse_answer("12", {"type": "integer"}, "length")
    assert parse_answer('{"score": 3}', SCORE, "length").value == {"score": 3}


# asking


class Model:
    """Answers from a list by the number of corrections in the conversation; remembers requests."""

    def __init__(self, *turns, **more):
        self.turns, self.more = turns, more
        self.requests = []

    async def __call__(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        turn = sum(m.role == "assistant" for m in request.messages)
        said = self.turns[min(turn, len(self.turns) - 1)]
        texts = [said] * request.n if isinstance(said, str) else said
        reason = self.more.pop("finish_reason", "stop")
        return [
            Completion(text, reason, "svc/m", i, f"{turn}{i}", **self.more)
            for i, text in enumerate(texts[: request.n])
        ]


def asked(n=1, seed=7, **more):
    return ChatRequest((Message("user", "Grade it."),), n, seed=seed, schema=SCORE, **more)


def answers(model, request, attempts=3):
    return asyncio.run(chat_structured(model, request, attempts))


def test_a_wrong_schema_is_never_sent():
    async def nobody(request):
        raise AssertionError("asked")

    with pytest.raises(RecipeError, match="did you mean 'required'"):
        answers(nobody, ChatRequest((Message("user", "?"),), schema={"requird": ["a"]}))


def test_answers_that_fit_are_asked_for_once():
    model = Model('{"score": 3}')
    found = answers(model, asked(n=3))
    assert model.requests == [asked(n=3)]
    assert [(f.value, f.index, f.repairs) for f in found] == [
        ({"score": 3}, i, ()) for i in range(3)
    ]
    assert all(isinstance(f, Fitted) for f in found)


def test_one_that_does_not_fit_is_told_why_and_asked_again():
    model = Model(['{"score": 3}', '{"score": 9}'], '{"score": 4}')
    first, second = answers(model, asked(n=2))
    assert (first.value, second.value) == ({"score": 3}, {"score": 4})
    assert (second.index, second.call) == (1, "10")
    again = model.requests[1]
    assert (again.n, again.seed, again.schema) == (1, 8, SCORE)
    assert again.messages[:2] == (
        Message("user", "Grade it."),
        Message("assistant", '{"score": 9}'),
    )
    assert again.messages[2].role == "user"
    assert "$.score: 9 is greater" in again.messages[2].content


def test_the_same_answers_lead_to_the_same_requests():
    def requests():
        model = Model("No.", "Still no.", '{"score": 1}')
        answers(model, asked(n=2))
        return model.requests

    once = requests()
    assert once == requests()
    assert len({repr(request) for request in once}) == len(once) == 5


def test_seeds_stay_in_their_range():
    model = Model("No.", '{"score": 1}')
    answers(model, asked(n=2, seed=SEED_RANGE - 1))
    assert sorted(r.seed for r in model.requests[1:]) == [0, SEED_RANGE - 1]
    without = Model("No.", '{"score": 1}')
    answers(without, asked(seed=None))
    assert without.requests[1].seed is None


@pytest.mark.parametrize(("attempts", "tries"), [(1, "1 try"), (3, "3 tries")])
def test_after_so_many_tries_the_row_is_given_up(attempts, tries):
    model = Model("No.")
    with pytest.raises(RowError, match=f"svc/m does not fit the schema after {tries}: it holds no"):
        answers(model, asked(), attempts=attempts)
    assert len(model.requests) == attempts


def test_a_repair_is_marked():
    (found,) = answers(Model("Here: {'score': '3',}"), asked())
    assert found.value == {"score": 3}
    assert found.repairs == ("text around it", "single quotes", "trailing comma", "type")
    assert found.content == "Here: {'score': '3',}"


def test_a_refusal_is_not_asked_again():
    model = Model("I cannot.", finish_reason="content_filter")
    with pytest.raises(RowError, match="svc/m declined to answer: 'I cannot"):
        answers(model, asked())
    assert len(model.requests) == 1


def test_thoughts_without_an_answer_are_named():
    model = Model("", reasoning="Hmm, let me think")
    with pytest.raises(RowError, match="nothing but its thoughts; raise max_tokens"):
        answers(model, asked(), attempts=2)
    first, second = model.requests
    assert [m.role for m in second.messages] == ["user"]  # an empty turn would be refused
    assert second.messages[0].content.startswith(first.messages[0].content)
    assert second != first


def test_a_cut_answer_is_named():
    with pytest.raises(RowError, match="cut off at max_tokens of 5; raise that"):
        answers(Model('{"score": 3', finish_reason="length"), asked(max_tokens=5), attempts=1)


@pytest.mark.parametrize(("bought", "asked_for"), [(2, 3), (3, 6), (4, 6), (6, 9)])
def test_the_next_run_goes_on_where_one_has_used_up_its_tries(bought, asked_for):
    """What was killed half-way ends as it would have; what had ended is tried again."""
    model = Model("No.")

    def earlier(answer):
        return sum(m.role == "assistant" for m in model.requests[-1].messages) < bought

    with pytest.raises(RowError, match=f"after {asked_for} tries"):
        asyncio.run(chat_structured(model, asked(), 3, earlier))
    assert len(model.requests) == asked_for


def test_a_call_of_a_tool_is_no_answer_yet():
    call = ToolCall("a", "look", "{}")
    (found,) = answers(Model("", tool_calls=(call,)), asked(tools=(Tool("look"),)))
    assert found.tool_calls == (call,)
    assert found.value is None


def test_a_call_of_a_tool_that_nobody_offered_is_no_answer():
    call = ToolCall("a", "look", "{}")
    with pytest.raises(RowError, match="after 3 tries: it holds nothing"):
        answers(Model("", "", "", tool_calls=(call,)), asked())


def test_the_others_finish_when_one_gives_up():
    model = Model(['{"score": 1}', "No."], "No.")
    with pytest.raises(RowError, match="after 2 tries"):
        answers(model, asked(n=2), attempts=2)
