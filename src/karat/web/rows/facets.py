"""What a page of rows offers beside the rows: filters in force, counts that lead on, the way back.

And one row found again by its id, with the rows before and after it in the view it was opened from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from karat.errors import RecipeError
from karat.row import Row
from karat.web.addresses import row_page
from karat.web.rows.asked import ORDERS, View, query, replaced
from karat.web.rows.engine import Engine, Stop, Summary
from karat.web.rows.files import Holding
from karat.web.rows.listing import Listing
from karat.web.rows.search import Search
from karat.web.tables import TYPES

LISTED = 8  # values of a facet on the page
TITLES = {
    "step": "Dropped by", "model": "Models", "source": "Source", "training": "May train a model",
}  # fmt: skip


class Chip(msgspec.Struct):
    """A filter in force; `href` is the view without it."""

    name: str
    value: str
    href: str


class Choice(msgspec.Struct):
    """A value with how many of the view's rows have it; `href` is the view with it alone."""

    value: str
    count: int
    href: str
    on: bool


class Group(msgspec.Struct):
    """A facet: its choices, most first, and how many values are not listed."""

    title: str
    choices: list[Choice]
    more: int = 0


def shown(
    view: View, found: Listing, whole: Summary | None, engine: Engine | None
) -> dict[str, Any]:
    """Chips, facets, a form's choices and a table's columns for the page of a view. `whole` counts
    all rows of the run: a form offers what a filter took away."""
    summary = found.summary
    return {
        "chips": chips(view),
        "groups": [] if summary is None else groups(view, summary),
        "options": {} if whole is None else options(view, whole),
        "orders": [
            *ORDERS.items(),
            *((key, key) for key in (engine.names.scores if engine else ())),
        ],
        "pages": max(1, -(-found.count // view.size)),
    }


def graded(value: float | None, places: int = 3) -> str:
    """A score as a table shows it; a reward of a user's own may say anything."""
    if value is None:
        return "–"
    return (
        f"{value:.{places}g}" if abs(value) >= 1e5 else f"{round(value, places) + 0.0:.{places}f}"
    )


def chips(view: View) -> list[Chip]:
    asked, made = view.filter, []
    for name in ("kept", "step", "reason", "model", "source", "training", "q"):
        if value := getattr(asked, name):
            title = "text" if name == "q" else "" if name == "kept" else name
            made.append(Chip(title, value, query(replaced(view, **{name: ""}))))
    if asked.score:
        bounds = [
            f"{sign} {bound:g}" for sign, bound in (("≥", asked.low), ("≤", asked.high))
            if bound is not None
        ]  # fmt: skip
        of = f"{asked.of} " if asked.of else ""
        without = replaced(view, score="", of="", low=None, high=None)
        said = " and ".join(bounds) or "given"
        made.append(Chip(f"{of}{asked.score}", said, query(without)))
    for name, value in asked.meta:
        left = tuple(pair for pair in asked.meta if pair[0] != name)
        made.append(Chip(name, value, query(replaced(view, meta=left))))
    return made


def groups(view: View, summary: Summary) -> list[Group]:
    """The facets that part the view's rows; where all have one value it says nothing new."""
    made = []
    kept = [("accepted", summary.accepted), ("dropped", summary.count - summary.accepted)]
    listed = [(name, rows) for name, rows in kept if rows]
    made.append(_group(view, "Result", "kept", listed))
    reasons = [
        Choice(
            f"{step}: {reason}" if step else reason, rows,
            query(replaced(view, kept="dropped", step=step, reason=reason)),
            view.filter.step == step and view.filter.reason == reason,
        )
        for step, reason, rows in summary.reasons
    ]  # fmt: skip
    if reasons:
        made.append(Group("Why dropped", reasons[:LISTED], max(0, len(reasons) - LISTED)))
    for name, facet in summary.facets.items():
        title = TITLES.get(name, name.removeprefix("meta."))
        made.append(_group(view, title, name, facet.values, facet.more))
    return [one for one in made if _parts(one, summary.count)]


def _parts(group: Group, rows: int) -> bool:
    """Whether a facet parts the rows, or is one that parted them."""
    return any(choice.on or choice.count < rows for choice in group.choices)


def _group(
    view: View, title: str, name: str, values: list[tuple[str, int]], more: int = 0
) -> Group:
    choices = []
    field = name.removeprefix("meta.") if name.startswith("meta.") else ""
    for value, rows in values[:LISTED]:
        if field:
            others = tuple(pair for pair in view.filter.meta if pair[0] != field)
            on = (field, value) in view.filter.meta
            led = replaced(view, meta=tuple(sorted((*others, (field, value)))))
        else:
            on = getattr(view.filter, name) == value
            led = replaced(view, **{name: value})
        choices.append(Choice(value, rows, query(led), on))
    return Group(title, choices, more + max(0, len(values) - LISTED))


def options(view: View, whole: Summary) -> dict[str, list[str]]:
    """What a form's lists offer: every value in the run, and the one that is set."""
    found = {
        "step": sorted({step for step, _, _ in whole.reasons if step}),
        "reason": sorted({reason for _, reason, _ in whole.reasons if reason})[:200],
    }
    found |= {
        name: [value for value, _ in whole.facets[name].values]
        for name in ("model", "source", "training")
    }
    for name, values in found.items():
        now = getattr(view.filter, name)
        if now and now not in values:
            values.append(now)
    return found


# --- one row of a view ---------------------------------------------------------------------------


class One(msgspec.Struct):
    """A row of a view: `number` counts in it from 0, None where the row is not in it. `before` and
    `after` are (id, number); `twins` the places of other rows with the same id."""

    place: int
    number: int | None = None
    before: tuple[str, int] | None = None
    after: tuple[str, int] | None = None
    twins: list[int] = []


def href(slug: str, view: View) -> Callable[[str, int], str]:
    """The URL of a row of the view, by its id and its number there."""
    bare = msgspec.structs.replace(view, page=1)

    def of(identity: str, number: int) -> str:
        return f"{row_page(slug, identity)}{query(bare, n=number)}"

    return of


def locate(
    held: Holding, engine: Engine | None, identity: str, asked: Mapping[str, str], view: View,
    stop: Stop, search: Callable[[], Search | None],
) -> tuple[One, str]:  # fmt: skip
    """(the row with this id, the form it is asked for in where the id ends so, as in `.json`).

    Raises: RecipeError where no row has the id.
    """
    ends = [form for form in TYPES if identity.endswith(f".{form}")]
    for name, form in ((identity, ""), *((identity.removesuffix(f".{one}"), one) for one in ends)):
        twins = engine.find(name, stop) if engine is not None else held.find(name)
        if not twins:
            continue
        found = search()
        number = _whole(asked.get("n"))
        place = _at(held, engine, view, number, found, stop) if number is not None else None
        if place not in twins:
            given = _whole(asked.get("at"))
            place = given if given in twins else twins[0]
            number = _number(engine, view, place, found, stop)
        others = [one for one in twins if one != place]
        one = One(place, number, twins=others)
        if number is not None:
            one.before = _near(held, engine, view, number - 1, found, stop)
            one.after = _near(held, engine, view, number + 1, found, stop)
        return one, form
    raise RecipeError(f"no row of this run has the id {identity[:80]}")


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else None


def _at(
    held: Holding, engine: Engine | None, view: View, number: int, found: Search | None, stop: Stop
) -> int | None:
    """The place of the row with this number in a view."""
    if number < 0:
        return None
    if found is not None and not view.sort:
        found.until(number + 1, stop)
        return found.hits[number] if number < len(found.hits) else None
    if engine is None or (view.plain and not view.filter.kept):
        return number if number < held.count else None
    among = None
    if found is not None:
        found.until(None, stop)
        among = np.array(found.hits, np.int64)
    places = engine.places(view, stop, number, 1, among=among)
    return int(places[0]) if len(places) else None


def _number(
    engine: Engine | None, view: View, place: int, found: Search | None, stop: Stop
) -> int | None:
    """The number of a row in a view, where that can be told quickly."""
    if found is not None:
        known = place in found.hits and not view.sort
        return found.hits.index(place) if known else None
    if engine is None or (view.plain and not view.filter.kept):
        return place
    return engine.rank(view, place, stop)


def _near(
    held: Holding, engine: Engine | None, view: View, number: int, found: Search | None, stop: Stop
) -> tuple[str, int] | None:
    place = _at(held, engine, view, number, found, stop)
    if place is None:
        return None
    (line,) = held.read([place], ["id"]).to_pylist()
    return line["id"] or "", number


def texts(row: Row) -> dict[str, str]:
    """Every text of a row by the name a URL gives it."""
    found = {f"turn-{number}": turn.content for number, turn in enumerate(row.messages, 1)}
    return found | {f"response-{n}": one.content for n, one in enumerate(row.responses, 1)}
