"""What tests of lift share: a run whose answers are given, so that nothing is generated."""

from __future__ import annotations

import json
from pathlib import Path

import karat
from karat import Run
from karat.steps.grade import grade
from karat.steps.read import read
from karat.steps.reject import reject

WORDS = (
    "lantern", "glacier", "orchard", "violin", "harbour", "meadow", "furnace", "compass", "beetle",
    "cathedral", "saddle", "volcano",
)  # fmt: skip
ROWS = len(WORDS)


def answers_of(word: str) -> list[str]:
    """Four different answers, one of them twice, and an empty one."""
    return [
        f"A {word} is a thing.", f"A {word} is  a thing. ", "",
        f"A {word} is useful when days are short. People have made them for a long time.",
        f"{word}!", f"I like every {word}. " * 4,
    ]  # fmt: skip


def lift_run(folder: Path) -> Run:
    """Twelve prompts with answers by the embedded reward's score, and one with a single answer."""
    rows = [
        {"prompt": f"Tell me about a {w} in winter.", "responses": answers_of(w)} for w in WORDS
    ]
    rows.append({"prompt": "Say hello.", "responses": ["hello"]})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reward = "embedded/helpsteer2"
    steps = [read(path=str(path)), grade(reward=reward), reject(by=f"{reward}.reward")]
    return karat.run(karat.Recipe(steps, name="given", seed=1), folder / "run")
