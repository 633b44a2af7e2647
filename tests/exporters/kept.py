"""What the tests of exporters share: a run directory with accepted rows in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from karat.columns import Table
from karat.finish import write_results
from karat.licensing.rows import Licences
from karat.row import Message, Response, Row
from karat.rundir import Run
from karat.stage import StageWriter


def response(content: str, score: float | None = None, kept: bool | None = None) -> Response:
    scores = {} if score is None else {"rm.helpfulness": score + 1, "rm.reward": score}
    return Response(content, "small", 0, "stop", "ab" * 16, scores, kept)


def row(number: int, *responses: Response, meta: dict[str, Any] | None = None) -> Row:
    asked = [Message("system", "Be brief."), Message("user", f"Question {number} ä?")]
    return Row(f"{number:016x}", asked, list(responses), meta=meta or {"topic": "physics"})


def run_of(folder: Path, rows: list[Row], ranking: str | None = "rm.reward") -> Run:
    run = Run(folder)
    last = folder / "stages/01-last.parquet"
    writer = StageWriter(last)
    writer.add(rows)
    writer.close({})
    write_results(Table(last), run, ranking, Licences({}, {}, run.journal))
    return run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
