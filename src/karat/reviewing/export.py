"""What reviewers said, as files: for `human` grades, for `mix`, for training, and as a table.

The log in the run's folder is read by all of these as it is. A file made here stands alone: texts
in place of keys, only what counts, and what it leaves out is told by reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson

from karat.errors import RecipeError
from karat.reviewing.bench import Bench
from karat.reviewing.store import is_answer
from karat.rewards.head import ATTRIBUTES
from karat.rewards.rated_files import read_records
from karat.rewards.review_lines import (
    COMPARISON,
    EDIT,
    RATING,
    RATINGS,
    pair_of,
    review_of,
    standing,
)
from karat.row import Response, Row
from karat.rundir import Run, write_atomic
from karat.steps._edited import edited_rows

Kind = Literal["human", "mix", "reward"]
KINDS: tuple[Kind, ...] = ("human", "mix", "reward")
Texts = dict[str, tuple[Row, Response]]


class Export(msgspec.Struct):
    """The lines of a file, and how many were left out by reason."""

    records: list[dict[str, Any]] = []
    left_out: dict[str, int] = {}

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def export(run: Run, kind: Kind) -> Export:
    """What `human` rewards, the step `mix` or `karat reward train` read. Raises: RecipeError."""
    if not (run.path / RATINGS).is_file():
        raise RecipeError(
            f"{run.path} has no reviews yet: open it on the page Review and rate rows"
        )
    return _rows(run) if kind == "mix" else _said(run, kind)


def written(directory: Path, kind: Kind, out: Path) -> str:
    """Writes the file, whole or not at all; returns what is in it, in words.

    Raises: RecipeError, RunError.
    """
    if out.suffix != ".jsonl":
        raise RecipeError(f"{out}: the name of a file of reviews ends in .jsonl")
    found = export(Run.open(directory), kind)
    if not found.records:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items())
        raise RecipeError(f"{directory}: no review makes a line of it ({reasons or 'none stands'})")
    lines = [orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in found.records]
    write_atomic(out, b"".join(lines))
    said = [f"{out}: {len(lines):,} lines"]
    said += [f"  left out: {count:,} {reason}" for reason, count in found.left_out.items()]
    return "\n".join(said)


def _rows(run: Run) -> Export:
    found = Export()
    for row in edited_rows(run.path / RATINGS):
        if row.dropped is not None:
            found.leave_out(row.dropped.partition(" (")[0])
            continue
        messages = [{"role": one.role, "content": one.content} for one in row.messages]
        found.records.append(
            {"messages": messages, "response": row.responses[0].content, **row.meta}
        )
    return found


def _said(run: Run, kind: Kind) -> Export:
    found, bench = Export(), Bench(run)
    bench.reviews.refresh()
    texts: Texts = {key: (row, response) for key, row, response in bench.texts()}
    for _, record in standing(read_records(run.path / RATINGS)):
        review = review_of(record) or {"kind": RATING}
        what = review["kind"]
        if what == COMPARISON:
            found.records.append(_bare(record))
        elif what == EDIT and kind == "reward":
            found.records.append(pair_of(record))
        elif what == RATING and record.get("values"):
            line = _with_text(record, texts)
            if "key" in line and kind == "reward":
                found.leave_out("rated response not in the run")
            else:
                found.records.append(line)
        else:
            found.leave_out(f"{what} without a rating" if what == RATING else what)
    return found


def _bare(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "review"}


def _with_text(record: dict[str, Any], texts: Texts) -> dict[str, Any]:
    """A rating with its texts in place of the key; with the key where the run has no such text."""
    line = _bare(record)
    if line.get("key") not in texts:
        return line
    row, response = texts[line.pop("key")]
    messages = [{"role": one.role, "content": one.content} for one in row.messages]
    return {"messages": messages, "response": response.content, **line}


def table(bench: Bench) -> list[dict[str, Any]]:
    """A line for everything that stands, in plain columns, beside the model that wrote the answer
    and the run's main score of it. Of a comparison, both answers'."""
    bench.reviews.refresh()
    pool = bench.pool()
    texts: Texts = {key: (row, response) for key, row, response in bench.texts()}
    return list(_lines(bench, texts, pool.main))


def _lines(bench: Bench, texts: Texts, main: str | None) -> Iterator[dict[str, Any]]:
    for said in bench.reviews.all():
        held = [texts.get(key, (None, None))[1] for key in said.keys]
        models = ["" if one is None else one.model for one in (*held, None, None)]
        scores = [
            None if one is None else one.scores.get(main or "") for one in (*held, None, None)
        ]
        compared = said.kind == COMPARISON
        yield {
            "reviewer": said.rater, "what": said.kind, "row": said.row, "time": said.time,
            **{name: said.values.get(name) for name in ATTRIBUTES},
            "strength": said.strength if compared else None,
            "both_bad": said.both_bad if compared else None,
            "comment": said.comment, "edited": said.edited, "seconds": said.seconds,
            "queue": said.drawn, "answer_1": said.keys[0] if said.keys else None,
            "answer_2": said.keys[1] if compared else None,
            "model_1": models[0], "model_2": models[1] if compared else "",
            "score_1": scores[0], "score_2": scores[1] if compared else None, "score": main,
            "counts": is_answer(said),
        }  # fmt: skip
