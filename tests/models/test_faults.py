"""Errors as services word them, sorted by what is to be done about them.

The words are those of each service's documentation or of reports that quote its replies.
"""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.models.faults import fault
from karat.models.providers import openai
from karat.models.spec import parse_model
from karat.models.transport import HttpReply

KINDS = {"wait", "retry", "row", "context", "content", "model"}
CASES = json.loads((Path(__file__).parent / "wires" / "faults.json").read_bytes())


def provider():
    return openai.connect(parse_model({"model": "openai/x", "base_url": "http://h/v1"}))


def reply(case):
    body = case["body"]
    data = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return HttpReply(case["status"], {}, data)


@pytest.mark.parametrize("case", CASES)
def test_errors_in_their_services_words(case):
    status, kind = CASES[case]["status"], CASES[case]["kind"]
    found = provider().fault(reply(CASES[case]))
    assert found.kind == kind
    assert str(found).startswith(f"HTTP {status}: ")


def test_the_message_is_the_services_own_sentence():
    found = provider().fault(reply(CASES["openai: bad key"]))
    assert str(found) == "HTTP 401: Incorrect API key provided: sk-x."


def test_an_empty_account_is_told_as_402_whatever_the_status():
    assert fault(429, "no", "insufficient_quota").status == 402
    assert fault(400, "API key not valid. Please pass a valid API key.").status == 401


@given(status=st.integers(300, 599), body=st.binary(max_size=80))
def test_any_reply_has_a_sort_and_one_line(status, body):
    found = provider().fault(HttpReply(status, {}, body))
    assert found.kind in KINDS
    assert "\n" not in str(found)


@given(
    status=st.integers(400, 599),
    body=st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "message", "code", "type", "detail"]), inner
            )
        ),
    ),
)
def test_any_json_has_a_sort_and_one_line(status, body):
    found = provider().fault(HttpReply(status, {}, orjson.dumps(body)))
    assert found.kind in KINDS
    assert "\n" not in str(found)
