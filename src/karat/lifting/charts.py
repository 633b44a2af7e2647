"""The charts of a lift: what each arm reached, and how far the first is ahead of the others.

Arms' own intervals overlap even where a paired difference is plain, as all of them share the hard
prompts. So the differences have a chart of their own, with the line where nothing would be shown.
"""

from __future__ import annotations

from karat.lifting.arms import TOLD
from karat.lifting.measured import Measure
from karat.lifting.verdict import is_shown, said
from karat.report.axes import Axis, fit
from karat.report.svg import Panel

WIDE, NARROW = 560.0, 344.0
ROW, FRAME = 34.0, 96.0  # pixels of a line, and of what stands around all of them


def panels(one: Measure, width: float) -> list[Panel]:
    """Arms, then differences."""
    return [_arms(one, width), _differences(one, width)]


def _arms(one: Measure, width: float) -> Panel:
    names = list(one.arms)[::-1]
    ends = [
        one.unit * end
        for arm in one.arms.values()
        for end in (arm.mean.low, arm.mean.high, *arm.students)
    ]
    kinds = [("good", "mean, 95%"), ("other", "one student")]
    panel = Panel(
        "Arms", _across(ends, one), Axis("", names=[TOLD[name] for name in names]), width,
        FRAME + ROW * len(names), kinds,
    )  # fmt: skip
    for place, name in enumerate(names):
        arm = one.arms[name]
        for value in arm.students if len(arm.students) > 1 else ():
            panel.dot(one.unit * value, place - 0.22, "other", f"{name}: one student")
        low, high = (one.unit * end for end in (arm.mean.low, arm.mean.high))
        panel.spread((low, place), (high, place), "k-gold-line")
        panel.dot(
            one.unit * arm.mean.value, place, "good", f"{name}: {said(arm.mean, one, sign=False)}"
        )
    return panel


def _differences(one: Measure, width: float) -> Panel:
    pairs = one.contrasts[::-1]
    ends = [0.0]
    for each in pairs:
        ends += [
            one.unit * end for end in (each.effect.difference.low, each.effect.difference.high)
        ]
    kinds = [("good", "shown"), ("plain", "not shown")]
    panel = Panel(
        f"{TOLD[pairs[0].first]} minus …", _across(ends, one),
        Axis("", names=[TOLD[each.second] for each in pairs]), width, FRAME + ROW * len(pairs),
        kinds,
    )  # fmt: skip
    panel.line([(0.0, -0.5), (0.0, len(pairs) - 0.5)], "k-axis", "2 4")
    for place, each in enumerate(pairs):
        found = each.effect.difference
        line = "k-gold-line" if is_shown(each) else "k-grey-line"
        panel.spread((one.unit * found.low, place), (one.unit * found.high, place), line)
        kind = "good" if is_shown(each) else "plain"
        panel.dot(one.unit * found.value, place, kind, f"{each.second}: {said(found, one)}")
    return panel


def _across(ends: list[float], one: Measure) -> Axis:
    label = f"{one.name}, {one.unit_name}" if one.unit_name else one.name
    axis = fit(ends, label, log=False)
    return axis._replace(low=min(axis.low, min(ends)))


def told(one: Measure) -> str:
    """What the charts show, in words."""
    arms = [f"{TOLD[arm]}: {said(found.mean, one, sign=False)}" for arm, found in one.arms.items()]
    gaps = [
        f"{TOLD[each.first]} minus {TOLD[each.second]}: {said(each.effect.difference, one)}"
        for each in one.contrasts
    ]
    return f"{one.name}. {'; '.join([*arms, *gaps])}."
