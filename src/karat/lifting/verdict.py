"""What a lift shows, in one plain sentence that comes first; where nothing was shown it says so.

A difference counts as shown when Holm's p of the primary measure is below .05; everything else on
the page is told beside it and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from karat.intervals import LEVEL, Interval
from karat.lifting.arms import TOLD
from karat.lifting.measured import Measure
from karat.lifting.plan import Plan
from karat.report.recommendation import plain
from karat.scoring.lift import Contrast
from karat.scoring.lift_power import detectable


def digits_of(measure: Measure) -> int:
    """Decimals that its values are told with."""
    return {"points": 1, "characters": 0}.get(measure.unit_name, 3)


def said(value: Interval, measure: Measure, *, sign: bool = True) -> str:
    """`+0.8 (−2.1 to 3.7)`, in the measure's unit."""
    digits, unit = digits_of(measure), measure.unit
    first = plain(unit * value.value, digits)
    plus = "+" if sign and not first.startswith("−") and value.value > 0 else ""
    return (
        f"{plus}{first} ({plain(unit * value.low, digits)} to {plain(unit * value.high, digits)})"
    )


def told_p(p: float) -> str:
    """As journals write it."""
    if p < 0.001:
        return "p < .001"
    return f"p = {p:.2f}".replace("0.", ".") if p >= 0.1 else f"p = {p:.3f}".replace("0.", ".")


def is_shown(contrast: Contrast) -> bool:
    """Whether Holm's p is below the level."""
    return contrast.p_holm < 1 - LEVEL


def least_seen(contrast: Contrast, family: int) -> float:
    """The least true difference that would have been found, by the spread that was found."""
    level = 1 - (1 - LEVEL) / family
    return detectable(contrast.effect.error, contrast.effect.freedom, level)


def verdict(primary: Measure) -> str:
    """The first sentence."""
    first = primary.contrasts[0]
    names = f"{_name(first.first)} − {_name(first.second)}"
    unit = f" {primary.unit_name}" if primary.unit_name else ""
    value = plain(primary.unit * first.effect.difference.value, digits_of(primary))
    plus = "" if value.startswith("−") else "+"
    ends = (first.effect.difference.low, first.effect.difference.high)
    low, high = (plain(primary.unit * end, digits_of(primary)) for end in ends)
    figure = f"{names} = {plus}{value}{unit} ({low} to {high}), Holm {told_p(first.p_holm)}"
    if is_shown(first):
        better = first.effect.difference.value > 0
        alone = " of these two students alone" if first.effect.seeds == (1, 1) else ""
        return f"{'Shown' if better else 'Shown to be worse'}{alone}: {figure}."
    if first.effect.error == 0 and first.effect.difference.value == 0:
        return (
            f"Nothing was shown: {_name(first.first)} and {_name(first.second)} did the same on "
            f"every one of {primary.prompts:,} prompts, which cannot tell them apart."
        )
    if first.effect.error == 0:
        return f"Nothing was shown: {figure}; {primary.prompts:,} prompts are too few to say more."
    least = least_seen(first, len(primary.contrasts))
    seen = plain(primary.unit * least, digits_of(primary))
    return (
        f"Nothing was shown: {figure}; a true difference under {seen}{unit} would have been missed "
        "more than one time in five."
    )


def others(primary: Measure) -> list[str]:
    """What the other contrasts of the primary measure say."""
    found = []
    for one in primary.contrasts[1:]:
        how = "nothing was shown"
        if is_shown(one):
            how = "better" if one.effect.difference.value > 0 else "worse"
        found.append(
            f"{_name(one.first)} − {_name(one.second)}: {said(one.effect.difference, primary)}, "
            f"Holm {told_p(one.p_holm)}: {how}"
        )
    return found


def cautions(plan: Plan, measures: Sequence[Measure], notes: Sequence[str]) -> list[str]:
    """What a reader must know before believing it."""
    found = list(notes)
    primary = measures[0]
    if len(plan.seeds) < 2:
        found.append(
            "each arm was trained once: the intervals hold for these students, and not for another "
            "seed"
        )
    if len(plan.seeds) == 2:
        found.append(
            "with two seeds chance is taken for a difference up to 10% of the time, not 5%, and "
            f"for one of {len(primary.contrasts)} up to 25%, Holm's correction or not"
        )
    elif any(one.effect.seeds_error > one.effect.prompts_error for one in primary.contrasts):
        found.append(
            "seeds differ more than prompts do: with so few of them, one of "
            f"{len(primary.contrasts)} differences is taken from chance up to 10% of the time, not "
            "5%, Holm's correction or not"
        )
    if plan.base_mean in (0.0, 1.0):
        every = "everything" if plan.base_mean else "nothing"
        found.append(
            f"the base does {every} that is asked: prompts on which it does some of it tell more"
        )
    if primary.left_out:
        found.append(f"{primary.left_out:,} prompts could not be verified for every student")
    least = least_seen(primary.contrasts[0], len(primary.contrasts))
    planned = plan.power.detectable_holm
    if least > 1.25 * planned:
        found.append(
            f"values vary more than the plan took them to: it could see "
            f"{plain(primary.unit * planned, 1)} {primary.unit_name}, this lift "
            f"{plain(primary.unit * least, 1)}"
        )
    if not is_shown(primary.contrasts[0]):
        found += [
            f"by {one.name} there is a difference, "
            f"{said(one.contrasts[0].effect.difference, one)}; the plan said beforehand that "
            f"{primary.name} decides"
            for one in measures[1:]
            if one.role in ("secondary", "third") and is_shown(one.contrasts[0])
        ]
    return found


def shorter(plan: Plan, rows: Mapping[str, float]) -> list[str]:
    """Of arms that lost prompts, as their answers are longer than a student reads: size is then a
    difference beside the choice."""
    lost = [f"{arm} {count:,.0f}" for arm, count in rows.items() if count < plan.rows]
    if not lost:
        return []
    return [
        f"arms are not of the same prompts: of {plan.rows:,}, {', '.join(lost)} had an answer "
        f"short enough to train on ({plan.asked.settings.get('max_length')} tokens); say "
        "--max-length in a new lift"
    ]


def moved(plan: Plan, versions: Mapping[str, str]) -> list[str]:
    """Of a lift that went on with other libraries than it began with."""
    other = [
        f"{name} {plan.versions[name]}, now {version}"
        for name, version in versions.items()
        if name != "karat" and plan.versions.get(name, version) != version
    ]
    if not other:
        return []
    return [f"students may not be of the same libraries: it was planned with {'; '.join(other)}"]


def _name(arm: str) -> str:
    return TOLD[arm].partition(",")[0].replace(" ", "-")
