"""What a person is told who gave a step, a model or a service something else than it takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import RecipeError
from karat.step import find
from karat.steps._variety import Axis
from karat.wording import below, described, explain

TASKS = "closed_qa, coding, math, open_qa, writing"
AXES = ", ".join(sorted(get_args(Axis)))


@pytest.mark.parametrize(
    ("step", "params", "said"),
    [
        ("prompts", {"novelty": {"word": 0.8}},
         "'novelty': no key 'word' among meaning, words; did you mean 'words'?"),
        ("prompts", {"variety": {"mood": ["x"]}}, f"'variety': no key 'mood' among {AXES}"),
        ("prompts", {"levels": {"maths": ["x"]}},
         f"'levels': no key 'maths' among {TASKS}; did you mean 'math'?"),
        ("prompts", {"novelty": {1: 0.5}},
         "'novelty': expected one of meaning, words as a key, got 1"),
        ("evolve", {"how": ["deepen", "deepn"]},
         "'how[1]': expected one of broaden, complicate, concretise, constrain, crossover, deepen, "
         "mutate, reason, got 'deepn'; did you mean 'deepen'?"),
        ("evolve", {"keep": "al"},
         "'keep': expected one of all, last, new, got 'al'; did you mean 'all'?"),
        ("evolve", {"keep": 3}, "'keep': expected one of all, last, new, got 3"),
        ("closed_qa", {"style": "read"},
         "'style': expected one of reading, retrieval, got 'read'; did you mean 'reading'?"),
        ("read", {"source": "humn"},
         "'source': expected one of given, human, synthetic, got 'humn'; did you mean 'human'?"),
        ("read", {"source": "martian"},
         "'source': expected one of given, human, synthetic, got 'martian'"),
        ("prompts", {"novelty": "of"},
         "'novelty': expected a mapping of any of meaning, words to numbers from 0.3 to 1, or off, "
         "got 'of'; did you mean 'off'?"),
        ("prompts", {"tasks": "openqa"},
         f"'tasks': expected a list of any of {TASKS}, or a mapping of any of {TASKS} to numbers "
         "above 0, got 'openqa'; did you mean [open_qa]?"),
        ("prompts", {"tasks": "math"}, "got 'math'; write a list: [math]"),
        ("prompts", {"tasks": {"math": 0}}, "'tasks': math: expected a number above 0, got 0"),
        ("prompts", {"novelty": {"words": 3}},
         "'novelty': words: expected a number from 0.3 to 1, got 3"),
        ("prompts", {"novelty": {"words": 0.5, "meaning": 3}},
         "'novelty': meaning: expected a number from 0.3 to 1, got 3"),
        ("prompts", {"variety": {"length": [], "tone": "happy"}},
         "'variety': tone: expected a list of texts, got 'happy'; write a list: [happy]"),
        ("prompts", {"variety": {"tone": ["happy", 3]}}, "tone[1]: expected text, got 3"),
        ("prompts", {"levels": ["math"]}, "to lists of texts, got a list"),
        ("dialogue", {"personas": {"a": True}},
         "'personas': a: expected text or null, got true"),
        ("constrain", {"count": "a"},
         "'count': expected a whole number from 1 or a list of whole numbers from 1, got 'a'"),
        ("read", {"path": 3}, "'path': expected str, got int"),
        ("read", {"prompt": 3}, "'prompt': expected text, a list of texts, or null, got 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_the_recipe_s_words(step, params, said):
    needed = {} if step == "constrain" else {"path": "x"} if step == "read" else {"model": "m"}
    with pytest.raises(RecipeError) as caught:
        find(step)(**{**needed, **params})
    told = str(caught.value)
    assert told.startswith("parameter '" + next(iter(params)))
    assert told.endswith(said)
    assert "[...]" not in told
    assert not set("`$|") & set(told)


def test_a_persona_of_one_s_own_is_told_in_sentences():
    with pytest.raises(RecipeError, match=r"normal\. One of your own needs a sentence"):
        find("dialogue")(model="m", personas=["sceptic"])
    with pytest.raises(RecipeError, match=r"'normal'\? One of your own needs a sentence"):
        find("dialogue")(model="m", personas=["norml"])


# --- what a type takes ---------------------------------------------------------------------------

Unit = Annotated[float, msgspec.Meta(ge=0, le=1)]
Named = Annotated[str, msgspec.Meta(extra={"names": "model"})]
Marked = Annotated[dict[str, int] | Literal["off"], msgspec.Meta(extra={"default": "x"})]


class Price(msgspec.Struct):
    input: float


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "a whole number"),
        (Unit, "a number from 0 to 1"),
        (Annotated[int, msgspec.Meta(ge=20)], "a whole number from 20"),
        (Annotated[float, msgspec.Meta(gt=0, le=1)], "a number above 0 and up to 1"),
        (Annotated[float, msgspec.Meta(ge=0, lt=1)], "a number from 0 to below 1"),
        (Annotated[float, msgspec.Meta(lt=0)], "a number below 0"),
        (Annotated[int, msgspec.Meta(le=86_400)], "a whole number up to 86,400"),
        (bool, "true or false"),
        (Any, "anything"),
        (Price, "a mapping"),
        (bytes, "a value"),
        (Named, "a model"),
        (Named | None, "a model or null"),
        (None | str | int, "text, a whole number, or null"),
        (list[Named], "a list of models"),
        (tuple[Unit, ...], "a list of numbers from 0 to 1"),
        (Literal["a", "b"], "one of a, b"),
        (Literal["", "b"], "one of '', b"),
        (list[Literal["a", "b"]], "a list of any of a, b"),
        (list[list[str]], "a list of lists of texts"),
        (dict[Literal["a", "b"], list[str]], "a mapping of any of a, b to lists of texts"),
        (Marked, "a mapping of texts to whole numbers, or off"),
    ],
)
def test_a_type_is_told_to_a_person(kind, words):
    assert described(msgspec.inspect.type_info(kind)) == words


# --- any value whatever --------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=1), inner),
    max_leaves=6,
)
KINDS = [
    dict[Literal["a", "b"], list[Unit]],
    list[dict[str, Price]],
    dict[str, dict[str, list[Literal["a", "b"]]]] | Literal["off"] | None,
    Price,
]


@given(JSON, st.sampled_from(KINDS))
def test_whatever_is_given_the_message_names_a_place_and_no_type_of_python(value, kind):
    holder = msgspec.defstruct("Holder", [("n", kind)], forbid_unknown_fields=True)
    try:
        msgspec.convert({"n": value}, holder)
    except msgspec.ValidationError as error:
        told = explain(str(error), {"n": value}, holder)
        assert told.startswith(("parameter 'n", "n"))
        assert "..." not in told
        assert not set("`$|") & set(told)


def test_a_score_below_a_limit_is_seen_to_be_below():
    assert below(1.2, 2.5) == "1.20"
    assert below(2.495857, 2.5) == "2.496"
    assert below(2.4999999, 2.5) == "2.500000"  # six are enough
