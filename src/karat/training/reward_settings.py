"""How a reward head is fitted: objectives, representations, and the numbers that were settled.

The numbers were chosen on held-out HelpSteer prompts, among about ninety, and the card says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Objective = Literal["regression", "regression+scaled", "bt", "margin", "scaled"]
Representation = Literal["surface", "static", "surface+static", "surface+static+hidden"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
FROZEN: Representation = "surface+static+hidden"  # reads the layers of a frozen model as well
REPRESENTATIONS = tuple(r for r in get_args(Representation) if r != FROZEN)
RATED: tuple[Objective, ...] = ("regression", "regression+scaled")
FEWEST_MEMBERS = 5  # for what is learned out of the bag


@dataclass(frozen=True, slots=True)
class Settings:
    """How a head is fitted. Weights are relative to a human-rated row, which weighs 1.

    `trees`, on people's ratings, and `spoiled_trees`, on the fall of spoiled copies, are those of
    all `members` together. `hidden_share` of what a head that reads a frozen model says is a ridge
    regression on that model's states, the rest as without. `debias` takes the reward's taste for
    length out.
    """

    objective: Objective = "regression+scaled"
    representation: Representation = "surface+static"
    members: int = 10
    trees: int = 150
    leaf: int = 3
    tree_features: float = 0.33
    linear_share: float = 0.3
    ridge: float = 300.0
    pair_ridge: float = 2000.0
    rounds: int = 2
    pair_weight: float = 0.25
    pair_shift: tuple[float, ...] = (0.6, 0.6, 0.3, 0.0, 0.0)
    spoiled_weight: float = 0.15
    spoiled_trees: int = 40
    spoiled_leaf: int = 20
    spoiled_tree_weight: float = 0.05
    hidden_share: float = 0.5
    hidden_ridge: float = 0.5
    debias: bool = False
    seed: int = 7

    @property
    def trees_each(self) -> int:
        """Trees of one member."""
        return max(1, self.trees // self.members)

    @property
    def frozen(self) -> bool:
        """Whether a frozen model is read."""
        return self.representation == FROZEN
