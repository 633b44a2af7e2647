"""The facts that a run's papers are made of: what its report, its recipe and its rows say.

Whatever was not measured is said to be not measured, and whatever only a person can know is left
as a blank. Nothing is claimed that no file of the run holds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from karat.errors import RecipeError
from karat.licensing import Solved, solve_run
from karat.publishing.files import ACCEPTED, rows_at, without_folders
from karat.publishing.measured import Measured, measure
from karat.recipefile import parse, written_steps
from karat.rundir import Run

REASONS = 5  # of one step that are told
PERSONAL = ("mask", "filters")  # steps that look for personal data


class StepFacts(msgspec.Struct, frozen=True):
    """One line of the funnel. `reasons`: (why, rows), most first; `more`: rows of the others."""

    label: str
    name: str
    rows_in: int
    rows_out: int
    reasons: tuple[tuple[str, int], ...]
    more: int
    notes: dict[str, Any]
    params: dict[str, Any]


class Facts(msgspec.Struct, frozen=True):
    """Of one run. `licence`: the SPDX name it is released under, empty while nothing fits;
    `proposed`: nobody chose it, it is the first that fits; `rows_at`: the accepted rows, as a file
    or a pattern of their parts."""

    report: dict[str, Any]
    steps: tuple[StepFacts, ...]
    licences: Solved
    licence: str
    proposed: bool
    measured: Measured
    rows_at: str = ACCEPTED

    def ran(self, *names: str) -> list[StepFacts]:
        """The steps of these names."""
        return [step for step in self.steps if step.name in names]

    def sources(self, *roles: str) -> list[Any]:
        """The sources of the licences in these roles."""
        return [one for one in self.licences.sources if one.role in roles]

    @property
    def warnings(self) -> list[str]:
        return [without_folders(text) for text in self.report["warnings"]]

    @property
    def rows(self) -> int:
        return int(self.report["rows"]["accepted"])


def facts(run: Run, licence: str = "") -> Facts:
    """Everything the papers need. `licence`: the one to release under, instead of the first that
    fits. Raises: RecipeError where it does not fit, or the run has not come to its end."""
    report = run.report
    solved = solve_run(run)
    allowed = solved.release.allowed
    if licence:
        fitting = [one for one in allowed if one.lower() == licence.lower()]
        if not fitting:
            known = f"these fit: {', '.join(allowed)}" if allowed else "none fits; see LICENCES.md"
            raise RecipeError(f"the rows cannot be released under {licence}: {known}")
        licence = fitting[0]
    chosen = licence or (allowed[0] if allowed else "")
    steps = _steps(run, report)
    at = rows_at(run)
    return Facts(report, steps, solved, chosen, not licence and bool(chosen), measure(run), at)


def _steps(run: Run, report: dict[str, Any]) -> tuple[StepFacts, ...]:
    written = written_steps(parse(run.recipe))
    found = []
    for number, one in enumerate(report["funnel"]):
        name, params = written[number] if number < len(written) else (one["label"], {})
        reasons = sorted(one["dropped"].items(), key=lambda item: (-item[1], item[0]))
        first = tuple((without_folders(why), count) for why, count in reasons[:REASONS])
        found.append(
            StepFacts(
                one["label"], name, one["rows_in"], one["rows_out"], first,
                sum(count for _, count in reasons[REASONS:]), one.get("notes") or {}, params,
            )
        )  # fmt: skip
    return tuple(found)


# --- what was looked at, and what was not --------------------------------------------------------


def decontaminated(facts: Facts) -> list[dict[str, Any]]:
    """Per evaluation set: its name, its items, how many were found, and in how many rows."""
    return [
        {"n": step.notes.get("n"), **one}
        for step in facts.ran("decontaminate")
        for one in step.notes.get("benchmarks", [])
    ]


def guards(facts: Facts) -> list[dict[str, Any]]:
    """What the collapse guard of `mix` found: per comparison and figure, the ratio to as much human
    text (or to the round before) and its interval."""
    return [
        {"step": step.label, "of": of, "figure": name, **values}
        for step in facts.ran("mix")
        for of, figures in (step.notes.get("guard") or {}).items()
        if isinstance(figures, dict)
        for name, values in figures.items()
        if isinstance(values, dict) and {"ratio", "interval"} <= set(values)
    ]


def looked_for_personal_data(facts: Facts) -> bool:
    """Whether a step did: `mask`, or `filters` with its rule `pii`."""
    return bool(facts.ran("mask")) or any(_has_rule(step, "pii") for step in facts.ran("filters"))


def _has_rule(step: StepFacts, rule: str) -> bool:
    rules = step.params.get("rules")
    if rules is None:
        return rule == "pii"  # of those it has when none is named
    return any(rule == one or (isinstance(one, dict) and rule in one) for one in rules)


def not_measured(facts: Facts) -> list[str]:
    """What a reader could take for granted and nobody has looked at."""
    found = ["whether a model gets better by training on the rows (karat lift measures it)",
             "social bias, and whose views the answers hold"]  # fmt: skip
    if not facts.ran("verify"):
        found.append("whether answers are right, by anything but a reward: no step verified them")
    if not facts.ran("cross_validate"):
        found.append("whether another grader, or a person, agrees with the scores")
    if not facts.ran("decontaminate"):
        found.append("whether rows hold items of evaluation sets")
    if not guards(facts):
        found.append("whether the mix has lost the variety of human text (the guard of mix)")
    if not looked_for_personal_data(facts):
        found.append("personal data: no step looked for it")
    if not any(_has_rule(step, "toxicity") for step in facts.ran("filters")):
        found.append("offensive or harmful content: no step looked for it")
    if facts.measured.languages is None:
        found.append("languages: no detector was installed (karat[language])")
    return found
