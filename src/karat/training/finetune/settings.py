"""How a reward model is fine-tuned: what a person may set, and what is chosen where they do not.

The defaults are HelpSteer2's, whose figures are for 70 billion weights. The learning rate cannot be
one number for every size, so it is a line through two published ones; whoever measures a better one
for a model says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.rewards.head import ATTRIBUTES
from karat.scoring.weights import PUBLISHED

Objective = Literal["regression", "bt", "margin", "scaled", "regression+scaled"]
OBJECTIVES: tuple[Objective, ...] = ("regression", "bt", "margin", "scaled", "regression+scaled")
Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=0.5)]

# Two published points: 2e-6 for 70B weights (HelpSteer2 2406.08673 §4), 1e-5 for .5B (TRL,
# examples/scripts/reward_modeling.py, Qwen2-0.5B; LoRA there ten times as much).
_LARGE, _LARGE_RATE, _EXPONENT, _LORA_TIMES = 70e9, 2e-6, 0.326, 10.0
_HIGHEST = 1e-3
# HelpSteer2-Preference (2410.01257) halves it where it goes on from a regression: 1e-6.
_AFTER_REGRESSION = 0.5


class RewardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is trained and how. None: chosen by the model, the objective or the device.

    `rank`, `alpha`: of LoRA. `batch`: rated answers or pairs of one step of the optimiser, however
    few of them fit at a time: `batch_tokens`, padding included. `max_length`: tokens of a
    conversation; what is longer is left out, or cut at its beginning, and counted either way.
    `validation`, `held_out`: shares of the prompts, for choosing the weights and for the figures.
    `weights`: how five attributes become one reward, a name of `scoring.weights` or helpfulness.
    `seed`: the new head and the order of the data; `split_seed`: the prompts of each part.
    """

    objective: Objective = "regression"
    lora: bool = False
    rank: Positive = 16
    alpha: Positive = 32
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] | None = None
    epochs: Annotated[float, msgspec.Meta(gt=0)] | None = None
    batch: Positive = 128
    batch_tokens: Positive | None = None
    warmup: Annotated[int, msgspec.Meta(ge=0)] = 10
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    clip: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    max_length: Positive = 4096
    too_long: Literal["drop", "truncate_left"] = "drop"
    gradient_checkpointing: bool = False
    validation: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.05
    held_out: Share = 0.1
    evaluations: Positive = 10
    weights: str = "goodness"
    members: Positive = 1
    seed: Annotated[int, msgspec.Meta(ge=0)] = 7
    split_seed: Annotated[int, msgspec.Meta(ge=0)] = 7
    template: str | None = None
    system: Literal["keep", "drop"] = "drop"
    device: Literal["auto", "cpu", "mps", "cuda"] = "auto"
    trust_remote_code: bool = False
    licence: str | None = None

    def checked(self) -> RewardSettings:
        """These settings. Raises: RecipeError for a value that is none."""
        try:
            msgspec.convert(msgspec.structs.asdict(self), RewardSettings)
        except msgspec.ValidationError as error:
            raise RecipeError(f"reward training: {error}") from None
        self.attribute_weights()
        return self

    def epochs_of(self, pairs: bool) -> float:
        """Passes over the data. Source: HelpSteer2 §4 (2), HelpSteer2-Preference §4 (1)."""
        return self.epochs or (1.0 if pairs else 2.0)

    def rate(self, weights: int, after_regression: bool = False) -> float:
        """The learning rate of a model of so many weights."""
        if self.learning_rate is not None:
            return self.learning_rate
        full: float = _LARGE_RATE * (_LARGE / max(weights, 1)) ** _EXPONENT
        found = full * (_LORA_TIMES if self.lora else 1.0)
        return min(found, _HIGHEST) * (_AFTER_REGRESSION if after_regression else 1.0)

    def attribute_weights(self) -> tuple[float, ...]:
        """The weight of each attribute in the one reward, adding up to 1, so that a reward of
        ratings from 0 to 4 lies there too. Raises: RecipeError for a name nobody knows."""
        known = {**PUBLISHED, "helpfulness": (1.0, 0.0, 0.0, 0.0, 0.0)}
        if self.weights not in known:
            raise RecipeError(f"weights: no '{self.weights}'; {did_you_mean(self.weights, known)}")
        found = known[self.weights]
        return tuple(weight / sum(found) for weight in found)


def settings_of(words: Sequence[str], **given: object) -> RewardSettings:
    """The settings that `given` and KEY=VALUE words make, the words winning; None: not given.

    Raises: RecipeError for a key or a value that is none.
    """
    fields = {key: value for key, value in given.items() if value is not None}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise RecipeError(f"--set {word}: write KEY=VALUE")
        if key not in RewardSettings.__struct_fields__:
            near = did_you_mean(key, RewardSettings.__struct_fields__)
            raise RecipeError(f"--set {word}: no setting '{key}'; {near}")
        fields[key] = value
    try:
        return msgspec.convert(fields, RewardSettings, strict=False).checked()
    except msgspec.ValidationError as error:
        raise RecipeError(f"reward training: {error}") from None


def labels_of(objective: Objective) -> tuple[str, ...]:
    """The names of the head's outputs."""
    return ATTRIBUTES if objective == "regression" else ("reward",)
