"""Licences beside each row."""

from __future__ import annotations

from pathlib import Path

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
