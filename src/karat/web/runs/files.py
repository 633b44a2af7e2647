"""The files of a run that a page may hand out: what the report lists, and a few by their names.

A name is looked up in that list and never becomes a path by itself; and what a list says, which is
a file too and may have been written by anybody, must still lie inside the run's folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from karat import parquet, places
from karat.errors import KaratError
from karat.report.cells import size
from karat.rundir import CLUSTER_LOG, Run
from karat.visible import visible

LOG_LINES, LOG_BYTES = 12, 8192  # of the end of cluster.log
PLAIN = ("accepted.parquet", "dropped.parquet", "report.json", "recipe.yaml")


class File(NamedTuple):
    """`name` is what a URL calls it. `joined`: a table in parts, or at a URL, which is handed out
    as one file."""

    name: str
    path: Path
    what: str
    rows: str
    left_out: str
    size: str
    joined: bool = False


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
        said = "" if counted is None else f"{counted:,}"
        _add(found, run, run.path / name, "rows of karat" if said else "", said)
        if said and name not in found and (table := _joined(run, name, said)) is not None:
            found[name] = table
    return list(found.values())


def _joined(run: Run, name: str, rows: str) -> File | None:
    """A table that is no file of the run's folder; a store is not asked before it is wanted."""
    try:
        path = run.data / name
        if places.is_remote(path):
            return File(name, path, "rows of karat, at a URL", rows, "", "", True)
        held = sum(file.stat().st_size for file in parquet.files(path))
    except (KaratError, OSError):
        return None
    return File(name, path, "rows of karat", rows, "", size(held), True)


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


def log_end(run: Run) -> list[str]:
    """The last lines of a run's cluster.log, none where there is none to read."""
    path = run.path / CLUSTER_LOG
    if not is_inside(path, run.path):
        return []
    try:
        with path.open("rb") as file:
            cut = file.seek(0, os.SEEK_END) > LOG_BYTES
            file.seek(-LOG_BYTES if cut else 0, os.SEEK_END if cut else os.SEEK_SET)
            lines = file.read(LOG_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[cut:][-LOG_LINES:]
