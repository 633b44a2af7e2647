"""What `karat reward train` was asked for, and what follows from it and from the data."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from karat.errors import RecipeError
from karat.rewards.hidden import Reader
from karat.training.ratings import HumanData
from karat.training.reward_cross import Say
from karat.training.reward_settings import (
    FEWEST_MEMBERS,
    FROZEN,
    OBJECTIVES,
    RATED,
    REPRESENTATIONS,
    Objective,
    Representation,
    Settings,
)
from karat.training.reward_trees import sklearn_forest

Grid = tuple[Sequence[Representation], Sequence[Objective]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for; None lets the data, or the search, decide. `frozen` names the model whose
    layers are read."""

    objective: Objective | None = None
    representation: Representation | None = None
    members: int = 10
    debias: bool = False
    search: bool = False
    folds: int = 5
    repeats: int = 2
    jobs: int | None = None
    seed: int = 7
    frozen: str | None = None


def settings_of(plan: Plan, data: HumanData) -> tuple[Settings, Grid | None]:
    """The settings to begin with, and the grid to search where a search was asked for.

    Without an objective, ratings are learned by regression and then by their pairs; preferences
    alone by Bradley-Terry, scaled where the data say how strong they are.
    """
    strengths = any(math.isfinite(pair.strength) for pair in data.pairs)
    preferences: Objective = "scaled" if strengths else "bt"
    usual = Settings()
    own: Objective = usual.objective if plan.members >= FEWEST_MEMBERS else "regression"
    settings = Settings(
        objective=plan.objective or (own if data.rated else preferences),
        representation=plan.representation or (FROZEN if plan.frozen else usual.representation),
        members=plan.members,
        debias=plan.debias,
        seed=plan.seed,
    )
    if not plan.search:
        return settings, None
    able = [
        objective
        for objective in OBJECTIVES
        if (data.rated or objective not in RATED)
        and (plan.members >= FEWEST_MEMBERS or objective != "regression+scaled")
    ]
    objectives = [plan.objective] if plan.objective else able
    representations = [plan.representation] if plan.representation else REPRESENTATIONS
    if plan.frozen:
        representations = (usual.representation, FROZEN)
    return settings, (representations, objectives)


def reader_of(plan: Plan, data: HumanData, out: Path, say: Say | None = None) -> Reader | None:
    """What reads the frozen model that was asked for, loaded and tried, since nothing else may be
    found out after an hour; a folder is named as seen from `out`. Raises: RecipeError, RunError."""
    if plan.frozen is None:
        return None
    if not data.rated:
        raise RecipeError(
            "--frozen learns from ratings what the layers of a model are worth, and the data have "
            "preferences alone: add ratings, or fine-tune the model, --model without --frozen"
        )
    if plan.objective not in (None, *RATED):
        raise RecipeError(
            f"--frozen learns from ratings, and {plan.objective} from pairs alone: use "
            f"{' or '.join(RATED)}"
        )
    sklearn_forest(1, 1, 1.0, 0)
    from karat.rewards._states import FrozenModel, reading_of

    reading = reading_of(plan.frozen, say)
    if Path(plan.frozen).is_dir() and not Path(plan.frozen).is_absolute():
        beside = Path(os.path.relpath(plan.frozen, out.parent)).as_posix()
        reading = msgspec.structs.replace(reading, model=beside)
    return FrozenModel(reading, plan.frozen).probed()
