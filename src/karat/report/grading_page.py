"""The results of grading as one page: what a person would rather see than read.

Every figure is in report.json too; the page adds nothing, and holds names and figures only, no
text of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from karat.report.grading import Notes, in_words, notes_of
from karat.report.grading_plots import NARROW, STYLE, WIDE, best_of_k, kept_of_all, length_curve
from karat.report.grading_tables import agreement, route, sources
from karat.report.pages import render
from karat.report.recommendation import plain
from karat.report.survey_map import STYLE as COLOURS
from karat.report.svg import STYLE as MARKS
from karat.report.svg import Panel, figure
from karat.report.whiskers import change, scale

Charts = list[tuple[str, str]]  # of wide windows and of narrow ones


def is_wanted(report: dict[str, Any]) -> bool:
    """Whether the recipe has a step whose results are better seen than read."""
    told = report.get("grading", {})
    return bool(told.get("steps")) or any(one["route"] for one in told.get("graded", {}).values())


def page(report: dict[str, Any]) -> str:
    """The whole page."""
    told = report["grading"]
    values: dict[str, Any] = {
        "report": report,
        "short": list(in_words(report)),
        "meters": [_meter(*one, report) for one in notes_of(report, "meter")],
        "debiased": [_debias(*one, report) for one in notes_of(report, "debias")],
        "compared": [agreement(label, notes) for label, notes in told["compared"].items()],
        "routes": [route(label, one) for label, one in told["graded"].items() if one["route"]],
        "kept": [_reject(*one, report) for one in notes_of(report, "reject")],
        "style": f"{MARKS}{COLOURS}{STYLE}",
        "intervals": bool(told["compared"]) or any(notes_of(report, "meter")),
    }
    return render("grading.html", values)


def _charts(key: str, told: str, draw: Callable[[float], Sequence[Panel]]) -> Charts:
    """Panels drawn twice: letters in a picture that is made smaller become too small to read."""
    drawn = {width: draw(width) for width in (WIDE, NARROW)}
    return [
        tuple(
            figure([panel], panel.title, told, key=f"{key}-{place}-{panel.width:.0f}")
            for panel in pair
        )  # type: ignore[misc]  # two of them
        for place, pair in enumerate(zip(drawn[WIDE], drawn[NARROW], strict=True))
    ]


# --- meter ---------------------------------------------------------------------------------------


def _meter(label: str, notes: Notes, report: dict[str, Any]) -> dict[str, Any]:
    curve, by, held_out = notes.get("curve"), notes["by"], notes["held_out"]
    found: dict[str, Any] = {
        "label": label,
        "by": by,
        "held_out": held_out,
        "curve": curve,
        "charts": [],
    }
    if curve:
        found["advice"] = _advice(curve, by, held_out)
        within = report["grading"]["steps"][label]["within_prompt"]
        found["charts"] = _charts(
            label, found["advice"], lambda width: best_of_k(curve, by, held_out, width, within)
        )
        found["rungs"] = [_rung(one) for one in curve["rungs"]]
    return found


def _advice(curve: Notes, by: str, held_out: str | None) -> str:
    if held_out is None:
        return (
            f"No reward was held out. {by} by itself says more the more it picks from, so its "
            "curve recommends nothing: grade with a second reward, and name it in held_out."
        )
    last = curve["rungs"][-1]["k"]
    most = " More were not tried." if curve["recommended"] == last else ""
    return (
        f"Pick among {curve['recommended']}: it is the smallest n whose {held_out} is within one "
        f"standard error of the highest, which is at {curve['peak']}.{most}"
    )


def _rung(one: Notes) -> list[str]:
    cells = [f"{one['k']}", f"{one['kl']:.2f}"]
    for found, guess in (("grading", "predicted"), ("held", "held_predicted")):
        if one[found] is not None:
            ends = (plain(one[found][end], 3) for end in ("value", "low", "high"))
            cells += ["{} ({} … {})".format(*ends), plain(one[guess], 3)]
    return cells


# --- debias --------------------------------------------------------------------------------------


def _debias(label: str, notes: Notes, report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "label": label,
        "notes": notes,
        "changes": list(_changes(notes)),
        "charts": [],
    }
    if curve := notes.get("curve"):
        told = f"{notes['by']} by length: what is taken off"
        unit = report["grading"]["steps"][label]["unit"]
        found["charts"] = _charts(
            label, told, lambda width: [length_curve(curve, notes["by"], unit, width)]
        )
    return found


def _changes(notes: Notes) -> Iterator[tuple[str, str, str]]:
    """(what, a small drawing, the figures) of each measure of how a score goes with length."""
    names = (
        ("spearman", "Spearman's ρ with length"), ("pearson", "Pearson's r with log length"),
        ("sigma_per_doubling", "σ of the score for a doubled length"),
    )  # fmt: skip
    for key, name in names:
        before, after = notes["before"][key], notes["after"][key]
        if before is not None and after is not None:
            over = scale([(before, after)], (-1.0, 1.0))
            yield name, change(before, after, over), f"{plain(before)} → {plain(after)}"


# --- reject --------------------------------------------------------------------------------------


def _reject(label: str, notes: Notes, report: dict[str, Any]) -> dict[str, Any]:
    key = notes.get("ranking", "")
    within = notes.get("within_prompt", False)
    found: dict[str, Any] = {
        "label": label, "key": key, "notes": notes, "within": within, "sources": sources(notes),
        "sigma_gained": _gained(notes), "charts": [],
    }  # fmt: skip
    spread = report["scores"].get(key)
    if spread and not within and kept_of_all(spread, key, WIDE):
        told = f"{key}: all candidates and those kept"
        found["charts"] = _charts(
            label, told,
            lambda width: [panel for panel in [kept_of_all(spread, key, width)] if panel],
        )  # fmt: skip
    return found


def _gained(notes: Notes) -> str:
    """How far the kept lie above all candidates, in σ of the candidates."""
    before, after, sigma = (notes.get(key) for key in ("mean_before", "mean_after", "sigma"))
    if before is None or after is None or not sigma:
        return ""
    return f"{plain((after - before) / sigma)} σ"
