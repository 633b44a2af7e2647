"""A model for a server on loopback that writes what the how-tos ask for, in milliseconds.

It lists topics, tasks and questions where lists are asked for, and has read the two manuals of the
page on RAG sets: it asks about them, answers from them, and knows nothing without them.
"""

from __future__ import annotations

import re
from typing import Any

from listing import listed

KNOWN = {
    "At how many volts does the pump run?": "230 volts",
    "How many litres does the boiler heat?": "80 litres",
}


def answer(body: dict[str, Any], place: int) -> str:
    """A model that writes lists where lists are asked for, and has read the manuals."""
    asked = body["messages"][-1]["content"]
    if "questions that the text above answers" in asked:
        return "".join(
            f"{number}. {question}\n"
            for number, question in enumerate(KNOWN, 1)
            if KNOWN[question] in asked
        )
    if asked.startswith("Answer in one short phrase:"):
        return "I do not know"
    if "of the text above." in asked or "from the text above." in asked:
        return next((KNOWN[question] for question in KNOWN if question in asked), "not in the text")
    if re.match(r"(Write|List) \d+ ", asked):
        return listed(body, place)
    word = ("warm", "clear", "quiet", "early", "green", "small")[hash_of(body, place) % 6]
    return (
        f"Start with what is {word}, because that is where most of the difference lies. Then "
        f"change one thing at a time and look again after {hash_of(body, place) % 50 + 2} hours."
    )


def hash_of(body: dict[str, Any], place: int) -> int:
    return sum(map(ord, f"{body['messages'][-1]['content']}{body.get('seed')}{place}"))
