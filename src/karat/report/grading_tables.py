"""The tables of a grading page: who agrees with whom, who decided, and whose answers were kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from karat.report.cells import money
from karat.report.recommendation import rounded
from karat.report.whiskers import Figure, Scale, bar, scale, told, whisker

Cell = tuple[str, str]  # a small drawing, and the figures it shows
NONE: Cell = ("", "–")
# Colours of survey_map for graders, without the red one, which would look like a fault.
FILLS = tuple(f"k-c{place}" for place in (0, 1, 3, 4, 5, 6))
NOBODY = "nobody"  # who decided where no grader was sure; see steps/_route

# --- cross_validate ------------------------------------------------------------------------------

COEFFICIENTS = (("kappa", "κ, quadratic"), ("tau_b", "τ_b, all"), ("tau_b_within", "τ_b, within"))


def agreement(label: str, notes: dict[str, Any]) -> dict[str, Any]:
    """What cross_validate noted, as tables of drawn figures."""
    checked = notes["checked"]
    return {
        "label": label,
        "disagreements": notes["disagreements"],
        "checked": checked,
        "share": notes["disagreements"] / checked if checked else 0.0,
        "by": notes["by"],
        "tolerance": notes["tolerance"],
        "groups": [_group(name, one) for name, one in notes["compared"].items()],
    }


def _group(name: str, one: dict[str, Any]) -> dict[str, Any]:
    pairs, whole = one["pairs"], [one["alpha"], one["fleiss_kappa"]]
    keys = [key for key, _ in COEFFICIENTS]
    over = scale([*whole, *(pair[key] for pair in pairs for key in keys)], (0.0, 1.0))
    families = sorted({f for told in one["graders"].values() for f in told["family_preference"]})
    return {
        "name": name,
        "levels": f"{one['levels']} levels by {one['levels_by']}" if one["levels"] else "",
        "whole": [
            (word, _cell(figure, over))
            for word, figure in zip(("Krippendorff's α", "Fleiss' κ"), whole, strict=True)
            if figure is not None
        ],
        "headings": [
            *((word, _ends(over)) for _, word in COEFFICIENTS),
            ("pairs in the same order", "0 to 1"),
        ],
        "pairs": [
            (
                " · ".join(pair["graders"]),
                [
                    *(_cell(pair[key], over) for key in keys),
                    _cell(pair["pairs_agreed"], (0.0, 1.0), 0.5),
                ],
            )
            for pair in pairs
        ],
        **_leanings(one["graders"], families),
    }  # fmt: skip


def _leanings(graders: dict[str, Any], families: list[str]) -> dict[str, Any]:
    """What each grader leans to: length, and families of generators."""
    slopes = _even(one["length_slope"] for one in graders.values())
    kin = _even(one["family_preference"].get(f) for one in graders.values() for f in families)
    return {
        "leans": [
            ("no score", "0 to 1"), ("σ per doubled length", _ends(slopes)),
            *((f"to {family or 'other models'}", f"σ, {_ends(kin)}") for family in families),
        ],
        "graders": [
            (
                key,
                [
                    _cell(one["ungraded"], (0.0, 1.0)),
                    _cell(one["length_slope"], slopes),
                    *(_cell(one["family_preference"].get(family), kin) for family in families),
                ],
            )
            for key, one in graders.items()
        ],
    }  # fmt: skip


def _even(figures: Iterable[Figure | None]) -> Scale:
    """A scale with 0 in its middle."""
    low, high = scale(figures, (-0.5, 0.5))
    end = max(-low, high)
    return -end, end


def _ends(over: Scale) -> str:
    low, high = (f"{end:g}".replace("-", "−") for end in over)
    return f"{low} to {high}"


def _cell(figure: Figure | None, over: Scale, neutral: float = 0.0) -> Cell:
    if figure is None or figure[0] is None:
        return NONE
    return whisker(figure, over, neutral), told(figure)


# --- a route -------------------------------------------------------------------------------------


def route(label: str, one: dict[str, Any]) -> dict[str, Any]:
    """Who of a route was reached by how many rows, decided how many, and cost what."""
    rows, left, lines = one["rows"], one["rows"], []
    parts = [(name, one["decided"].get(name, 0)) for name in (*one["route"], NOBODY)]
    colours = {name: FILLS[place % len(FILLS)] for place, (name, _) in enumerate(parts)}
    colours[NOBODY] = "k-grey"
    for name, decided in parts:
        colour = colours[name]
        reached = one["asked"].get(name, left)
        if name != NOBODY or decided:
            lines.append(
                {
                    "name": name,
                    "colour": colour,
                    "bar": bar(
                        [("decided", decided, colour), ("passed on", reached - decided, "rest")],
                        rows,
                    ),
                    "reached": reached,
                    "decided": decided,
                    "share": decided / rows if rows else 0.0,
                    "cost": _cost(one, name, reached),
                }
            )  # fmt: skip
        left -= decided
    return {
        "label": label,
        "rows": rows,
        "cost": "price unknown" if one["cost_usd"] is None else money(one["cost_per_row_usd"]),
        "bar": bar([(name, count, colours[name]) for name, count in parts if count], rows),
        "lines": lines,
    }


def _cost(one: dict[str, Any], name: str, reached: int) -> str:
    """What a row that reaches a grader costs there; a verifier costs nothing."""
    if name == NOBODY or (name in one["asked"] and name not in one["costs_usd"]):
        return "–"
    cost = one["costs_usd"].get(name, 0.0)
    if cost is None:
        return "price unknown"
    return rounded(cost / reached) if reached else "–"


# --- reject --------------------------------------------------------------------------------------


def sources(notes: dict[str, Any]) -> list[dict[str, Any]]:
    """How many of each model's candidates were kept; nothing where one model wrote all of them."""
    models = notes.get("per_model", {})
    most = max((one["n"] for one in models.values()), default=0)
    return [
        {
            "name": name,
            "bar": bar(
                [("kept", one["kept"], "k-gold"), ("turned down", one["n"] - one["kept"], "rest")],
                most,
            ),
            **one,
        }
        for name, one in sorted(models.items(), key=lambda item: -item[1]["kept"])
        if len(models) > 1
    ]  # fmt: skip
