"""The rules of `filters` by name: the limits each takes by preset, checked before anything runs.

A rule sees a batch of texts and gives one number of each text for each of its tests. Nothing is
decided here, so that a batch can be judged anywhere and the parts put together afterwards.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from karat.curation.limits import Statistic
from karat.curation.page_repetition import GOPHER_REPETITION, gopher_repetition
from karat.curation.pages import Pages
from karat.curation.quality import C4S, FINEWEB, GOPHER, c4, fineweb, gopher
from karat.errors import RecipeError, did_you_mean
from karat.steps import _answer_rules as answers
from karat.steps._answer_rules import Judged as Judged
from karat.steps._answer_rules import On as On
from karat.verifiers._language import PACKAGE as DETECTOR
from karat.wording import explain

Preset = Literal["alignment", "published"]


class Rule(NamedTuple):
    """`presets`: its limits by preset. `package`: what it needs installed, with the extra."""

    presets: Mapping[str, Any]
    statistics: Callable[[Judged, Any], list[Statistic]]
    package: tuple[str, str] | None = None


def _own(limits: msgspec.Struct) -> dict[str, Any]:
    """Rules that were made for answers have one set of limits."""
    return {"alignment": limits, "published": limits}


def _of_pages(rule: Callable[[Pages, Any], list[Statistic]]) -> Callable[[Judged, Any], Any]:
    return lambda judged, limits: rule(judged.pages, limits)


RULES: dict[str, Rule] = {
    "length": Rule(_own(answers.Length()), answers.length),
    "gopher": Rule(GOPHER, _of_pages(gopher)),
    "gopher_repetition": Rule(GOPHER_REPETITION, _of_pages(gopher_repetition)),
    "c4": Rule(C4S, _of_pages(c4)),
    "fineweb": Rule(FINEWEB, _of_pages(fineweb)),
    "repetition": Rule(_own(answers.Repetition()), answers.repetition),
    "boilerplate": Rule(_own(answers.Boilerplate()), answers.boilerplate),
    "refusal": Rule(_own(answers.Refusal()), answers.refusal),
    "markup": Rule(_own(answers.Markup()), answers.markup),
    "pii": Rule(_own(answers.Pii()), answers.pii),
    "language": Rule(_own(answers.Language()), answers.language, (DETECTOR, "language")),
    "toxicity": Rule(_own(answers.Toxicity()), answers.toxicity, (answers.PROFANITY, "toxicity")),
}
DEFAULT = (
    "length", "gopher", "fineweb", "repetition", "boilerplate", "refusal", "markup", "pii",
)  # fmt: skip
OF_RESPONSES = ("refusal",)  # rules that say nothing about a prompt


def default(on: On) -> list[str]:
    """The rules where a recipe names none."""
    return [name for name in DEFAULT if on != "prompt" or name not in OF_RESPONSES]


def chosen(rules: Iterable[str | Mapping[str, Any]], preset: Preset, on: On) -> dict[str, Any]:
    """The limits of each rule by its name, in order. Raises: RecipeError naming what is wrong."""
    found: dict[str, Any] = {}
    for one in rules:
        named: Mapping[str, Any] = {one: {}} if isinstance(one, str) else one
        if len(named) != 1:
            raise RecipeError(f"a rule is a name, or one name with its limits; got {dict(named)}")
        for name, options in named.items():
            if name not in RULES:
                raise RecipeError(f"no rule '{name}'; {did_you_mean(name, list(RULES))}")
            if name in found:
                raise RecipeError(f"'{name}' is listed twice")
            found[name] = _limits(name, options, preset, on)
    return found


def _limits(name: str, options: Mapping[str, Any], preset: Preset, on: On) -> Any:
    rule = RULES[name]
    if rule.package and importlib.util.find_spec(rule.package[0]) is None:
        raise RecipeError(f"'{name}' needs a package; pip install 'karat[{rule.package[1]}]'")
    if on == "prompt" and name in OF_RESPONSES:
        raise RecipeError(f"'{name}' is about responses; leave it out, or write on: response")
    default = rule.presets[preset]
    fields = [field.name for field in msgspec.structs.fields(default)]
    for option in options:
        if option not in fields:
            raise RecipeError(f"'{name}' has no limit '{option}'; {did_you_mean(option, fields)}")
    values = {**msgspec.structs.asdict(default), **options}
    try:
        limits = msgspec.convert(values, type(default))
    except msgspec.ValidationError as error:
        words = explain(str(error), values, type(default), "limit '{}'")
        raise RecipeError(f"'{name}': {words}") from None
    if on == "prompt" and isinstance(limits, answers.Language) and limits.languages is None:
        raise RecipeError("'language': a prompt needs languages, for example languages: [en]")
    return limits
