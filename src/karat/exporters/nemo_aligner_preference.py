"""nemo-aligner-preference: pairs for NeMo-Aligner's DPO and RPO, with the rewards RPO learns from.

The prompt is a list of messages and a response one message. The loader takes texts too, with a
template already written out, as its guide shows; but then it is for whoever wrote the data to know
the model's template, and a wrong one trains in silence. Messages are written out with the marks
that the model was tuned with (`model.data.chat_prompt_tokens`), and a model without any stops.

RPO is `rpo_bwd_kl` there: the divergence of the policy's preference from the rewards', as in
Nemotron-4 340B; `rpo_fwd_kl` is the other way round.

Source: NVIDIA/NeMo-Aligner 0.7.0 (the last release) and af2b3bd (2025-05-16):
nemo_aligner/data/nlp/datasets.py, `DPOModelDataset`; nemo_aligner/models/nlp/gpt/
megatron_gpt_dpo_model.py, `loss_func`; docs/user-guide/dpo.rst; RPO: 2406.11704 §3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karat.exporters._nemo import aligner_files, filled, why_not, write_config
from karat.exporters.base import Exported, files_of, write_parts
from karat.exporters.trl_preference import preferences
from karat.row import Row
from karat.rundir import Run

CONFIG = "nemo-aligner-preference.yaml"
# What this export writes; an older run's are removed first.
FILES = (*files_of("nemo-aligner-preference.jsonl"), CONFIG)

TEMPLATE = """\
# NeMo-Aligner 0.7, from its own folder, on a model tuned with a chat template (nemo-aligner-sft):
#   export DATA=/path/to/the/folder/of/this/file
#   python examples/nlp/gpt/train_gpt_dpo.py --config-dir $DATA \\
#     --config-name nemo-aligner-preference pretrained_checkpoint.restore_from_path=MODEL.nemo
<note>
defaults:
  - gpt_dpo
  - _self_

model:
  dpo:
    preference_loss: rpo_bwd_kl  # `dpo` leaves the rewards unread
    gt_reward_scale: 1.0  # eta, times the difference of the rewards in these files
    ref_policy_kl_penalty: 0.1  # beta; tuned between 0.001 and 1 in 2406.11704
    preference_loss_weight: 1.0
    sft_loss_weight: 1.0e-5
  data:
    data_impl: jsonl
    data_prefix:
      train:
        - <train>
      validation:
        - <validation>
      test:
        - <test>
"""


def export(run: Run, folder: Path) -> Exported:
    """Writes `nemo-aligner-preference.jsonl`, or a file for each part where rows have a
    `meta.split`: prompt, chosen_response, rejected_response, chosen_reward, rejected_reward; and
    `nemo-aligner-preference.yaml`.

    Rewards are on the scale of the score that ranked. Left out: what `trl-preference` leaves out,
    and prompts and texts that `nemo-aligner-sft` leaves out.
    """
    pairs = preferences(run.accepted_file)

    def lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
        problem = why_not(row.messages, marked=True)
        if problem:
            made.leave_out(problem)
            return
        for pair in pairs(row, made):
            texts = [pair[side][0]["content"] for side in ("chosen", "rejected")]
            problem = why_not(row.messages, texts, marked=True)
            if problem:
                made.leave_out(problem)
                continue
            yield {
                "prompt": pair["prompt"],
                "chosen_response": pair["chosen"][0],
                "rejected_response": pair["rejected"][0],
                "chosen_reward": pair["score_chosen"],
                "rejected_reward": pair["score_rejected"],
            }

    made = write_parts(run.accepted_file, folder / FILES[0], "train", lines)
    write_config(made, folder / CONFIG, filled(TEMPLATE, aligner_files(made, folder / FILES[0])))
    return made
