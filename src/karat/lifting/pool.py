"""`karat lift --pool`: whether a reward picks what people preferred, without training anything.

The form for who has no hour to train in, and the one that says most about a reward alone. It is
worth what the pool is: a reward that was trained on it knows the answers, and is refused unless one
says that this is known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.api import drive
from karat.errors import ProviderError, RecipeError, RowError
from karat.inquiry import Place, bench, find, main_attribute
from karat.intervals import Interval
from karat.lifting.plan import now
from karat.lifting.pool_files import UNITS, Pool, Pooled, read_pool
from karat.models.endpoint import Asker
from karat.report.recommendation import plain
from karat.rewards.base import Candidates, is_asking
from karat.rundir import write_atomic
from karat.scoring.lift_pool import ModelFigures, Rung, agreement, by_model, rungs
from karat.together import all_of

Floats = NDArray[np.float64]
Say = Callable[[str], None]
AT_ONCE = 256
HALF = 0.5  # of all prompts: the largest n that so many have makes the headline


class PoolLift(msgspec.Struct, frozen=True):
    """The result. `trained_on`: files of the pool's name that the reward was trained on, of all
    its `data`, where that is `known`."""

    verdict: str
    pool: str
    reward: str
    unit: str
    prompts: int
    answers: int
    alone: int
    ungraded: int
    agreement: Interval
    rungs: list[Rung]
    models: dict[str, ModelFigures]
    trained_on: list[str]
    known: bool
    data: list[str]
    made: str
    command: str


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
    data, known = _data_of(place)
    trained_on = [name for name in data if name == pool.name]
    if trained_on and not contaminated:
        raise RecipeError(
            f"{reward} was trained on {trained_on[0]}, so that it knows what people said there: "
            "take another pool, or train a head on other data (`karat reward train`); "
            "--contaminated does it all the same"
        )
    say(f"{reward}: grading {len(pool.prompts):,} prompts")
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            graded = drive(_graded(place, pool, Path(folder)))
    else:
        Path(out).mkdir(parents=True, exist_ok=True)
        graded = drive(_graded(place, pool, Path(out)))
    if len(graded.prompts) < 2:
        raise RecipeError(f"{reward} graded the answers of {len(graded.prompts)} prompts of {path}")
    made = _measured(pool, place, graded, trained_on, (data, known), command)
    if out is not None:
        tree = msgspec.json.format(msgspec.json.encode(made), indent=1)
        write_atomic(Path(out) / "pool.json", tree)
        write_atomic(Path(out) / "pool.md", "\n".join(_markdown(made)).encode() + b"\n")
    return made


def _data_of(place: Place) -> tuple[list[str], bool]:
    """Files that the reward, or one that it asks, was trained on, and whether these are all."""
    found: set[str] = set()
    known = True
    for one in place.graders.behind(place.name).values():
        data = getattr(getattr(one, "head", None), "meta", {}).get("data")
        found |= set(data or ())
        known &= data is not None or (is_asking(one) and bool(one.rewards))
    return sorted(found), known


async def _graded(place: Place, pool: Pool, folder: Path) -> _Graded:
    """Prompts whose every answer has a score, and the scores."""
    key = main_attribute(place.reward)
    kept: list[Pooled] = []
    scores: list[float] = []
    async with bench(place, folder / "grading.sqlite") as (desk, _):

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
    pool: Pool, place: Place, graded: _Graded, trained_on: list[str],
    data: tuple[list[str], bool], command: str,
) -> PoolLift:  # fmt: skip
    if all(len({a.human for a in prompt.answers}) == 1 for prompt in graded.prompts):
        raise RecipeError(f"{pool.name}: people found all answers to each prompt equally good")
    flat = [answer for prompt in graded.prompts for answer in prompt.answers]
    counts_P = np.array([len(prompt.answers) for prompt in graded.prompts])
    human_R = np.array([answer.human for answer in flat])
    length_R = np.array([float(len(answer.text)) for answer in flat])
    steps = rungs(counts_P, graded.scores_R, human_R, length_R)
    models = by_model(counts_P, [answer.model for answer in flat], graded.scores_R, human_R)
    name = f"{place.name}.{main_attribute(place.reward)}"
    made = PoolLift(
        "", pool.name, name, UNITS[pool.kind], len(graded.prompts), len(flat), pool.alone,
        graded.ungraded, agreement(counts_P, graded.scores_R, human_R), steps, models, trained_on,
        data[1], data[0], now(), command,
    )  # fmt: skip
    return msgspec.structs.replace(made, verdict=_verdict(made))


def _verdict(made: PoolLift) -> str:
    """The first sentence."""
    if not made.rungs:
        return f"Nothing can be said: {made.prompts} prompts are too few."
    rung = next(
        (one for one in reversed(made.rungs) if one.prompts >= HALF * made.prompts), made.rungs[0]
    )
    gain, best = rung.reward.gain, rung.oracle.gain.value
    share = f", {gain.value / best:.0%} of what people's own choice gives" if best > 0 else ""
    known = f" (trained on {made.trained_on[0]}: it knew the answers)" if made.trained_on else ""
    figure = (
        f"best-of-{rung.n} by {made.reward}{known} − random = {_said(gain)} of {made.unit}{share}; "
        f"preferred to another answer {_share(rung.reward.wins)} of the time"
    )
    ahead = rung.over_longest
    if ahead.low <= 0 <= ahead.high:
        length = f"that it does better than the longest of {rung.n} was not shown ({_said(ahead)})"
    else:
        word = "better" if ahead.low > 0 else "worse"
        length = f"it does {word} than the longest of {rung.n} ({_said(ahead)})"
    if gain.low > 0:
        return f"Shown: {figure}; {length}."
    if gain.high < 0:
        return f"Shown to be worse: {figure}; {length}."
    return f"Nothing was shown: {figure}; {length}."


def _said(value: Interval) -> str:
    plus = "+" if value.value > 0 else ""
    return f"{plus}{plain(value.value, 3)} ({plain(value.low, 3)} to {plain(value.high, 3)})"


def _share(value: Interval) -> str:
    return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})"


def _markdown(made: PoolLift) -> Iterator[str]:
    yield from (f"**{made.verdict}**", "")
    yield f"- {made.pool}: {made.prompts:,} prompts, {made.answers:,} answers; {made.alone:,} with "
    yield f"  one answer and {made.ungraded:,} without all scores are left out"
    yield f"- in people's order: {_share(made.agreement)} of pairs that people do not tie"
    if not made.known:
        yield f"- whether {made.reward} was trained on these prompts is not known"
    elif not made.trained_on:
        yield f"- {made.reward} was trained on {', '.join(made.data)}: that none of these is this "
        yield "  pool is known by the files' names alone"
    yield from ("", "| best of n | prompts | by the reward | longest | by people | wins |")
    yield "|---|---|---|---|---|---|"
    for rung in made.rungs:
        ways = (rung.reward.gain, rung.longest.gain, rung.oracle.gain)
        cells = " | ".join(map(_said, ways))
        yield f"| {rung.n} | {rung.prompts:,} | {cells} | {_share(rung.reward.wins)} |"
    if made.models:
        yield from (
            "",
            "| model | answers | people prefer it | the reward does |",
            "|---|---|---|---|",
        )
        for name, one in made.models.items():
            yield f"| {name} | {one.answers:,} | {_share(one.people)} | {_share(one.reward)} |"
    yield from ("", f"Made {made.made} by `{made.command}`. Intervals hold 95% of the time, over ")
    yield "prompts; best-of-n is the mean over all subsets (Nakano et al. 2021)."


def print_lines(made: PoolLift) -> list[str]:
    """The result on a terminal."""
    return [line.replace("**", "") for line in _markdown(made)]
