"""Finds the reward behind a name: `embedded/helpsteer2`, or `head/PATH.npz` for one's own.

A kind of reward is one module with `load(name, folder)`; a new file adds a new kind.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

from karat.errors import RecipeError, did_you_mean
from karat.rewards.base import Reward

ALIASES = {"embedded": "head"}  # the heads karat ships are heads like any other


@cache
def kinds() -> tuple[str, ...]:
    """What a reward's name may begin with: every module of this folder that defines `load`.

    They are read, not imported: one may need a package that only its own users install.
    """
    files = Path(__file__).parent.glob("*.py")
    return tuple(sorted({*(file.stem for file in files if _defines_load(file)), *ALIASES}))


def _defines_load(file: Path) -> bool:
    body = ast.parse(file.read_bytes()).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "load" for node in body)


def load_reward(value: str, folder: Path) -> Reward:
    """The reward `kind/name`; relative paths are looked for in `folder`. Raises: RecipeError."""
    kind, _, name = value.partition("/")
    if kind not in kinds() or not name:
        known = [f"{kind}/…" for kind in kinds()]
        raise RecipeError(
            f"no reward '{value}'; {did_you_mean(value, [*known, 'embedded/helpsteer2'])}"
        )
    module = importlib.import_module(f"karat.rewards.{ALIASES.get(kind, kind)}")
    reward: Reward = module.load(name, folder)
    return reward
