"""The runs of a folder, each under a slug: the only way a request names a run.

A slug is looked up in what was found on the disk; no text of a request becomes a path. So there is
nothing to traverse, whatever a request says.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException

from karat.errors import KaratError
from karat.journal.finding import folders
from karat.parquet import LISTED, exists
from karat.places import is_remote
from karat.rundir import STAGES, Run

DEPTH = 4  # levels of folders below the root in which runs are looked for
FRESH_S = 1.0  # for so long a listing is believed
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


class Place(NamedTuple):
    """One run: how a URL names it, how a person does, and its directory."""

    slug: str
    name: str
    run: Run


class Shelf:
    """The runs in and below `root`, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[str, Place] = {}
        self._listed = -FRESH_S

    def places(self) -> list[Place]:
        """Every run, by name."""
        if time.monotonic() - self._listed >= FRESH_S:
            self._found = self._list()
            self._listed = time.monotonic()
        return list(self._found.values())

    def get(self, slug: str) -> Place:
        """Raises: HTTPException 404 for a run that is not there."""
        self.places()
        if slug not in self._found:
            raise HTTPException(404, "There is no such run here; it may have been moved or removed")
        return self._found[slug]

    def _list(self) -> dict[str, Place]:
        found: dict[str, Place] = {}
        own = Run(self.root)
        below = folders(self.root, DEPTH, but=(STAGES, own.export.name))
        runs = (folder for folder in below if _is_run(Run(folder)))
        for folder in sorted(runs):
            name = name_of(folder, self.root)
            slug = as_slug(name, found)
            found[slug] = Place(slug, name, Run(folder))
        return found


def name_of(folder: Path, root: Path) -> str:
    """What a person calls a folder at or below the root."""
    inside = folder.relative_to(root)
    name = inside.as_posix() if inside.parts else folder.resolve().name
    return os.fsencode(name).decode("utf-8", "replace")  # no JSON holds other bytes


def as_slug(name: str, taken: Container[str]) -> str:
    """How a URL names a folder, unlike the slugs that are `taken`."""
    first = slug = "~".join(_PLAIN.sub("-", part) for part in name.split("/"))
    copy = 1
    while slug in taken:  # two names that read alike
        copy += 1
        slug = f"{first}~{copy}"
    return slug


def _is_run(run: Run) -> bool:
    """Whether a folder holds a run that has begun; a recipe alone is somebody's file.

    A folder may come from anybody: a link in place of what pages show as text would show them
    another file, and a pipe would be waited for.
    """
    recipe = _mode(run.recipe, follow=False)
    if recipe is None:
        return False
    begun = [_mode(path, follow=False) for path in (run.live_file, run.report_file)]
    begun += [_mode(path) for path in _own(run)]
    there = [mode for mode in begun if mode is not None]
    return bool(there) and all(map(stat.S_ISREG, (recipe, *there)))


def _own(run: Run) -> list[Path]:
    """The run's other files that are on this machine. Stores and databases are not asked: a list of
    runs must not wait for them."""
    try:
        named: list[Any] = [run.accepted_file, run.dropped_file, run.journal]
    except KaratError:  # what its places.json says cannot be used: its pages say so
        return []
    own = [path for path in named if isinstance(path, Path)]
    return [path / LISTED if path.is_dir() else path for path in own]


def has_rows(run: Run) -> bool:
    """Whether a run has accepted rows, as far as this machine knows without asking a store."""
    try:
        remote = is_remote(run.data)
        return run.report_file.is_file() if remote else exists(run.accepted_file)
    except (KaratError, OSError):
        return False


def _mode(path: Path, *, follow: bool = True) -> int | None:
    try:
        return path.stat(follow_symlinks=follow).st_mode
    except OSError:
        return None


def stamp_of(path: Path) -> tuple[int, ...]:
    """What tells a file, or a journal and what is not yet in it, from what it was."""
    found: list[int] = []
    for one in (path, path.with_name(f"{path.name}-wal")):
        with suppress(OSError):
            now = one.stat()
            found += [now.st_mtime_ns, now.st_size]
    return tuple(found)
