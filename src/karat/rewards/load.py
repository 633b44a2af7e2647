"""Finds the reward behind a name: `embedded/helpsteer2`, or `head/PATH.npz` for one's own.

A kind of reward is one module with `load(name, folder)`; a new file adds a new kind.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from karat.errors import RecipeError, did_you_mean
from karat.rewards.base import Reward

ALIASES = {"embedded": "head"}  # the heads karat ships are heads like any other
_NOT_KINDS = {"base", "load", "features"}


def kinds() -> list[str]:
    """What a reward's name may begin with."""
    folder = Path(__file__).parent
    files = {p.stem for p in folder.glob("*.py") if hasattr_load(p)}
    return sorted(files | set(ALIASES))


def hasattr_load(path: Path) -> bool:
    """Whether a module of this folder is a kind of reward: it defines `load`."""
    return path.stem not in _NOT_KINDS and "\ndef load(" in path.read_text(encoding="utf-8")


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
