"""What tests of attacks share: recipes over given rows, a teacher that is its own fair judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from judging import graded
from server import text_for

PRICE = {"input": 1.0, "output": 2.0}
AWAY = "http://127.0.0.1:9"
ROW = {"prompt": "What is a tide?", "responses": ["bad", "a good one", "good, very good"]}


def wanted(body: dict[str, Any], place: int = 0) -> str:
    """A teacher, and a fair judge of it."""
    if "response_format" in body:
        return graded(body)
    return text_for(body, place).replace("tide", "good").replace("moon", "good")


def vllm(**more: Any) -> dict[str, Any]:
    return {"reward": "vllm/x", "base_url": AWAY, **more}


def scored(reward: str) -> dict[str, Any]:
    return {"grade": {"reward": reward}}


def write(
    folder: Path, rewards: dict[str, Any], *steps: Any, model: dict[str, Any] | None = None,
    rows: Sequence[dict[str, Any]] = (ROW,), **top: Any,
) -> Path:  # fmt: skip
    """A recipe over the rows of a file; `m` is its model."""
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    tree = {
        "name": "test", "models": {"m": model or {"model": "openai/x", "base_url": AWAY}},
        "rewards": rewards, "steps": [{"read": {"path": "rows.jsonl"}}, *steps], **top,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path
