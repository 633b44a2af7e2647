"""Which models are kin: made by the same people, built on the same weights, or one by the other.

A grader likes what its own kind writes, so graders should be strangers to the generators. Names do
not say who is kin: a Nemotron may be a Llama, a distillation has two parents, a reward model is
somebody's weights under another name. The table is data/families.toml, written by hand with
sources. A name it does not know is unknown, which is not the same as unrelated.

Source: preference leakage between models that are the same, of one family, or one taught by the
other: Li et al. 2025 (2502.01534) §3.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

from karat.errors import did_you_mean

FILE = Path(__file__).parent / "data" / "families.toml"


class Family(msgspec.Struct, frozen=True):
    """A model's own family, the families whose weights it is built on, and those that taught it.

    `name` is empty for what no language model has a part in, such as a head over surface features.
    """

    name: str
    base: tuple[str, ...] = ()
    taught: tuple[str, ...] = ()

    @property
    def lineage(self) -> tuple[str, ...]:
        """Where it comes from: base first, then teachers."""
        return tuple(dict.fromkeys((*self.base, *self.taught)))

    @property
    def blood(self) -> tuple[str, ...]:
        """Its own family and those whose weights it carries."""
        return tuple(name for name in (self.name, *self.base) if name)


class FamilyRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A family: see data/families.toml. `examples` are names it is tested with."""

    name: str
    match: str
    source: str
    by: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    taught: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


class ModelRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Models that need more than their name."""

    match: str
    source: str
    family: str = ""
    base: tuple[str, ...] = ()
    taught: tuple[str, ...] = ()
    weights: bool = True
    examples: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    family: tuple[FamilyRule, ...]
    model: tuple[ModelRule, ...]


@cache
def table() -> Table:
    """The rules."""
    return msgspec.convert(tomllib.loads(FILE.read_text(encoding="utf-8")), Table)


@cache
def family_of(model: str) -> Family | None:
    """The family and lineage of a model, however a service spells it; None where no rule knows it.

    `model` may begin with a provider, an aggregator or an organisation, or be a path.
    """
    path, own = _parts(model)
    rule = next((rule for rule in table().model if _holds(rule.match, own)), None)
    if rule is not None and not rule.weights:
        return Family("")
    named = [family for family in table().family if _holds(family.match, own)]
    if not named and (rule is None or not rule.family):
        named = [family for family in table().family if set(family.by) & set(path)][:1]
    by_name = {family.name: family for family in table().family}
    name = rule.family if rule is not None and rule.family else named[0].name if named else ""
    if not name:
        return None
    base = [*(family.name for family in named), *(rule.base if rule else ())]
    blood = [by_name[one] for one in dict.fromkeys((name, *base))]
    base += [one for family in blood for one in family.base]
    taught = [*(rule.taught if rule else ()), *(one for family in blood for one in family.taught)]
    base = [one for one in dict.fromkeys(base) if one != name]
    taught = [one for one in dict.fromkeys(taught) if one != name and one not in base]
    return Family(name, tuple(base), tuple(taught))


def _parts(model: str) -> tuple[list[str], str]:
    """(what stands before its name, its own name): `us.anthropic.claude-3-haiku` has no path."""
    *path, own = model.strip().lower().rstrip("/").split("/")
    own = re.sub(r"(?<=\d)[p_](?=\d)", ".", own)  # 3p1 and 3_1 are hosts' ways to write 3.1
    return path, own


def _holds(match: str, own: str) -> bool:
    return re.search(rf"(?:^|[-_.:@+])(?:{match})", own) is not None


def related(a: str, b: str) -> str | None:
    """Why two models are of one family, None where they are not, or where one is unknown.

    They are where they share a family whose weights either carries, or where one was taught by the
    other's. Two that merely had the same teacher are not.
    """
    return next((reason for _, reason in _ties(a, b)), None)


def _ties(a: str, b: str) -> list[tuple[str, str]]:
    """(family, reason) of everything two models have in common."""
    first, second = family_of(a), family_of(b)
    if first is None or second is None:
        return [(a, f"both are {a}")] if a == b else []
    found = [
        (name, f"{_told(a, first, name)} and {_told(b, second, name)}")
        for name in first.blood
        if name in second.blood
    ]
    for (pupil, of), (teacher, kin) in (((a, first), (b, second)), ((b, second), (a, first))):
        found += [
            (name, f"{pupil} was taught by {name}, and {_told(teacher, kin, name)}")
            for name in of.taught
            if name in kin.blood
        ]
    return found


def _told(model: str, family: Family, name: str) -> str:
    return (
        f"{model} is of the family {name}" if family.name == name else f"{model} is built on {name}"
    )


def unknown(models: Sequence[str]) -> list[str]:
    """Those no rule knows, each once."""
    return [model for model in dict.fromkeys(models) if family_of(model) is None]


def same_family(
    generators: Sequence[str], graders: Mapping[str, Sequence[str]], allow: Sequence[str] = ()
) -> list[str]:
    """What is wrong with letting these graders grade these generators: one problem for each grader
    that is kin to one, and each name in `allow` that is no family.

    `graders` maps the name of a reward to the models behind it, `allow` names families that may
    grade their own. Unknown models are no problem here: see `unknown`.
    """
    known = [family.name for family in table().family]
    problems = [
        f"allow: no family '{name}'; {did_you_mean(name, known)}"
        for name in allow
        if name not in known and name not in generators
    ]
    for grader, models in graders.items():
        ties = [tie for model in models for one in generators for tie in _ties(one, model)]
        families = list(dict.fromkeys(name for name, _ in ties if name not in allow))
        if families:
            reason = next(reason for name, reason in ties if name == families[0])
            problems.append(
                f"{grader} would grade its own kind: {reason}; take a grader of another family, or "
                f"write allow: [{', '.join(families)}]"
            )
    return problems
