"""A survey as one page: a map of the texts by meaning, and every figure with what it says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from karat.curation.embedding import IDENTITY
from karat.errors import RecipeError
from karat.report.measures import MEASURES, SOURCES, ends, shown
from karat.report.pages import render
from karat.report.projection import project
from karat.report.survey import Survey
from karat.report.survey_map import STYLE, Map, Point, mark, shortened
from karat.report.survey_text import column_cells, headline, notes, plural, repeated
from karat.report.svg import figure
from karat.rundir import write_atomic

WIDE, NARROW = 1160.0, 344.0
MOST_WIDE, MOST_NARROW = 2_000, 700  # points drawn: more would cover each other


def check_place(path: Path) -> None:
    """Before anything is measured. Raises: RecipeError where no page can be written."""
    if path.is_dir():
        raise RecipeError(f"cannot write {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise RecipeError(f"cannot write {path}: there is no folder {path.parent}; make it")
    if not os.access(path.parent, os.W_OK):
        raise RecipeError(f"cannot write {path}: the folder may not be written to")


def write_page(found: Survey, path: Path) -> None:
    """Raises: RunError when it cannot be written."""
    write_atomic(path, page(found).encode("utf-8", "replace"))


def page(found: Survey) -> str:
    """The whole page. The map is drawn twice, for wide and for narrow windows."""
    points, how = _points(found)
    names = [one.name for one in found.groups]
    title = f"Map of {plural(found.on, 2)} by meaning"
    told = f"{found.name}: {headline(found)}. Clusters: " + "; ".join(
        f"{one.name} ({one.texts:,})" for one in found.groups
    )
    maps = [
        (key, figure([Map(some, names, width)], title, told, key=key), len(some))
        for key, width, some in (
            ("wide", WIDE, points), ("narrow", NARROW, points[:MOST_NARROW]),
        )
    ]  # fmt: skip
    total = sum(one.texts for one in found.groups)
    rows = [
        (m.label, shown(m, found.measures[m.key]), ends(m, found.measures), m.good, m.meaning)
        for m in MEASURES
    ]
    values: dict[str, Any] = {
        "found": found, "how": how,
        "headline": headline(found), "rows": rows, "notes": notes(found), "identity": IDENTITY,
        "columns": [(name, column_cells(one), one) for name, one in found.columns.items()],
        "groups": [(one, mark(n, 8, 8), one.texts / total) for n, one in enumerate(found.groups)],
        "sources": SOURCES, "repeated": repeated(found),
        "repeats": [(one.times, shortened(one.text)) for one in found.repeats],
        "pairs": [(p.similarity, shortened(p.first), shortened(p.second)) for p in found.pairs],
        "mark_style": STYLE, "maps": maps, "intervals": bool(found.measures.get("intervals")),
    }  # fmt: skip
    return render("survey.html", values)


def _points(found: Survey) -> tuple[list[Point], str]:
    """The texts on the map, in an order in which the first ones are a fair sample of all."""
    known = np.flatnonzero(found.label >= 0)
    chosen = np.random.default_rng(0).permutation(known)[:MOST_WIDE]
    places_N2, how = project(found.vectors[chosen])
    points = [
        Point(float(x), float(y), int(found.label[place]), found.texts[place])
        for (x, y), place in zip(places_N2, chosen, strict=True)
    ]
    return points, how
