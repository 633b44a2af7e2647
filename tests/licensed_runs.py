"""What tests of licences and papers share: a real run of two models and people's rows."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import ran
from server import Server

import karat
from karat import Run

LLAMA, QWEN = "vllm/llama-3.3-70b-instruct", "vllm/qwen3-8b"
GIVEN, PEOPLE = 6, 4
STEPS: list[Any] = [
    {"read": {"path": "given.jsonl", "licence": "CC-BY-4.0"}},
    {"respond": {"models": ["llama", "qwen"], "n": 2}},
    {"grade": {"reward": "mine"}},
    {"reject": {"by": "mine.reward", "best": 1}},
    {"mix": {"human": "people.jsonl", "share": 0.3}},
]


def write_files(folder: Path) -> None:
    given = [{"prompt": f"What is number {i}?"} for i in range(GIVEN)]
    people = [
        {"prompt": f"Who is person {i}?", "response": f"A person called {i}.",
         "licence": "cc-by-sa-4.0"}
        for i in range(PEOPLE)
    ]  # fmt: skip
    for name, rows in (("given", given), ("people", people)):
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def write_recipe(folder: Path, url: str, **top: Any) -> Path:
    write_files(folder)
    tree = {
        "name": "licensed",
        "models": {
            "llama": {"model": LLAMA, "base_url": url}, "qwen": {"model": QWEN, "base_url": url},
        },
        "steps": STEPS, "export": ["jsonl", "trl-sft"], **top,
    }  # fmt: skip
    return ran.write_recipe(folder, **tree)


def made(folder: Path, **top: Any) -> Run:
    """The run of the recipe above, changed by `top`, whose rewards are LengthReward."""
    with ran.rewards(), Server() as server:
        return karat.run(write_recipe(folder, server.url, **top), folder / "out")


@cache
def run() -> Run:
    """One for all tests, which only read it."""
    return made(Path(mkdtemp(prefix="karat-licensed-")))
