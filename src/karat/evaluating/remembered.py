"""Which sets a reward was trained on, by their prompts.

A figure on what a reward has learned from says how well it remembers. The name of a file says
nothing: the same prompts come under any name, and two files may share one. So a head and a folder
of karat's own training carry a mark of each prompt they learned from. Where no record is kept,
nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from karat.evaluating.items import EvalSet, Item
from karat.inquiry import Place, seen_share
from karat.training._items import group_of, prompt_marks
from karat.training.finetune.record import marks

ENOUGH = 0.05  # two collections share a "hello" or two


class Remembered(NamedTuple):
    """A set of which a reward has learned `share` of the different prompts."""

    reward: str
    set: str
    share: float

    @property
    def said(self) -> str:
        return (
            f"{self.reward} was trained on {self.share:.0%} of the prompts of {self.set}: its "
            "figures there say how well it remembers, not how right it is"
        )


def remembered(place: Place, sets: Sequence[EvalSet]) -> Iterator[Remembered]:
    """The sets of which the reward, or one that it asks, knows a share that matters."""
    for found in sets:
        groups = {_group(item) for item in found.items}
        share = max(seen_share(place, groups) or 0.0, _of_folders(place, groups))
        if share >= ENOUGH:
            yield Remembered(place.reward.name, found.name, share)


def _group(item: Item) -> str:
    """The first user turn; an item's own `group` may be of its benchmark."""
    try:
        return group_of(item.prompt)
    except ValueError:
        return item.group


def _of_folders(place: Place, groups: set[str]) -> float:
    """The share that models in folders of karat's training have learned from."""
    asked = prompt_marks(sorted(groups))
    seen = np.zeros(len(asked), np.bool_)
    for reward in place.graders.behind(place.name).values():
        source = getattr(getattr(reward, "_setup", None), "source", None)  # of a model's folder
        if source and Path(source).is_dir():
            seen |= np.isin(asked, marks(Path(source)))
    return float(seen.mean()) if len(seen) else 0.0
