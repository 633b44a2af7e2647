"""What tests of grading's report share: a small real run with every step that a page shows."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ran
from conftest import write_prompts
from ran import PRICE, of_many_lengths
from server import Server

import karat
from karat import Run

ROWS = 12
STEPS: list[Any] = [
    {"read": {"path": "prompts.jsonl"}},
    {"respond": {"models": ["teacher"], "n": 4}},
    {"grade": {"reward": "mine"}},
    {"best_of": {"model": "teacher", "by": "mine.reward", "calls": 5, "most": 8}},
    {"grade": {"reward": "other"}},
    {"debias": {"by": "mine.reward"}},
    {"meter": {"by": "mine.reward", "held_out": "other.reward", "most": 4}},
    {"cross_validate": {"graders": ["mine.reward", "other.reward"], "disagree": "review"}},
    {"grade": ["refusal", "mine"]},
    {"reject": {"by": "mine.reward", "best": 1}},
]


def run(folder: Path, steps: list[Any], **rewards: str) -> Run:
    """A run of 12 prompts over a server on loopback, whose answers differ in length."""
    write_prompts(folder / "prompts.jsonl", ROWS)
    with Server(answer=of_many_lengths) as server:
        models = {"teacher": server.model(price=PRICE)}
        given = rewards or {"mine": "x/mine", "other": "x/other"}
        recipe = ran.write_recipe(folder, models=models, rewards=given, steps=steps)
        return karat.run(recipe, folder / "out")


@cache
def _whole() -> dict[str, Any]:
    with TemporaryDirectory() as folder, ran.rewards():
        return run(Path(folder), STEPS).report


def whole() -> dict[str, Any]:
    """The report of a run with all of STEPS; made once, and a copy for each test."""
    return copy.deepcopy(_whole())


def notes(report: dict[str, Any], label: str) -> dict[str, Any]:
    """What a step noted."""
    (found,) = (step["notes"] for step in report["funnel"] if step["label"] == label)
    return found
