"""What is read out of a rewriting model's reply, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.row import Message, Row
from karat.steps._rewrites import MOST_NEW, fault, licence, written

PARENT = "Why is the sky blue?"
ASKED = [Message("user", "…"), Message("assistant", 'The new request: "How is tea made in China?"')]


def found(prompt: str, change: str = "longer", parent: str = PARENT) -> str:
    return fault(prompt, [parent], ASKED, change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "prompt"),
    [
        ("Why is the sky blue at noon?", "Why is the sky blue at noon?"),
        ('The new request: "Why is the sky blue?"', "Why is the sky blue?"),
        ('The new request: "Why is the sky blue?" It asks for more.', "Why is the sky blue?"),
        ('The new request: "Why is the sky blue', "Why is the sky blue"),
        ('New task: Print "a" and "b".', 'Print "a" and "b".'),
        ('"Why is the sky blue?"', "Why is the sky blue?"),
        ('"a" is what letter? Say "b".', '"a" is what letter? Say "b".'),
        ("#Rewritten Prompt#:\nWhy is it blue?", "Why is it blue?"),
        ("**New prompt:** Why is it blue?", "Why is it blue?"),
        ("Here is the rewritten prompt:\n\nWhy is it blue?", "Why is it blue?"),
        ("Sure! Here's a harder version: Why is it blue?", "Why is it blue?"),
        ("“Why is it blue?”", "Why is it blue?"),
        ("Task 1: Sort a list.", "Sort a list."),
        ("Compare these: a, b", "Compare these: a, b"),
        (
            "Here is a list of names: Ada, Bo. Sort it.",
            "Here is a list of names: Ada, Bo. Sort it.",
        ),
        ("New request:", "New request:"),
        ("", ""),
        ("The new task: \"Mend it:\n\nprint('x')\"", "Mend it:\n\nprint('x')"),
        ('The new task: "Mend it:\n\nprint("x")"', 'Mend it:\n\nprint("x")'),
        ("新的问题：「为什么天空是蓝色的？」", "新的问题：「为什么天空是蓝色的？」"),
        ("「为什么天空是蓝色的？」", "为什么天空是蓝色的？"),
    ],
)
def test_the_prompt_in_a_reply(reply: str, prompt: str) -> None:
    assert written(reply) == prompt


@given(st.text(alphabet='ab "“”:`\n*', max_size=40))
def test_any_reply_is_read(reply: str) -> None:
    prompt = written(reply)
    assert prompt == prompt.strip()
    assert prompt in reply


@pytest.mark.parametrize(
    ("prompt", "change", "why"),
    [
        ("Why is the sky blue at noon but red at dusk?", "longer", ""),
        ("Explain to a child why the sky is blue.", "longer", ""),
        ("Why is the sky so blue?", "longer", "nothing added"),
        ("What makes the sea look green?", "other", ""),
        ("Why is the sky so blue?", "other", "nothing added"),
        ("The sky is blue because air scatters light.", "other", "no longer a question"),
        ("How is tea made in China?", "longer", "copy of the example"),
        ("Why is the sky blue, and how is tea made in China?", "longer", "copy of the example"),
        ("Why is the sky blue in China?", "other", "nothing added"),
        ("Why is the sky blue at noon in China and red at dusk in Peru?", "other", ""),
        ("Blue?", "longer", "no usable prompt"),
        ("Please answer the given prompt in three steps with care", "new", "words of the request"),
        ("Turn #Rewritten Prompt# into a poem of eight lines", "new", "words of the request in it"),
        ("As an AI model, can I say why the sky is blue?", "longer", "words of the request in it"),
        ("I'm sorry, but why is that of interest?", "longer", "words of the request in it"),
        ("Write a server that counts how often a given request comes in", "new", ""),
        ("As an AI engineer, how do I explain why the sky is blue?", "longer", ""),
        ("Why is the big sky blue?", "new", "too near a parent"),
        ("Which gases does the air of Mars consist of?", "new", ""),
        ("Why? " + "word " * (MOST_NEW + 9), "longer", "too long"),
    ],
)
def test_what_is_refused(prompt: str, change: str, why: str) -> None:
    assert found(prompt, change).startswith(why)
    assert bool(found(prompt, change)) == bool(why)


def test_a_command_may_become_a_statement_or_stay_one() -> None:
    parent = "Write a poem about tea."
    assert found("A poem about tea is wanted, in eight lines", parent=parent) == ""
    assert found("Write a poem about tea that never uses the word cup", parent=parent) == ""


def test_scripts_without_spaces() -> None:
    parent = "天空为什么是蓝色的？"
    assert found("天空为什么是蓝色的，而在傍晚却是红色的？", parent=parent) == ""
    assert found("天空为何是蓝色的？", parent=parent) == "nothing added"


def test_a_prompt_of_several_rows_has_all_their_licences() -> None:
    rows = [Row("a", meta={"licence": "MIT"}), Row("b"), Row("c", meta={"licence": "CC-BY-4.0"})]
    assert licence([*rows, rows[0]]) == {"licence": "MIT + CC-BY-4.0"}
    assert licence(rows[1:2]) == {}
