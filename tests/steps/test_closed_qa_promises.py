"""closed_qa: its negatives, and what holds for every run."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from conftest import rows_of
from passages import PASSAGE, Teacher, accepted, port_of, run
from server import Server

from karat.planning import plan
from karat.recipe import Recipe

# --- negatives -----------------------------------------------------------------------------------


def hashed(texts: list[str]) -> np.ndarray:
    vectors = np.zeros((len(texts), 512), np.float32)
    for row, text in enumerate(texts):
        for word in set(text.lower().replace("?", "").replace(".", "").split()):
            vectors[row, zlib.crc32(word.encode()) % 512] = 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def candidates(*texts: str) -> list[dict[str, Any]]:
    return [{"passage": text, "file": "b.md", "start": 0, "end": len(text)} for text in texts]


def test_negatives_are_the_most_similar_that_do_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("karat.curation.embedding.embed", hashed)
    others = candidates(
        "Salt was sold at the coast.",
        "Who built the old mill is not known.",
        "Clara Weyland built a mill at Pell.",
        "The Arden library is old.",
        "Who built the Arden bridge?",
    )
    given = [{"prompt": "x", "passage": PASSAGE, "candidates": others}]
    teacher = Teacher(questions="1. Who built the Arden bridge?")
    (row,) = accepted(tmp_path, teacher, given, per_chunk=1, negatives=2, hardest=None)
    assert [n["passage"] for n in row.meta["negatives"]] == [
        "Who built the Arden bridge?", "Who built the old mill is not known.",
    ]  # fmt: skip
    assert "candidates" not in row.meta
    near = [n["similarity"] for n in row.meta["negatives"]]
    assert near == sorted(near, reverse=True)
    assert row.meta["negatives"][1]["file"] == "b.md"


def test_what_is_nearer_than_the_passage_itself_is_no_negative(tmp_path, monkeypatch):
    monkeypatch.setattr("karat.curation.embedding.embed", hashed)
    others = candidates("Who built the Arden bridge?", "Salt and the sea.")
    given = [{"prompt": "x", "passage": PASSAGE, "candidates": others}]
    teacher = Teacher(questions="1. Who built the Arden bridge?")
    (row,) = accepted(tmp_path, teacher, given, per_chunk=1)
    assert [n["passage"] for n in row.meta["negatives"]] == ["Salt and the sea."]


@pytest.mark.parametrize("answer", ["In May 1871", "The Arden bridge was opened in May 1871."])
def test_what_says_the_answer_in_other_words_is_no_negative(tmp_path, monkeypatch, answer):
    monkeypatch.setattr("karat.curation.embedding.embed", hashed)
    question = "When was the Arden bridge opened?"
    others = candidates(
        "In 1871 - it was May - the Arden bridge was opened; a band played.",
        "The year 1871 saw, in May, the opening of the bridge.",
        "The Brekk bridge was opened in May 1902.",
        "The Arden bridge is painted every nine years.",
    )
    given = [{"prompt": "x", "passage": PASSAGE, "candidates": others}]
    teacher = Teacher(questions=f"1. {question}", answer=answer)
    (row,) = accepted(tmp_path, teacher, given, per_chunk=1, hardest=None)
    assert {n["passage"] for n in row.meta["negatives"]} == {o["passage"] for o in others[2:]}


def test_no_candidates_and_no_negatives_wanted(tmp_path):
    (row, *_) = accepted(tmp_path, Teacher())
    assert row.meta["negatives"] == []
    given = [{"prompt": "x", "passage": PASSAGE, "candidates": candidates("Salt.")}]
    folder = tmp_path / "none"
    folder.mkdir()
    (row, *_) = accepted(folder, Teacher(), given, negatives=0)
    assert row.meta["negatives"] == []


# --- promises ------------------------------------------------------------------------------------


def test_the_same_rows_at_any_concurrency(tmp_path):
    given = [{"prompt": "x", "passage": f"{PASSAGE} It has {n} lamps."} for n in range(12)]
    found, port = [], 0
    for number, latency in enumerate((0.0, 0.02)):
        folder = tmp_path / str(number)
        folder.mkdir()
        slow = {"slow": lambda n, body, late=latency: late * (n % 3)}
        made = run(folder, Teacher(), given, Server(answer=Teacher(), port=port, **slow))
        port = port_of(made)
        found.append([*rows_of(made.accepted_file), *rows_of(made.dropped_file)])
    assert found[0] == found[1]
    assert len(found[0]) == 36


def test_a_second_run_asks_nothing(tmp_path):
    first = run(tmp_path, Teacher())
    before = first.accepted_file.read_bytes()
    for stage in first.stages.iterdir():
        stage.unlink()
    (tmp_path / "rows.jsonl").unlink()
    again = run(tmp_path, Teacher(), server=Server(answer=Teacher(), port=port_of(first)))
    assert again.requests == []
    assert again.accepted_file.read_bytes() == before


@pytest.mark.parametrize(
    ("params", "calls"),
    [
        ({}, {"openai/loop": 1 + 3 + 3 + 3}),
        ({"checker": "judge"}, {"openai/loop": 1 + 3, "openai/judge": 6}),
        ({"checker": "judge", "too_easy": None}, {"openai/loop": 4, "openai/judge": 3}),
        ({"checker": "judge", "too_easy": None, "answerable": None}, {"openai/loop": 4}),
        ({"per_chunk": 1}, {"openai/loop": 4}),
    ],
)
def test_a_plan_says_what_a_run_without_failures_asks(tmp_path, params, calls):
    made = run(tmp_path, Teacher(), **params)
    asked: dict[str, int] = {}
    for request in made.requests:
        name = f"openai/{request['body']['model']}"
        asked[name] = asked.get(name, 0) + 1
    assert asked == calls
    recipe = Recipe.load(made.path / "recipe.yaml")
    lines = [line for line in plan(recipe, tmp_path / "none.sqlite", tmp_path) if line.model]
    assert {line.model: line.calls for line in lines} == calls
    assert {line.rows_out for line in lines} == {params.get("per_chunk", 3)}
