"""trl-sft: prompts and completions for TRL's SFTTrainer.

The conversational prompt/completion shape rather than `messages`: with it TRL computes the loss on
the completion only, by default and with any chat template, where `messages` trains on the user's
words as well unless the template marks the assistant's. A file has one shape; TRL takes no mixture.

Source: trl 1.16.0, trl/trainer/sft_trainer.py, `completion_only_loss`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karat.exporters.base import Exported, answer, files_of, turns, write_parts
from karat.row import Row
from karat.rundir import Run

FILES = files_of("trl-sft.jsonl")  # what this export writes; an older run's are removed first


def export(run: Run, folder: Path) -> Exported:
    """Writes `trl-sft.jsonl`, or `trl-sft.train.jsonl` and so on where rows have a `meta.split`:
    one line per kept response, all turns before it as the prompt.

    Left out: rows without a kept response or without a question, and empty responses, which TRL
    takes and which teach a model to say nothing.
    """
    return write_parts(run.accepted_file, folder / FILES[0], "train", _lines)


def _lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
    kept = row.kept()
    if not kept or not row.messages:
        made.leave_out("no prompt" if kept else "no kept response")
        return
    for response in kept:
        if response.content.strip():
            yield {"prompt": turns(row.messages), "completion": answer(response.content)}
        else:
            made.leave_out("empty response")
