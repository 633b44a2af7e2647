"""What tests of grading's report share: a small real run with every step that a page shows."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from conftest import LengthReward, write_prompts
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


class Other(LengthReward):
    """A second opinion: of the first letter."""

    identity = "other/1"

    def score(self, prompt: Any, responses: Any) -> Any:
        found = super().score(prompt, responses)
        found[:, 1] = [ord(text[0]) % 20 / 5 if text else 0.0 for text in responses]
        return found


def load(value: Any, *_: Any) -> LengthReward:
    return Other() if value == "x/other" else LengthReward()


def run(folder: Path, steps: list[Any], **rewards: str) -> Run:
    """A run of 12 prompts over a server on loopback, whose answers differ in length."""
    write_prompts(folder / "prompts.jsonl", ROWS)
    with Server(answer=_answer) as server:
        tree = {
            "name": "test", "seed": 7, "models": {"teacher": server.model(price=PRICE)},
            "rewards": rewards or {"mine": "x/mine", "other": "x/other"}, "steps": steps,
        }  # fmt: skip
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return karat.run(recipe, folder / "out")


PRICE = {"input": 1.0, "output": 2.0}


def _answer(body: dict[str, Any], place: int) -> str:
    from server import text_for

    return text_for(body, place, 6 + sum(map(ord, text_for(body, place))) % 30)


@cache
def _whole() -> dict[str, Any]:
    import pytest

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("karat.graders.load_reward", load)
        return run(Path(folder), STEPS).report


def whole() -> dict[str, Any]:
    """The report of a run with all of STEPS; made once, and a copy for each test."""
    return copy.deepcopy(_whole())


def notes(report: dict[str, Any], label: str) -> dict[str, Any]:
    """What a step noted."""
    (found,) = (step["notes"] for step in report["funnel"] if step["label"] == label)
    return found
