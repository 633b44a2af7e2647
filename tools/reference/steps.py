"""The page of steps: what `karat steps NAME` says of each, with what it reads and writes."""

from __future__ import annotations

from karat.report.steps import KINDS, parameters
from karat.step import Step, builtin_steps, find
from reference import markdown as md

HEAD = (
    "A step is a function, and its keyword arguments are its keys in a recipe. `karat steps NAME` "
    "says the same on a terminal. The steps of one recipe run in the order they are listed."
)


def page() -> str:
    return md.page("# Steps", HEAD, *(_step(find(name)) for name in builtin_steps()))


def _step(step: Step) -> str:
    listed = {"Adds to `meta`": step.marks, "Needs in `meta`": step.needs, "Scores": step.scores}
    notes = [
        f"- {said}: {', '.join(md.code(name) for name in names)}"
        for said, names in listed.items()
        if names
    ]
    return md.page(
        f"## {step.name}",
        f"*{KINDS[step.kind]}*",
        md.parameters(parameters(step.function, step.fields)),
        md.prose(step.doc),
        "\n".join(notes),
    ).rstrip()
