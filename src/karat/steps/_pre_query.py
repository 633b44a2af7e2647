"""Pre-query templates: a conversation up to where the user's message would begin.

They are data, in recipes/prompts/pre_query.yaml, since families of models differ in nothing else
here. Which of them a model was trained on is told by its name, or by the recipe where a server
calls it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import msgspec
import yaml

from karat.context import PROMPTS
from karat.errors import RecipeError, did_you_mean
from karat.models.spec import ModelSpec

AUTO = "auto"
SYSTEM, TOPIC = "{system}", "{topic}"  # where a template and a system message have places
# What models of any family part turns with; names of tokens, so never a word of a person's.
_MARKS = re.compile(
    r"<[|｜][^<>|｜\s]{1,40}[|｜]>|<(?:start|end)_of_turn>|</?s>|<(?:bos|eos|pad|unk)>"
    r"|<</?SYS>>|\[/?(?:INST|SYSTEM_PROMPT)\]|<extra_id_\d{1,3}>|</?think>"
)
_ROLE = re.compile(
    r"^\W{0,4}(?:(?:user|human|assistant|ai)\s*[:：]|(?:user|assistant|system)\W{0,3}$)",
    re.IGNORECASE | re.MULTILINE,
)


class Family(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How a family of models begins a conversation; see the file for what each text is."""

    bare: str
    steered: str
    stop: str = ""
    default: str = ""
    models: list[str] = []

    def prompt(self, system: str) -> str:
        """What the model goes on with; an empty `system` means none but the family's own.

        Raises: RecipeError where the text has a place for one that nobody says, or none for it.
        """
        system = system or self.default
        if system and SYSTEM not in self.steered:
            raise RecipeError(
                f"template has no {SYSTEM}, the place of a system message or of a row's topic"
            )
        if not system and SYSTEM in self.bare:
            raise RecipeError(f"template holds {SYSTEM}; say system, or put topics before magpie")
        return self.steered.replace(SYSTEM, system) if system else self.bare


@cache
def families() -> dict[str, Family]:
    """The templates karat ships, in the order in which a name is held against them."""
    text = (PROMPTS / "pre_query.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, Family])


def family_of(template: str, route: Sequence[ModelSpec]) -> Family:
    """The template that a recipe names, writes out, or leaves to the names of its models.

    Raises: RecipeError for a name that is none, and where `auto` cannot tell.
    """
    known = families()
    if template in known:
        return known[template]
    if template != AUTO:
        if re.fullmatch(r"[\w.-]*", template):
            near = did_you_mean(template, [AUTO, *known])
            raise RecipeError(f"template: no '{template}'; {near}")
        return Family(template, template)
    found = [_by_name(spec.name) for spec in route]
    if None in found:
        name = route[found.index(None)].name
        raise RecipeError(
            f"template: auto does not know '{name}'; say one of {', '.join(known)}, or write the "
            "text itself, up to where the user's message begins"
        )
    if len(set(found)) > 1:
        raise RecipeError(
            f"template: the model and its fallbacks begin a conversation in different ways "
            f"({', '.join(str(one) for one in found)}); take fallbacks of one family"
        )
    return known[str(found[0])]


def _by_name(model: str) -> str | None:
    name = model.lower()
    for family, one in families().items():
        if any(re.search(pattern, name) for pattern in one.models):
            return family
    return None


def has_marks(text: str) -> bool:
    """Whether a text holds marks between turns, or a line of its own that names a role."""
    return bool(_MARKS.search(text) or _ROLE.search(text))


def harmless(text: str) -> str:
    """A text from data on one line and without marks, so that it cannot add a turn."""
    return " ".join(_MARKS.sub(" ", text).split())
