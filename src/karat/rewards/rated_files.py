"""Files of human ratings as records, and their prompts as chat messages.

Shared by what trains on ratings and what grades with them, so that both read a file alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from karat.errors import RecipeError
from karat.row import Message

ROLES = {"User": "user", "Human": "user", "Assistant": "assistant", "prompter": "user"}
_TURN = re.compile(r"\s*<extra_id_1>(User|Assistant)[ \t]*\n?")


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place in words, record) of a JSON list, JSON lines or a .parquet file.

    Raises: RecipeError for a file that cannot be read, with the line.
    """
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error  # the path is told already
        raise RecipeError(f"{path}: cannot be read ({why})") from error
    where = str(path)
    try:
        if text.lstrip().startswith("["):
            yield from ((f"{path}, record {i}", r) for i, r in enumerate(json.loads(text), start=1))
            return
        for number, line in enumerate(text.split("\n"), start=1):
            where = f"{path}, line {number}"
            if line.strip():
                yield where, json.loads(line)
    except json.JSONDecodeError as error:
        raise RecipeError(f"{where}: not JSON ({error.msg})") from error


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(1024):
            for record in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", record
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error


def messages_of(prompt: str) -> tuple[Message, ...]:
    """A prompt with `<extra_id_1>User` / `<extra_id_1>Assistant` separators, as chat messages.

    Source: arXiv 2406.08673 (HelpSteer2's multi-turn prompts); the first turn is the user's.
    """
    first, *rest = _TURN.split(prompt)
    turns = [Message("user", first.strip())] if first.strip() or not rest else []
    turns += [Message(ROLES[r], c.strip()) for r, c in zip(rest[::2], rest[1::2], strict=True)]
    return tuple(turns)


def chat_of(messages: Sequence[dict[str, Any]]) -> tuple[Message, ...]:
    """A list of role and content. Raises: KeyError, TypeError."""
    return tuple(Message(m["role"], text_of(m["content"])) for m in messages)


def text_of(value: object) -> str:
    """Raises: TypeError for what is no text."""
    if not isinstance(value, str):
        raise TypeError(f"a text was wanted, not {type(value).__name__}")
    return value
