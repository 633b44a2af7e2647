"""nemo-rl-sft: conversations for NeMo-RL's supervised trainer, and its configuration.

NeMo-RL takes the loss on every turn of the assistant unless told otherwise; only the last one is a
response that this run kept, so the configuration asks for the last alone.

Source: NVIDIA-NeMo/RL 0.6.0, 0.7.0 and main at 7ea279a (2026-08-22):
nemo_rl/data/datasets/response_datasets/oai_format_dataset.py, `OpenAIFormatDataset`;
nemo_rl/data/processors.py, `sft_processor`; examples/run_sft.py, examples/configs/sft.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karat.exporters._nemo import filled, rl_files, why_not, write_config
from karat.exporters.base import Exported, answer, files_of, turns, write_parts
from karat.row import Row
from karat.rundir import Run

CONFIG = "nemo-rl-sft.yaml"
# What this export writes; an older run's are removed first.
FILES = (*files_of("nemo-rl-sft.jsonl"), CONFIG)

TEMPLATE = """\
# NeMo-RL 0.6 or later, from its own folder:
#   export DATA=/path/to/the/folder/of/this/file
#   uv run examples/run_sft.py --config $DATA/nemo-rl-sft.yaml policy.model_name=MODEL
defaults: ${oc.env:PWD}/examples/configs/sft.yaml

sft:
  only_unmask_final: true  # the response alone; 0.6 trains on earlier turns too
<validation_settings>
policy:
  tokenizer:
    chat_template: default  # the model's own, where sft.yaml brings one made for SQuAD

data:
  _override_: true  # in place of sft.yaml's: its `split: validation` is in no JSONL file
  max_input_seq_length: ${policy.max_total_sequence_length}
  add_bos: true
  add_eos: true
  add_generation_prompt: false
  shuffle: true
  num_workers: 1
  train:
    dataset_name: openai_format
    data_path: <train>
  validation:<validation>
  default:
    prompt_file: null
    system_prompt_file: null
    processor: sft_processor
"""
VALIDATION = """
    dataset_name: openai_format
    data_path: """
# Without these a run that has nothing to validate on stops before its first step.
NO_VALIDATION = """\
  val_period: 0  # this run has no validation part: `split` makes one
  val_at_start: false

checkpointing:
  metric_name: null
"""


def export(run: Run, folder: Path) -> Exported:
    """Writes `nemo-rl-sft.jsonl`, or a file for each part where rows have a `meta.split`: one line
    per kept response, {"messages": […]}; and `nemo-rl-sft.yaml`.

    Left out: rows without a kept response, empty responses, and prompts that are no conversation:
    a system prompt at most, then user and assistant in turn up to a question.
    """
    made = write_parts(run.accepted_file, folder / FILES[0], "train", _lines)
    settings = rl_files(made, folder / FILES[0], VALIDATION, NO_VALIDATION)
    write_config(made, folder / CONFIG, filled(TEMPLATE, settings))
    return made


def _lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
    kept = row.kept()
    problem = why_not(row.messages, marked=False) if kept else "no kept response"
    if problem:
        made.leave_out(problem)
        return
    for response in kept:
        if response.content.strip():
            yield {"messages": [*turns(row.messages), *answer(response.content)]}
        else:
            made.leave_out("empty response")
