"""The students' answers by a reward that did not choose what they were trained on.

The reward that chose is the one that cannot say whether choosing helped: its own favourites are
what the students imitate. So it is refused here, by what it is and not by its name. All answers to
one prompt are shown to it together, as a judge that compares needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from karat.driving import drive
from karat.errors import ProviderError, RecipeError, RowError
from karat.inquiry import Place, bench, find, main_attribute, written
from karat.ledger import NANO
from karat.lifting.held_out import Asked
from karat.lifting.workshop import Student
from karat.models.endpoint import Asker
from karat.recipe import Recipe
from karat.rewards.base import Candidates, is_asking, is_remote
from karat.rundir import Run
from karat.together import all_of

AT_ONCE = 64  # prompts under way
VERIFIER = "verifier"  # what scores of checks are called: no reward had a part in them


class Other(NamedTuple):
    """A reward that did not choose; `note` says what it has in common with the one that did."""

    place: Place
    attribute: str
    note: str

    @property
    def key(self) -> str:
        """Its score's name; of a file, without the folders of this machine."""
        path = self.place.name.partition("/")[2]
        name = self.place.reward.name if Path(path).is_absolute() else self.place.name
        return f"{name}.{self.attribute}"


def other_reward(name: str, run: Run, by: str) -> Other:
    """The reward `name`, or one of the run's recipe. Raises: RecipeError where it chose."""
    tree = written(run.recipe).tree
    place = find(name, run.recipe)
    chose = by.rpartition(".")[0]
    # A sum, or what was passed on: whatever the steps have graded by may have chosen.
    known = chose in (tree.get("rewards") or {}) or "/" in chose
    choosers = [] if chose == VERIFIER else [chose] if known else _graded_by(run)
    mine = _marks(place)
    note = ""
    for chooser in choosers:
        theirs = find(chooser, run.recipe)
        if mine & _marks(theirs):
            raise RecipeError(
                f"--reward {name} is, or asks, what chose the answers ({by}): it would judge its "
                "own taste; name a reward that had no part in it"
            )
        note = note or _in_common(place, theirs)
    return Other(place, main_attribute(place.reward), note)


def _graded_by(run: Run) -> list[str]:
    """The rewards that the run's steps name."""
    steps = Recipe.load(run.recipe).steps
    return list(dict.fromkeys(name for call in steps for _, name in call.named("reward")))


def _marks(place: Place) -> set[str]:
    """What tells apart whatever judges in the end: weights by their hash, whatever their file is
    called, and models, whatever they are asked. A panel is its members."""
    found: set[str] = set()
    for one in place.graders.behind(place.name).values():
        if is_remote(one):
            found |= {one.identity, one.spec.identity()}
        elif not is_asking(one):
            found.add(one.identity.rpartition("@")[2])
        for model in () if is_remote(one) else one.models:
            found |= {spec.identity() for spec in place.spec(model).route()}
    return found


def _in_common(one: Place, other: Place) -> str:
    """What two heads were both trained on."""
    data = [getattr(getattr(p.reward, "head", None), "meta", {}).get("data") for p in (one, other)]
    shared = sorted(set(data[0] or ()) & set(data[1] or ()))
    if not shared:
        return ""
    return (
        f"{one.name} did not choose, but was trained on what {other.name} was ({', '.join(shared)})"
    )


def grade(
    other: Other, items: Sequence[Asked], students: Sequence[Student], out: Path
) -> tuple[dict[str, list[Any]], float | None]:
    """Of each arm a line per student: its answers' scores, NaN where there is none; and what all of
    it has cost, None where a price is not known. What was paid for is kept in `out`."""
    return drive(_grade(other, items, students, out))


async def _grade(
    other: Other, items: Sequence[Asked], students: Sequence[Student], out: Path
) -> tuple[dict[str, list[Any]], float | None]:
    scores_PS: list[list[float]] = []
    async with bench(other.place, out / "grading.sqlite") as (desk, client):

        async def one(place: int) -> list[float]:
            texts = [student.answers[place] for student in students]
            shown = tuple(dict.fromkeys(text for text in texts if text.strip()))
            asker = Asker("lift", f"prompt {place}", "", "reward")
            job = Candidates(items[place].messages, shown, items[place].meta)
            try:
                found = await desk.score(other.place.name, job, asker) if shown else []
            except (RowError, ProviderError):
                found = [None] * len(shown)
            known = {
                text: scores[other.attribute]
                for text, scores in zip(shown, found, strict=True)
                if scores is not None and other.attribute in scores
            }
            return [known.get(text, float("nan")) for text in texts]

        for start in range(0, len(items), AT_ONCE):
            some = range(start, min(start + AT_ONCE, len(items)))
            scores_PS += await all_of(one(place) for place in some)
        ((spent,),) = client.journal.query("SELECT sum(cost_nano) FROM minutes")
    cost = None if other.place.unpriced else (spent or 0) / NANO
    values: dict[str, list[Any]] = {}
    for column, student in enumerate(students):
        values.setdefault(student.arm, []).append([line[column] for line in scores_PS])
    return values, cost
