"""Rated answers and pairs that a very small model can learn: more plus signs are better."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from karat.training.finetune.settings import RewardSettings

SIGNS = 6


def write_rated(file: Path, prompts: int = 60, seed: int = 1) -> Path:
    """Two answers to each prompt; `helpfulness` is their number of plus signs, 0 to 4, and every
    third prompt has no verbosity."""
    rng, lines = random.Random(seed), []
    for i in range(prompts):
        for marks in rng.sample(range(5), 2):
            text = "".join(rng.sample("+" * marks + "-" * (SIGNS - marks), SIGNS))
            lines.append({
                "prompt": f"Task {i}", "response": text, "helpfulness": marks, "correctness": marks,
                "coherence": 4 - marks, "complexity": 2, "verbosity": marks if i % 3 else None,
            })  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def quick(**more: Any) -> RewardSettings:
    """Settings that learn it in a second."""
    given = {"learning_rate": 5e-3, "epochs": 3.0, "batch": 8, "evaluations": 3, "device": "cpu"}
    return RewardSettings(**{**given, **more})
