"""What can be compared: the accepted rows of a run, or one of the files it has exported.

A URL says `SLUG` or `SLUG/FILE`; both are looked up in what was found, and no text of a request
becomes a path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException

from karat import parquet
from karat.errors import KaratError
from karat.recipefile import parse
from karat.web.runs.files import files
from karat.web.runs.view import Seen, look
from karat.web.shelf import Place, Shelf, has_rows

ROWS = (".jsonl", ".parquet", ".json")  # ends of names of files that hold rows
NOT_ROWS = ("dropped.parquet", "accepted.parquet", "report.json")


class Data(NamedTuple):
    """One side of a comparison. `file` is "" for a run's accepted rows, else an export's name."""

    place: Place
    file: str
    path: Path

    @property
    def value(self) -> str:
        """As a URL says it."""
        return f"{self.place.slug}/{self.file}" if self.file else self.place.slug

    @property
    def name(self) -> str:
        return f"{self.place.name}, {self.file}" if self.file else self.place.name

    @property
    def source(self) -> Path:
        """The file its rows are in."""
        return self.path if self.file else self.place.run.accepted_file

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this state of it from any other."""
        run = self.place.run
        tables = (self.source, run.dropped_file)
        return (str(self.path), self.file, *(parquet.stamp(path) for path in tables))

    @property
    def dropped(self) -> Path | None:
        """Where it is said why a row is not in it."""
        file = self.place.run.dropped_file
        return file if not self.file and parquet.exists(file) else None


def find(shelf: Shelf, value: str) -> Data:
    """What a URL means. Raises: HTTPException 404."""
    slug, _, file = value.partition("/")
    place = shelf.get(slug)
    if not file:
        return Data(place, "", place.run.path)
    for name, path in exports(place):
        if name == file:
            return Data(place, name, path)
    raise HTTPException(404, "This run has exported no such file of rows")


def exports(place: Place) -> list[tuple[str, Path]]:
    """The files of rows that a run has exported."""
    return [
        (one.name, one.path)
        for one in files(place.run, look(place).report)
        if one.name.endswith(ROWS) and one.name not in NOT_ROWS
    ]


def choices(shelf: Shelf, chosen: list[Data]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(heading, (value, name) of each) for a form: all runs with rows, and what those that are
    chosen have exported."""
    runs = [(place.slug, place.name) for place in shelf.places() if has_rows(place.run)]
    found = [("Accepted rows of a run", runs)]
    places = {data.place.slug: data.place for data in chosen}
    for place in places.values():
        if own := exports(place):
            listed = [(f"{place.slug}/{name}", f"{place.name}, {name}") for name, _ in own]
            found.append((f"Exports of {place.name}", listed))
    return found


def recipe_of(data: Data) -> dict[str, Any] | None:
    """The recipe of its run, every default spelled out; None where it cannot be read."""
    try:
        return parse(data.place.run.recipe)
    except KaratError:
        return None


def seen(data: Data) -> Seen:
    return look(data.place)
