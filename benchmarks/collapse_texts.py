"""Texts that people wrote, for collapse.py: from a folder of public data, else from Python itself.

Fields that models wrote, as the answers of HelpSteer2 and of the arena, are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HUMAN_TURN = re.compile(r"\n\nHuman:(.*?)(?=\n\nAssistant:|\Z)", re.DOTALL)
SHORTEST, LONGEST = 5, 150  # words


def corpora(data: Path) -> dict[str, list[str]]:
    """Corpora by name, in a fixed order, each text once."""
    found = {
        "questions people asked": list(_asked(data)),
        "maths that people wrote": [
            f"{record['question']} {record['answer']}"
            for record in _records(data / "prompts/gsm8k-test.jsonl")
        ],
    }
    found = {name: _usable(texts) for name, texts in found.items()}
    found = {name: texts for name, texts in found.items() if len(texts) >= 600}
    return found or {"Python's manual": _usable(_manual())}


def _asked(data: Path) -> Iterator[str]:
    for name in ("hh-helpful", "hh-harmless"):
        for record in _records(data / f"pairs/{name}.jsonl"):
            yield from (turn.strip() for turn in HUMAN_TURN.findall(record["chosen"]))
    for record in _records(data / "pairs/arena-human.jsonl"):
        yield from record["prompts"]
    for name in ("helpsteer1", "helpsteer2"):
        for record in _records(data / name / "ratings.jsonl"):
            yield record["prompt"].partition("<extra_id_1>")[0]


def _manual() -> list[str]:
    """The paragraphs of the manual that comes with Python."""
    from pydoc_data.topics import topics

    return [part for text in topics.values() for part in text.split("\n\n")]


def _records(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _usable(texts: list[str]) -> list[str]:
    """Texts of some length, each once; of a long one the beginning."""
    cut = (" ".join(text.split()[:LONGEST]) for text in texts)
    return list(dict.fromkeys(text for text in cut if text.count(" ") >= SHORTEST - 1))
