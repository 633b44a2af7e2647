"""The journals of all runs of a server, and what they say, kept until one of them changes.

Beside the runs these are the gateway's and those of comparisons. A page of costs adds up what each
journal said last, so that five hundred runs cost milliseconds and only those at work are read anew.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from karat.costs import Costs, Daily, Line, added, check, first_minute, read, read_days
from karat.errors import RecipeError, RunError
from karat.journal import Address, look_up, stamp_of, told
from karat.journal.finding import journals
from karat.web.desk import Desk, desk
from karat.web.shelf import FRESH_S, Place, as_slug, name_of

T = TypeVar("T")
KEPT = 4096  # answers of single journals
_ERRORS = """
SELECT model, step, error, sum(attempts), max(minute) FROM minutes
WHERE minute >= {since} AND error <> '' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


class Ledger(NamedTuple):
    """One journal: how a URL names it, how a person does, and the run it is of, if it is one."""

    slug: str
    name: str
    folder: Path
    journal: Address
    place: Place | None


class View(msgspec.Struct, frozen=True):
    """What a URL of the page asks: a grouping, the first day, and one run or all."""

    by: str = "model"
    since: str = ""
    run: str = ""


class Failure(NamedTuple):
    """Attempts of one ledger that failed alike; `minute` is the last one's."""

    ledger: Ledger
    model: str
    step: str
    error: str
    attempts: int
    minute: int


class Ledgers:
    """Of one server."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kept: OrderedDict[tuple[Any, ...], tuple[Any, Any]] = OrderedDict()
        self._one = threading.Lock()
        self._found: list[Ledger] = []
        self._listed = -FRESH_S

    def all(self) -> list[Ledger]:
        """Every journal below the root, by name."""
        if time.monotonic() - self._listed >= FRESH_S:
            self._found = self._list()
            self._listed = time.monotonic()
        return list(self._found)

    def _list(self) -> list[Ledger]:
        root = self._desk.settings.root
        places = {place.run.path.resolve(): place for place in self._desk.shelf.places()}
        taken = {place.slug for place in places.values()}
        found = []
        with suppress(RecipeError):  # no folder yet, or no run in it
            for folder, journal in journals([root]):
                place = places.get(folder.resolve())
                if place is not None:
                    found.append(Ledger(place.slug, place.name, folder, journal, place))
                    continue
                name = name_of(folder, root)
                slug = as_slug(name, taken)
                taken.add(slug)
                found.append(Ledger(slug, name, folder, journal, None))
        return sorted(found, key=lambda one: one.name)

    def chosen(self, run: str) -> list[Ledger]:
        """All, or the one a URL names. Raises: HTTPException 404."""
        every = self.all()
        if not run:
            return every
        found = [one for one in every if one.slug == run]
        if not found:
            raise HTTPException(404, "There is no such run here, or it has called no model yet")
        return found

    def kept(self, path: Address, what: tuple[object, ...], make: Callable[[], T]) -> T:
        """What was made of a journal, as long as it is the same. What fails is tried again."""
        stamp = stamp_of(path)
        key = (path, *what)
        with self._one:
            held = self._kept.get(key)
            if held is not None and held[0] == stamp:
                self._kept.move_to_end(key)
                return held[1]  # type: ignore[no-any-return]
        made = make()
        with self._one:
            self._kept[key] = (stamp, made)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made

    def costs(self, view: View, by: str | None = None) -> Costs:
        """The sums of a view. Raises: RecipeError, HTTPException."""
        by = by or view.by
        first = check(by, view.since or None)
        found, warnings = [], []
        for one in self.chosen(view.run):
            try:
                found.append((one.name, self.lines(one, by, first)))
            except RunError as error:
                # Where the folder lies is nobody's business who only sees pages.
                warnings.append(f"not counted: {told(error, one.journal, one.name)}")
        return added(found, by, first, warnings)

    def lines(self, one: Ledger, by: str, first: date | None = None) -> dict[str, Line]:
        """The sums of one ledger. Raises: RunError."""
        return self.kept(one.journal, ("lines", by, first), partial(read, one.journal, by, first))

    def days(self, view: View) -> list[Daily]:
        """Cost by day and by the view's key; by model where that is the day itself."""
        by = "model" if view.by == "day" else view.by
        first = check(by, view.since or None)
        found: list[Daily] = []
        for one in self.chosen(view.run):
            with suppress(RunError):  # said by `costs`
                make = partial(read_days, one.journal, by, first)
                made = self.kept(one.journal, ("days", by, first), make)
                named = one.name if by == "run" else None
                found += [day._replace(name=day.name if named is None else named) for day in made]
        return found

    def failures(self, view: View) -> list[Failure]:
        """What failed, by ledger, model, step and kind."""
        since = first_minute(check(view.by, view.since or None))
        found: list[Failure] = []
        for one in self.chosen(view.run):
            with suppress(RunError):
                make = partial(look_up, one.journal, _ERRORS.format(since=since))
                made = self.kept(one.journal, ("errors", since), make)
                found += [Failure(one, *line) for line in made]
        return found


def ledgers(request: Request) -> Ledgers:
    """Those of the server that got this request."""
    here = desk(request)
    return here.own(Ledgers, lambda: Ledgers(here))
