"""Answers that must follow a schema: checked, asked for once more, else refused with their cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from gated import ASK, COST_NANO, Gated, gated
from later import later

openai = later("openai")

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
PROSE = "Brest, I should say."
Says = Callable[..., str]


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Gated]:
    """A service that makes nothing of a schema, and its gateway."""
    with gated(tmp_path, {"answer": lambda *_: PROSE}) as found:
        yield found


def told(body: dict[str, Any]) -> bool:
    """Whether a request is the second one, which says what was wrong."""
    return "does not fit the JSON schema" in body["messages"][-1]["content"]


def answer(held: Gated, says: Says) -> None:
    held.upstream.behaviour["answer"] = lambda body, *_: says(body)


@pytest.mark.parametrize("form", [FORM, {"type": "json_object"}])
@pytest.mark.parametrize("stream", [False, True])
def test_prose_is_asked_for_once_more(held: Gated, form: dict[str, Any], stream: bool) -> None:
    answer(held, lambda body: '{"city": "Brest"} it is' if told(body) else PROSE)
    made = held.client.chat.completions.create(
        **ASK, response_format=form, stream=stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    )  # fmt: skip
    chunks = list(made) if stream else []
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert json.loads(text or made.choices[0].message.content) == {"city": "Brest"}
    usage = chunks[-1].usage if stream else made.usage
    assert usage.cost_usd == pytest.approx(2 * COST_NANO / 1e9)
    assert len(held.upstream.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_prose_twice_is_an_error_that_says_what_it_cost(held: Gated, stream: bool) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        held.client.with_options(max_retries=2).chat.completions.create(
            **ASK, response_format=FORM, stream=stream
        )
    error = caught.value
    assert (error.status_code, error.code) == (502, "invalid_model_output")
    assert "does not fit the schema after 2 tries" in str(error)
    assert float(error.response.headers["x-karat-cost-usd"]) == pytest.approx(2 * COST_NANO / 1e9)
    assert error.response.headers["x-karat-model"] == "openai/loop"
    assert len(held.upstream.requests) == 2  # nor does the official client try it again


def test_what_failed_is_booked(tmp_path: Path) -> None:
    with (
        gated(tmp_path, {"answer": lambda *_: PROSE}) as (client, wired, _),
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(**ASK, response_format=FORM)
    assert [cost for (cost,) in wired.ledger("cost_nano")] == [COST_NANO, COST_NANO]


def test_each_of_several_answers_is_checked(held: Gated) -> None:
    held.upstream.behaviour["answer"] = lambda body, place: (
        PROSE if place == 1 and not told(body) else json.dumps({"city": f"{len(body['messages'])}"})
    )
    made = held.client.chat.completions.create(**ASK, response_format=FORM, n=2)
    assert [one.index for one in made.choices] == [0, 1]
    assert [json.loads(one.message.content)["city"] for one in made.choices] == ["1", "3"]


def test_a_value_that_was_set_right_is_sent_as_it_is_meant(held: Gated) -> None:
    number = {"type": "object", "properties": {"n": {"type": "integer"}}}
    answer(held, lambda body: '{"n": "12"}')
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": number}}
    made = held.client.chat.completions.create(**ASK, response_format=form)
    assert json.loads(made.choices[0].message.content) == {"n": 12}
    assert len(held.upstream.requests) == 1


def test_an_answer_that_was_cut_off_says_so_itself(held: Gated) -> None:
    held.upstream.behaviour["finish_reason"] = "length"
    made = held.client.chat.completions.create(**ASK, response_format=FORM)
    assert made.choices[0].finish_reason == "length"
    assert made.choices[0].message.content == PROSE
    assert len(held.upstream.requests) == 1


def test_a_schema_that_is_none_is_refused_before_anything_is_sent(held: Gated) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "objekt"}}}
    with pytest.raises(openai.BadRequestError, match="schema"):
        held.client.chat.completions.create(**ASK, response_format=form)
    assert held.upstream.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_messages_are_checked_too(held: Gated, stream: bool) -> None:
    body = {**ASK, "max_tokens": 50, "stream": stream,
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}  # fmt: skip
    found = requests.post(f"{held.wired.url}/v1/messages", json=body, timeout=20)
    assert found.status_code == 502
    assert "does not fit" in found.json()["error"]["message"]
    assert float(found.headers["x-karat-cost-usd"]) == pytest.approx(2 * COST_NANO / 1e9)
    answer(held, lambda body: '{"city": "Brest"}' if told(body) else PROSE)
    found = requests.post(f"{held.wired.url}/v1/messages", json=body, timeout=20)
    if stream:
        assert '{\\"city\\": \\"Brest\\"}' in found.text
    else:
        assert json.loads(found.json()["content"][0]["text"]) == {"city": "Brest"}
