"""What `karat reward train` asks for: a head, on a frozen model or without, or a whole model.

Both learn from the same people by the same objectives, so one command makes either; an option that
means nothing to the one asked for is an error, not a word ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from karat.errors import RecipeError
from karat.rundir import Run
from karat.training.student_use import place

Say = Callable[[str], None]
OF_HEADS = ("representation", "search", "debias", "folds", "repeats", "jobs")
OF_MODELS = ("lora", "words")
# A frozen model is read by a head: nothing of it is trained, and its head reads everything.
NOT_OF_FROZEN = (*OF_MODELS, "representation")


def train_reward(
    data: Sequence[str], out: Path | None, tests: Sequence[str], model: str | None,
    options: Mapping[str, Any], command: str, say: Say,
) -> str:  # fmt: skip
    """Trains, writes `out` with its card, and returns the figures as text.

    `options` are the command's; None, False or () where not given. Without `out` a model goes into
    the folder of its run. Raises: RecipeError, RunError.
    """
    given = {k: v for k, v in options.items() if v is not None and v is not False and v != ()}
    frozen = given.pop("frozen", False)
    _check_options(given, model, frozen)
    if model is None or frozen:
        return _head(data, out, tests, {**given, "frozen": model}, command, say)
    from karat.training.finetune.settings import settings_of
    from karat.training.finetune.train import train_reward_model

    settings = settings_of(given.pop("words", ()), **given)
    folder = out or _beside(data, model)
    return train_reward_model(data, model, folder, settings, tests, say).summary()


def _check_options(given: Mapping[str, Any], model: str | None, frozen: bool) -> None:
    """Raises: RecipeError for an option that means nothing to what was asked for."""
    if frozen and model is None:
        raise RecipeError("--frozen: say whose layers the head reads, --model MODEL")
    if model is None:
        foreign: tuple[str, ...] = OF_MODELS
        kind = "without --model"
    elif frozen:
        foreign, kind = NOT_OF_FROZEN, "to a head on a frozen model: leave it out"
    else:
        foreign, kind = OF_HEADS, "to a whole model: leave it out"
    for name in foreign:
        if name in given:
            word = "--set" if name == "words" else f"--{name}"
            raise RecipeError(f"{word} means nothing {kind}")


def _head(
    data: Sequence[str], out: Path | None, tests: Sequence[str], given: dict[str, Any],
    command: str, say: Say,
) -> str:  # fmt: skip
    from karat.training.reward_head import main_train
    from karat.training.reward_plan import Plan

    if out is None:
        raise RecipeError("say where the head goes: -o NAME.npz (or --model MODEL for a model)")
    asked = Plan(**{**given, "debias": given.get("debias") == "length"})
    return main_train(data, out, tests, asked, command=command, say=say).summary()


def _beside(data: Sequence[str], model: str) -> Path:
    """Raises: RecipeError where the data are no single run."""
    run = Run(data[0].partition("@")[0])
    if len(data) != 1 or not run.recipe.is_file():
        raise RecipeError("say where the model goes: -o FOLDER")
    return place(run.path, "reward", model)
