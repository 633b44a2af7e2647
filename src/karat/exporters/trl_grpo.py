"""trl-grpo: prompts alone, for trainers that write the answers themselves and grade them.

TRL hands every other column to the reward functions, one value a completion: so the fields that
karat's verifiers read (answer, tests, constraints, schema …) go along in `meta`, as JSON text,
because loaders want one shape for all lines and fields differ from row to row.

Source: trl 1.16.0, trl/trainer/grpo_trainer.py, `reward_kwargs`; docs/source/dataset_formats.md,
"Prompt-only".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from karat.exporters.base import Exported, files_of, turns, write_parts
from karat.row import Row
from karat.rundir import Run
from karat.table import plain

FILES = files_of("trl-grpo.jsonl")  # what this export writes; an older run's are removed first


def export(run: Run, folder: Path) -> Exported:
    """Writes `trl-grpo.jsonl`, or `trl-grpo.train.jsonl` and so on where rows have a `meta.split`:
    prompt, reference, id, meta.

    `reference` is the text of `meta.answer` (of a list the first), empty where there is none; it is
    given, never a model's response. Left out: rows without a question to answer.
    """
    return write_parts(run.accepted_file, folder / FILES[0], "train", _lines)


def _lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
    if not row.messages or row.messages[-1].role != "user":
        made.leave_out("prompt ends with no question" if row.messages else "no prompt")
        return
    yield {
        "prompt": turns(row.messages),
        "reference": _reference(row.meta.get("answer")),
        "id": row.id,
        "meta": orjson.dumps(plain(row.meta)).decode(),
    }


def _reference(given: Any) -> str:
    if isinstance(given, list):
        given = given[0] if given else ""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return ""
    return str(given)
