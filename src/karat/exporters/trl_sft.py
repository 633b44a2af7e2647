"""trl-sft: prompts and completions for TRL's SFTTrainer.

The conversational prompt/completion shape rather than `messages`: with it TRL computes the loss on
the completion only, by default and with any chat template, where `messages` trains on the user's
words as well unless the template marks the assistant's. A file has one shape; TRL takes no mixture.

Source: trl 1.16.0, trl/trainer/sft_trainer.py, `completion_only_loss`.
"""

from __future__ import annotations

from pathlib import Path

from karat.exporters.base import Exported, Lines, accepted_rows, answer, turns
from karat.rundir import Run

FILES = ("trl-sft.jsonl",)  # what this export writes; an older run's are removed first


def export(run: Run, folder: Path) -> Exported:
    """Writes `trl-sft.jsonl`: one line per kept response, all turns before it as the prompt.

    Left out: rows without a kept response or without a question, and empty responses, which TRL
    takes and which teach a model to say nothing.
    """
    made = Exported()
    with Lines(folder / FILES[0]) as lines:
        for row in accepted_rows(run.accepted_file):
            kept = row.kept()
            if not kept or not row.messages:
                made.leave_out("no prompt" if kept else "no kept response")
                continue
            for response in kept:
                if response.content.strip():
                    lines.write({
                        "prompt": turns(row.messages), "completion": answer(response.content)
                    })  # fmt: skip
                else:
                    made.leave_out("empty response")
    made.rows = lines.count
    if made.rows:
        made.files["train"] = lines.path
    return made
