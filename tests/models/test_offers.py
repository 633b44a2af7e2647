"""Lists of models in the words of each kind of service; samples follow the vendors' references."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import ProviderError
from karat.models.offers import Offer, read_list
from karat.models.transport import HttpReply


def read(tree):
    return read_list(HttpReply(200, {}, json.dumps(tree).encode()))


def test_each_kind_of_list():
    assert read({"object": "list", "data": [{"id": "gpt-5", "object": "model"}]}) == [
        Offer("gpt-5")
    ]
    assert read({"models": [{"name": "models/gemini-3-pro", "inputTokenLimit": 1048576}]}) == [
        Offer("gemini-3-pro", 1048576)
    ]
    assert read([{"id": "meta/llama", "context_length": 8192, "pricing": {"input": 0.2}}]) == [
        Offer("meta/llama", 8192)
    ]
    assert read({"data": [{"type": "model", "id": "claude-x"}], "has_more": False}) == [
        Offer("claude-x")
    ]


@pytest.mark.parametrize(
    ("pricing", "price"),
    [
        ({"prompt": "0.00003", "completion": "0.00006"}, (30, 60, None)),
        (
            {"prompt": "0.000001", "completion": "0", "input_cache_read": "0.0000001"},
            (1, 0, 0.1),
        ),
        ({"prompt": "-1", "completion": "-1"}, None),
        ({"prompt": "0.1"}, None),
        ({"prompt": "free", "completion": "0"}, None),
        ({"prompt": "nan", "completion": "0"}, None),
        ({"prompt": "1", "completion": "inf"}, None),
        ("none", None),
    ],
)
def test_prices_a_token_become_prices_a_million(pricing, price):
    (offer,) = read({"data": [{"id": "m", "pricing": pricing}]})
    found = offer.price
    assert (found and (found.input, found.output, found.cached)) == price


@pytest.mark.parametrize("window", [True, 0, -1, "8192", None, 1.5])
def test_a_window_that_is_no_count_is_not_known(window):
    assert read({"data": [{"id": "m", "context_length": window}]}) == [Offer("m")]


@pytest.mark.parametrize("body", [b"<html>", b"null", b'"data"', b'{"data": null}', b"{}", b"3"])
def test_what_is_no_list_is_refused_in_words(body):
    with pytest.raises(ProviderError, match="no list of models"):
        read_list(HttpReply(200, {}, body))


def test_flags_become_rights():
    (yes, no, silent) = read(
        {"data": [{"id": "a", "is_trainable_text": True}, {"id": "b", "is_trainable_text": False},
                  {"id": "c"}]}
    )  # fmt: skip
    assert (yes.flagged.training, no.flagged.training, silent.flagged) == ("yes", "no", None)


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "models", "id", "name", "pricing", "prompt", "completion"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_trees)
def test_any_json_is_a_list_or_refused_in_words(tree):
    try:
        found = read(tree)
    except ProviderError:
        return
    assert all(offer.name for offer in found)
    assert all(offer.context is None or type(offer.context) is int for offer in found)
