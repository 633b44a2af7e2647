"""What `karat reward train` asks for: a head on cheap representations, or a whole model.

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


def train_reward(
    data: Sequence[str], out: Path | None, tests: Sequence[str], model: str | None,
    options: Mapping[str, Any], command: str, say: Say,
) -> str:  # fmt: skip
    """Trains, writes `out` with its card, and returns the figures as text.

    `options` are the command's; None, False or () where not given. Without `out` a model goes into
    the folder of its run. Raises: RecipeError, RunError.
    """
    given = {key: value for key, value in options.items() if value not in (None, False, ())}
    foreign = OF_HEADS if model is not None else OF_MODELS
    for name in foreign:
        if name in given:
            word = "--set" if name == "words" else f"--{name}"
            kind = "a whole model: leave it out" if model is not None else "--model"
            raise RecipeError(f"{word} means nothing {'to' if model else 'without'} {kind}")
    if model is None:
        return _head(data, out, tests, given, command, say)
    from karat.training.finetune.settings import settings_of
    from karat.training.finetune.train import train_reward_model

    settings = settings_of(given.pop("words", ()), **given)
    folder = out or _beside(data, model)
    return train_reward_model(data, model, folder, settings, tests, say).summary()


def _head(
    data: Sequence[str], out: Path | None, tests: Sequence[str], given: dict[str, Any],
    command: str, say: Say,
) -> str:  # fmt: skip
    from karat.training.reward_head import Plan, main_train

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
