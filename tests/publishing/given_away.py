"""What tests of publishing share: a small real run with exports of several shapes and parts."""

from __future__ import annotations

import atexit
import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import ran
from server import Server

import karat
from karat import Run

HOSTILE = 'a "quoted" <b>word</b>\u202e\x07 and \u00e9'
EXPORTS = ["jsonl", "trl-sft", "trl-preference", "trl-kto", "trl-grpo", "nemo-rl-sft"]
ROWS = 8


@cache
def run_once() -> Run:
    """One run for all tests that only look; they must not write into it."""
    folder = Path(mkdtemp(prefix="karat-published-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with ran.rewards():
        return make_run(folder)


def make_run(folder: Path, **top: Any) -> Run:
    """A run of 8 prompts over a server on loopback; a reward must be patched in."""
    given = folder / "given" / "prompts.jsonl"
    given.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"prompt": f"{HOSTILE} {n}", "number": n, "split": "test" if n == 1 else "train"}
        for n in range(ROWS)
    ]
    given.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Server(answer=_answer) as server:
        tree = {
            "name": "given-away", "models": {"teacher": server.model()},
            "steps": [
                {"read": {"path": "given/prompts.jsonl"}},
                {"respond": {"models": ["teacher"], "n": 3, "system": "Be /brief."}},
                {"grade": {"reward": "mine"}},
                {"reject": {"by": "mine.reward", "best": 1}},
            ],
            "export": EXPORTS,
            **top,
        }  # fmt: skip
        return karat.run(ran.write_recipe(folder, **tree), folder / "out")


def _answer(body: dict[str, Any], index: int) -> str:
    text = body["messages"][-1]["content"]
    return f"{HOSTILE} answer {index} to {text}" + "x" * (7 * index)
