"""What a URL asks of a run's rows: filters, an order, a page; and the URL of what is asked.

Everything a person can set is in the URL, so that a view can be sent and kept. A name that stands
for nothing, or a value that cannot be one, is said in one sentence rather than passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, urlencode

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.web.addresses import whole
from karat.web.rows.flat import Names

SIZES = (25, 50, 100, 200)
SIZE = 50
MOST_PAGE = 10_000_000
MOST_TEXT = 500  # characters of a value
FIELD = "meta."
ORDERS = {
    "length": "characters of the response", "prompt": "characters of the prompt",
    "responses": "number of responses", "reason": "why dropped",
}  # fmt: skip
TRAINING = ("yes", "conditions", "unknown", "no")
_WORDS = ("step", "reason", "model", "source", "training", "q")
_ALL = ("kept", "step", "reason", "model", "source", "training", "q", "score", "of", "min", "max")
_VIEW = ("sort", "dir", "page", "size")


class Filter(msgspec.Struct, frozen=True):
    """Which rows: all of these must hold. Empty where nothing is asked.

    `score` with `low` and `high` is the score of a row (see karat.web.rows.flat), or with `of` that
    of its best or worst candidate. `q` is text in the prompt or in any response.
    """

    kept: str = ""
    step: str = ""
    reason: str = ""
    model: str = ""
    source: str = ""
    training: str = ""
    q: str = ""
    score: str = ""
    of: str = ""
    low: float | None = None
    high: float | None = None
    meta: tuple[tuple[str, str], ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it needs no index: nothing is asked, or only what the files themselves say."""
        return self in (Filter(), Filter(kept="accepted"), Filter(kept="dropped"))


class View(msgspec.Struct, frozen=True):
    """Which rows, in which order, and which of them are shown."""

    filter: Filter = Filter()
    sort: str = ""
    down: bool = True
    page: int = 1
    size: int = SIZE

    @property
    def first(self) -> int:
        """How many rows come before the page."""
        return (self.page - 1) * self.size

    @property
    def plain(self) -> bool:
        return self.filter.plain and not self.sort


def read(items: Iterable[tuple[str, str]], passed: tuple[str, ...] = ()) -> View:
    """The view of a query string; `passed` are other names that may stand in it.

    Raises: RecipeError for what no view can be.
    """
    given: dict[str, str] = {}
    meta: dict[str, str] = {}
    for name, value in items:
        if name in passed or not value:
            continue
        if len(value) > MOST_TEXT:
            raise RecipeError(f"'{name[:40]}' is longer than {MOST_TEXT} characters")
        if name.startswith(FIELD) and len(name) > len(FIELD):
            meta[name.removeprefix(FIELD)] = value
        elif name in _ALL or name in _VIEW:
            given[name] = value
        else:
            known = (*_ALL, *_VIEW, "meta.FIELD")
            raise RecipeError(f"no filter '{name[:40]}'; {did_you_mean(name, known)}")
    low, high = _number(given, "min"), _number(given, "max")
    if "score" not in given and (low is not None or high is not None):
        raise RecipeError(
            "'min' and 'max' are of a score: say which one, as score=reward.attribute"
        )
    if low is not None and high is not None and low > high:
        raise RecipeError(f"'min' {low:g} is above 'max' {high:g}")
    words = {name: given[name] for name in _WORDS if name in given}
    asked = Filter(
        kept=_one_of(given, "kept", ("accepted", "dropped")), score=given.get("score", ""),
        of=_one_of(given, "of", ("best", "worst")), low=low, high=high,
        meta=tuple(sorted(meta.items())), **words,
    )  # fmt: skip
    _one_of(given, "training", TRAINING)
    sort = given.get("sort", "")
    way = _one_of(given, "dir", ("asc", "desc")) or ("asc" if sort == "reason" else "desc")
    page = whole(given.get("page", "1"), "page", MOST_PAGE)
    size = whole(given.get("size", str(SIZE)), "size", max(SIZES))
    return View(asked, sort, way == "desc", page, size)


def check(view: View, names: Names) -> None:
    """Raises: RecipeError for a score or a field that no row of the run has."""
    asked = view.filter
    if asked.score and asked.score not in names.scores:
        raise RecipeError(
            f"no row has a score '{asked.score}'; {did_you_mean(asked.score, names.scores)}"
        )
    if view.sort and view.sort not in (*ORDERS, *names.scores):
        near = did_you_mean(view.sort, (*ORDERS, *names.scores))
        raise RecipeError(f"rows cannot be sorted by '{view.sort}'; {near}")
    for name, _ in asked.meta:
        if name not in names.fields:
            raise RecipeError(
                f"no field '{name}' can be filtered by; {did_you_mean(name, names.fields)}"
            )


def _number(given: Mapping[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        found = float(given[name])
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise RecipeError(f"'{name}' must be a number, such as 2.5, not '{given[name][:40]}'")
    return found


def _one_of(given: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    value = given.get(name, "")
    if value and value not in known:
        raise RecipeError(f"'{name}' is one of {', '.join(known)}, not '{value[:40]}'")
    return value


def pairs(view: View) -> Iterator[tuple[str, str]]:
    """The view as a query string's names and values; what is not said there is left out."""
    yield from filter_pairs(view.filter)
    if view.sort:
        yield "sort", view.sort
        if view.down == (view.sort == "reason"):
            yield "dir", "desc" if view.down else "asc"
    if view.size != SIZE:
        yield "size", str(view.size)
    if view.page != 1:
        yield "page", str(view.page)


def filter_pairs(asked: Filter) -> Iterator[tuple[str, str]]:
    for name in ("kept", *_WORDS, "score", "of"):
        if value := getattr(asked, name):
            yield name, value
    for name, bound in (("min", asked.low), ("max", asked.high)):
        if bound is not None:
            yield name, f"{bound:.17g}" if float(f"{bound:.12g}") != bound else f"{bound:.12g}"
    yield from ((f"{FIELD}{name}", value) for name, value in asked.meta)


def query(view: View, **more: object) -> str:
    """`?…`, or nothing where nothing is asked; `more` is put behind it."""
    found = [*pairs(view), *((name, str(value)) for name, value in more.items())]
    text = urlencode(found, quote_via=quote, errors="replace")
    return f"?{text}" if text else ""


def replaced(view: View, **values: object) -> View:
    """The view with other filters or another order, on its first page unless one is given."""
    own = {name: value for name, value in values.items() if name in View.__struct_fields__}
    rest = {name: value for name, value in values.items() if name not in own}
    asked = msgspec.structs.replace(view.filter, **rest)
    return msgspec.structs.replace(view, filter=asked, **{"page": 1, **own})
