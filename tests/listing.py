"""Lists as a tireless model would write them: as many items as asked for, all of them different."""

from __future__ import annotations

import random
import zlib
from typing import Any

from karat.context import PROMPTS

NAMES = [
    line
    for name in ("math", "python")
    for line in (PROMPTS / f"keywords_{name}.txt").read_text(encoding="utf-8").splitlines()
]


def listed(body: dict[str, Any], place: int = 0) -> str:
    """Topics where topics are asked for, else questions; others for every request and seed."""
    words = body["messages"][-1]["content"].split()
    key = zlib.crc32(f"{body['messages']} {body.get('seed')}".encode())
    names = random.Random(key).sample(NAMES, 2 * int(words[1]))
    if "topics" in words or "subtopics" in words:
        items = names[::2]
    else:
        items = [f"How do {a} help with {b}?" for a, b in zip(names[::2], names[1::2], strict=True)]
    return "".join(f"{i}. {item}\n" for i, item in enumerate(items, 1))
