"""A run's directory, for one process at a time, and only where it is what it seems to be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from karat.errors import RecipeError, RunError
from karat.journal import look_up
from karat.live import read as read_live
from karat.rundir import CLUSTER_LOG, JOURNAL, STAGES, Lock, Run

NEW_BYTES = 4096  # of a journal that holds nothing, at the most: SQLite's first page


@contextmanager
def claimed(place: Run) -> Iterator[None]:
    """The directory, made and locked. Raises: RecipeError when it holds something else."""
    begun = place.places_file.is_file() or (place.path / JOURNAL).exists() or _has_bought(place)
    if place.path.is_dir() and not begun:
        files = [place.recipe.name, place.live_file.name, place.places_file.name, CLUSTER_LOG]
        own = {".lock", STAGES, *files, *(f".{name}.tmp" for name in files)}
        others = [path.name for path in place.path.iterdir() if path.name not in own]
        if others:
            raise RecipeError(
                f"{place.path} holds other files ({others[0]}, …) and is no run; name an empty or "
                "new directory in --out"
            )
    with Lock(place):
        _check_journal(place)
        yield


def _has_bought(place: Run) -> bool:
    """Whether an earlier run said that it was given answers."""
    before = read_live(place)
    if before is not None and (before.answers or before.replayed or before.cost_usd):
        return True
    with suppress(RecipeError, KeyError, TypeError):  # no report, or one that is half there
        return any(model["samples"] for model in place.report["models"])
    return False


def _check_journal(place: Run) -> None:
    """Raises: RunError where a file that held answers is gone or begins anew. All would be paid for
    again, and no ledger would know of the first time."""
    file = place.journal
    if not isinstance(file, Path):
        return
    size = file.stat().st_size if file.is_file() else 0
    if size > NEW_BYTES or not _has_bought(place):
        return
    held: list[Any] = []
    if size:  # of a file of no bytes nothing may be asked: SQLite would remove its -wal
        try:
            held = look_up(file, "SELECT 1 FROM calls LIMIT 1")
        except RunError:
            return  # damaged: opening it says so, and the run is seen to have failed
    if not held:
        raise RunError(
            f"{file} is gone or empty, and held answers that an earlier run paid for: put it back "
            "with its -wal, or name another --out to start anew"
        )
