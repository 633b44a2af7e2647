"""The steps one row went through: what each stage found and left of it.

A row keeps its id from stage to stage until a step makes several rows out of one; before that it
is looked for under the ids its calls and its `meta` name. What a step did is the difference between
the row before and after it, so it holds for steps of a user's own as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from karat.errors import KaratError
from karat.recipefile import labelled, parse, written_steps
from karat.row import Row
from karat.rundir import Run
from karat.stage import read_meta
from karat.table import SCHEMA, from_batch
from karat.web.rows.engine import Stop
from karat.web.rows.files import Part, parts_of, rows_with, stage_files

MOST_PARENTS = 8


class Visit(msgspec.Struct):
    """A stage a row went through. `steps` are its labels; `row` as it left, `changes` what that
    differs in from the row before; `parent`: it was still another row, of which this one is made.
    `end`: it was dropped here."""

    name: str
    steps: list[str]
    row: Row
    changes: list[str]
    parent: bool = False
    end: bool = False


class Trail(msgspec.Struct):
    """The visits in order; `whole`: every stage file was looked through."""

    visits: list[Visit] = []
    whole: bool = True


def trail(run: Run, row: Row, parents: Sequence[str], stop: Stop) -> Trail:
    """The stages a row went through. `parents` are ids it may have had before, nearest first."""
    found = Trail()
    before: Row | None = None
    ids = [row.id, *dict.fromkeys(parents)][: MOST_PARENTS + 1]
    for path in stage_files(run.stages):
        if stop.is_due:
            found.whole = False
            break
        here = _first_of(parts_of(path), ids, stop)
        if here is None or (before is not None and before.dropped and here.id == before.id):
            continue  # a dropped row travels on, and no step sees it
        end = here.dropped is not None and here.id == row.id
        parent = here.id != row.id
        changes = list(differences(before, here))
        found.visits.append(Visit(path.stem, _labels(path), here, changes, parent, end))
        before = here
    return found


def _first_of(parts: Sequence[Part], ids: Sequence[str], stop: Stop) -> Row | None:
    """The row of the first of these ids that is in the files."""
    rest: dict[str, Row] = {}
    for part in parts:
        with part.open() as file:
            for group in range(len(part.starts) - 1):
                if stop.is_due or ids[0] in rest:
                    break
                for identity in ids:
                    if identity not in rest and len(at := rows_with(file, group, identity)):
                        rest[identity] = _row(file, group, int(at[0]))
    return next((rest[identity] for identity in ids if identity in rest), None)


def _row(file: pq.ParquetFile, group: int, number: int) -> Row:
    table = file.read_row_group(group, columns=SCHEMA.names)
    (batch,) = table.slice(number, 1).combine_chunks().to_batches()
    (row,) = from_batch(batch)
    return row


def _labels(path: Path) -> list[str]:
    return [str(one.get("label", "")) for one in read_meta(path).get("stats", [])]


def differences(before: Row | None, row: Row) -> Iterator[str]:
    """What became of a row, in words."""
    old = before or Row(id="")
    if row.prompt != old.prompt:
        first = "prompt read" if row.source == "given" else "prompt written"
        yield first if not old.prompt else "prompt rewritten"
    elif row.messages != old.messages:
        yield "turns added" if len(row.messages) > len(old.messages) else "turns changed"
    more = len(row.responses) - len(old.responses)
    if more:
        word = "response" if abs(more) == 1 else "responses"
        yield f"{more} {word} written" if more > 0 else f"{-more} {word} taken out"
    new = {key for r in row.responses for key in r.scores}
    new -= {key for r in old.responses for key in r.scores}
    if new:
        yield f"graded: {', '.join(sorted(new))}"
    if any(r.kept is not None for r in row.responses):
        kept = sum(bool(r.kept) for r in row.responses)
        was = sum(bool(r.kept) for r in old.responses)
        if kept != was or all(r.kept is None for r in old.responses):
            yield f"{kept} of {len(row.responses)} kept"
    fields = sorted(key for key, value in row.meta.items() if old.meta.get(key) != value)
    if fields:
        yield f"noted: {', '.join(fields)}"
    if row.dropped:
        yield "dropped"


def steps_of(run: Run) -> dict[str, Mapping[str, Any]]:
    """The steps of the run's recipe by their labels, with their parameters; empty where the recipe
    cannot be read."""
    try:
        steps = written_steps(parse(run.recipe))
    except (KaratError, AttributeError):
        return {}
    labels = labelled(name.rpartition(":")[2] for name, _ in steps)
    return {
        label: {key: value for key, value in params.items() if value not in (None, [], {})}
        for label, (_, params) in zip(labels, steps, strict=True)
    }


def parents_of(row: Row, asked_for: Sequence[str]) -> list[str]:
    """Ids that the row may have had before: those its calls were asked for, and those it names."""
    named = row.meta.get("parents")
    listed = [one for one in named if isinstance(one, str)] if isinstance(named, list) else []
    found = [*reversed(asked_for), *reversed(listed)]
    return [one for one in dict.fromkeys(found) if one and one != row.id]
