"""A run's exports in TRL's trainers: each takes one real step on all that karat wrote."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import LengthReward, MakeRecipe
from kept import lines
from later import later
from tiny_model import tiny_model

import karat

later("trl")

# TRL 1.16 itself uses options that transformers 5.23 calls by a new name.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

EXPORTS = [
    "trl-sft", "trl-preference", "trl-kto", "trl-grpo", "nemo-rl-sft", "nemo-rl-preference",
    "nemo-aligner-sft", "nemo-aligner-preference", "nemo-aligner-steerlm",
]  # fmt: skip
ONE_STEP = {
    "report_to": [], "use_cpu": True, "bf16": False, "max_steps": 1, "learning_rate": 1e-2,
    "disable_tqdm": True, "dataloader_pin_memory": False, "save_strategy": "no",
    "gradient_checkpointing": False, "per_device_train_batch_size": 4, "logging_steps": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import torch

    torch.set_num_threads(1)  # two workers that train at once on all cores wait for each other
    folder = tmp_path_factory.mktemp("tiny")
    return {
        kind: tiny_model(folder / kind, kind) for kind in ("CausalLM", "SequenceClassification")
    }


@pytest.fixture
def run(make_recipe: MakeRecipe, length_reward: LengthReward, tmp_path: Path) -> karat.Run:
    """Twelve questions with four answers each, graded; the best one kept; two parts."""
    rng = np.random.default_rng(3)
    recipe = make_recipe(
        rewards={"length": "any/thing"},
        steps=[
            {"read": {"path": "asked.jsonl"}},
            {"grade": {"reward": "length"}},
            {"reject": {"by": "length.reward", "best": 1}},
            {"split": {"train": 0.75, "validation": 0.25, "test": 0.0}},
        ],
        export=EXPORTS,
    )
    asked = [
        {
            "prompt": f"What is number {number}?",
            "responses": [
                f"It is {word} {'xyz' * int(rng.integers(1, 9))}."
                for word in ("one", "two", "six", "ten")
            ],
        }
        for number in range(12)
    ]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    return karat.run(karat.Recipe.load(recipe), tmp_path / "run")


def trained(trainer: Any) -> None:
    """Takes the step; the loss is a number and every parameter has moved."""
    import torch

    before = {name: one.detach().clone() for name, one in trainer.model.named_parameters()}
    assert math.isfinite(trainer.train().training_loss)
    moved = [
        name for name, one in trainer.model.named_parameters() if not torch.equal(one, before[name])
    ]
    assert set(moved) == set(before)


def causal(tiny: dict[str, Path]) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny["CausalLM"])


def scoring(tiny: dict[str, Path]) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(tiny["SequenceClassification"])


TRAINERS = [
    ("trl-sft", "SFT", [causal]),
    ("trl-preference", "DPO", [causal, causal]),
    ("trl-preference", "Reward", [scoring]),
    ("trl-kto", "KTO", [causal, causal]),
]


def loaded(run: karat.Run, export: str, cache: Path) -> Any:
    from datasets import load_dataset

    path = run.path / run.report["exports"][export]["files"]["train"]
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
    assert rows.num_rows == len(lines(path)) > 0
    return rows


@pytest.mark.parametrize(("export", "kind", "models"), TRAINERS)
def test_each_trainer_takes_a_step_and_every_line(
    run: karat.Run, tiny: dict[str, Path], tmp_path: Path, export: str, kind: str, models: Any
) -> None:
    import trl
    from transformers import AutoTokenizer

    rows = loaded(run, export, tmp_path / "cache")
    trainer = getattr(trl, f"{kind}Trainer")(
        *(model(tiny) for model in models),
        args=getattr(trl, f"{kind}Config")(output_dir=str(tmp_path / "out"), **ONE_STEP),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny["CausalLM"]),
    )
    assert len(trainer.train_dataset) == rows.num_rows
    trained(trainer)


def test_grpo_grades_what_it_writes_with_the_columns(
    run: karat.Run, tiny: dict[str, Path], tmp_path: Path
) -> None:
    import trl
    from transformers import AutoTokenizer

    seen: list[dict[str, Any]] = []

    def reward(completions: Any, meta: list[str], reference: list[str], **_: Any) -> list[float]:
        seen.extend(map(json.loads, meta))
        assert set(reference) == {""}
        return [float(len(one[0]["content"]) % 7) for one in completions]

    rows = loaded(run, "trl-grpo", tmp_path / "cache")
    trainer = trl.GRPOTrainer(
        causal(tiny),
        reward,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "grpo"), num_generations=4, max_completion_length=8,
            **ONE_STEP,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny["CausalLM"]),
    )  # fmt: skip
    assert len(trainer.train_dataset) == rows.num_rows
    trained(trainer)
    assert {one["split"] for one in seen} == {"train"}


def test_the_run_lists_every_export(run: karat.Run) -> None:
    exports = run.report["exports"]
    assert list(exports) == EXPORTS
    steerlm = exports.pop("nemo-aligner-steerlm")  # the length of a text is none of HelpSteer's
    assert steerlm["left_out"] == {"no reward gave HelpSteer's attributes": 12}
    for name, found in exports.items():
        assert {"train", "validation"} <= set(found["files"])
        assert ("config" in found["files"]) == name.startswith("nemo")
        assert all((run.path / path).is_file() for path in found["files"].values())
