"""A row on a terminal: others' words stay words, and every response says where it came from."""

from __future__ import annotations

import io

import pytest
from conftest import rows_of
from rich.console import Console
from server import Server

import karat
from karat.report.rows import row_panel
from karat.row import Message, Response, Row

EVIL = "\x1b[2J[bold]kept[/bold] [/nothing] \x07\u202e\u2028\ud800"
SEEN = "[bold]kept[/bold] [/nothing]"


def printed(row, width=200):
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False, highlight=False).print(row_panel(row))
    text = stream.getvalue()
    text.encode()  # as a terminal would
    assert not [c for c in text if c in "\x1b\x07\u202e\u2028"]
    return text


def a_row(*responses, **fields):
    return Row("0" * 16, [Message("user", "Why?")], list(responses), **fields)


def heads(row):
    """The lines above the responses."""
    lines = (line.strip("│ ").rstrip() for line in printed(row).splitlines())
    return [line for line in lines if line.startswith("response")]


def test_a_row_is_shown_as_text():
    response = Response(EVIL, EVIL, scores={EVIL: 1.0}, kept=True)
    row = Row(EVIL, [Message(EVIL, EVIL)], [response], meta={"k": EVIL}, dropped=EVIL)
    assert printed(row).count(SEEN) >= 7


def test_what_is_known_of_a_response_stands_above_it():
    row = a_row(
        Response("a", "m/x", kept=True, scores={"r.reward": 1.5}),
        Response("b", finish_reason="length", kept=False),
    )
    assert heads(row) == [
        "response 1 by m/x  kept  reward 1.50",
        "response 2 by the file  not kept  cut off",
    ]
    assert heads(a_row(Response("a", "m/x"))) == ["response by m/x"]


# --- where a response came from ------------------------------------------------------------------


def revised(index, of, model, before, after):
    return {"index": index, "from": of, "from_model": model, "by": "r.reward", "before": before,
            "after": after, "critique": None}  # fmt: skip


def test_an_edit_says_of_which_answer_and_what_it_did():
    row = a_row(
        Response("a", "m/x", 0), Response("b", "m/y", 0), Response("c", "m/e", 1),
        Response("d", "m/e", 2), Response("later", "m/z", 1),
        meta={"revised": [revised(1, 0, "m/y", 1.814, 1.82), revised(2, 0, "m/x", 1.9, None)]},
    )  # fmt: skip
    assert heads(row) == [
        "response 1 by m/x", "response 2 by m/y", "response 3 by m/e  edit of 2, 1.81 → 1.82",
        "response 4 by m/e  edit of 1", "response 5 by m/z",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [None, 3, "no", [3], [{}], [{"index": 1}], {"index": 1}])
def test_a_column_of_that_name_does_no_harm(value):
    told = heads(a_row(Response("a"), Response("b", index=1), meta={"revised": value}))
    assert told[1].removesuffix("  edit") == "response 2 by the file"


def test_edits_of_a_run_are_told(make_recipe, length_reward, tmp_path):
    """What `revise` writes down is what the panel reads."""
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"respond": {"models": ["teacher"], "n": 2}},
        {"grade": {"reward": "length"}},
        {"revise": {"model": "teacher", "by": "length.reward", "below": 5}},
    ]
    with Server() as server:
        recipe = make_recipe(server.model(), 2, steps=steps, rewards={"length": "x/y"})
        run = karat.run(recipe, tmp_path / "out")
    rows = rows_of(run.accepted_file)
    assert len(rows) == 2
    for row in rows:
        *given, edit = heads(row)
        (note,) = row.meta["revised"]
        assert len(given) == 2
        assert "edit" not in "".join(given)
        assert f"edit of {note['from'] + 1}, {note['before']:.2f} → {note['after']:.2f}" in edit


def test_an_answer_written_with_its_question_says_so():
    row = a_row(
        Response("a", "m/x", call="ab"), Response("b", "m/x", call="cd"), Response("c"),
        meta={"question": "Why?"}, calls=["ef", "ab"],
    )  # fmt: skip
    assert heads(row) == [
        "response 1 by m/x  written with the question", "response 2 by m/x",
        "response 3 by the file",
    ]  # fmt: skip
    row.meta = {}
    assert "written" not in printed(row)


# --- facts ---------------------------------------------------------------------------------------


def test_short_facts_are_told_inside_the_panel_the_most_telling_first():
    meta = {
        "passage": "x" * 61, "licence": "mit", "persona": "a nurse", "list": [1], "none": None,
        "good": True, "page": 3, "topic": "tea\nand rain", "question": "Why does it rain? " * 3,
    }  # fmt: skip
    line = printed(a_row(meta=meta)).splitlines()[-2]
    assert line.strip("│ ") == (
        "topic: tea and rain · persona: a nurse · page: 3 · "
        f"question: {' '.join(['Why does it rain?'] * 3)} · licence: mit · good: true"
    )


def test_facts_are_wrapped_and_none_is_cut():
    meta = {f"column_{n}": f"value {n} of this row" for n in range(12)}
    text = printed(a_row(meta=meta), 60)
    assert all(f"value {n}" in " ".join(text.replace("│", " ").split()) for n in range(12))
    assert "…" not in text
    assert max(map(len, text.splitlines())) == 60


def test_a_row_without_facts_has_no_line_for_them():
    lines = printed(a_row(meta={"list": [1]})).splitlines()
    assert [line.strip("│ ") for line in lines[1:-1]] == ["user", "Why?", ""]


# --- grading -------------------------------------------------------------------------------------


def test_scores_of_several_rewards_say_whose_they_are():
    one = Response("a", "m/x", scores={"r.reward": 1.5, "r.coherence": 2.0})
    two = Response("b", "m/x", scores={"r.reward": 1.5, "judge.reward": 3.25})
    assert heads(a_row(one, two)) == [
        "response 1 by m/x  reward 1.50  coherence 2.00",
        "response 2 by m/x  r.reward 1.50  judge.reward 3.25",
    ]


def test_who_graded_what_is_to_be_looked_at_and_why_checks_failed_are_told():
    review = "judge was 0.52 sure of the first response, and this is longer than a fact"
    failed = [{"check": "refusal", "response": 1, "reason": "declines: I'm\nsorry"}]
    meta = {
        "topic": "tea", "graded": {"by": "judge", "confidence": 0.5234}, "review": review,
        "failed_checks": failed,
    }  # fmt: skip
    lines = [line.strip("│ ") for line in printed(a_row(Response("a"), meta=meta)).splitlines()]
    assert lines[-4:-1] == [
        "topic: tea",
        f"graded by judge (0.52) · review: {review}",
        "response 2 fails refusal: declines: I'm sorry",
    ]


@pytest.mark.parametrize(
    "value", [None, 3, "no", [3], [{}], {"by": 3}, [{"response": "1", "reason": 2}]]
)
def test_columns_with_names_of_grading_do_no_harm(value):
    row = a_row(Response("a"), meta={"graded": value, "review": value, "failed_checks": value})
    assert "fails" not in printed(row)
    assert "graded by" not in printed(row)
