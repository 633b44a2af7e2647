"""The page of the Python names: signatures and docstrings of what `karat` exports."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import msgspec

import karat
from karat import errors
from karat import step as _step  # the function: its module has the same name
from karat.graded import Graded, Grades
from karat.planning import Plan
from karat.rowset import Rows
from karat.step import Step
from reference import markdown as md

GROUPS = {
    "Run": ("Recipe", "run", "plan", "preview", "Run"),
    "Grade": ("grade",),
    "Rows": ("Row", "Message", "Response"),
    "Steps of your own": ("step", "Context", "Table", "Decision"),
    "Errors": ("RecipeError", "RowError"),
}
# What those give: no names of `karat`, and worth knowing.
GIVEN: dict[str, tuple[type, ...]] = {
    "Run": (Plan, Rows),
    "Grade": (Grades, Graded),
    "Steps of your own": (Step,),
}
WIDTH = 88


def page() -> str:
    named = sorted(name for names in GROUPS.values() for name in names)
    if named != sorted(karat.__all__):
        raise SystemExit(f"reference/python_names.py: {set(named) ^ set(karat.__all__)} differ")
    parts = [
        "# Python",
        f"`import karat` has {len(named)} names, and none of them is slow to load.",
    ]
    for title, names in GROUPS.items():
        parts.append(f"## {title}")
        if title == "Errors":
            parts.append(md.prose(inspect.getdoc(errors) or ""))
        parts += [_named(name) for name in names]
        parts += [_class(kind.__name__, kind) for kind in GIVEN.get(title, ())]
    return md.page(*parts)


def _named(name: str) -> str:
    found = getattr(karat, name)
    if inspect.isclass(found):
        return _class(name, found)
    shapes = inspect.getdoc(inspect.getmodule(_step)) if found is _step else ""
    about = (shapes or "").partition("\n\n")[2]
    return md.page(
        f"### karat.{name}",
        md.fenced(f"karat.{name}{signature(found)}", "python"),
        md.prose(inspect.getdoc(found) or ""),
        md.prose(about),
    ).rstrip()


def _class(name: str, kind: type) -> str:
    public = name in karat.__all__
    shown = f"karat.{name}" if public else f"{kind.__module__}.{name}"
    struct = issubclass(kind, msgspec.Struct)
    made = (
        public and not struct and not issubclass(kind, BaseException) and "__init__" in vars(kind)
    )
    head = md.fenced(shown + signature(kind), "python") if made else ""
    return md.page(
        f"### {shown}",
        head,
        md.prose(inspect.getdoc(kind) or ""),
        _fields(kind) if struct else "",
        *(_member(name, *member) for member in members(kind)),
    ).rstrip()


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """(name, what it is) of a class's own public methods and properties that have a docstring."""
    for name, member in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property) or hasattr(member, "attrname"):  # a cached property
            yield name, member
        elif isinstance(member, classmethod | staticmethod):
            yield name, member.__func__
        elif inspect.isfunction(member):
            yield name, member


def _member(owner: str, name: str, member: Any) -> str:
    doc = inspect.getdoc(member) or ""
    if not doc:
        return ""
    called = inspect.isfunction(member)
    shown = f"{owner}.{name}"
    return md.page(
        f"#### {shown}",
        md.fenced(shown + signature(member), "python") if called else "*property*",
        md.prose(doc),
    ).rstrip()


def _fields(kind: type[msgspec.Struct]) -> str:
    rows = []
    for field in msgspec.structs.fields(kind):
        default = "**needed**"
        if not field.required:
            made = field.default is msgspec.NODEFAULT
            default = md.code(repr(field.default_factory() if made else field.default))
        rows.append((md.code(field.name), md.code(str(kind.__annotations__[field.name])), default))
    return md.table(("field", "type", "default"), rows)


def signature(function: Any) -> str:
    """`(a, *, b=1) -> C` as the source has it, a parameter a line where it is long."""
    found = inspect.signature(function)
    parameters = [p for p in found.parameters.values() if p.name not in ("self", "cls")]
    given: list[str] = []
    for place, parameter in enumerate(parameters):
        starred = place and parameters[place - 1].kind in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        )
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            given.append("*")
        given.append(_parameter(parameter))
    back = (
        ""
        if found.return_annotation is found.empty or inspect.isclass(function)
        else (f" -> {_annotation(found.return_annotation)}")
    )
    line = f"({', '.join(given)}){back}"
    if len(line) <= WIDTH:
        return line
    inner = "".join(f"    {one},\n" for one in given)
    return f"(\n{inner}){back}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        shown = re.sub(r" at 0x[0-9a-f]+", "", repr(parameter.default))
        text += f" = {shown}" if ":" in text else f"={shown}"
    return text


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
