"""verify: scores every response by checks that need no model.

A check knows what a reward model guesses: on IF-RewardBench (arXiv 2603.04738) how reward models
rank answers hardly agrees with how well these follow instructions (τ below .2). So the verdicts are
scores of their own, which `reject` takes as floors under any reward.

Checks run in threads, as many at once as there are processors: one that runs code or reads a long
text would hold up every call under way.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from karat.context import Context
from karat.errors import RecipeError
from karat.modelchecks import meta_fields
from karat.row import Response, Row
from karat.step import Scale, step
from karat.together import all_of
from karat.verifiers.base import Item, Verdict, accepted, find

if TYPE_CHECKING:
    from karat.recipe import Recipe

Checks = list[str | dict[str, dict[str, Any]]]
Options = dict[str, dict[str, Any]]  # of each check, by name
Reason = dict[str, Any]  # check, response (its place in the row, from 0), reason

REASONS = "failed_checks"  # the field of meta
MOST_REASONS = 8  # of one row
LONGEST_REASON = 200  # characters
WHOLE: Scale = (0.0, 1.0)


@step
async def verify(
    row: Row,
    ctx: Context,
    *,
    checks: Checks = ["instructions"],  # noqa: B006  read only
    require: Literal["none", "all"] = "none",
) -> Row:
    """Adds a score to every response for each check: `verifier.NAME` is 1 where it passed, 0 where
    it failed, and absent where the check cannot decide. A check that knows degrees adds the part
    that passed, 0 to 1, as `verifier.NAME_share`.

    A check is a name, or a name with its options: `[instructions, {refusal: {partial: true}}]`.
    Why responses failed stands in `meta` under `failed_checks`, at most eight reasons a row.

    By default nothing is dropped: later steps take the scores as floors. With `require: all` a
    response that fails a check is turned down, as one that `reject` leaves, and a row without any
    other is dropped. What no check can decide is not turned down.
    """
    verdicts_N = await verified(row, ctx, options_of(checks))
    if require == "all" and row.responses:
        _turn_down(row, verdicts_N)
    return row


verify.marks = (REASONS,)
_WORDS = {True: "passed", False: "failed", None: "undecided"}


async def verified(
    row: Row, ctx: Context, options: Options, first: int = 0
) -> list[dict[str, Verdict]]:
    """`verdicts_of` the row's responses from place `first` on, written into their scores, and into
    `meta` why they failed. Raises: as there."""
    responses, reasons = row.responses[first:], list[Reason]()
    verdicts_N = await verdicts_of(row, ctx, options, responses)
    for place, (response, verdicts) in enumerate(zip(responses, verdicts_N, strict=True), first):
        for name in options:
            verdict = verdicts.get(name, Verdict(passed=None))
            _score(response, name, verdict)
            ctx.count(f"{name}: {_WORDS[verdict.passed]}")
            if verdict.passed is False:
                reason = verdict.reason[:LONGEST_REASON]
                reasons.append({"check": name, "response": place, "reason": reason})
    _note(row, options, reasons, first)
    return verdicts_N


async def verdicts_of(
    row: Row, ctx: Context, options: Options, responses: Sequence[Response]
) -> list[dict[str, Verdict]]:
    """By name of the check, its verdict on each response, without those whose field of `meta` the
    row does not bring. `options`: of each check, by name; {} for its defaults.

    Raises: RowError, RunError from a check.
    """
    runnable = _runnable(options, row.meta, ctx)
    prompt, meta, loop = tuple(row.messages), row.meta, asyncio.get_running_loop()
    items = [Item(prompt, one.content, one.finish_reason, meta) for one in responses]
    return await all_of(
        loop.run_in_executor(_threads(), _verdicts, runnable, item) for item in items
    )


def _verdicts(options: Options, item: Item) -> dict[str, Verdict]:
    return {name: find(name).verify(item, **values) for name, values in options.items()}


def _runnable(options: Options, meta: Mapping[str, Any], ctx: Context) -> Options:
    """The checks whose fields the row brings; the others decide nothing about it."""
    found: Options = {}
    for name, values in options.items():
        missing = [field for field in find(name).NEEDS if field not in meta]
        if missing:
            ctx.warn(
                f"'{name}' needs the meta field '{missing[0]}'; rows without it are left undecided"
            )
        else:
            found[name] = values
    return found


def _note(row: Row, options: Options, reasons: Sequence[Reason], first: int) -> None:
    """Writes the reasons into `meta`, after those of other checks and of responses before."""

    def stands(one: object) -> bool:
        if not isinstance(one, dict):
            return False
        place = one.get("response")
        return one.get("check") not in options or (isinstance(place, int) and place < first)

    before = row.meta.get(REASONS, [])
    notes = before if isinstance(before, list) else []
    others = [one for one in notes if stands(one)]
    if others or reasons:
        row.meta = {**row.meta, REASONS: [*others, *reasons][:MOST_REASONS]}
    elif notes:
        row.meta = {key: value for key, value in row.meta.items() if key != REASONS}


def _score(response: Response, name: str, verdict: Verdict) -> None:
    key = f"verifier.{name}"
    for stale in (key, f"{key}_share"):
        response.scores.pop(stale, None)
    if verdict.passed is not None:
        response.scores[key] = float(verdict.passed)
    if verdict.share is not None:
        response.scores[f"{key}_share"] = verdict.share


def _turn_down(row: Row, found: Sequence[Mapping[str, Verdict]]) -> None:
    """Keeps the responses that fail nothing and were not turned down before."""
    failed: dict[str, int] = {}
    for response, verdicts in zip(row.responses, found, strict=True):
        broken = [name for name, verdict in verdicts.items() if verdict.passed is False]
        response.kept = response.kept is not False and not broken
        for name in broken:
            failed[name] = failed.get(name, 0) + 1
    if not any(response.kept for response in row.responses):
        told = ", ".join(f"{name} {count}" for name, count in failed.items())
        row.dropped = f"no response passes ({told or 'all were turned down before'})"


@cache
def _threads() -> ThreadPoolExecutor:
    """One for all runs of the process: checks hold nothing, and threads without work cost none."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="karat-verify")


def options_of(checks: Checks) -> Options:
    """Each check's options, defaults filled in. Raises: RecipeError."""
    found: Options = {}
    for one in checks:
        named = {one: {}} if isinstance(one, str) else one
        if len(named) != 1:
            raise RecipeError(f"a check is a name, or one name with its options; got {one}")
        for name, values in named.items():
            if name in found:
                raise RecipeError(f"'{name}' is listed twice")
            found[name] = accepted(name, values)
    return found


@verify.fits
def _fits(recipe: Recipe, *, checks: Checks, **_: Any) -> str | None:
    """Whether rows can have what the checks need; None where a step could write any field."""
    known = meta_fields(recipe.steps)
    for name in options_of(checks) if known is not None else ():
        for field in find(name).NEEDS:
            if field not in (known or ()):
                return f"checks: '{name}' needs rows with the meta field '{field}'; read such rows"
    return None


@verify.gives
def _gives(*, checks: Checks, **_: Any) -> dict[str, Scale]:
    """The scores that these checks give."""
    scores: dict[str, Scale] = {}
    for name in options_of(checks):
        scores[f"verifier.{name}"] = WHOLE
        if getattr(find(name), "SHARES", False):
            scores[f"verifier.{name}_share"] = WHOLE
    return scores


@verify.rule
def _rule(*, checks: Checks, **_: Any) -> str | None:
    try:
        found = options_of(checks)
    except RecipeError as error:
        return f"checks: {error}"
    return None if found else "checks is empty; name at least one, or leave out the step"
