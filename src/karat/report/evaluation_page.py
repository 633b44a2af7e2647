"""An evaluation of a reward as one page: tables with intervals, calibration, length, attributes.

Every figure is in evaluation.json too; the page adds nothing, and holds names and figures only, no
text of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from karat.report.cells import money
from karat.report.evaluation_plots import by_length, calibration
from karat.report.grading_plots import NARROW, WIDE
from karat.report.pages import render
from karat.report.recommendation import plain
from karat.report.svg import STYLE as MARKS
from karat.report.svg import Panel, figure
from karat.report.whiskers import scale, whisker

Notes = dict[str, Any]
SHARE = (0.0, 1.0)


def page(made: Notes) -> str:
    """The whole page, of an Evaluation as JSON."""
    made = closed(made)
    values: dict[str, Any] = {
        "made": made,
        "short": list(_in_short(made)),
        "sets": [_set(number, found, made) for number, found in enumerate(made["sets"])],
        "overall": _differences([made["overall"]]) if made["overall"] else [],
        "style": MARKS,
        "bills": [_bill(one) for one in made["bills"]],
    }
    return render("evaluation.html", values)


def closed(tree: Any) -> Any:
    """The same, open ends of intervals being None as in JSON."""
    if isinstance(tree, dict):
        return {key: closed(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [closed(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def percent(value: float | None) -> str:
    """In percent, one decimal."""
    return "–" if value is None else plain(100 * value, 1)


def points(value: float | None) -> str:
    """In points, with its sign."""
    told = percent(value)
    return told if told.startswith(("−", "–")) or told == "0.0" else f"+{told}"


def span(one: Notes | None, say: Callable[[float | None], str] = percent) -> str:
    """Both ends; nothing where they are open."""
    if one is None or (one["low"] is None and one["high"] is None):
        return ""
    return f"{say(one['low'])} … {say(one['high'])}"


# --- parts ---------------------------------------------------------------------------------------


def _in_short(made: Notes) -> Iterator[str]:
    """A set in a sentence: the figure it is quoted by, beside the best that needs no reward."""
    for found in made["sets"]:
        row = found["rows"][0]
        if row["value"] is None:
            continue
        best, name = _best(row)
        seen = row["value"]
        verdict = "no better than"
        if seen["low"] is not None and seen["low"] > best:
            verdict = "better than"
        elif seen["high"] is not None and seen["high"] < best:
            verdict = "worse than"
        other = ""
        if found["compared"] and found["compared"][0]["difference"]:
            gap = found["compared"][0]["difference"]
            other = f"; beside {made['against']} {points(gap['value'])}{_beside(gap, points)}"
        yield (
            f"{found['name']}: {percent(seen['value'])}%{_beside(seen)}, {verdict} {name} "
            f"({percent(best)}%){other}{_remembered(found, made)}."
        )


def _remembered(found: Notes, made: Notes) -> str:
    """What takes the worth of a figure: the reward knew the set."""
    known = [*found["trained_on"]]
    if not known:
        return ""
    return " (trained on it)" if made["reward"] in known else f" ({known[0]} was trained on it)"


def _beside(one: Notes | None, say: Callable[[float | None], str] | None = None) -> str:
    """An interval in brackets; nothing where both ends are open."""
    told = span(one, say or percent)
    return f" ({told})" if told else ""


def _best(row: Notes) -> tuple[float, str]:
    """The best that needs no reward."""
    names = {"random": "chance", "longer": "the longer one", "shorter": "the shorter one"}
    known = [(row[key], name) for key, name in names.items() if row[key] is not None]
    return max(known, default=(0.5, "chance"), key=lambda one: one[0])


def _set(number: int, found: Notes, made: Notes) -> Notes:
    return {
        "found": found,
        "said": _said(found),
        "rows": [_row(row) for row in found["rows"]],
        "compared": _differences(found["compared"]),
        "charts": list(_charts(number, found)),
        "facts": list(_facts(found)),
        "attributes": [_attribute(one) for one in found["attributes"]],
    }


def _said(found: Notes) -> str:
    """What a reader must know of the items before the figures."""
    parts = [f"{n:,} left out ({why})" for why, n in found["left_out"].items()]
    parts += [f"{found['failed']:,} without a score"] if found["failed"] else []
    parts += [f"{found['ties']:,} equal scores"] if found["ties"] else []
    return "; ".join([*parts, *found["notes"]])


def _row(row: Notes) -> Notes:
    drawn = ""
    if row["value"] is not None:
        drawn = whisker(_figure(row["value"]), SHARE, _best(row)[0])
    value = row["value"]["value"] if row["value"] else None
    return {
        "label": row["label"], "level": row["level"], "n": f"{row['n']:,}", "drawn": drawn,
        "value": percent(value), "span": span(row["value"]),
        "baselines": [percent(row[key]) for key in ("random", "longer", "shorter")],
    }  # fmt: skip


def _differences(rows: list[Notes]) -> list[Notes]:
    """Lines of two rewards, all on one scale."""
    known = [_figure(row["difference"]) for row in rows if row["difference"]]
    over = scale(known, (-0.1, 0.1), 0.1)
    found = []
    for row in rows:
        gap, alone = row["difference"], row["discordance"]
        drawn = whisker(_figure(gap), over, 0.0) if gap else ""
        found.append({
            "label": row["label"], "level": row["level"], "n": f"{row['n']:,}", "drawn": drawn,
            "first": percent(row["first"]), "second": percent(row["second"]),
            "value": points(gap["value"] if gap else None), "span": span(gap, points),
            "alone": f"{alone['first']:,} : {alone['second']:,}" if alone else "–",
            "p": _p(alone["p"]) if alone else "–",
        })  # fmt: skip
    return found


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _charts(number: int, found: Notes) -> Iterator[tuple[str, str]]:
    """Each chart for wide windows and for narrow ones."""
    makers: list[tuple[str, Callable[[float], Panel | None]]] = []
    if found["reliability"]:
        makers.append(("calibration", lambda width: calibration(found["reliability"], width)))
    if found["length"]:
        makers.append(("length", lambda width: by_length(found["length"], width)))
    for name, draw in makers:
        panels = [panel for panel in map(draw, (WIDE, NARROW)) if panel]
        if panels:
            wide, narrow = (
                figure([p], p.title, f"{found['name']}: {p.title}", key=f"{name}{number}-{place}")
                for place, p in enumerate(panels)
            )
            yield wide, narrow


def _facts(found: Notes) -> Iterator[tuple[str, str, str]]:
    """(what, its figure, its interval and n)."""
    length = found["length"]
    if length:
        people = percent(length["people_longer"])
        for key, name in (
            ("picks_longer", f"picks the longer one (people: {people}%)"),
            ("picks_longer_worse", "picks the longer one where it is worse"),
            ("right_when_longer", "right where the longer one is better"),
            ("right_matched", "right at about one length"),
        ):
            one = length[key]
            value = percent(one["value"]["value"]) + "%" if one["value"] else "–"
            yield name, value, f"{span(one['value'])}, n = {one['n']:,}".removeprefix(", ")
        if length["slope"]:
            slope = length["slope"]
            yield "a doubled length is worth", f"{plain(slope['value'])} σ", span(slope, _plain)
    sure = found["reliability"]
    if sure:
        told = f"{span(sure['error'])}; {percent(sure['by_chance'])} if calibrated"
        yield "calibration error", f"{percent(sure['error']['value'])}%", told


def _attribute(one: Notes) -> Notes:
    name = one["name"] if one["name"] == one["against"] else f"{one['name']} ({one['against']})"
    cells = []
    for key, title, neutral in (("pearson", "Pearson", 0.0), ("kappa", "κ", one["people"] or 0.0)):
        seen = one[key]
        cells.append({
            "name": title, "value": plain(seen["value"]) if seen else "–",
            "span": span(seen, _plain),
            "drawn": whisker(_figure(seen), (-0.2, 1.0), neutral) if seen else "",
        })  # fmt: skip
    return {
        "name": name, "n": f"{one['n']:,}", "cells": cells,
        "people": plain(one["people"], 3) if one["people"] else "–",
        "spearman": plain(one["spearman"]["value"]) if one["spearman"] else "–",
    }  # fmt: skip


def _bill(one: Notes) -> str:
    calls = f"{one['calls']:,} requests, " if one["calls"] else ""
    return f"{one['reward']}: {calls}{money(one['cost_usd'])}, {one['seconds']:,.1f} s"


def _plain(value: float | None) -> str:
    return "–" if value is None else plain(value)


def _figure(one: Notes) -> tuple[float | None, float | None, float | None]:
    return one["value"], one["low"], one["high"]
