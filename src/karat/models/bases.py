"""The model a student starts from: an embedded one, a folder, or a name on a hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from karat.errors import RecipeError, did_you_mean
from karat.models._gguf_base import base_folder
from karat.models.embedded import MODELS

Say = Callable[[str], None]
EMBEDDED = "embedded/"
# What a hub calls the weights, before they were quantised.
HUB_NAMES = {"embedded/smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct"}


def base_model(model: str, say: Say) -> Path | str:
    """What transformers loads for this name: the folder of an embedded model, converted once from
    its GGUF file into karat's cache; a folder as it is; or a hub's name as it is.

    Raises: RecipeError for a name that is none of them; RunError when weights cannot be fetched.
    """
    if model.startswith(EMBEDDED):
        name = model.removeprefix(EMBEDDED)
        if name not in MODELS:
            raise RecipeError(f"no embedded model '{name}' to train; {did_you_mean(name, MODELS)}")
        return base_folder(model, MODELS[name], say)
    folder = Path(model).expanduser()
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return folder
        adapter = (folder / "adapter_config.json").is_file()
        raise RecipeError(
            f"{model} has no config.json"
            + ("; it holds an adapter: train on its merged/, or merge it first" if adapter else "")
        )
    parts = model.split("/")
    if len(parts) > 2 or model.startswith((".", "~")) or not all(parts):
        raise RecipeError(f"no folder {model}; a model is embedded/NAME, a folder, or OWNER/NAME")
    return model
