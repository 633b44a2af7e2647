"""The pages of what is found by its file: kinds of rewards, verifiers, exporters."""

from __future__ import annotations

import importlib
import inspect

import msgspec

from karat.recipechecks import EXPORTS
from karat.report.steps import parameters
from karat.rewards import load as rewards_load
from karat.verifiers import base as verifiers_base
from reference import markdown as md

REWARDS = (
    "`kind/name` in a recipe's `rewards:`, or a mapping with `reward: kind/name` and these "
    "options. A kind that asks a server also takes the keys of a [model](models.md) that say where "
    "it is and what it costs: {keys}."
)
VERIFIERS = (
    "Names for `verify: {checks: […]}` and for the route of `grade`. A check with options is a "
    "mapping: `{refusal: {partial: true}}`."
)
EXPORTERS = (
    "Names for a recipe's `export: […]`; the files go into `RUN/export`. Where rows are split, "
    "each part has a file of its own."
)


def rewards() -> str:
    hidden = (*rewards_load.NOT_OF_REWARDS, "fallbacks")
    keys = [key for key in rewards_load.ModelSpec.__struct_fields__ if key not in hidden]
    head = REWARDS.format(keys=", ".join(f"`{key}`" for key in keys))
    return md.page("# Rewards", head, *(_reward(kind) for kind in rewards_load.kinds()))


def _reward(kind: str) -> str:
    module = importlib.import_module(f"karat.rewards.{rewards_load.ALIASES.get(kind, kind)}")
    fields = msgspec.structs.fields(rewards_load._params(module))
    asks = rewards_load.SPEC in inspect.signature(module.load).parameters
    if kind in rewards_load.ALIASES:
        told = f"A `{rewards_load.ALIASES[kind]}` that ships with karat: `embedded/helpsteer2`."
        return md.page(f"## {kind}", told).rstrip()
    return md.page(
        f"## {kind}",
        md.prose(_about(module)),
        md.parameters(parameters(module.load, fields), "option"),
        "Asks a server: takes the keys of a model as well." if asks else "",
        md.prose(inspect.getdoc(module.load) or ""),
    ).rstrip()


def verifiers() -> str:
    return md.page("# Verifiers", VERIFIERS, *(_verifier(name) for name in verifiers_base.known()))


def _verifier(name: str) -> str:
    module = importlib.import_module(f"karat.verifiers.{name}")
    fields = msgspec.structs.fields(verifiers_base._params(name))
    notes = []
    if module.EXTRA:
        notes.append(f"- Needs `pip install 'karat[{module.EXTRA}]'`")
    if module.NEEDS:
        notes.append(f"- Needs in `meta`: {', '.join(md.code(field) for field in module.NEEDS)}")
    if getattr(module, "SHARES", False):
        notes.append(f"- Gives the share that passed as well: `verifier.{name}_share`")
    if getattr(module, "DECIDES", False):
        notes.append("- A pass settles that the response is right")
    return md.page(
        f"## {name}",
        md.prose(_about(module)),
        md.parameters(parameters(module.verify, fields), "option"),
        md.prose(inspect.getdoc(module.verify) or ""),
        "\n".join(notes),
    ).rstrip()


def exporters() -> str:
    files = sorted(p for p in EXPORTS.glob("[a-z]*.py") if p.stem != "base")
    return md.page("# Exports", EXPORTERS, *(_exporter(file.stem) for file in files))


def _exporter(stem: str) -> str:
    module = importlib.import_module(f"karat.exporters.{stem}")
    return md.page(
        f"## {stem.replace('_', '-')}",
        md.prose(_about(module)),
        md.prose(inspect.getdoc(module.export) or ""),
    ).rstrip()


def _about(module: object) -> str:
    """A module's docstring without the name it begins with, which is the heading already."""
    doc = inspect.getdoc(module) or ""
    name, colon, rest = doc.partition(": ")
    if not colon or " " in name.strip("`"):
        return doc
    return rest[:1].upper() + rest[1:]
