"""The options of a command as those of a cycle, its training's settings among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from karat.cycling.asked import Options
from karat.errors import RecipeError
from karat.training.student_settings import Settings
from karat.wording import explain


def options_of(given: Mapping[str, Any]) -> Options:
    """`given` by name, `training` as `key=value` texts. Raises: RecipeError."""
    tree = {key: value for key, value in given.items() if value is not None}
    settings: dict[str, Any] = {}
    for text in tree.pop("training", ()):
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--train {text}: write key=value, such as --train epochs=1")
        settings[key.strip()] = _value(value)
    try:
        made = msgspec.convert(settings, Settings)
    except msgspec.ValidationError as error:
        raise RecipeError(f"--train: {explain(str(error), settings, Settings, '{}')}") from None
    return Options(**tree, settings=made)


def _value(text: str) -> Any:
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text
