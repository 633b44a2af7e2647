"""Compare: two runs, or two sets of rows, side by side: how they were made, what came of it.

The page comes at once with what recipes and reports say. What is worked out from the rows follows
as a piece of its own, with its progress while a million of them are read.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from karat.visible import visible
from karat.web import respond
from karat.web.desk import desk
from karat.web.sides import figures, pairs, scores
from karat.web.sides.data import Data, choices, find, recipe_of
from karat.web.sides.pairs import View, view_of
from karat.web.sides.reading import Compared, Reading, sides
from karat.web.sides.recipes import changes
from karat.web.tables import (
    attachment,
    check_form,
    csv_pieces,
    json_pieces,
    parquet_pieces,
    sent,
    table,
)

NAV = ("Compare", "/compare", 60)
WAIT_S = 0.6  # for what a page waits before it comes without its rows
FILE_S = 50.0  # for what a file waits
MOST_SAID = 3000  # characters of one place of a recipe


async def compare(request: Request) -> Response:
    view = view_of(request.query_params)
    pair = await asyncio.to_thread(_pair, request, view)
    every = await asyncio.to_thread(choices, desk(request).shelf, list(pair or ()))
    if pair is None:
        chosen = [value for value in (view.a, view.b) if value]
        return respond.page(
            request, "compare.html", view=view, every=every, pair=None, chosen=chosen
        )
    a, b = pair
    values = await asyncio.to_thread(_quick, a, b)
    rows = await _rows(request, view, a, b, WAIT_S)
    return respond.page(
        request, "compare.html", view=view, every=every, pair=pair, rows=rows, **values
    )


def _pair(request: Request, view: View) -> tuple[Data, Data] | None:
    """Raises: HTTPException 404."""
    shelf = desk(request).shelf
    found = [find(shelf, value) for value in (view.a, view.b) if value]
    return (found[0], found[1]) if len(found) == 2 else None


def _quick(a: Data, b: Data) -> dict[str, Any]:
    """What small files say."""
    recipes = recipe_of(a), recipe_of(b)
    differ = None if None in recipes else changes(*(one or {} for one in recipes))
    return {
        "a": a, "b": b, "reported": figures.reported(a, b),
        "funnels": figures.funnels(a, b),
        "changes": None if differ is None else [
            [None if text is None else visible(text, MOST_SAID) for text in one] for one in differ
        ],
    }  # fmt: skip


async def _rows(request: Request, view: View, a: Data, b: Data, wait_s: float) -> dict[str, Any]:
    """What the rows say, or how far the reading is."""
    found = await sides(request).compared(a, b, wait_s)
    if isinstance(found, Reading):
        return {"view": view, "a": a, "b": b, "found": None, "reading": found}
    made = await asyncio.to_thread(_made, found, a, b)
    made["page"] = await asyncio.to_thread(pairs.page_of, found, a, b, view)
    return {"view": view, "a": a, "b": b, "found": found, "reading": None, **made}


def _made(found: Compared, a: Data, b: Data) -> dict[str, Any]:
    told = found.found
    return {
        "measured": figures.measured(found),
        "scores": scores.scores(found, a, b),
        "length": scores.length(found), "chose": scores.choosing(found, a, b),
        "others": [visible(name, 120) for name in found.others],
        "gone": figures.reasons(told.gone, b), "new": figures.reasons(told.new, a),
        "shares": _shares(told.shares),
    }  # fmt: skip


def _shares(
    shares: dict[str, dict[str, tuple[float, float]]],
) -> list[tuple[str, list[tuple[str, float, float]]]]:
    """Of each column whose shares are not the same, the values that stand out."""
    found = []
    for column, values in shares.items():
        listed = [(visible(value or "–", 120), *both) for value, both in values.items()]
        listed = [one for one in listed if max(one[1:]) >= 0.005]
        if any(abs(one - other) >= 0.0005 for _, one, other in listed):
            found.append((column, listed))
    return found


async def part(request: Request) -> Response:
    """The part of the page that is worked out from the rows; 202 while they are read."""
    view = view_of(request.query_params)
    pair = await asyncio.to_thread(_pair, request, view)
    if pair is None:
        raise HTTPException(404, "Two sides are compared: say a and b")
    values = await _rows(request, view, *pair, WAIT_S)
    waiting = values["reading"] is not None
    return respond.page(request, "compare_rows.html", 202 if waiting else 200, rows=values)


# --- files ---------------------------------------------------------------------------------------


async def _found(request: Request) -> tuple[Compared, Data, Data]:
    """Raises: HTTPException 503 while the rows are read."""
    view = view_of(request.query_params)
    pair = await asyncio.to_thread(_pair, request, view)
    if pair is None:
        raise HTTPException(404, "Two sides are compared: say a and b")
    found = await sides(request).compared(*pair, FILE_S)
    if isinstance(found, Reading):
        said = found.why or f"The rows are being read ({found.share:.0%} done)"
        raise HTTPException(500 if found.why else 503, said, {"retry-after": "2"})
    return found, *pair


async def figures_file(request: Request) -> Response:
    """All figures: of the reports, of the rows, and what was told apart."""
    found, a, b = await _found(request)
    form = request.path_params["form"]
    reported = await asyncio.to_thread(figures.reported, a, b)
    lines = [
        {"figure": one.name, "a": one.raw[0], "b": one.raw[1]}
        for one in (*reported, *figures.measured(found))
    ]
    if form == "json":
        tree = {
            "a": a.name, "b": b.name, "figures": lines, "paired": pairs.lines(found),
            "rows": found.found.as_tree(),
            "recipe": [one._asdict() for one in changes(recipe_of(a) or {}, recipe_of(b) or {})],
        }  # fmt: skip
        return respond.json(tree, headers=attachment("compare", form))
    paired = [{k: _finite(v) for k, v in one.items()} for one in pairs.lines(found)]
    usual: dict[str, Any] = dict.fromkeys(("a", "b"), None)
    rows = [*({**one, **_no_pair()} for one in lines), *({**usual, **one} for one in paired)]
    return table("compare", rows, form)


def _no_pair() -> dict[str, Any]:
    names = ("prompts", "mean_a", "mean_b", "difference", "low", "high", "shown")
    return dict.fromkeys(names)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


async def rows_file(request: Request) -> Response:
    """Every prompt of either side as a line, however many there are."""
    found, a, b = await _found(request)
    form = request.path_params["form"]
    made = pairs.batches(found, a, b)
    shape = pairs.shape_of(found)
    pieces = {
        "parquet": lambda: parquet_pieces(made, shape),
        "csv": lambda: csv_pieces((batch.to_pylist() for batch in made), shape.names),
        "json": lambda: json_pieces(batch.to_pylist() for batch in made),
    }  # fmt: skip
    check_form(form)
    return sent("compare-rows", pieces[form](), form)


ROUTES = [
    Route("/compare", compare),
    Route("/compare/part", part),
    Route("/compare/rows.{form}", rows_file),
    Route("/compare.{form}", figures_file),
]
