"""What was measured of a run's data, and what was not: an honest list.

A figure that is not there is easily taken for a good one. So everything that could have been
measured is listed, and what was not is said to be missing, with the step that would measure it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from karat.recipefile import written_steps
from karat.signature import verifier_names

State = Literal["yes", "partly", "no"]


class Measured(NamedTuple):
    """One thing that can be measured: whether it was, and what was found or is missing."""

    name: str
    state: State
    said: str


class _Run(NamedTuple):
    """What is known of a run: its report, its recipe as written, its folder."""

    report: dict[str, Any]
    steps: list[tuple[str, str, dict[str, Any]]]  # label, step, parameters
    rewards: dict[str, Any]
    folder: Path

    def notes(self, step: str) -> list[tuple[str, dict[str, Any]]]:
        labels = [label for label, name, _ in self.steps if name == step]
        return [
            (one["label"], one.get("notes", {}))
            for one in self.report["funnel"]
            if one["label"] in labels
        ]

    def uses(self, step: str) -> bool:
        return any(name == step for _, name, _ in self.steps)

    def named(self) -> set[str]:
        """Every word in the parameters of graders: rewards and verifiers."""
        found: set[str] = set()
        for _, name, params in self.steps:
            if name in ("grade", "verify", "best_of", "cross_validate", "reject"):
                found |= set(_words(params))
        return found


def measured(report: dict[str, Any], recipe: dict[str, Any], folder: Path) -> list[Measured]:
    """All of them; `recipe` as `karat.recipefile.parse` reads recipe.yaml, or empty."""
    run = _Run(report, _steps(recipe, report), dict(recipe.get("rewards") or {}), folder)
    checks: list[Callable[[_Run], Measured]] = [
        _reward, _held_out, _agreement, _people, _calibration, _verifiers, _length,
        _decontamination, _duplicates, _diversity, _collapse, _personal, _lift,
    ]  # fmt: skip
    return [check(run) for check in checks]


def _steps(recipe: dict[str, Any], report: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Labels stand in the report in the recipe's order."""
    labels = [one["label"] for one in report["funnel"]]
    return [(label, *step) for label, step in zip(labels, written_steps(recipe), strict=False)]


def _words(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [word for key, one in value.items() for word in (str(key), *_words(one))]
    if isinstance(value, list):
        return [word for one in value for word in _words(one)]
    return [value, value.rpartition(".")[0]] if isinstance(value, str) else []


def _reward(run: _Run) -> Measured:
    keys = [key for key, one in run.report["scores"].items() if one["all"].get("count")]
    rewards = sorted({key.rpartition(".")[0] for key in keys} - {"verifier", "route", "weighted"})
    if not rewards:
        return Measured("Quality by a reward", "no", "nothing was graded; add a grade step")
    return Measured("Quality by a reward", "yes", f"graded by {', '.join(rewards)}")


def _held_out(run: _Run) -> Measured:
    name = "Quality by a reward that did not choose"
    for _, notes in run.notes("meter"):
        if notes.get("held_out"):
            over = ", which says it is over-optimised" if (notes.get("curve") or {}).get(
                "warning"
            ) else ""  # fmt: skip
            return Measured(name, "yes", f"{notes['held_out']}, held out{over}")
    ranking = (run.report.get("ranking") or "").rpartition(".")[0]
    others = {
        key.rpartition(".")[0]
        for key, one in run.report["scores"].items()
        if key.endswith(".reward") and one["all"].get("count")
    } - {ranking, "verifier", "route", "weighted"}
    if others:
        listed = ", ".join(sorted(others))
        return Measured(name, "partly", f"{listed} graded too; a meter step with held_out: would "
                        "say what the choice is worth")  # fmt: skip
    return Measured(
        name, "no", "the reward that chose is the only one: its own scores flatter what it chose"
    )


def _agreement(run: _Run) -> Measured:
    name = "Whether graders agree"
    found = run.report.get("grading", {}).get("compared", {})
    if found:
        parts = [
            f"they disagree on {one['disagreements']:,} of {one['checked']:,} rows"
            for one in found.values()
        ]
        return Measured(name, "yes", "; ".join(parts))
    return Measured(name, "no", "add a cross_validate step with two graders")


def _people(run: _Run) -> Measured:
    name = "Human ratings of the answers"
    raters = [key for key, value in run.rewards.items() if _is_human(value)]
    counts = {
        key.rpartition(".")[0]: one["all"]["count"]
        for key, one in run.report["scores"].items()
        if one["all"].get("count")
    }
    for key in raters:
        if counts.get(key):
            return Measured(name, "partly", f"{counts[key]:,} answers have a person's rating")
    return Measured(name, "no", "nobody has read and rated these rows")


def _is_human(value: Any) -> bool:
    written = value.get("reward") if isinstance(value, dict) else value
    return isinstance(written, str) and written.startswith("human/")


def _calibration(run: _Run) -> Measured:
    name = "Calibration of graders on people's judgements"
    if any(params.get("calibration") for _, _, params in run.steps):
        return Measured(name, "yes", "the route's thresholds come from pairs that people judged")
    return Measured(
        name, "no", "scores are as the rewards give them; `karat reward calibrate` does"
    )


def _verifiers(run: _Run) -> Measured:
    name = "Answers checked by programs"
    used = sorted(run.named() & set(verifier_names()))
    if run.uses("verify") or used:
        said = ", ".join(used) if used else "those that the rows ask for"
        return Measured(name, "yes", f"verifiers: {said}")
    return Measured(name, "no", "no verifier ran: facts, sums and code may be wrong")


def _length(run: _Run) -> Measured:
    name = "Lean of the reward to length"
    for _, notes in run.notes("debias"):
        return Measured(name, "yes", f"measured and taken off {notes.get('by', 'the score')}")
    return Measured(name, "no", "longer answers may be preferred for their length; add debias")


def _decontamination(run: _Run) -> Measured:
    name = "Contamination with test sets"
    found = run.notes("decontaminate")
    if found:
        sets = [str(one["benchmark"]) for _, n in found for one in n.get("benchmarks", [])]
        hits = sum(int(notes.get("contaminated", 0)) for _, notes in found)
        return Measured(
            name, "partly", f"searched for {', '.join(sets) or 'test sets'}: {hits:,} rows; other "
            "sets, and items in other words, were not"
        )  # fmt: skip
    return Measured(
        name, "no", "test items may be in the data; add decontaminate, or `karat contamination`"
    )


def _duplicates(run: _Run) -> Measured:
    name = "Near-duplicates"
    found = run.notes("dedupe")
    if found:
        gone = sum(sum(one["dropped"].values()) for one in run.report["funnel"]
                   if one["label"] in {label for label, _ in found})  # fmt: skip
        return Measured(name, "yes", f"{gone:,} rows dropped as repeats")
    return Measured(name, "no", "no dedupe step")


def _diversity(run: _Run) -> Measured:
    found = run.report.get("diversity", {}).get("accepted", {})
    if "vendi_embedding" in found:
        return Measured(
            "Diversity of prompts", "yes",
            f"effective number {found['vendi_embedding']:.3g} (Vendi score, at most 256)",
        )  # fmt: skip
    return Measured("Diversity of prompts", "no", "no accepted prompt to measure")


def _collapse(run: _Run) -> Measured:
    name = "Loss of rare words against human text"
    guarded = any(one.get("notes", {}).get("guard") for one in run.report["funnel"])
    if guarded:
        return Measured(name, "yes", "by the guard of mix; see Guards")
    return Measured(name, "no", "no human text beside it, or too little; see mix and its guard")


def _personal(run: _Run) -> Measured:
    name = "Personal data"
    if run.uses("mask") or any("pii" in _words(params) for _, _, params in run.steps):
        return Measured(name, "partly", "patterns (addresses, numbers, keys) were looked for; "
                        "names and stories were not")  # fmt: skip
    return Measured(name, "no", "not looked for; add a mask step")


def _lift(run: _Run) -> Measured:
    name = "Whether training on it helps"
    if next(run.folder.glob("**/lift.json"), None):
        return Measured(name, "yes", "a lift was measured in this folder; see its lift.html")
    return Measured(name, "no", "no model was trained on it here; `karat lift` measures that")
