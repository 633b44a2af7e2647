"""retrieval: a question, the passage that answers it, and passages that only look like it.

The shape that trainers of embedding models and rerankers take apart into triplets, with the answer
and the passage's place kept beside it. Every line has the same keys, null where nothing is known:
loaders settle a column's type by a file's first lines.

Source: the columns are those of sentence-transformers' datasets with several negatives
(sentence_transformers/losses/MultipleNegativesRankingLoss), under retrieval's own names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karat.exporters.base import Exported, Lines, accepted_rows
from karat.row import Row
from karat.rundir import Run
from karat.steps._passages import passages

FILES = ("retrieval.jsonl",)  # what this export writes; an older run's are removed first
PLACE = ("file", "page", "start", "end")


def export(run: Run, folder: Path) -> Exported:
    """Writes `retrieval.jsonl`: query, positive, negatives, answer, source.

    `start` and `end` are characters of the file's text. Left out: rows that are no question about a
    passage, and those whose `negatives` are anything but a list of passages (texts, or mappings
    with `passage` or `text`).
    """
    made = Exported()
    with Lines(folder / FILES[0]) as lines:
        for row in accepted_rows(run.accepted_file):
            problem = missing(row)
            if problem:
                made.leave_out(problem)
            else:
                lines.write(_line(row.meta))
    made.rows = lines.count
    if made.rows:
        made.files["data"] = lines.path
    return made


def missing(row: Row) -> str:
    """Why a row is no question about a passage; empty where it is one."""
    for key in ("passage", "question"):
        text = row.meta.get(key)
        if not isinstance(text, str) or not text.strip():
            return f"no {key}"
    return "" if passages(row.meta.get("negatives")) is not None else "negatives are no passages"


def known(meta: dict[str, Any], key: str) -> int | str | None:
    """A place of a passage as karat writes it: `file` is a text, the others whole numbers; None
    where a column of that name holds something else."""
    value = meta.get(key)
    if key == "file":
        return value if isinstance(value, str) else None
    return value if type(value) is int and 0 <= value < 2**63 else None


def _line(meta: dict[str, Any]) -> dict[str, Any]:
    answer, licence = meta.get("answer"), meta.get("licence")
    return {
        "query": meta["question"],
        "positive": meta["passage"],
        "negatives": [other["passage"] for other in passages(meta.get("negatives")) or ()],
        "answer": answer if isinstance(answer, str) else None,
        "source": {
            **{key: known(meta, key) for key in PLACE},
            "licence": None if licence is None else str(licence),
        },
    }
