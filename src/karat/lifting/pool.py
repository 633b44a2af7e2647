"""`karat lift --pool`: whether a reward picks what people preferred, without training anything.

The form for who has no hour to train in, and the one that says most about a reward alone. It is
worth what the pool is: a reward that was trained on it knows the answers, and is refused unless one
says that this is known. Heads keep a record of their prompts, so that no other name hides a pool;
of a head without one, the names of its files have to do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.driving import drive
from karat.errors import ProviderError, RecipeError, RowError
from karat.inquiry import Place, bench, find, main_attribute, seen_share
from karat.lifting.plan import now
from karat.lifting.pool_files import UNITS, Pool, Pooled, read_pool
from karat.lifting.pool_shown import PoolLift, markdown, print_lines, said_first
from karat.models.endpoint import Asker
from karat.rewards.base import Candidates, is_asking
from karat.rundir import Lock, Run, write_atomic
from karat.scoring.lift_pool import agreement, by_model, rungs
from karat.together import all_of
from karat.training.student_folder import check_free

__all__ = ["PoolLift", "pool_lift", "print_lines"]

Floats = NDArray[np.float64]
Say = Callable[[str], None]
AT_ONCE = 256
SEEN = 0.05  # of a pool's prompts: what a reward may have been trained on by chance
RESULT, GRADED = "pool.json", "grading.sqlite"


class _Known(NamedTuple):
    """What a reward was trained on: files, and whether these are all; of them the files of the
    pool's name, of heads without a record of prompts; and how much of the pool the records hold."""

    data: list[str]
    whole: bool
    named: list[str]
    seen: float | None


class _Graded(NamedTuple):
    prompts: list[Pooled]
    scores_R: Floats
    ungraded: int


def pool_lift(
    path: str | Path, reward: str, *, out: str | Path | None = None, contaminated: bool = False,
    recipe: str | Path | None = None, command: str = "", say: Say = lambda text: None,
) -> PoolLift:  # fmt: skip
    """Best-of-n by `reward` against what people said of the same answers, for every n.

    With `out`, a folder, pool.json and pool.md are written there and what was graded is kept.
    Raises: RecipeError, also where the reward was trained on the pool and `contaminated` is not
    set; RunError.
    """
    pool, place = read_pool(Path(path)), find(reward, recipe)
    if all(one.tied for one in pool.prompts):
        raise RecipeError(
            f"{path}: people found all answers to each of the {len(pool.prompts):,} prompts "
            "equally good, so that no choice is right; take a file in which they preferred some"
        )
    known = _known(place, pool)
    if not contaminated:
        _check_new(reward, known)
    if out is not None:
        check_free(Path(out), own=(RESULT, GRADED), other=("plan.json",))
    say(f"{reward}: grading {len(pool.prompts):,} prompts")
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            graded = drive(_graded(place, pool, Path(folder)))
    else:
        with Lock(Run(out)):
            graded = drive(_graded(place, pool, Path(out)))
    if all(one.tied for one in graded.prompts):
        raise RecipeError(
            f"{reward} graded the answers to {len(graded.prompts):,} prompts of {path}, and people "
            "preferred none of them"
        )
    made = _measured(pool, place, graded, known, command)
    if out is not None:
        tree = msgspec.json.format(msgspec.json.encode(made), indent=1)
        write_atomic(Path(out) / RESULT, tree)
        write_atomic(Path(out) / "pool.md", markdown(made).encode())
    return made


def _known(place: Place, pool: Pool) -> _Known:
    """Of the reward and of those that it asks."""
    data, named = set[str](), set[str]()
    whole = True
    for one in place.graders.behind(place.name).values():
        meta = getattr(getattr(one, "head", None), "meta", {})
        files = meta.get("data")
        data |= set(files or ())
        named |= set() if "prompts" in meta else {name for name in files or () if name == pool.name}
        whole &= files is not None or (is_asking(one) and bool(one.rewards))
    groups = {one.group for one in pool.prompts} - {""}
    return _Known(sorted(data), whole, sorted(named), seen_share(place, groups))


def _check_new(reward: str, known: _Known) -> None:
    """Raises: RecipeError where the reward was trained on the pool."""
    if (known.seen or 0.0) >= SEEN:
        what = f"{known.seen:.0%} of this pool's prompts"
    elif known.named:
        what = known.named[0]
    else:
        return
    raise RecipeError(
        f"{reward} was trained on {what}, so that it knows what people said there: take another "
        "pool, or train a head on other data (`karat reward train`); --contaminated does it all "
        "the same"
    )


async def _graded(place: Place, pool: Pool, folder: Path) -> _Graded:
    """Prompts whose every answer has a score, and the scores."""
    key = main_attribute(place.reward)
    kept: list[Pooled] = []
    scores: list[float] = []
    async with bench(place, folder / GRADED) as (desk, _):

        async def one(number: int) -> list[float] | None:
            prompt = pool.prompts[number]
            job = Candidates(prompt.messages, tuple(answer.text for answer in prompt.answers))
            try:
                found = await desk.score(
                    place.name, job, Asker("lift", f"prompt {number}", "", "reward")
                )
            except (RowError, ProviderError):
                return None
            values = [float("nan") if one is None else one[key] for one in found]
            return values if np.isfinite(values).all() else None

        for start in range(0, len(pool.prompts), AT_ONCE):
            some = range(start, min(start + AT_ONCE, len(pool.prompts)))
            for number, values in zip(some, await all_of(map(one, some)), strict=True):
                if values is not None:
                    kept.append(pool.prompts[number])
                    scores += values
    return _Graded(kept, np.array(scores), len(pool.prompts) - len(kept))


def _measured(
    pool: Pool, place: Place, graded: _Graded, known: _Known, command: str
) -> PoolLift:  # fmt: skip
    flat = [answer for prompt in graded.prompts for answer in prompt.answers]
    counts_P = np.array([len(prompt.answers) for prompt in graded.prompts])
    human_R = np.array([answer.human for answer in flat])
    length_R = np.array([float(len(answer.text)) for answer in flat])
    steps = rungs(counts_P, graded.scores_R, human_R, length_R)
    models = by_model(counts_P, [answer.model for answer in flat], graded.scores_R, human_R)
    name = f"{place.name}.{main_attribute(place.reward)}"
    made = PoolLift(
        "", pool.name, name, UNITS[pool.kind], len(graded.prompts), len(flat), pool.alone,
        graded.ungraded, agreement(counts_P, graded.scores_R, human_R), steps, models,
        known.named, known.whole, known.data, known.seen, now(), command,
    )  # fmt: skip
    return msgspec.structs.replace(made, verdict=said_first(made))
