"""nemo-aligner-sft: conversations for NeMo-Aligner's supervised trainer, and its configuration.

The chat shape, whose template is written out at training time: the configuration names the marks
of NeMo's own guides (<extra_id_0> and so on), and the model keeps them, so that
`nemo-aligner-preference` finds them in it. The trainer masks the user and takes the loss on every
turn of the assistant, those inside a prompt as well; it knows no other way.

Source: NVIDIA/NeMo-Aligner 0.7.0 (the last release) and af2b3bd (2025-05-16):
nemo_aligner/data/nlp/builders.py, `build_sft_dataset`; docs/user-guide/{sft,steerlm}.rst;
examples/nlp/gpt/conf/gpt_sft.yaml; NVIDIA/NeMo 2.3.0,
nemo/collections/nlp/data/language_modeling/megatron/gpt_sft_chat_dataset.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karat.exporters._nemo import aligner_files, filled, why_not, write_config
from karat.exporters.base import Exported, files_of, write_parts
from karat.row import Row
from karat.rundir import Run

CONFIG = "nemo-aligner-sft.yaml"
# What this export writes; an older run's are removed first.
FILES = (*files_of("nemo-aligner-sft.jsonl"), CONFIG)
NAMES = {"user": "User", "assistant": "Assistant"}

TEMPLATE = """\
# NeMo-Aligner 0.7, from its own folder:
#   export DATA=/path/to/the/folder/of/this/file
#   python examples/nlp/gpt/train_gpt_sft.py --config-dir $DATA --config-name nemo-aligner-sft \\
#     model.restore_from_path=MODEL.nemo
<note>
defaults:
  - gpt_sft
  - _self_

model:
  answer_only_loss: true
  data:
    chat: true
    chat_prompt_tokens:  # those of a model that already has a chat template go here instead
      system_turn_start: <extra_id_0>
      turn_start: <extra_id_1>
      label_start: <extra_id_2>
      end_of_turn: "\\n"
      end_of_name: "\\n"
    train_ds:
      file_path: <train>
      hf_dataset: true
      add_eos: false
    validation_ds:
      file_path: <validation>
      hf_dataset: true
      add_eos: false
"""


def export(run: Run, folder: Path) -> Exported:
    """Writes `nemo-aligner-sft.jsonl`, or a file for each part where rows have a `meta.split`: one
    line per kept response, {"system", "mask", "type", "conversations"}; and
    `nemo-aligner-sft.yaml`.

    Left out: rows without a kept response, empty responses, prompts that are no conversation, as in
    `nemo-rl-sft`, and texts that hold a mark of the template, which would open a turn of its own.
    """
    made = write_parts(run.accepted_file, folder / FILES[0], "train", _lines)
    write_config(made, folder / CONFIG, filled(TEMPLATE, aligner_files(made, folder / FILES[0])))
    return made


def _lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
    kept = row.kept()
    problem = why_not(row.messages, marked=True) if kept else "no kept response"
    if problem:
        made.leave_out(problem)
        return
    system = row.messages[0].content if row.messages[0].role == "system" else ""
    for response in kept:
        problem = why_not(row.messages, [response.content], marked=True)
        if not response.content.strip() or problem:
            made.leave_out(problem or "empty response")
            continue
        said = [(one.role, one.content) for one in row.messages if one.role != "system"]
        yield {
            "system": system,
            "mask": "User",
            "type": "VALUE_TO_TEXT",
            "conversations": [
                {"from": NAMES[role], "value": content, "label": None}
                for role, content in [*said, ("assistant", response.content)]
            ],
        }
