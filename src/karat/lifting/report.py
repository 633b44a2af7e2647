"""A lift as files: lift.json with every figure, lift.md to paste, lift.html to look at.

All three begin with the same sentence. The page is one file with no script and nothing to fetch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from karat.lifting.arms import BASE, TOLD
from karat.lifting.charts import NARROW, WIDE, panels, told
from karat.lifting.measured import Measure
from karat.lifting.plan import in_words
from karat.lifting.result import ArmTold, Lift
from karat.lifting.verdict import is_shown, others, said, told_p
from karat.lifting.wording import count
from karat.report.cells import money
from karat.report.pages import render
from karat.report.recommendation import plain
from karat.report.svg import STYLE, figure
from karat.report.whiskers import scale, whisker
from karat.rundir import write_atomic

HEADINGS = ("prompts", "tokens trained on", "score", "characters", "as best", "training")
ROLES = {
    "primary": "the measure that decides", "secondary": "a reward that did not choose",
    "third": "how likely the student finds people's answers", "also": "told beside it",
}  # fmt: skip


def write_report(made: Lift, out: Path) -> Lift:
    """Writes the three files beside the plan. Raises: RunError."""
    paths = {kind: out / f"lift.{kind}" for kind in ("json", "md", "html")}
    made = msgspec.structs.replace(made, files={kind: str(path) for kind, path in paths.items()})
    tree = msgspec.to_builtins(made)
    del tree["files"]
    write_atomic(paths["json"], msgspec.json.format(msgspec.json.encode(tree), indent=1))
    write_atomic(paths["md"], markdown(made).encode())
    write_atomic(paths["html"], page(made).encode("utf-8", "replace"))
    return made


def method(made: Lift) -> list[str]:
    """How it was done, as far as a reader must know to believe it."""
    plan = made.plan
    settings = ", ".join(
        f"{name} {value}" for name, value in plan.asked.settings.items() if value not in ({}, None)
    )
    lines = [
        f"The plan {plan.digest[:12]} was written on {plan.made}, before any student was trained.",
        *(f"Planned: {line}." for line in in_words(plan)[:-1]),
        f"All arms are drawn from answers to the same {plan.rows:,} prompts, and train with the "
        f"same settings ({settings}) from {plan.asked.student}; seeds "
        f"{', '.join(map(str, plan.seeds))}. The arm of random answers draws again for each "
        f"seed. Answers were ranked by {plan.ranking}.",
        (
            "Arms have the same number of examples, not of tokens"
            if _even(made)
            else "Arms have neither the same number of examples nor of tokens"
        )
        + ": longer answers are more to train on. The table says how many.",
        f"All students write greedily, {plan.asked.max_tokens} tokens at most, to the same prompts "
        "of " + Path(plan.asked.held_out).name + ".",
        "Differences are paired by prompt; their error is that of a bootstrap of prompts, nested "
        "over seeds within arms, with Student's t of Satterthwaite's degrees of freedom; p is "
        f"two-sided, with Holm's correction for the {count(len(plan.contrasts), 'contrast')} of "
        "each measure. Intervals hold 95% of the time, each by itself.",
        f"{_taken(made)} Grading cost {money(made.cost_usd)}. "
        f"Versions: {', '.join(f'{name} {v}' for name, v in plan.versions.items())}.",
    ]
    if made.left_out:
        left = ", ".join(
            f"{count(number, 'row')} ({reason})" for reason, number in made.left_out.items()
        )
        lines.insert(len(in_words(plan)), f"Rows of the run that train nobody: {left}.")
    return lines + ([f"Command: {plan.command}"] if plan.command else [])


def _even(made: Lift) -> bool:
    return all(arm.rows == made.plan.rows for arm in made.arms.values() if arm.data is not None)


def _taken(made: Lift) -> str:
    """How long it all took, however often it was stopped."""
    counts = {arm: 1 if arm == BASE else len(made.plan.seeds) for arm in made.arms}
    train, measure = (
        sum(getattr(arm, name) * counts[key] for key, arm in made.arms.items()) / 60
        for name in ("train_seconds", "measure_seconds")
    )
    return f"Students took {count(round(train), 'minute')} to train and {measure:.0f} to measure."


def arm_cells(arm: ArmTold) -> list[str]:
    """What an arm was trained on, under HEADINGS."""
    if arm.data is None:
        return ["–"] * len(HEADINGS)
    return [
        f"{arm.rows:,.0f}", f"{arm.tokens:,.0f}", plain(arm.data.score, 3),
        f"{arm.data.characters:,.0f}", f"{arm.data.as_best:.0%}", f"{arm.train_seconds:,.0f} s",
    ]  # fmt: skip


# --- lift.md -------------------------------------------------------------------------------------


def markdown(made: Lift) -> str:
    """The report as Markdown."""
    return "\n".join(_markdown(made)) + "\n"


def _markdown(made: Lift) -> Iterator[str]:
    yield from (f"**{made.verdict}**", "")
    for line in (*others(made.measures[0]), *made.cautions):
        yield f"- {line}"
    for one in made.measures:
        yield from ("", f"## {_title(one)}", "", f"{_about(one)}.", "")
        yield from ("| arm | mean (95%) | each student |", "|---|---|---|")
        for name, arm in one.arms.items():
            each = ", ".join(plain(one.unit * value, 1) for value in arm.students)
            yield f"| {TOLD[name]} | {said(arm.mean, one, sign=False)} | {each} |"
        yield from ("", "| difference | value (95%) | p | Holm |", "|---|---|---|---|")
        for pair in one.contrasts:
            effect = pair.effect
            yield (
                f"| {TOLD[pair.first]} − {TOLD[pair.second]} | {said(effect.difference, one)} | "
                f"{told_p(effect.p)} | {told_p(pair.p_holm)} |"
            )
    yield from ("", "## What each arm was trained on", "")
    yield f"| arm | {' | '.join(HEADINGS)} |"
    yield "|---" * (len(HEADINGS) + 1) + "|"
    for name, told_of in made.arms.items():
        if name != BASE:
            yield f"| {TOLD[name]} | {' | '.join(arm_cells(told_of))} |"
    yield from ("", "## How", "")
    yield from (f"- {line}" for line in method(made))


def _title(one: Measure) -> str:
    """A measure's name as a heading; that of a reward stays as it is written."""
    return one.name if one.role == "secondary" else f"{one.name[0].upper()}{one.name[1:]}"


def _about(one: Measure) -> str:
    left = f", {one.left_out:,} left out" if one.left_out else ""
    unit = f", in {one.unit_name}" if one.unit_name else ""
    return f"{ROLES[one.role][0].upper()}{ROLES[one.role][1:]}; {one.prompts:,} prompts{left}{unit}"


# --- lift.html -----------------------------------------------------------------------------------


def page(made: Lift) -> str:
    """The whole page."""
    values: dict[str, Any] = {
        "made": made,
        "sizes": f"{count(made.plan.rows, 'prompt')}, {count(len(made.plan.seeds), 'seed')}",
        "short": [*others(made.measures[0]), *made.cautions],
        "measures": [_shown(one, place) for place, one in enumerate(made.measures)],
        "headings": HEADINGS, "method": method(made), "style": STYLE,
        "arms": [(TOLD[n], arm_cells(arm)) for n, arm in made.arms.items() if n != BASE],
    }  # fmt: skip
    return render("lift.html", values)


def _shown(one: Measure, place: int) -> dict[str, Any]:
    """One measure's charts, and its contrasts as a table."""
    found: dict[str, Any] = {"name": _title(one), "about": _about(one), "charts": []}
    if place == 0:
        wide, narrow = panels(one, WIDE), panels(one, NARROW)
        found["charts"] = [
            tuple(figure([p], p.title, told(one), key=f"m{place}-{i}-{p.width:.0f}") for p in pair)
            for i, pair in enumerate(zip(wide, narrow, strict=True))
        ]
    figures = [
        tuple(one.unit * end for end in (e.value, e.low, e.high))
        for e in (pair.effect.difference for pair in one.contrasts)
    ]
    largest = max((abs(end) for each in figures for end in each), default=1.0) or 1.0
    over = scale(figures, (-largest, largest), largest)
    found["rows"] = [
        (
            f"{TOLD[pair.first]} − {TOLD[pair.second]}", whisker(each, over),
            said(pair.effect.difference, one), told_p(pair.effect.p), told_p(pair.p_holm),
            is_shown(pair),
        )
        for pair, each in zip(one.contrasts, figures, strict=True)
    ]  # fmt: skip
    return found
