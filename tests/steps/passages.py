"""What the tests of closed_qa share: a passage, a teacher that answers as told, a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import rows_of
from server import Server

import karat
from karat.recipe import Recipe
from karat.steps.closed_qa import closed_qa
from karat.steps.read import read

PASSAGE = (
    "The Arden bridge was opened in May 1871. It is 240 metres long, and the engineer Clara "
    "Weyland built it of wrought iron. Eleven workers lost their lives."
)
ANSWERS = {
    "When was the Arden bridge opened?": "In May 1871",
    "How long is the Arden bridge?": "240 metres",
    "Who built the Arden bridge?": "Clara Weyland",
}
LIST = "".join(f"{n}. {question}\n" for n, question in enumerate(ANSWERS, 1))


class Teacher:
    """Answers by what it is asked for; any part can be told to answer otherwise."""

    def __init__(self, **told: Any) -> None:
        self.told = {
            "questions": LIST,
            "answer": ANSWERS,
            "check": ANSWERS,
            "unseen": "Iron",
            **told,
        }
        self.asked: list[str] = []

    def __call__(self, body: dict[str, Any], place: int) -> str:
        kind, text = kind_of(body), body["messages"][-1]["content"]
        self.asked.append(kind)
        said = self.told[kind]
        if callable(said):
            return said(body)
        if isinstance(said, dict):
            return next((a for q, a in said.items() if q in text), "not in the text")
        return said


def kind_of(body: dict[str, Any]) -> str:
    text = body["messages"][-1]["content"]
    if "different questions that the text above answers" in text:
        return "questions"
    if "with words of the text above" in text:
        return "answer"
    return "check" if "not in the text" in text else "unseen"


def run(
    tmp_path: Path, teacher: Teacher, rows: list[dict[str, Any]] | None = None, server: Any = None,
    **params: Any,
) -> Any:  # fmt: skip
    """A run over rows of a file with these columns, by default one passage."""
    given = [{"prompt": "x", "passage": PASSAGE}] if rows is None else rows
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    with server or Server(answer=teacher) as loop:
        recipe = Recipe(
            [read(path=str(tmp_path / "rows.jsonl")), closed_qa(model="teacher", **params)],
            models={"teacher": loop.model(), "judge": {**loop.model(), "model": "openai/judge"}},
            seed=7,
        )
        made = karat.run(recipe, tmp_path / "out")
        made.requests = list(loop.requests)
    return made


def port_of(made: Any) -> int:
    return int(made.requests[0]["headers"]["Host"].rpartition(":")[2])


def accepted(*args: Any, **params: Any) -> list[karat.Row]:
    return rows_of(run(*args, **params).accepted_file)


def dropped(*args: Any, **params: Any) -> list[str]:
    return [row.dropped for row in rows_of(run(*args, **params).dropped_file)]
