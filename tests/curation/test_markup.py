"""Damage to encoding and markup, and what only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.boilerplate import boilerplate
from karat.curation.markup import (
    control_characters,
    entities,
    mojibake,
    speaks_of_markup,
    tags,
    template_marks,
    unbalanced,
)

LANGUAGES = [
    "Über die Größe läßt sich streiten: »schön« – „na ja“.", "CAFÉ», dit-elle. À bientôt, l’été…",
    "El niño comió piña; ¿qué más?", "São Paulo não é só isso, IRMÃO.", "Привет, как дела? Ёлка.",
    "Καλημέρα, τι κάνεις;", "שלום עולם", "مرحبا بالعالم", "日本語の文章です。",
    "中文“引号”。", "한국어 문장",
    "Việt Nam: đường phố", "Żółć, gęś, ćma", "naïve façade — 20 °C ± 2 µm", "🙂 fine 👍🏽",
    "£5 or €6?",
]  # fmt: skip


@pytest.mark.parametrize("text", LANGUAGES)
def test_languages_are_no_mojibake(text):
    assert mojibake(text) == []
    assert control_characters(text) == []


@pytest.mark.parametrize("text", LANGUAGES[:-1])
@pytest.mark.parametrize("table", ["cp1252", "latin-1"])
def test_wrongly_decoded_text_is_found(text, table):
    """Latin-1 has all 256 bytes; Windows-1252 lacks five, and such text cannot come of it."""
    try:
        damaged = text.encode().decode(table)
    except UnicodeDecodeError:
        damaged = text.encode().decode("latin-1")
    assert mojibake(damaged)


@given(st.text("éüñßøçœ’“”–…€ÄÖ", min_size=1, max_size=8))
def test_every_wrong_character_of_western_text_is_found(text):
    damaged = f"a {text.encode().decode('latin-1')} b"
    assert "".join(mojibake(damaged)).encode("latin-1").decode() == text


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_never_mojibake(text):
    assert mojibake(text) == []


@given(st.text(max_size=40))
def test_control_characters_by_hand(text):
    want = [c for c in text if (c < " " and c not in "\t\n\r") or "\x7f" <= c <= "\x9f"]
    assert sorted(control_characters(text)) == sorted(want)


OPEN = {
    "```python\nx = 1\n": 1, "```\na\n```\n": 0, "````md\n```\nx\n```\n````": 0, "~~~\na\n```\n": 1,
    "a ``` b": 0, r"\[ x = 1": 1, r"\[ x \] and \( y \)": 0, r"\begin{a} x \end{a}": 0,
    r"\begin{a} x": 1, "<think>so": 1, "<think>so</think> yes": 0, "so</think> yes": 1,
    "```latex\n\\begin{a}\n```": 0, r"a line \\[2pt] in a matrix \begin{m} \end{m}": 0,
}  # fmt: skip


@pytest.mark.parametrize("text", sorted(OPEN))
def test_what_is_left_open(text):
    assert unbalanced(text) == OPEN[text]


def test_html_counts_outside_code_only():
    text = "<p>One</p> &amp; two<br/>\n```html\n<p>x</p> &nbsp;\n```\nthe `<br>` tag, 3 < 4 > 2"
    assert tags(text) == ["<p>", "</p>", "<br/>"]
    assert entities(text) == ["&amp;"]
    assert tags("List<String> and <name> and a<b>c") == ["<b>"]
    assert speaks_of_markup("How do I center a div in HTML?")
    assert speaks_of_markup("Fix this: <b>x</i>")
    assert not speaks_of_markup("Why is the sky blue?")


def test_remains_of_chat_templates():
    text = "Yes.<|im_end|>\n[INST] go on [/INST]</s>\n\nHuman: And?\n### Response:\nNo."
    assert template_marks(text) == [
        "<|im_end|>", "[INST]", "[/INST]", "</s>", "Human:", "### Response:",
    ]  # fmt: skip
    assert template_marks("Human: the word. `</s>` ends a sequence.") == []
    assert template_marks("### Responses\nthree") == []


PHRASES = {
    "speaks as a model": [
        "As an AI language model, I have no opinions.", "Well, I'm an AI, so no.",
        "I am ChatGPT.", "as a large language model", "I was developed by OpenAI to help.",
    ],
    "training cut-off": [
        "As of my last update, nobody knows.", "My knowledge cutoff is 2021.",
        "as of my knowledge cut-off",
    ],
    "page furniture": [
        "This website uses cookies.", "All rights reserved.", "Subscribe to our newsletter",
        "Click here to read more", "Please enable JavaScript",
    ],
    "filler text": ["Lorem ipsum dolor sit amet"],
}  # fmt: skip
NONE = [
    "An AI language model is a neural network.", "I'm an airline pilot.", "Her knowledge is deep.",
    "Add cookies to the jar.", "JavaScript is a language.", "As of my birthday, I am ten.",
    "The assistant was created by the firm.", "Cut off the ends.",
]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(PHRASES))
def test_set_phrases(kind):
    for text in PHRASES[kind]:
        assert list(boilerplate(f"So. {text}")) == [kind], text


@pytest.mark.parametrize("text", NONE)
def test_no_set_phrases(text):
    assert boilerplate(text) == {}
