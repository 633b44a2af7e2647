"""mix: human-written rows, rows of other files and of earlier rounds among the made ones.

Training on nothing but a model's own output narrows what the next model can say; a share of human
rows and the rows of earlier rounds bound the loss (2404.01413; at least 10 to 20%). Files are read
twice, once to choose and once to add, so that memory does not grow with them (some 25 bytes a row),
and no row is ever used twice. The table's parts are asked which of the files' rows they have, and
how much of what they hold: of its rows nothing is kept.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from karat.columns import Decision, Table
from karat.context import Context
from karat.errors import RecipeError, RunError
from karat.step import InputPath, Positive, Share, step
from karat.steps._by_part import untouched
from karat.steps._guarding import Guard
from karat.steps._mix_files import files_of, names_of, reading
from karat.steps._mixing import Weigh
from karat.steps._mixture import Mixture

Weight = Annotated[float, msgspec.Meta(gt=0)]
READING = ("prompt", "messages", "system", "response", "scores", "licence")


@step
def mix(
    table: Table,
    ctx: Context,
    *,
    human: InputPath | list[InputPath] | dict[InputPath, Weight] | None = None,
    share: Share = 0.2,
    floor: Share = 0.1,
    below: Literal["warn", "error"] = "warn",
    given: dict[InputPath, Share] = {},  # noqa: B006  (read from a recipe, never written to)
    caps: dict[InputPath, Positive] = {},  # noqa: B006
    previous: InputPath | list[InputPath] = [],  # noqa: B006
    weigh: Weigh = "rows",
    per: list[str] = [],  # noqa: B006
    guard: Guard = "warn",
    prompt: str | list[str] | None = None,
    messages: str | None = None,
    system: str | None = None,
    response: str | None = None,
    scores: list[str] | None = None,
    licence: str | None = None,
) -> Decision:
    """Adds rows of the file `human` until `share` of the live rows are human: H / (H + others).

    Rows that are human already count. The file is read as by the step `read`, whose parameters
    `prompt`, `messages`, `system`, `response`, `scores` and `licence` mean the same here. Only rows
    with an answer are taken, for they are examples to learn from; of several answers the one that
    `human.preferred` prefers is kept, else the first. A row whose turns are, up to case and white
    space, those of a live row or of an earlier row of the file is left out.

    - A run, or its `ratings.jsonl`, means the answers its reviewers edited: of `human` those that
      people wrote for the most part, to prompts of people; of `given` all.
    - `human` may be several files, as one, or with weights: `{a.jsonl: 2, b.jsonl: 1}`. What a file
      lacks comes from the others.
    - `given`: other files, each with its share of the whole mix: `{code.jsonl: 0.1}`.
    - `caps`: at most so much of a file of `human` or `given`: `{a.jsonl: 500}`.
    - `previous`: a run's directory or a file, or several, first round first: all their accepted
      rows that say nothing new are left out, the others are added with `meta.round`, so that rounds
      add up and replace nothing. Their human rows count.
    - `weigh: tokens`: shares and caps are of tokens, not of rows; a token is taken to be 4 bytes of
      UTF-8 in the messages and the kept answer. The last row taken may go over.
    - `per`: fields of `meta`; each stratum gets human and given rows in proportion to its others,
      as far as the files have rows of it. What is missing comes from other strata.
    - `guard` compares the mix with human text that is not in it, and what was made in this round
      with the round before (of `previous`, or by `meta.round`): see karat.curation.collapse. Where
      rare words are being lost it warns, or stops the run. Human text about other things than
      the made rows looks like a loss too.

    Which rows are taken depends on the seed and on what they say, and a greater share keeps what a
    smaller one took. Where a file has too few, all are taken and a warning says so; where the share
    of human rows then stays under `floor`, `below: error` stops the run.

    Raises: RunError with `below: error` or `guard: error`.
    Source: accumulating human data bounds the error over generations: Gerstgrasser et al.
    (2404.01413); replacing the last 10% is severe: 2410.13098.
    """
    mapping = {"prompt": prompt, "messages": messages, "system": system, "response": response}
    files = files_of(ctx, human, given, caps, {**mapping, "scores": scores, "licence": licence})
    earlier = [previous] if isinstance(previous, str) else previous
    work = Mixture(ctx, weigh, per, watch=guard != "off")
    work.read(earlier, files)
    work.ask(table)
    work.accumulate()
    work.look()
    work.take_given([file for file in files if not file.human], share if human else 0.0)
    wanted = work.take_human([file for file in files if file.human], share)
    notes = work.notes(wanted)
    _warn_short(ctx, human, notes, work, share, floor, below)
    notes |= work.guard(guard, share)
    return Decision(each=untouched, add=work.added(), notes=notes)


@mix.rule
def _rule(
    *, human: Any, share: float, floor: float, given: dict[str, float], caps: dict[str, int],
    previous: str | list[str], **rest: Any,
) -> str | None:  # fmt: skip
    people = names_of(human)
    if not (people or given or previous):
        return "name files to mix in: human (people's rows), given (others), or previous (rounds)"
    if human is not None and share < floor:
        return (
            f"share {share:g} is below floor {floor:g}; raise share, or lower floor if so few "
            "human rows are meant: models trained on nearly only their own output collapse"
        )
    total = sum(given.values()) + (share if people else 0)
    if total >= 1:
        return f"the shares of human and given add up to {total:g}; they must stay below 1"
    if unfit := [name for name, part in given.items() if part <= 0]:
        return f"given: {unfit[0]} has share 0; leave it out, or give it one"
    if unfit := [name for name in caps if name not in {*people, *given}]:
        return f"caps: {unfit[0]} is no file of human or given"
    if twice := [name for name in people if name in given or people.count(name) > 1]:
        return f"{twice[0]} is named twice"
    try:
        for name in [*people, *given]:
            reading(name, "human", {key: rest[key] for key in READING})
    except RecipeError as error:
        return str(error)
    return None


def _warn_short(
    ctx: Context, human: Any, notes: dict[str, Any], work: Mixture, share: float, floor: float,
    below: str,
) -> None:  # fmt: skip
    """Says where people's rows stay under what was meant. Raises: RunError with `below: error`."""
    file, total = ", ".join(names_of(human)), work.others + work.human
    added = sum(int(f.rows.size[f.chosen].sum()) for f in work.files if f.human)
    if not total:
        ctx.warn("no live rows to mix human rows with; none were added")
    elif work.share < floor:
        what = (
            f"{file} had {notes['available']:,} usable {work.weigh}, {notes['wanted']:,} were "
            "wanted"
            if file
            else "mix names no file of human rows"
        )
        text = (
            f"human {work.weigh} are {work.share:.1%} of {total:,}, below the floor of "
            f"{floor:.0%}: {what}"
        )
        if below == "error":
            raise RunError(f"{text}; add human rows, or lower floor, and run again")
        ctx.warn(text)
    elif added < notes["wanted"]:
        ctx.warn(f"{file} has {added:,} usable {work.weigh} where {notes['wanted']:,} were wanted: "
                 f"human {work.weigh} are {work.share:.1%} of all, not {share:.0%}")  # fmt: skip
