"""What tests of judges share: a server that reads what it is shown, and runs over given responses.

Its taste is a function of the text alone (`quality`), so what a fair judge says is known.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import karat
from karat.grading import Desk
from karat.journal import open_journal
from karat.models.budget import Budget
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.spec import parse_model
from karat.rewards.base import Candidates
from karat.rewards.load import load_reward
from karat.row import Message

_BLOCK = re.compile(r"^(#[0-9a-f]{12}) ([^\n]*)\n(.*?)\n\1 end$", re.DOTALL | re.MULTILINE)
PROMPT = (Message("user", "What is a tide?"),)


def blocks(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, text) of every piece in a request, read as the marks say."""
    text = body["messages"][1]["content"]
    return [(label, inner) for _, label, inner in _BLOCK.findall(text)]


def shown(body: Mapping[str, Any], label: str) -> str:
    (text,) = (text for name, text in blocks(body) if name == label)
    return text


def quality(text: str) -> int:
    """0–4: how many times the text says `good`."""
    return min(text.count("good"), 4)


def graded(body: Mapping[str, Any], place: int = 0) -> str:
    """A fair judge's answer, whatever it is asked for, keys in the order of the schema."""
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    answer: dict[str, Any] = {}
    for name, asked in properties.items():
        if name == "reasoning":
            answer[name] = "Because."
        elif name == "better":
            a, b = quality(shown(body, "response A")), quality(shown(body, "response B"))
            answer[name] = "A" if a > b else "B" if b > a else "tie"
        else:
            low, high = asked["minimum"], asked["maximum"]
            answer[name] = low + (high - low) * quality(shown(body, "response")) // 4
    return json.dumps(answer)


def score(folder: Path, model: dict[str, Any], written: Any, *jobs: Any, **others: Any) -> Any:
    """What a reward says of each job, over a journal in `folder`; an error in place of what raised.

    `written` is the reward as a recipe has it; `others` are rewards by name, which it may ask.
    """

    async def main() -> list[Any]:
        journal = open_journal(folder / "journal.sqlite")
        client = Client({"m": parse_model(model)}, journal, Budget(None))
        held = {"it": load_reward(written, folder)}
        held |= {
            name: other if hasattr(other, "identity") else load_reward(other, folder)
            for name, other in others.items()
        }
        desk = Desk(client, held.__getitem__, lambda name: client)
        try:
            return await asyncio.gather(
                *(desk.score("it", as_job(job), Asker("grade", "row")) for job in jobs),
                return_exceptions=True,
            )
        finally:
            desk.close()
            await client.close()
            await journal.close()

    return asyncio.run(main())


def as_job(job: Any) -> Candidates:
    return job if isinstance(job, Candidates) else Candidates(PROMPT, tuple(job))


def recipe(
    folder: Path, model: dict[str, Any], rewards: dict[str, Any], rows: Sequence[dict[str, Any]],
    *steps: Any,
) -> Path:  # fmt: skip
    """A recipe that grades rows of a file with the reward `it`."""
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    tree = {
        "name": "test",
        "models": {"m": model},
        "rewards": rewards,
        "steps": [{"read": {"path": "rows.jsonl"}}, {"grade": {"reward": "it"}}, *steps],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def run(folder: Path, *args: Any) -> karat.Run:
    return karat.run(recipe(folder, *args), folder / "out")
