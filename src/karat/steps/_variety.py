"""Variety on purpose: who writes, in what tone, how long, for whom, in which language and form.

A model asked the same way a thousand times writes the same thing a thousand times. So each call is
made under a system prompt drawn by seed from lists, and what was drawn stays in `meta`, where the
report counts it and sets it against the reward.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any, Literal

import yaml

from karat.context import PROMPTS

# The order in which values are drawn: an axis more changes no draw before it.
Axis = Literal["persona", "tone", "length", "expertise", "language", "format", "difficulty", "kind"]
Variety = dict[Axis, list[str]] | Literal["default", "off"]


def axes(variety: Variety, side: Literal["prompts", "responses"]) -> dict[str, list[str]]:
    """What is drawn from, by axis: karat's own lists, each replaced where the recipe has one.

    An empty list takes an axis out. `side`: whose voice it is, the asker's or the answerer's.
    """
    if variety == "off":
        return {}
    own: dict[str, list[str]] = dict(shipped()[side])
    if variety != "default":
        own.update({str(axis): values for axis, values in variety.items()})
    return {axis: values for axis, values in own.items() if values}


def draw(rng: random.Random, options: dict[str, list[str]]) -> dict[str, str]:
    """One value of each axis."""
    return {axis: rng.choice(values) for axis, values in options.items()}


def problem(variety: Variety) -> str | None:
    """What is wrong with a recipe's own lists, for a step's rule."""
    for axis, values in variety.items() if isinstance(variety, dict) else ():
        if not all(isinstance(value, str) and value.strip() for value in values):
            return f"variety: {axis} holds an empty text; take it out"
    return None


@cache
def shipped() -> dict[str, Any]:
    """karat's own lists."""
    path = PROMPTS / "variety.yaml"
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tree
