"""Steps described for a person: what there is, and what each parameter takes."""

from __future__ import annotations

import inspect

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.step import Step, builtin_steps, find


def step_list() -> RenderableType:
    """Every step karat ships with the first line of its docstring."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name in builtin_steps():
        table.add_row(Text(name, style="bold"), find(name).doc.partition("\n")[0])
    return table


def step_page(step: Step) -> RenderableType:
    """One step: its parameters with types and defaults, then its whole docstring."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("parameter", "type", "default"):
        table.add_column(heading)
    written = step.function.__annotations__
    defaults = inspect.signature(step.function).parameters
    for field in step.fields:
        kind = written.get(field.name, "")
        default = "needed" if field.required else repr(defaults[field.name].default)
        table.add_row(field.name, Text(kind if isinstance(kind, str) else str(kind)), Text(default))
    return Group(
        Text(f"{step.path} ({step.kind} step)", style="bold"), table, Text(), Text(step.doc)
    )
