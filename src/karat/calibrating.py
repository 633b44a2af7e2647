"""Calibration of a route: how sure each grader must be, learned from pairs that people have judged.

The route's rewards are asked about the pairs in the order of the route, each about a share of its
own and of that only what those before it were not sure of: a judge is paid for the pairs that would
reach it, and no others. What was asked is journaled in a folder of its own, so that a calibration
that was stopped goes on, and one that is made again pays only for pairs that are new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.api import opened
from karat.claiming import claimed
from karat.context import Services
from karat.driving import drive
from karat.errors import ProviderError, RecipeError, RowError
from karat.inquiry import main_attribute, written
from karat.models.endpoint import Asker
from karat.recipe import Recipe
from karat.report.cells import money
from karat.rewards.base import Candidates
from karat.row import digest
from karat.rundir import Run, write_atomic
from karat.scoring.calibration import RISK, TARGET, Calibration, cascade
from karat.signature import verifier_names
from karat.step import find
from karat.steps._route import Calibrations, Trusted
from karat.together import all_of
from karat.training.ratings import HumanData, Pair, read_human

STEP = "calibrate"
AT_ONCE = 256  # pairs under way
Say = Callable[[str], None]


def calibrate_route(
    source: str | Path, on: Sequence[Path], to: Path, *, out: str | Path | None = None,
    target: float = TARGET, risk: float = RISK, overrides: Sequence[str] = (),
    say: Say = lambda text: None,
) -> Calibrations:  # fmt: skip
    """The calibrations of a recipe's route from the preferences in the files `on`, written `to` a
    file that `grade: {route: …, calibration: FILE}` reads.

    Where a grader is trusted, people agree with it at least `target` of the time, but for
    probability `risk` (over the draw of the pairs, all graders together). One pair a prompt counts.
    Raises: RecipeError for what is wrong before anything is asked; RunError.
    """
    recipe, names = graders_of(source, overrides)
    if not 0 < target < 1 or not 0 < risk < 1:
        raise RecipeError(f"target {target:g} and risk {risk:g} must lie between 0 and 1")
    data = read_human(on)
    pairs = one_each(data.pairs)
    if len(pairs) < 2 * len(names):
        raise RecipeError(
            f"{', '.join(map(str, on))}: {len(pairs)} prompts with a preference are too few to "
            f"calibrate on; some hundreds are wanted{_skipped(data)}"
        )
    if to.is_dir() or not to.absolute().parent.is_dir():
        raise RecipeError(f"cannot write {to}: name a file in a folder that is there")
    place = Run.at(out, f"{recipe.name}-calibration")
    with claimed(place):
        found = drive(_calibrate(recipe, place, names, pairs, target, risk, say))
    made = Calibrations(found, target, risk, len(pairs), sorted(data.files))
    write_atomic(to, msgspec.json.format(msgspec.json.encode(made), indent=1))
    return made


def graders_of(source: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, list[str]]:
    """A recipe's models and rewards, with no steps but the grading ones, and the rewards of its
    route. Raises: RecipeError."""
    tree, path, folder = written(source, overrides)
    routes = [
        params.get("route")
        for item in tree["steps"]
        for params in [item.get("grade")]
        if isinstance(params, dict)
    ]
    names = [name for route in routes for name in route or () if name not in verifier_names()]
    names = list(dict.fromkeys(names))
    if not names:
        raise RecipeError(
            f"{path}: no step has a route of rewards to calibrate, such as "
            "grade: [math, helpsteer2, judge]"
        )
    kept = {k: tree[k] for k in ("models", "rewards", "providers", "budget_usd") if k in tree}
    steps = [find("topics")(given=["a"]), *(find("grade")(reward=name) for name in names)]
    name = tree.get("name", path.stem)
    return Recipe(steps, name=name, origin=str(path), folder=folder, **kept), names


def one_each(pairs: Sequence[Pair]) -> list[Pair]:
    """One pair of each prompt, in an order that has nothing to do with that of the files."""
    by_group: dict[str, tuple[bytes, Pair]] = {}
    for pair in pairs:
        mark = digest(pair.group, pair.chosen, pair.rejected)
        if pair.group not in by_group or mark < by_group[pair.group][0]:
            by_group[pair.group] = mark, pair
    return [pair for _, pair in sorted(by_group.values(), key=lambda item: item[0])]


def _skipped(data: HumanData) -> str:
    """What a file held that is no pair, where that explains why there are few."""
    return f" ({data.skipped:,} ties or twins were left out)" if data.skipped else ""


async def _calibrate(
    recipe: Recipe, place: Run, names: Sequence[str], pairs: Sequence[Pair], target: float,
    risk: float, say: Say,
) -> dict[str, Trusted]:  # fmt: skip
    async with opened(recipe, place) as (services, _):
        bench = _Bench(services, pairs)
        asking = cascade(names, bench.signs, target=target, risk=risk)
        name, places = next(asking)
        met = set[str]()  # asked before
        while True:
            to = "to see which reach the next" if name in met else "to calibrate it"
            met.add(name)
            say(f"{name}: asked about {len(places):,} pairs {to} …")
            margins = await bench.margins(name, places)
            if silent := int(np.isnan(margins).sum()):
                why = f": {bench.refused[name]}" if name in bench.refused else ""
                say(f"  no score for {silent:,} of {len(places):,} pairs{why}")
            say(f"  {money(services.client.budget.spent_nano / 1e9)} so far")
            try:
                name, places = asking.send(margins)
            except StopIteration as ended:
                made = ended.value
                break
        return {
            one.grader: Trusted(recipe.identity(one.grader), bench.main(one.grader), one)
            for one in made
        }


def told(made: Calibration) -> str:
    """A calibration in words."""
    if made.threshold is None:
        return (
            f"never sure enough: {made.n} pairs do not show that people agree with it "
            f"{made.target:.0%} of the time; more pairs may"
        )
    return (
        f"decides {made.coverage:.0%} of what reaches it, from a confidence of "
        f"{made.threshold:.2f}; of {made.n} pairs people agreed with {made.agreement:.0%} of that, "
        f"and will with {made.least:.0%} at least (but for a risk of {made.risk:.0%})"
    )


class _Bench:
    """Graders' margins on pairs, each side first half of the time."""

    def __init__(self, services: Services, pairs: Sequence[Pair]) -> None:
        self._services, self._pairs = services, pairs
        swapped = [digest(pair.chosen, pair.rejected)[0] % 2 for pair in pairs]
        self.signs = 1 - 2 * np.array(swapped, np.int64)  # 1: people chose the first
        self.refused: dict[str, str] = {}  # by grader, why the last one got no score

    def main(self, name: str) -> str:
        """The attribute that is a reward's one figure."""
        return main_attribute(self._services.recipe.reward(name))

    async def margins(self, name: str, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """The first response's score less the second's; NaN where the grader has none."""
        found: list[float] = []
        for start in range(0, len(places), AT_ONCE):
            some = places[start : start + AT_ONCE]
            found += await all_of(self._margin(name, int(place)) for place in some)
        return np.array(found)

    async def _margin(self, name: str, place: int) -> float:
        pair, key = self._pairs[place], self.main(name)
        texts = (pair.chosen, pair.rejected)[:: int(self.signs[place])]
        asker = Asker(STEP, f"pair {place}", "", "reward")
        try:
            first, second = await self._services.desk.score(
                name, Candidates(pair.prompt, texts), asker
            )
        except (RowError, ProviderError) as error:  # one answer in a thousand that cannot be read
            self.refused[name] = str(error)
            return float("nan")
        if first is None or second is None:
            return float("nan")
        return first[key] - second[key]
