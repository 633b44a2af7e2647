"""`karat reward eval`: how right a reward is on what people have judged, set by set.

Nothing about a reward is believed without an interval and a baseline beside it: a benchmark of
some hundred pairs moves by several points by its draw alone, and "the longer one" is right more
often than chance almost everywhere. What was asked is journaled in a folder, so that an evaluation
that was stopped goes on, and one that is made again pays for nothing it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from karat.claiming import claimed
from karat.driving import drive
from karat.errors import RecipeError, did_you_mean
from karat.evaluating.asking import Answers, Asked, Say, ask, forecast
from karat.evaluating.figures import Bill, Compared, Evaluation, SetFigures
from karat.evaluating.folders import default_name
from karat.evaluating.items import EvalSet, Floats
from karat.evaluating.measuring import GRIDS, Measured, compare
from karat.evaluating.remembered import Remembered, remembered
from karat.evaluating.sets import read_sets
from karat.inquiry import Place, find, main_attribute
from karat.intervals import RESAMPLES, Resamples
from karat.report.evaluation_page import page
from karat.rundir import Run, write_atomic
from karat.scoring.paired import difference, discordance
from karat.scoring.sections import mean_credit

SEED = 7
JSON, HTML = "evaluation.json", "evaluation.html"


def evaluate_reward(
    name: str, on: Sequence[str], *, against: str | None = None, by: str | None = None,
    recipe: str | Path | None = None, overrides: Sequence[str] = (),
    out: str | Path | None = None, html: Path | None = None, say: Say = lambda text: None,
    resamples: int = RESAMPLES,
) -> Evaluation:  # fmt: skip
    """The reward `name` on the sets that `on` names (see karat.evaluating.sets), beside the reward
    `against`, if any, on what both scored.

    `by` is the attribute that decides pairs, by default the reward's main one. `overrides` change
    `name`, or with a recipe values of it. The folder `out`, by default runs/eval-NAME-on-SETS,
    holds the journal, evaluation.json and evaluation.html; `html` is one more place for the page.
    Raises: RecipeError for what is wrong before anything is asked; RunError.
    """
    first = find(name, recipe, overrides)
    places = [first]
    if against is not None:
        of_recipe = [text for text in overrides if text.startswith(("rewards.", "models."))]
        places.append(find(against, recipe, of_recipe if recipe else ()))
        if places[1].reward.identity == first.reward.identity and not overrides:
            raise RecipeError(f"'{name}' and '{against}' are the same reward")
    ranked = [_by(place, by, must=place is first) for place in places]
    _writable(html)
    sets = read_sets(on)
    folder = Run.at(out, default_name(name, against, sets))
    for place in places:
        say(forecast(place, sets))
    known = [found for place in places for found in remembered(place, sets)]
    with claimed(folder):
        asked = [drive(ask(place, sets, folder.journal, say)) for place in places]
        made = _figures(places, ranked, sets, asked, resamples, known)
        content = page(msgspec.to_builtins(made)).encode("utf-8", "replace")
        write_atomic(folder.path / JSON, msgspec.json.format(msgspec.json.encode(made), indent=1))
        write_atomic(folder.path / HTML, content)
    if html is not None:
        html.write_bytes(content)
    return made


def _by(place: Place, by: str | None, *, must: bool) -> str:
    """The attribute that decides. Raises: RecipeError for one that the first reward has not."""
    attributes = place.reward.attributes
    if by is None or (by not in attributes and not must):
        return main_attribute(place.reward)
    if by not in attributes:
        near = did_you_mean(by, attributes)
        raise RecipeError(f"'{place.name}' gives no '{by}'; {near}")
    return by


def _writable(html: Path | None) -> None:
    """Raises: RecipeError before anything is paid for."""
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise RecipeError(f"cannot write {html}: name a file in a folder that is there")


def _figures(
    places: Sequence[Place], ranked: Sequence[str], sets: Sequence[EvalSet],
    asked: Sequence[Asked], resamples: int, known: Sequence[Remembered],
) -> Evaluation:  # fmt: skip
    pooled: list[tuple[Measured, Measured]] = []
    figures: list[SetFigures] = []
    warnings = [one.said for one in known]
    for number, found in enumerate(sets):
        draws = Resamples(found.prompts()[1], SEED, resamples)
        measured = [
            Measured(found, one.answers[number], by, draws)
            for one, by in zip(asked, ranked, strict=True)
        ]
        told = measured[0].figures(places[0].reward)
        told.trained_on = {one.reward: one.share for one in known if one.set == found.name}
        if len(measured) == 2:
            told.compared = compare(measured[0], measured[1])
            if not told.trained_on:
                pooled.append((measured[0], measured[1]))
        figures.append(told)
        warnings += _doubts(places, [one.answers[number] for one in asked], found, measured)
    reward = places[0].reward
    made = Evaluation(reward.name, reward.identity, ranked[0], figures, [], warnings)
    made.bills = [
        Bill(place.name, one.calls, one.cost_usd, one.spent_usd, round(one.seconds, 2))
        for place, one in zip(places, asked, strict=True)
    ]
    if len(places) == 2:
        made.against, made.against_by = places[1].reward.name, ranked[1]
    if len(pooled) > (len(sets) > 1):  # of several sets at least two
        made.overall = _overall(pooled, [one.name for one in figures if one.trained_on], resamples)
    return made


def _doubts(
    places: Sequence[Place], answers: Sequence[Answers], found: EvalSet,
    measured: Sequence[Measured],
) -> Iterator[str]:  # fmt: skip
    """What makes a set's figures say less than they seem to."""
    for place, said, one in zip(places, answers, measured, strict=True):
        failed = sum(bool(np.isnan(scores).any()) for scores in one.scores)
        if failed:
            why = max(said.refused, key=said.refused.__getitem__) if said.refused else "no score"
            yield (
                f"{place.name} has no score for {failed:,} of {len(found.items):,} items of "
                f"{found.name}, which are left out: {why}"
            )
        if len(one.gap_C) and (one.gap_C == 0).mean() > 0.1:
            yield (
                f"{place.name} gives equal scores to {(one.gap_C == 0).mean():.0%} of the pairs of "
                f"{found.name}"
            )


def _overall(
    pooled: Sequence[tuple[Measured, Measured]], without: Sequence[str], resamples: int
) -> Compared:
    """All units of all sets together, each set's prompts being prompts of their own; `without` are
    sets left out, on which one of the two was trained."""
    credit: list[list[Floats]] = [[], []]
    prompt, start = [], 0
    for pair in pooled:
        both = [one.table(one.scores)[0].credit_U for one in pair]
        prompt_U = pair[0].unit_prompts()
        missing = np.isnan(both[0]) | np.isnan(both[1])
        for held, values in zip(credit, both, strict=True):
            held.append(np.where(missing, np.nan, values))
        prompt.append(prompt_U + start)
        start += pair[0].prompts
    first, second = (np.concatenate(held) for held in credit)
    prompt_U = np.concatenate(prompt)
    tallies = [mean_credit(values, prompt_U, start) for values in (first, second)]
    draws = Resamples(start, SEED, resamples)
    return Compared(
        f"all sets but {', '.join(without)}" if without else "all sets", 0,
        int((~np.isnan(first)).sum()), tallies[0].value, tallies[1].value,
        difference(tallies[0], tallies[1]).interval(draws),
        None if any(one.found.kind in GRIDS for one, _ in pooled) else discordance(first, second),
    )  # fmt: skip
