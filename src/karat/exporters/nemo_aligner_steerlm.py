"""nemo-aligner-steerlm: graded responses for NeMo-Aligner's regression reward model.

Every graded response is a line, kept or not: a reward model learns what is bad from bad ones. The
nine labels are those of SteerLM, four of Open Assistant and five of HelpSteer, and -100 where an
attribute was not rated, which its loss leaves out. The text is written out with the marks of
NeMo's own guide, because the loader only tokenises it, and ends where the labels would begin.

Source: NVIDIA/NeMo-Aligner 0.7.0 (the last release) and af2b3bd (2025-05-16):
examples/nlp/data/steerlm/{common,process_to_regression_format}.py; nemo_aligner/data/nlp/
datasets.py, `RegressionRewardModelDataset`; docs/user-guide/steerlm.rst for the training settings;
SteerLM: 2310.05344; HelpSteer2: 2406.08673.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from karat import parquet
from karat.exporters._nemo import aligner_files, filled, why_not, write_config
from karat.exporters.base import Exported, files_of, ranking, write_parts
from karat.row import Message, Response, Row
from karat.rundir import Run

CONFIG = "nemo-aligner-steerlm.yaml"
# What this export writes; an older run's are removed first.
FILES = (*files_of("nemo-aligner-steerlm.jsonl"), CONFIG)

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ATTRIBUTES = ("quality", "toxicity", "humor", "creativity", *HELPSTEER)
MASKED = -100.0
HUMAN = "human"  # what `mix` calls the ratings that human rows bring
# What every text of NeMo-Aligner's own data begins with; a row's own system prompt goes before.
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

TEMPLATE = """\
# NeMo-Aligner 0.7, from its own folder:
#   export DATA=/path/to/the/folder/of/this/file
#   python examples/nlp/gpt/train_reward_model.py --config-dir $DATA \\
#     --config-name nemo-aligner-steerlm pretrained_checkpoint.restore_from_path=MODEL.nemo
<note>
defaults:
  - training_rm
  - _self_

model:
  reward_model_type: regression
  regression:
    num_attributes: 9
    loss_mask_val: -100
  micro_batch_size: 2
  global_batch_size: 128
  optim:  # HelpSteer2's, for a model of 70B
    lr: 2.0e-6
    sched:
      warmup_steps: 10
      constant_steps: 0
      min_lr: 2.0e-6
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
    """Writes `nemo-aligner-steerlm.jsonl`, or a file for each part where rows have a `meta.split`:
    {"text", "label": 9 numbers}; and `nemo-aligner-steerlm.yaml`.

    Labels are the scores of one reward on its own scale, HelpSteer's being 0 to 4: the one that
    ranked, or the only one with any of HelpSteer's attributes; a response with human ratings has
    those. Left out: responses without any of the nine, empty ones, and prompts and texts that
    `nemo-aligner-sft` leaves out.
    """
    name, problem = _reward(run.accepted_file)

    def lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
        bad = problem or why_not(row.messages, marked=True)
        if bad or not row.responses:
            made.leave_out(bad or "no response")
            return
        for response in row.responses:
            label = _label(response, name)
            bad = why_not(row.messages, [response.content], marked=True)
            if not label:
                bad = "response without attributes"
            elif not response.content.strip():
                bad = "empty response"
            if bad:
                made.leave_out(bad)
            else:
                yield {"text": _text(row.messages, response), "label": label}

    made = write_parts(run.accepted_file, folder / FILES[0], "train", lines)
    write_config(made, folder / CONFIG, filled(TEMPLATE, aligner_files(made, folder / FILES[0])))
    return made


def _reward(path: Path) -> tuple[str, str]:
    """Whose attributes are the labels, or why nobody's are."""
    key, _ = ranking(path)
    found: set[str] = set()
    with parquet.Parts(path) as file:
        for batch in file.iter_batches(columns=["responses.list.element.scores.list.element.key"]):
            keys = batch.column(0).flatten().field("scores").flatten().field("key")
            names = (name.rpartition(".") for name in keys.unique().to_pylist())
            found |= {reward for reward, _, attribute in names if attribute in HELPSTEER}
    chose = key.rpartition(".")[0] if key else ""
    if chose in found:
        return chose, ""
    others = found - {HUMAN}
    if len(others) > 1:
        return "", f"{len(others)} rewards gave HelpSteer's attributes and none of them chose"
    return (others or found or {""}).pop(), "" if found else "no reward gave HelpSteer's attributes"


def _label(response: Response, reward: str) -> list[float]:
    """The nine labels; none where no attribute was rated."""
    for name in (HUMAN, reward):
        scores = [response.scores.get(f"{name}.{attribute}") for attribute in ATTRIBUTES]
        label = [MASKED if score is None or not isfinite(score) else score for score in scores]
        if any(value != MASKED for value in label):
            return label
    return []


def _text(messages: list[Message], response: Response) -> str:
    system, spoken = SYSTEM, messages
    if messages[0].role == "system":
        system, spoken = messages[0].content, messages[1:]
    text = f"<extra_id_0>System\n{system}\n"
    for turn in [*spoken, Message("assistant", response.content)]:
        text += f"<extra_id_1>{turn.role.capitalize()}\n{turn.content}\n"
    return text + "<extra_id_2>"
