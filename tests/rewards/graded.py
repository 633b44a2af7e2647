"""Whole runs that grade given responses with a server, and what is left of them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import yaml
from conftest import rows_of

import karat
from karat.rewards.load import load_reward

ANSWERS = (
    "Short.",
    "A somewhat longer answer to it.",
    "The longest answer, which goes on for long.",
)


def recipe(
    folder: Path, reward: dict[str, Any], rows: int = 4, answers: tuple[str, ...] = ANSWERS,
    prompt: Any = None, **top: Any,
) -> Path:  # fmt: skip
    """Reads rows with responses and grades them with `reward`, called `mine`."""
    lines = [
        {"prompt": prompt or f"What is number {i}?", "responses": [*answers]} for i in range(rows)
    ]
    (folder / "given.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    tree = {
        "name": "test", "rewards": {"mine": reward},
        "steps": [{"read": {"path": "given.jsonl"}}, {"grade": {"reward": "mine"}}], **top,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def grade(folder: Path, reward: dict[str, Any], **more: Any) -> Any:
    return karat.run(recipe(folder, reward, **more), folder / "out")


def scores(run: Any) -> list[list[dict[str, float]]]:
    return [[r.scores for r in row.responses] for row in rows_of(run.accepted_file)]


def attempts(folder: Path, what: str = "outcome, body, message, cost_nano") -> list[Any]:
    base = sqlite3.connect(folder / "out" / "journal.sqlite")
    try:
        return base.execute(f"SELECT {what} FROM attempts ORDER BY started").fetchall()
    finally:
        base.close()


def written(folder: Path) -> bytes:
    """Every byte a run left behind."""
    return b"".join(p.read_bytes() for p in sorted((folder / "out").rglob("*")) if p.is_file())


def load(tree: dict[str, Any] | str, folder: Path) -> Any:
    return load_reward(tree, folder)
