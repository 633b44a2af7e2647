"""The page of recipes: their keys, with defaults and what they say, and those that ship."""

from __future__ import annotations

import inspect
import re

from karat.recipe import Recipe
from karat.recipefile import KEYS, SHIPPED
from karat.target import Target
from reference import markdown as md
from reference.models import fields

# What each key says. A key that the code has and this table has not stops the build.
SAID = {
    "name": "What the run is called, and its folder below `runs/`; by default the file's name.",
    "seed": "A whole number. Every seed of the run follows from it and from what is asked.",
    "exactly": "How many rows shall be accepted: a number, or a mapping with the keys below.",
    "budget_usd": "Dollars that the run may cost. It stops before it would cost more.",
    "rights": "What happens where a model's terms do not clearly allow training on its answers: "
    "`flag` says so, `refuse` does not run it.",
    "folder": "Where relative paths, prompt templates and your own steps are looked for; by "
    "default the file's own folder.",
    "providers": "Services of your own, by name: [keys of a service](models.md#keys-of-a-service).",
    "models": "Models by the names that steps call them: [keys of a model](models.md).",
    "rewards": "Rewards by the names that steps call them: [kinds and options](rewards.md).",
    "steps": "A list of [steps](steps.md), each `name: {parameter: value}`. A step of your own is "
    "`module:function`.",
    "export": "A list of [exports](exporters.md).",
}


def page() -> str:
    if set(SAID) != set(KEYS):
        raise SystemExit(f"reference/recipes.py: keys differ: {sorted(set(SAID) ^ set(KEYS))}")
    given = inspect.signature(Recipe).parameters
    rows = [(md.code(key), SAID[key], md.code(_default(key, given))) for key in KEYS]
    return md.page(
        "# Recipes",
        "A recipe is YAML with these keys. `--set KEY=VALUE` changes one for a run: "
        "`--set seed=3`, `--set respond.n=2`, `--set models.teacher=openai/gpt-5`.",
        md.table(("key", "what it says", "default"), rows),
        "## exactly",
        md.prose(inspect.getdoc(Target) or ""),
        fields(Target),
        "## Recipes that ship",
        "`karat run NAME` runs one; its file is a start for your own.",
        *(_shipped(file.stem) for file in sorted(SHIPPED.glob("*.yaml"))),
    )


def _default(key: str, given: object) -> str:
    """As a recipe writes it."""
    parameter = given.get(key)  # type: ignore[attr-defined]
    value = None if parameter is None else parameter.default
    if value is None or value is inspect.Parameter.empty:
        return ""
    if key == "name":
        return ""
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


def _shipped(name: str) -> str:
    """A recipe's file, the remarks at its head as text."""
    text = (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")
    head = re.match(r"(?:#.*\n)*", text)
    remarks = head.group() if head else ""
    said = "\n".join(line.removeprefix("#").removeprefix(" ") for line in remarks.splitlines())
    said = re.sub(r"^( +\S.*)$", r"    \1", said, flags=re.MULTILINE)
    return md.page(f"### {name}", md.prose(said), md.fenced(text[len(remarks) :], "yaml")).rstrip()
