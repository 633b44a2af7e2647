"""Real answers for the verifiers' tests, and an item made of a prompt and a response."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karat.row import Message
from karat.verifiers.base import Item

DATA = Path(__file__).parents[3] / "shared" / "data"
RATINGS = DATA / "helpsteer2" / "ratings.jsonl"
MARK = re.compile(r"\s*<extra_id_1>(?:User|Assistant)\s*")


def item(response: str, prompt: str = "", finish_reason: str = "", **meta: Any) -> Item:
    return Item((Message("user", prompt),), response, finish_reason, meta)


def rated() -> Iterator[tuple[Item, dict[str, Any]]]:
    """HelpSteer2's answers with their ratings. Even turns are the user's."""
    for line in RATINGS.read_text(encoding="utf-8").splitlines():
        rating = json.loads(line)
        turns = MARK.split(rating["prompt"])
        roles = ("user", "assistant")
        prompt = tuple(Message(roles[n % 2], text) for n, text in enumerate(turns))
        yield Item(prompt, rating["response"]), rating
