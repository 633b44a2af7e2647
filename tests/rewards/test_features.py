"""The representation never fails, never depends on neighbours, and sees what it claims to see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.rewards.asks import ASK_NAMES, read_ask
from karat.rewards.features import NAMES, features
from karat.row import Message

TEXT = st.text(st.characters(codec=None), max_size=400)
CODE = "```python\ndef f(x):\n    return {x: [1, 2]}\n```"
STRANGE = [
    "",
    " \n\t ",
    "\x00\ud800\U0001f9d1\u200d\U0001f680",
    "日本語の文章です。" * 50,
    "مرحبا بالعالم",
    CODE,
    "a" * 1_000_000,
    "word " * 200_000,
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "(" * 5000,
    "*" * 100_000,
    "[A" * 50_000,
]


def value(prompt: str, response: str, name: str) -> float:
    return float(features([Message("user", prompt)], [response])[0, NAMES.index(name)])


def test_names_are_unique_and_fit_in_a_byte() -> None:
    assert len(set(NAMES)) == len(NAMES) < 256
    assert NAMES[-len(ASK_NAMES) :] == ASK_NAMES


@given(TEXT, st.lists(TEXT, max_size=3))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_finite_features(prompt: str, responses: list[str]) -> None:
    x_NF = features([Message("user", prompt)], responses)
    assert x_NF.shape == (len(responses), len(NAMES))
    assert np.isfinite(x_NF).all()


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_strange_text_as_prompt_and_as_response(text: str) -> None:
    for prompt in ([Message("user", text)], [Message("system", text)], []):
        assert np.isfinite(features(prompt, [text, "Fine."])).all()


def test_a_response_is_read_the_same_whatever_stands_beside_it() -> None:
    prompt = [Message("user", "List 3 fruits.")]
    alone = features(prompt, ["Apple."])
    assert np.array_equal(features(prompt, ["Pear.", "Apple.", ""])[1:2], alone)


@pytest.mark.parametrize(
    ("prompt", "response", "name", "expected"),
    [
        ("Hi", "I'm sorry, but I can't help with that.", "refusal_head", 1.0),
        ("Hi", "Here you are: a plan.", "refusal_head", 0.0),
        ("Hi", "", "empty", 1.0),
        ("Make a table of rivers.", "The Nile is long.", "table_unmet", 1.0),
        ("Make a table of rivers.", "|a|b|\n|-|-|\n|Nile|1|", "table_unmet", 0.0),
        ("Write a python function.", "It adds.", "code_unmet", 1.0),
        ("Write a python function.", CODE, "code_unmet", 0.0),
        ("What is the capital of France?", "Paris is the capital of France.", "coverage", 1.0),
        ("What is the capital of France?", "Bananas are yellow.", "coverage", 0.0),
        ("Give me five tips on sleep", "1. Rest\n2. Walk\n3. Read\n4. Eat", "items_missing", 0.2),
        ("Hi", "one two one two one two", "repeated_trigrams", 0.5),
        ("Hi", "A sentence that breaks off in the", "ends_well", 0.0),
        ("Hi", "A sentence.", "ends_well", 1.0),
    ],
)
def test_features_see_what_they_name(
    prompt: str, response: str, name: str, expected: float
) -> None:
    assert value(prompt, response, name) == pytest.approx(expected)


def test_length_asked_for_is_read() -> None:
    ask = read_ask([Message("user", "Explain gravity in under 200 words, please.")])
    assert ask.words_wanted == 200
    assert read_ask([Message("user", "In two sentences, why?")]).words_wanted == 36
    assert value("Explain in 50 words.", "word " * 100, "words_over") > 0.5
    assert value("Explain in 50 words.", "word " * 10, "words_under") > 0.5


def test_a_million_characters_cost_no_more_than_a_window() -> None:
    long, short = "The cat sat. " * 80_000, "The cat sat. " * 1_200
    assert value("Hi", long, "log_chars") > value("Hi", short, "log_chars")
    assert value("Hi", long, "log_words") > value("Hi", short, "log_words")
