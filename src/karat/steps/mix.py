"""mix: human-written rows, rows of other files and of earlier rounds among the made ones.

Training on nothing but a model's own output narrows what the next model can say; a share of human
rows and the rows of earlier rounds bound the loss (2404.01413; at least 10 to 20%). Files are read
twice, once to choose and once to add, so that memory does not grow with them (some 20 bytes a row),
and no row is ever used twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from karat.columns import Decision, Table
from karat.context import Context
from karat.curation.shingles import Hashes, Ints
from karat.errors import RecipeError, RunError
from karat.row import Ids, Row
from karat.step import InputPath, Positive, Share, step
from karat.steps._bars import Strata
from karat.steps._guarding import CHARS, MOST, Guard, Watched, guarded, said
from karat.steps._mix_files import File, earlier_rows, files_of, names_of, reading
from karat.steps._mixing import (
    Rows,
    Weigh,
    at_places,
    by_stratum,
    file_rows,
    fresh,
    in_turn,
    live_rows,
    shared_out,
    whole,
)  # fmt: skip

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
    work = _Mix(table, ctx, weigh, per, watch=guard != "off")
    work.accumulate(earlier)
    work.look(files)
    work.take_given([file for file in files if not file.human], share if human else 0.0)
    wanted = work.take_human([file for file in files if file.human], share)
    notes = work.notes(wanted, earlier, files)
    _warn_short(ctx, human, notes, work, share, floor, below)
    notes |= work.guard(guard, share)
    return Decision(add=work.added(), notes=notes)


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


class _Mix:
    """A mix in the making: what is in it, and what is to come."""

    def __init__(
        self, table: Table, ctx: Context, weigh: Weigh, per: list[str], *, watch: bool
    ) -> None:
        self.ctx, self.weigh = ctx, weigh
        self.strata, self.watched = Strata(per), Watched()
        self.seed = ctx.rng().getrandbits(63)
        live = live_rows(table, weigh, self.strata)
        if watch:
            self.watched.live(table)
        self.said: Hashes = live.digest
        self.watch, self.rows = watch, len(live.size)
        self.others, self.human = (
            int(live.size[~live.human].sum()),
            int(live.size[live.human].sum()),
        )
        self._inside = [(live.code, live.size, live.human)]
        self._earlier: list[tuple[str, int, Ints]] = []  # file, number, places
        self.files: list[File] = []

    def accumulate(self, paths: list[str]) -> None:
        """Takes in the rows of earlier rounds that say something new."""
        for number, path in enumerate(paths, 1):
            rows = earlier_rows(self.ctx.path(path), number, ctx=self.ctx)
            found = file_rows(
                self.watched.earlier(rows) if self.watch else rows, self.weigh, self.strata
            )
            places = fresh(found, self.said)
            self.said = np.concatenate([self.said, found.digest[places]])
            self._add(found.at(places))
            self._earlier.append((path, number, places))

    def look(self, files: list[File]) -> None:
        """Reads the files once: which of their rows may be taken, and in which order."""
        self.files = files
        for file in files:
            file.rows = file_rows(file.answered(file.skipped), self.weigh, self.strata)
            places = fresh(file.rows, self.said)
            self.said = np.concatenate([self.said, file.rows.digest[places]])
            file.skipped["duplicate"] = len(file.rows.size) - len(places)
            file.order = in_turn(file.rows, places, self.seed)
        self.strata.warn(self.ctx)

    def take_given(self, files: list[File], share: float) -> None:
        """Chooses rows of other files, each to its share of the whole, before the human ones."""
        if not files:
            return
        people = sum(file.limit() for file in self.files if file.human)
        shares = [file.weight or 0.0 for file in files] + [share] * bool(share)
        limits = [float(file.limit()) for file in files] + [float(self.human + people)] * bool(
            share
        )
        size = whole(self.others + (0 if share else self.human), np.array(shares), np.array(limits))
        need_S = self._by_stratum()
        for file in files:
            wanted = int(np.ceil((file.weight or 0.0) * size - 1e-9))
            file.chosen = by_stratum(file.order, file.rows, wanted, need_S, file.cap)
            self._add(file.rows.at(file.chosen))
            if file.limit() < wanted:
                self.ctx.warn(
                    f"{file.path} has {file.limit():,} usable {self.weigh} where {wanted:,} were "
                    f"wanted for {file.weight:.0%}"
                )

    def take_human(self, files: list[File], share: float) -> int:
        """Chooses people's rows; returns how much was wanted of them."""
        wanted = max(0, _needed(self.others, share) - self.human) if files else 0
        need_S = np.maximum(0.0, share / (1 - share) * self._by_stratum() - self._by_stratum(True))
        limits = np.array([file.limit() for file in files], np.int64)
        weights = [file.there() if file.weight is None else file.weight for file in files]
        parts = shared_out(wanted, np.array(weights, np.float64), limits)
        for file, part in zip(files, parts.tolist(), strict=True):
            # Of a single file all that was wanted, so that tokens reach it with the last row.
            part = wanted if len(files) == 1 else part
            file.chosen = by_stratum(file.order, file.rows, part, need_S, file.cap)
            self._add(file.rows.at(file.chosen))
        return wanted

    def _add(self, rows: Rows) -> None:
        self.rows += len(rows.size)
        self.human += int(rows.size[rows.human].sum())
        self.others += int(rows.size[~rows.human].sum())
        self._inside.append((rows.code, rows.size, rows.human))

    def _by_stratum(self, human: bool = False) -> Any:
        """size_S: how much of each stratum is in the mix, of people's rows or of the others."""
        total_S = np.zeros(len(self.strata.names))
        for code, size, people in self._inside:
            which = people if human else ~people
            total_S += np.bincount(code[which], size[which], minlength=len(total_S))
        return total_S

    @property
    def share(self) -> float:
        return self.human / (self.others + self.human) if self.others + self.human else 0.0

    def notes(self, wanted: int, earlier: list[str], files: list[File]) -> dict[str, Any]:
        people = [file for file in files if file.human]
        keys = ("unusable", "no_answer", "duplicate")
        found: dict[str, Any] = {
            "human": self.human,
            "added": sum(len(file.chosen) for file in people),
            "share": self.share,
            "wanted": wanted,
            "available": sum(file.limit() for file in people),
            "skipped": {key: sum(file.skipped[key] for file in people) for key in keys},
        }
        if len(files) > 1 or len(files) > len(people):
            found["files"] = {
                file.path: {
                    "added": len(file.chosen),
                    self.weigh: int(file.rows.size[file.chosen].sum()),
                    "available": file.limit(),
                }
                for file in files
            }
        if earlier:
            found["previous"] = {path: len(places) for path, _, places in self._earlier}
        return found

    def guard(self, guard: Guard, share: float) -> dict[str, Any]:
        """The notes of the guard, which reads people's answers once more."""
        if guard == "off":
            return {}
        unused: list[tuple[int, str]] = []
        for file in self.files:
            turn = {place: n for n, place in enumerate(file.order.tolist())}
            chosen = set(file.chosen.tolist())
            for place, row in enumerate(file.again()):
                if place in chosen:
                    (self.watched.human if file.human else self.watched.others).add(said(row))
                elif file.human and place in turn and turn[place] >= len(turn) - MOST:
                    unused.append((turn[place], said(row)[:CHARS]))
        left = [text for _, text in sorted(unused)]
        found = guarded(self.ctx, self.watched, left, guard, share, self.seed)
        return {"guard": found} if found else {}

    def added(self) -> Iterator[Row]:
        """The rows to add: earlier rounds, then each file's in its own order."""
        for path, number, places in self._earlier:
            rows = earlier_rows(self.ctx.path(path), number, ctx=self.ctx)
            yield from at_places(rows, places)
        ids = Ids()
        for file in sorted(self.files, key=lambda file: not file.human):
            for row in at_places(file.again(), file.chosen):
                row.id = ids.assign(row.messages, row.meta, self.ctx.label)
                yield row


def _needed(others: int, share: float) -> int:
    """The fewest human rows that are at least `share` of all, beside `others`."""
    # Less a hair, so that 0.2 of 8 others is 2 rows whatever the division's last bit.
    return int(np.ceil(share * others / (1 - share) - 1e-9))


def _warn_short(
    ctx: Context, human: Any, notes: dict[str, Any], work: _Mix, share: float, floor: float,
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
