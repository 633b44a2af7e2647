"""A survey of a data set: read from anything, measured once, told on a terminal."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console
from server import Server

import karat
from karat.errors import RecipeError
from karat.report import survey as module
from karat.report.measures import MEASURES
from karat.report.survey import survey
from karat.report.survey_text import survey_text
from karat.row import Message, Response, Row
from karat.stage import StageWriter

TERMINAL_EVIL = "\x1b[2J[bold]x[/bold]\u202e"
KINDS = ("bread and yeast", "planets and rings", "guitars and strings")
TEXTS = [
    f"Tell me {what} about {kind}" for kind in KINDS for what in ("more", "less", "all", "a bit")
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def prompts(tmp_path):
    rows = [
        {"prompt": text, "response": f"Answer {n % 2}", "topic": text.split()[-1], "task": "qa",
         "number": n, "note": "x" * 100}
        for n, text in enumerate(TEXTS)
    ]  # fmt: skip
    return write(tmp_path / "prompts.jsonl", rows)


def printed(found, width=160):
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False).print(survey_text(found))
    return stream.getvalue()


# --- reading -----------------------------------------------------------------------------------


def test_a_file_of_somebody_elses(prompts):
    found = survey(prompts)
    assert sorted(found.texts) == sorted(TEXTS)
    assert found.measures["rows"] == 12
    assert found.left_out == {}
    assert sum(one.texts for one in found.groups) == 12


def test_what_is_looked_at(prompts):
    assert set(survey(prompts, "response").texts) == {"Answer 0", "Answer 1"}
    assert survey(prompts, "conversation").texts[0] == f"{TEXTS[0]}\nAnswer 0"


def test_a_stage_file_and_the_rows_of_it_that_live(tmp_path):
    rows = [
        Row(str(n), [Message("system", "s"), Message("user", text)],
            [Response(f"no {n}", kept=False), Response(f"yes {n}", kept=True)],
            meta={"topic": "a" if n < 8 else "b"})
        for n, text in enumerate(TEXTS)
    ]  # fmt: skip
    rows[3].dropped = "dull"
    path = stage_of(tmp_path / "stage.parquet", rows)
    found = survey(path)
    assert found.texts == TEXTS[:3] + TEXTS[4:]
    assert found.columns["topic"]["largest"] == pytest.approx(7 / 11)
    assert "yes 0" in survey(path, "response").texts
    assert survey(path, "conversation").texts[0] == f"s\n{TEXTS[0]}\nyes 0"


def stage_of(path, rows):
    writer = StageWriter(path)
    writer.add(rows)
    writer.close({})
    return path


def test_of_a_passage_its_question_is_measured(tmp_path):
    rows = [
        Row(str(n), [Message("user", f"One passage, always the same.\n\n{text}")],
            [Response(f"yes {n}")], meta={"question": text} if n else {"question": " "})
        for n, text in enumerate(TEXTS)
    ]  # fmt: skip
    path = stage_of(tmp_path / "stage.parquet", rows)
    found = survey(path)
    assert found.texts == [rows[0].prompt, *TEXTS[1:]]
    assert found.questions == 11
    assert "11 are measured by their question" in printed(found)
    assert survey(path, "conversation").texts[1].startswith("One passage")
    assert survey(path, "response").questions == 0
    rows = [row for row in rows if row.id != "0"]
    assert "All are measured by their question" in printed(survey(stage_of(path, rows)))


def test_a_column_of_karat_s_own_rows_is_a_field_of_meta(tmp_path):
    rows = [
        Row(str(n), [Message("user", "Why?")], meta={"of": {"topic": text}} if n else {})
        for n, text in enumerate(TEXTS)
    ]
    found = survey(stage_of(tmp_path / "stage.parquet", rows), column="of.topic")
    assert found.texts == TEXTS[1:]
    assert (found.on, found.column, found.questions) == ("text", "of.topic", 0)
    assert found.left_out == {"no of.topic": 1}
    with pytest.raises(RecipeError, match="has no of to measure; left out: 12 no of"):
        survey(tmp_path / "stage.parquet", column="of")


def test_a_column_of_a_file(tmp_path):
    rows = [{"label": "x", "text": text, "n": 3} for text in TEXTS]
    path = write(tmp_path / "a.jsonl", rows)
    assert survey(path, column="text").texts == TEXTS
    with pytest.raises(
        RecipeError, match=r"there is: label, n, text; name the text: --column text$"
    ):
        survey(path)
    with pytest.raises(RecipeError, match=r"name the text: --column NAME$"):
        survey(write(tmp_path / "b.jsonl", [{"n": 3}, {}]))
    with pytest.raises(RecipeError, match=r"did you mean 'text'\?"):
        survey(path, column="texd")


def test_a_run(make_recipe, tmp_path):
    with Server() as server:
        karat.run(make_recipe(server.model(), 6), tmp_path / "out")
    found = survey(tmp_path / "out")
    assert found.measures["rows"] == 6
    assert found.columns == {}  # every row has a number of its own, and all one source
    (tmp_path / "out" / "accepted.parquet").unlink()
    with pytest.raises(RecipeError, match="run it to the end"):
        survey(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "no file"),
        ("empty.jsonl", "", "has no record"),
        ("x.parquet", "no parquet", "is not Parquet"),
        ("x.txt", "text", "its name must end in"),
        ("blank.jsonl", '{"prompt": " "}\n', "no record that makes a row"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError, match=message):
        survey(tmp_path / name)


def test_rows_without_the_text_are_counted(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "a word", "response": "yes"}, {"prompt": "b"}])
    path.write_text(path.read_text() + "{broken\n")
    assert survey(path).left_out == {"unreadable line": 1}
    assert survey(path, "response").left_out == {"unreadable line": 1, "no response": 1}
    with pytest.raises(RecipeError, match="left out: 1 no response"):
        survey(write(tmp_path / "b.jsonl", [{"prompt": "b"}]), "response")


def test_more_than_the_sample(prompts, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 5)
    found = survey(prompts)
    assert (found.measures["rows"], found.measures["sampled"], len(found.texts)) == (12, 5, 5)
    assert found.columns["topic"]["rows"] == 12  # columns are counted in full
    assert "5 of 12, drawn at random" in printed(found)


# --- what is found -----------------------------------------------------------------------------


def test_groups_columns_and_the_same_every_time(prompts):
    found = survey(prompts, clusters=3)
    assert sorted(one.texts for one in found.groups) == [4, 4, 4]
    assert {one.name.split(",")[0] for one in found.groups} <= {
        "bread", "yeast", "planets", "rings", "guitars", "strings",
    }  # fmt: skip
    assert list(found.columns) == ["topic"]  # one task; numbers and notes are no categories
    assert found.columns["topic"]["values"] == 3
    assert found.as_tree() == survey(prompts, clusters=3).as_tree()
    assert found.as_tree() == json.loads(json.dumps(found.as_tree()))


def test_columns_are_categories_only():
    columns = module._Columns()
    for n in range(40):
        meta = {"id": f"{n}", "kind": f"k{n % 4}", "flag": n % 2 == 0, "score": n / 3, "list": [1]}
        columns.add({**meta, "task": "ab"[n % 2], "topic": f"t{n % 20}", "rare": None})
    columns.add({"rare": "x"})
    found = columns.balances(41)
    assert list(found) == ["topic", "task", "flag", "kind"]
    assert (found["topic"]["values"], found["flag"]["values"]) == (20, 2)


def test_repeats_word_for_word_are_counted_apart_from_those_nearly_alike(tmp_path):
    tree = "Name a tree that grows in the cold north and say how old and how tall it can become"
    rows = [
        *["Say  hello to me", "Say hello to me\n", "Say hello to me", "Say hello to me"],
        tree, f"{tree} there", *["Why?", "Why?"], "Something else",
    ]  # fmt: skip
    found = survey(write(tmp_path / "a.jsonl", [{"prompt": text} for text in rows]))
    assert [(one.text, one.times) for one in found.repeats] == [(rows[0], 4), ("Why?", 2)]
    assert [(p.first, p.second) for p in found.pairs] == [(tree, f"{tree} there")]
    assert 0.8 <= found.pairs[0].similarity < 1
    assert found.exact == pytest.approx(4 / 9)
    assert found.measures["near_duplicates"] == pytest.approx(5 / 9)
    text = printed(found)
    assert "55.6% repeat another prompt, 44.4% word for word" in text
    assert "\n4 × Say hello to me\n2 × Why?\n" in text
    tree_of = found.as_tree()
    assert tree_of["repeats"][0]["times"] == 4
    assert tree_of["exact_duplicates"] == pytest.approx(4 / 9)


def test_only_the_most_repeated_are_listed(tmp_path):
    rows = [{"prompt": f"Say {n}"} for n in "abcdef" for _ in range(ord(n) - ord("a") + 1)]
    found = survey(write(tmp_path / "a.jsonl", rows))
    assert [(one.text, one.times) for one in found.repeats] == [
        ("Say f", 6), ("Say e", 5), ("Say d", 4),
    ]  # fmt: skip


def test_texts_without_a_word_repeat_each_other_too(tmp_path):
    found = survey(write(tmp_path / "a.jsonl", [{"prompt": "😀"}, {"prompt": "😀"}]))
    assert "50.0% repeat another prompt, 50.0% word for word" in printed(found)
    none = survey(write(tmp_path / "b.jsonl", [{"prompt": "tea"}, {"prompt": "rain"}]))
    assert none.repeats == none.pairs == []
    assert "No prompt repeats another." in printed(none)


def test_what_is_done_is_told(prompts, monkeypatch):
    told = []
    survey(prompts, say=told.append)
    assert told == [
        f"reading {prompts}", "measuring 12 prompts", "looking for clusters and repeats",
    ]  # fmt: skip
    monkeypatch.setattr(module, "SAMPLE", 5)
    survey(prompts, "response", say=told.append)
    assert told[-2] == "measuring 5 of 12 responses"


# --- on a terminal -----------------------------------------------------------------------------


def test_every_measure_is_shown_with_its_meaning(prompts):
    text = printed(survey(prompts), 220)
    for measure in MEASURES:
        assert measure.label in text
    assert "wholly different ones" in text
    assert "at 95%" in text
    assert re.search(r"topic +3 +1\.00 +3 +33%", text)


def test_words_of_others_stay_words_on_the_terminal(tmp_path):
    rows = [
        {"prompt": f"{TERMINAL_EVIL} word{n % 2} {n}", TERMINAL_EVIL: TERMINAL_EVIL + str(n % 2)}
        for n in range(12)
    ]
    text = printed(survey(write(tmp_path / f"{'a' * 9}.jsonl", rows)))
    assert "[bold]x[/bold]" in text
    assert not [sign for sign in text if sign in "\x1b\u202e"]
