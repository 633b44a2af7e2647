"""A small real run for tests of what is shown of a run: two rewards, drops, errors, attacks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ran
from ran import PRICE, of_many_lengths, rewards
from server import Server

import karat
from karat import Run

EVIL = '</div><script>alert("x")</script>\u202etxet\u202c \x1b[31m\x00 <img src=x onerror=alert(1)>'
ROWS = 30
TOPICS = ("cooking bread", "the night sky", "saving money")


def answer(body: dict[str, Any], place: int) -> str:
    """Texts of many lengths, one in five of them hostile."""
    text = of_many_lengths(body, place)
    return f"{text} {EVIL}" if sum(map(ord, text)) % 5 == 0 else text


def fault(number: int, body: dict[str, Any]) -> Any:
    """A service that is sometimes slow to take, and refuses one prompt for good."""
    said = {"content-type": "application/json"}
    if "number 3 " in body["messages"][-1]["content"]:
        return 400, b'{"error": {"message": "flagged by our <b>content policy</b>"}}', said
    if number == 5:
        slow = {"retry-after": "0.01", **said}
        return 429, b'{"error": {"message": "slow down"}}', slow
    return None


def write_recipe(folder: Path, server: Server, rows: int = ROWS, **top: Any) -> Path:
    lines = [
        {"prompt": f"What is number {i} about {TOPICS[i % 3]}?{EVIL if i == 7 else ''}",
         "topic": TOPICS[i % 3]}
        for i in range(rows)
    ]  # fmt: skip
    text = "".join(f"{json.dumps(line)}\n" for line in [*lines, *lines[:4]])
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    tree = {
        "name": "seen", "models": {"teacher": server.model(price=PRICE)},
        "rewards": {"mine": "x/mine", "other": "x/other"},
        "steps": [
            {"read": {"path": "prompts.jsonl"}},
            {"dedupe": {"on": "prompt", "threshold": 1.0}},
            {"respond": {"models": ["teacher"], "n": 4}},
            {"grade": {"reward": "mine"}},
            {"grade": {"reward": "other"}},
            {"reject": {"by": "mine.reward", "best": 1, "minimum": 2.5}},
        ],
        "export": ["jsonl", "trl-sft"], **top,
    }  # fmt: skip
    return ran.write_recipe(folder, **tree)


@cache
def _made() -> tuple[TemporaryDirectory[str], Run]:
    folder = TemporaryDirectory()
    with rewards(), Server(answer=answer, script=fault) as server:
        recipe = write_recipe(Path(folder.name), server)
        return folder, karat.run(recipe, Path(folder.name) / "runs" / "seen")


def seen_run() -> Run:
    """The run, in a folder `runs` of its own; made once a process, to be read only."""
    return _made()[1]
