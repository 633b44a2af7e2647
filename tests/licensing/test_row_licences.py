"""Licences beside each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from karat.licensing.rows import Licences
from karat.row import Message, Response, Row
from karat.table import to_batch

LLAMA = "vllm/llama-3.3-70b-instruct"


def row(meta: dict[str, object]) -> Row:
    said = [Response("An answer, edited by a person.")]
    return Row("1", [Message("user", "Why?")], said, "human", meta)


@pytest.mark.parametrize(
    "edited", [{"by": "ann", "of": LLAMA, "own": 0.6}, {"of": ""}, {"of": 3}, None, "yes", {}]
)
def test_an_edited_answer_keeps_the_terms_of_the_model_it_was(tmp_path: Path, edited: object):
    licences = Licences({}, {}, tmp_path / "journal.sqlite")
    names, training = licences.columns(to_batch([row({"edited": edited}), row({})]))
    (of_edit, of_people), (may, people_may) = names.to_pylist(), training.to_pylist()
    assert (of_people, people_may) == ([], "yes")
    if isinstance(edited, dict) and edited.get("of") == LLAMA:
        assert "Llama" in of_edit[0]
        assert may != "yes"
    else:
        assert (of_edit, may) == ([], "yes")


def test_of_a_row_that_keeps_no_answer_all_answers_count(tmp_path: Path):
    def answered(*kept: bool | None, **more: Any) -> Row:
        said = [Response("So.", LLAMA, call=f"{i:02x}", scores={"r.one": 1.0}, kept=one)
                for i, one in enumerate(kept)]  # fmt: skip
        said.append(Response("By hand.", "", kept=kept[0] if kept else None))
        return Row("1", [Message("user", "Why?")], said, "given", **more)

    licences = Licences({}, {"r": "CC-BY-4.0"}, tmp_path / "journal.sqlite")
    rows = [answered(False, False, dropped="reject: below"), answered(None), answered(True, False)]
    names, training = licences.columns(to_batch(rows))
    assert training.to_pylist() == ["conditions"] * 3
    for listed in names.to_pylist():
        assert "Llama" in listed[0]
        assert listed[1:] == ["CC-BY-4.0"]


@pytest.mark.parametrize(("source", "may"), [
    ("given", "yes"), ("human", "yes"), ("synthetic", "unknown"),
])  # fmt: skip
def test_a_prompt_without_an_answer_is_its_writers(tmp_path: Path, source: str, may: str):
    licences = Licences({}, {}, tmp_path / "journal.sqlite")
    lost = Row("1", [Message("user", "Why?")], [], source, calls=["ab" * 16], dropped="x: failed")
    assert licences.columns(to_batch([lost]))[1].to_pylist() == [may]
