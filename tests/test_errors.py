"""The error tree: every error survives a trip between processes; hints name what is nearest."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import KaratError, ProviderError, RecipeError, RowError, RunError, did_you_mean


@pytest.mark.parametrize("kind", [KaratError, RecipeError, RowError, RunError, ProviderError])
def test_errors_pickle(kind):
    copy = pickle.loads(pickle.dumps(kind("what to do: α")))
    assert type(copy) is kind
    assert str(copy) == "what to do: α"


def test_a_provider_error_keeps_its_status_when_pickled():
    assert pickle.loads(pickle.dumps(ProviderError("no credit", 402))).status == 402


def test_every_error_is_a_karat_error():
    assert all(issubclass(k, KaratError) for k in (RecipeError, RowError, RunError, ProviderError))


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("tempereture", "did you mean 'temperature'?"),
        ("xyzzy", "there is: n, temperature"),
    ],
)
def test_a_hint_is_the_nearest_spelling_or_all_there_are(word, hint):
    assert did_you_mean(word, ["temperature", "n"]) == hint


def test_a_hint_says_when_there_is_nothing():
    assert did_you_mean("x", []) == "there are none"


@given(st.text(), st.lists(st.text()))
def test_a_hint_is_always_words(word, known):
    assert did_you_mean(word, known)
