"""Steps described for a person: what there is, and what each parameter takes.

Types are told in the words that a message on a wrong value uses, defaults as a recipe writes them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.step import Step, builtin_steps, find
from karat.wording import described

KINDS = {
    "row": "sees one row",
    "fan": "makes several rows of one",
    "table": "sees all rows at once",
    "source": "reads rows in, first of a recipe",
}


def step_list() -> RenderableType:
    """Every step karat ships with the first sentence of its docstring."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name in builtin_steps():
        table.add_row(Text(name, style="bold"), Text(_first_sentence(find(name).doc)))
    return table


def _first_sentence(doc: str) -> str:
    """Up to its full stop, however many lines it takes."""
    whole = " ".join(doc.partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", whole, maxsplit=1)[0]


def step_page(step: Step) -> RenderableType:
    """One step: its parameters with types and defaults, then its whole docstring."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("parameter", no_wrap=True)
    for heading in ("takes", "default"):
        table.add_column(heading, overflow="fold")
    for name, takes, default in parameters(step.function, step.fields):
        table.add_row(name, Text(takes), Text(default))
    return Group(
        Text(f"{step.path}: {KINDS[step.kind]}", style="bold"), table, Text(), Text(step.doc)
    )


def parameters(
    function: Callable[..., Any], fields: Iterable[msgspec.structs.FieldInfo]
) -> list[tuple[str, str, str]]:
    """(name, what it takes, its default) of a function's keyword parameters, whose types `fields`
    are."""
    given = inspect.signature(function).parameters
    rows = []
    for field in fields:
        info = msgspec.inspect.type_info(field.type)
        default = "needed" if field.required else _default(given[field.name].default, info)
        rows.append((field.name, described(info), default))
    return rows


def _default(value: Any, info: Any) -> str:
    """As a recipe writes it; what an empty one stands for, where its type says so."""
    if value == {} and isinstance(info, msgspec.inspect.Metadata):
        return str((info.extra or {}).get("default", "{}"))
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.strip().removesuffix("...").strip()
