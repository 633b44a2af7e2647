"""The files of a run that a page may hand out: what the report lists, and a few by their names.

A name is looked up in that list and never becomes a path by itself; and what a list says, which is
a file too and may have been written by anybody, must still lie inside the run's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from karat.report.cells import size
from karat.report.visible import visible
from karat.rundir import Run

PLAIN = ("accepted.parquet", "dropped.parquet", "report.json", "recipe.yaml")


class File(NamedTuple):
    """`name` is what a URL calls it."""

    name: str
    path: Path
    what: str
    rows: str
    left_out: str
    size: str


def files(run: Run, report: dict[str, Any] | None) -> list[File]:
    """Those that are there: exports first."""
    found: dict[str, File] = {}
    for name, export in ((report or {}).get("exports") or {}).items():
        for part, inside in export.get("files", {}).items():
            path = run.path / str(inside)
            left = ", ".join(f"{n:,} {why}" for why, n in export.get("left_out", {}).items())
            _add(
                found, run, path, visible(f"{name}, {part}", 80), f"{export.get('rows', 0):,}",
                visible(left, 300),
            )  # fmt: skip
    rows = (report or {}).get("rows", {})
    for name in PLAIN:
        counted = rows.get(name.partition(".")[0])
        _add(
            found, run, run.path / name, "rows of karat" if counted is not None else "",
            "" if counted is None else f"{counted:,}",
        )  # fmt: skip
    return list(found.values())


def _add(
    found: dict[str, File], run: Run, path: Path, what: str, rows: str, left_out: str = ""
) -> None:
    if path.name in found or not is_inside(path, run.path):
        return
    held = size(path.stat().st_size)
    found[path.name] = File(path.name, path, what, rows, left_out, held)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether it is a file in a folder, whatever links lie on the way."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False
