"""nemo-rl-preference: ranked pairs for NeMo-RL's DPO and reward model trainers.

The pairs are those of `trl-preference`. Each completion carries its `reward`: the loader reads
`context`, `rank` and `completion` and no other key, so what it does not use yet costs nothing.
NeMo-RL has no RPO up to this version; the configuration trains DPO.

Source: NVIDIA-NeMo/RL 0.6.0, 0.7.0 and main at 7ea279a (2026-08-22):
nemo_rl/data/datasets/preference_datasets/preference_dataset.py; nemo_rl/data/processors.py,
`preference_preprocessor`; examples/run_{dpo,rm}.py, examples/configs/{dpo,rm}.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karat.exporters._nemo import filled, rl_files, why_not, write_config
from karat.exporters.base import Exported, files_of, write_parts
from karat.exporters.trl_preference import preferences
from karat.row import Row
from karat.rundir import Run

CONFIG = "nemo-rl-preference.yaml"
# What this export writes; an older run's are removed first.
FILES = (*files_of("nemo-rl-preference.jsonl"), CONFIG)

TEMPLATE = """\
# NeMo-RL 0.6 or later, from its own folder; DPO, or a reward model:
#   export DATA=/path/to/the/folder/of/this/file
#   uv run examples/run_dpo.py --config $DATA/nemo-rl-preference.yaml policy.model_name=MODEL
#   CONF=rm uv run examples/run_rm.py --config $DATA/nemo-rl-preference.yaml policy.model_name=MODEL
defaults: ${oc.env:PWD}/examples/configs/${oc.env:CONF,dpo}.yaml

policy:
  tokenizer:
    name: ${policy.model_name}
    chat_template: default  # the model's own
<validation_settings>
data:
  _override_: true  # in place of the default: its `split: validation` is in no JSONL file
  max_input_seq_length: ${policy.max_total_sequence_length}
  shuffle: true
  num_workers: 1
  train:
    dataset_name: PreferenceDataset
    data_path: <train>
  validation:<validation>
  default:
    prompt_file: null
    system_prompt_file: null
"""
VALIDATION = """
    dataset_name: PreferenceDataset
    data_path: """
# Without these a run that has nothing to validate on stops before its first step.
NO_VALIDATION = """
dpo: &no_validation
  val_period: 0  # this run has no validation part: `split` makes one
  val_at_start: false
rm: *no_validation

checkpointing:
  metric_name: null
"""


def export(run: Run, folder: Path) -> Exported:
    """Writes `nemo-rl-preference.jsonl`, or a file for each part where rows have a `meta.split`:
    {"context": […], "completions": [best, worse]}; and `nemo-rl-preference.yaml`.

    Rewards are on the scale of the score that ranked. Left out: what `trl-preference` leaves out,
    and prompts that are no conversation, as in `nemo-rl-sft`.
    """
    pairs = preferences(run.accepted_file)

    def lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
        problem = why_not(row.messages, marked=False)
        if problem:
            made.leave_out(problem)
            return
        for pair in pairs(row, made):
            yield {
                "context": pair["prompt"],
                "completions": [
                    {"rank": rank, "completion": pair[side], "reward": pair[f"score_{side}"]}
                    for rank, side in enumerate(("chosen", "rejected"))
                ],
            }

    made = write_parts(run.accepted_file, folder / FILES[0], "train", lines)
    settings = rl_files(made, folder / FILES[0], VALIDATION, NO_VALIDATION)
    write_config(made, folder / CONFIG, filled(TEMPLATE, settings))
    return made
