"""Real runs, for tests of what is made of one: a recipe in a folder, rewards without a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import LengthReward
from server import text_for

PRICE = {"input": 1.0, "output": 2.0}


class Other(LengthReward):
    """A second opinion: of the first letter."""

    identity = "other/1"

    def score(self, prompt: Any, responses: Any) -> Any:
        found = super().score(prompt, responses)
        found[:, 1] = [ord(text[0]) % 20 / 5 if text else 0.0 for text in responses]
        return found


def load(value: Any, *_: Any) -> LengthReward:
    """Stands in for `karat.graders.load_reward`: `x/other` is Other, any other LengthReward."""
    return Other() if value == "x/other" else LengthReward()


@contextmanager
def rewards() -> Iterator[None]:
    """The rewards above behind every name of a recipe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("karat.graders.load_reward", load)
        yield


def write_recipe(folder: Path, name: str = "test", file: str = "recipe.yaml", **tree: Any) -> Path:
    """A recipe of seed 7 over the reward `mine`, where `tree` says nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"name": name, "seed": 7, "rewards": {"mine": "x/mine"}, **tree}
    path = folder / file
    path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    return path


def of_many_lengths(body: dict[str, Any], place: int) -> str:
    """An answer of a server's, so that a reward of lengths has something to choose from."""
    return text_for(body, place, 6 + sum(map(ord, text_for(body, place))) % 30)
