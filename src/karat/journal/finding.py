"""The journals of all runs below a folder, wherever each of them lies."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from karat.errors import RecipeError
from karat.journal.address import FILE, Address, journal_of

DEPTH = 3  # folders between the one that is named and a journal


class Books(NamedTuple):
    """A folder, and where its journal lies."""

    folder: Path
    journal: Address


def journals(places: Iterable[Path]) -> list[Books]:
    """Every journal of these folders and DEPTH below, each once. Raises: RecipeError for a place
    that is not there or has none."""
    found: dict[Address, Books] = {}
    for place in places:
        if not place.is_dir():
            raise RecipeError(f"no folder {place}; name a run's folder, or one that holds runs")
        here = [books for one in folders(place, DEPTH) if (books := _books(one)) is not None]
        if not here:
            raise RecipeError(
                f"no run in {place}: {FILE} is in none of its folders, {DEPTH} levels deep"
            )
        for books in here:
            at = books.journal
            found.setdefault(at.resolve() if isinstance(at, Path) else at, books)
    return list(found.values())


def _books(folder: Path) -> Books | None:
    """Of a folder that has a journal, here or in a database."""
    file = folder / FILE
    if file.is_file():
        return Books(folder, file)
    with suppress(RecipeError):  # somebody's places.json
        journal = journal_of(folder)
        if journal != file:
            return Books(folder, journal)
    return None


def folders(
    folder: Path, depth: int, *, but: Container[str] = (), seen: set[tuple[int, int]] | None = None
) -> Iterator[Path]:
    """A folder and those below it, hidden ones and those named in `but` left out.

    Links are entered last, and never to where one has been: they may lead in rings.
    """
    seen = set() if seen is None else seen
    try:
        now = folder.stat()
        seen.add((now.st_dev, now.st_ino))
        yield folder
        if depth == 0:
            return
        with os.scandir(folder) as entries:
            inner = [e for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError:  # not there yet, or not ours to enter
        return
    for entry in sorted(inner, key=lambda e: (e.is_symlink(), e.name)):
        if entry.name not in but and not (entry.is_symlink() and _identity(entry) in seen):
            yield from folders(folder / entry.name, depth - 1, but=but, seen=seen)


def _identity(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    with suppress(OSError):
        now = entry.stat()
        return now.st_dev, now.st_ino
    return None
