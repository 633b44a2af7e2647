"""The licences of a run in its report: what blocks, what is to be done, and what may be trained.

Who causes what is named as short as it can be known by: where a file lay on the machine that made a
data set is nobody's business who reads its report.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

from karat.visible import visible

TEXT, NAME = 1_200, 120  # characters


class LicenceLine(NamedTuple):
    """A blocker or an obligation, who causes it, and what is to be pasted where."""

    blocks: bool
    licence: str
    text: str
    causes: str
    paste: str
    source: str


class LicenceView(NamedTuple):
    """`verdict`: what the rows may train, and under what they may be given away."""

    verdict: list[str]
    lines: list[LicenceLine]
    notes: list[str]


def licences(report: dict[str, Any]) -> LicenceView | None:
    """None where nothing is known: no term was found, and none is asked for."""
    found = report.get("licences")
    if not isinstance(found, dict):
        return None
    verdict = []
    for key, said in (("trains", "May train"), ("release", "Release")):
        text = (found.get(key) or {}).get("text")
        if text:
            verdict.append(f"{said}: {visible(str(text), TEXT).rstrip('.')}")
    lines = [
        LicenceLine(
            key == "blockers", visible(str(one.get("licence", "")), NAME),
            visible(str(one.get("text", "")), TEXT), ", ".join(_causes(one)),
            visible(str(one.get("paste") or ""), TEXT), _source(one),
        )
        for key in ("blockers", "obligations")
        for one in found.get(key) or []
    ]  # fmt: skip
    notes = [*(found.get("notes") or []), *([found["about"]] if found.get("about") else [])]
    return LicenceView(verdict, lines, [visible(str(note), TEXT) for note in notes])


def _causes(finding: dict[str, Any]) -> Iterator[str]:
    """Who, and in how many rows."""
    for one in finding.get("causes") or []:
        name = str(one.get("name", ""))
        path = PurePath(name)
        shown = visible(path.name if path.is_absolute() else name, NAME)
        rows = one.get("rows")
        yield f"{one.get('role', '')} {shown}" + (f" ({rows:,} rows)" if rows is not None else "")


def _source(finding: dict[str, Any]) -> str:
    """Where the terms stand, as text: the report fetches nothing, and links to nothing."""
    where = finding.get("source") or finding.get("url") or ""
    checked = f", read on {finding['checked']}" if finding.get("checked") else ""
    return visible(f"{where}{checked}", TEXT) if where else ""
