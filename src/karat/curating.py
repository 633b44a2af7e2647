"""karat curate: the shipped recipe for data that is there already, fitted to what the data hold.

Data differ in what people said of them: ratings, which of two answers is better, or nothing. So the
first rows are looked at, and the recipe's steps that need a rating go where there is none. What was
run is a recipe like any other: it lies in the run's folder, to be changed and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

from karat.errors import RecipeError
from karat.overrides import override
from karat.recipe import Recipe
from karat.recipefile import checked, find_recipe, name_of_file, parse, parse_step
from karat.report.survey_source import own_file, reading
from karat.row import Row
from karat.steps._mapping import NAME_ONE
from karat.steps.read import read

RECIPE = "curate-existing"
LOOKED_AT = 500  # rows whose fields are looked at
# Scores by people, from the one that says most.
RATED = ("human.helpfulness", "human.preferred", "human.rating", "human.score", "human.overall")
Say = Callable[[str], None]


def curation(
    data: str, *, against: Sequence[str] = (), human: str | None = None, select: int | None = None,
    by: str | None = None, minimum: float | None = None, split: bool = False,
    overrides: Sequence[str] = (), say: Say = lambda text: None,
) -> Recipe:  # fmt: skip
    """The recipe that curates `data`: a file, a folder, a run, or `owner/name` of the Hub.

    Filters, near-duplicates of prompts, and of what people rated the best. `against`: evaluation
    sets to decontaminate from; `human`: a file of human rows to mix in; `select`: how many rows to
    keep; `by` with `minimum`: the score that must be reached; `split`: into train, validation and
    test. Raises: RecipeError.
    """
    path = find_recipe(RECIPE)
    tree = checked(parse(path), str(path))
    head = {"steps": [{"read": _source(data, tree["steps"][0]["read"])}]}
    for text in overrides:
        if text.startswith("read."):  # which columns there are must be known to look at them
            override(head, text)
    params = head["steps"][0]["read"]
    found = _scores(params)
    by = by or next((key for key in RATED if key in found), None)
    if by is not None and by not in found:
        raise RecipeError(
            f"no row of {data} has a score '{by}'; there is: {', '.join(sorted(found)) or 'none'}"
        )
    if minimum is not None and by is None:
        raise RecipeError(f"minimum needs a score, and no row of {data} has one")
    steps: list[dict[str, Any]] = [{"read": params}]
    for item in tree["steps"][1:]:
        ((name, held),) = deepcopy(item).items()
        steps += _fitted(name, held, by, minimum)
    steps += [{"decontaminate": {"against": list(against)}}] if against else []
    steps += [{"select": {"n": select}}] if select else []
    steps += [{"mix": {"human": human}}] if human else []
    steps += [{"split": {}}] if split else []
    kept = {**tree, "name": name_of_file(Path(data)), "steps": steps}
    for text in overrides:
        override(kept, text)
    say(f"{' → '.join(next(iter(step)) for step in steps)}; rated by: {by or 'nobody'}")
    folder = Path.cwd()
    calls = [
        parse_step(item, f"step {number}", folder) for number, item in enumerate(kept["steps"], 1)
    ]
    return Recipe(calls, name=kept["name"], origin=f"curate {data}", folder=folder,
                  seed=kept.get("seed", 0), export=kept["export"])  # fmt: skip


def _source(data: str, shipped: dict[str, Any]) -> dict[str, Any]:
    """What `read` is to read. Raises: RecipeError."""
    path = Path(data)
    if not path.exists():
        if data.count("/") == 1 and not path.suffix:
            known = shipped if shipped.get("dataset") == data else {"group": True}
            return {**known, "dataset": data}
        raise RecipeError(f"there is no {data}; name a file, a folder, a run, or owner/name")
    return {"path": str(own_file(path) or path), "group": True}


def _scores(params: dict[str, Any]) -> set[str]:
    """The scores of the first rows."""
    rows: Iterator[Row] = reading(read.check(params))
    try:
        return {key for row in islice(rows, LOOKED_AT) for r in row.responses for key in r.scores}
    except RecipeError as error:
        told = str(error).removesuffix(NAME_ONE)
        if told == str(error):
            raise
        raise RecipeError(f"{told}name one with --set read.prompt=COLUMN") from None


def _fitted(
    name: str, held: dict[str, Any], by: str | None, minimum: float | None
) -> list[dict[str, Any]]:
    """A step of the shipped recipe with the score that the data have, or without."""
    if name == "dedupe":
        ranked = {"keep": "best", "by": by} if by else {"keep": "longest"}
        return [{name: {k: v for k, v in held.items() if k not in ("keep", "by")} | ranked}]
    if name == "reject":
        if by is None:
            return []
        # The shipped minimum is for HelpSteer's scale; of another score the best is enough.
        shipped = held.get("minimum") if by == held.get("by") else None
        least = shipped if minimum is None else minimum
        return [{name: {"by": by, "best": 1, **({} if least is None else {"minimum": least})}}]
    return [{name: held}]
