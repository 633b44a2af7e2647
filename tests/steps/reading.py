"""What the tests of read share: a context, files, rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from karat.row import Row
from karat.steps.read import read


class Ctx:
    """As much of a context as a source step touches."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def path(self, value: str) -> Path:
        return Path(value)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def rows_of(path: Path | str | None = None, ctx: Ctx | None = None, **params: Any) -> list[Row]:
    call = read(**params) if path is None else read(path=str(path), **params)
    return list(call.step.function(ctx or Ctx(), **call.params))


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def one(tmp_path: Path, record: dict[str, Any], **params: Any) -> Row:
    (row,) = rows_of(jsonl(tmp_path / "one.jsonl", [record]), **params)
    return row


def turns(row: Row) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in row.messages]
