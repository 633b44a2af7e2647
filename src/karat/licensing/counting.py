"""What a run's data are made of: its accepted rows counted by model, by file and by licence.

Read as columns, a part of the file at a time, so that a million rows take seconds. A model counts
for a row where it wrote its prompt or any of its answers: an answer that was not chosen is in the
data too, and teaches where pairs are trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from karat import parquet
from karat.columns import owners
from karat.errors import RecipeError
from karat.journal import Address, look_up
from karat.licensing.rows import called_rights, given_rights, text_of
from karat.licensing.solved import Role, Source
from karat.licensing.sources import File, earlier_runs, files, generators, graders, notes
from karat.models.rights import Rights
from karat.recipe import Recipe
from karat.rundir import Run

AT_ONCE = 8_192  # rows of one part
KEYS = 20_000  # of one query
MOST = 500  # licences told apart: a file may have another one in each row
MANY = "more licences than are told apart"
COLUMNS = [
    "source", "meta", "calls", "responses.list.element.model", "responses.list.element.call",
]  # fmt: skip
Given = tuple[Role, str | None]  # who wrote the rows, and the licence they state


class Counted(msgspec.Struct):
    """Accepted rows: how many, by model that wrote in them, and by what they state where they or a
    part of them were not made here. `named`: models that a file names as writers."""

    rows: int = 0
    models: Counter[str] = msgspec.field(default_factory=Counter)
    named: set[str] = msgspec.field(default_factory=set)
    given: Counter[Given] = msgspec.field(default_factory=Counter)


def of_run(run: Run, recipe: Recipe | None) -> tuple[list[Source], int, list[str]]:
    """(sources, accepted rows, notes) of a finished run. Without a recipe, files and graders are
    known only as far as the rows name them. Raises: RecipeError, RunError."""
    counted = count(run)
    called = {model for (model,) in look_up(run.journal, "SELECT DISTINCT model FROM minutes")}
    if recipe is None:
        found = _writers(counted, called, [], [])
        found += _given(counted.given, [], settled=False)
        said = ["the recipe cannot be read here: graders, and names of files, are not known"]
    else:
        before = earlier_runs(recipe)
        found = _writers(counted, called, generators(recipe), before)
        names = {source.name for source in found}
        found += graders(recipe)
        found += [one for one in before if one.role != "generator" or one.name not in names]
        # Rows of an earlier run that state nothing are what that run's sources are.
        found += _given(counted.given, files(recipe), settled=bool(before))
        said = notes(recipe)
    return list(dict.fromkeys(found)), counted.rows, said


def count(run: Run) -> Counted:
    """The accepted rows of a run, counted. Raises: RecipeError."""
    counted = Counted()
    try:
        with parquet.Parts(run.accepted_file) as file:
            for batch in file.iter_batches(AT_ONCE, columns=COLUMNS):
                counted.rows += batch.num_rows
                _count_models(counted, batch, run.journal)
                _count_given(counted, batch)
    except FileNotFoundError:
        raise RecipeError(
            f"{run.path} has no accepted.parquet: run it to the end; nothing is paid for twice"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(f"{run.accepted_file} cannot be read ({error})") from error
    return counted


def _count_models(counted: Counted, batch: pa.RecordBatch, journal: Address) -> None:
    """Rows by model: each row once for each model that wrote in it."""
    responses, calls = batch.column("responses"), batch.column("calls")
    answers = responses.flatten()
    asked = _writers_of(calls.flatten(), journal)
    row = np.concatenate([owners(responses), owners(calls)])
    model = pa.concat_arrays([pc.fill_null(answers.field("model"), ""), asked])
    encoded = model.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    pairs = np.unique(row * max(1, len(names)) + encoded.indices.to_numpy())
    for code, rows in enumerate(np.bincount(pairs % max(1, len(names)), minlength=len(names))):
        if names[code]:
            counted.models[names[code]] += int(rows)
    bought = pc.fill_null(pc.greater(pc.binary_length(answers.field("call")), 0), False)
    counted.named.update(pc.unique(answers.field("model").filter(pc.invert(bought))).to_pylist())
    counted.named -= {"", None}


def _writers_of(calls: pa.Array, journal: Address) -> pa.Array:
    """The model of each call, empty where the journal does not have it."""
    encoded = calls.dictionary_encode()
    keys = [key for key in encoded.dictionary.to_pylist() if key]
    known: dict[str, str] = {}
    for some in _parts(filter(_is_key, keys), KEYS):
        sql = f"SELECT key, model FROM calls WHERE key IN ({', '.join('?' * len(some))})"
        found = look_up(journal, sql, *map(bytes.fromhex, some))
        known.update((key.hex(), model) for key, model in found)
    names = pa.array([known.get(key, "") for key in encoded.dictionary.to_pylist()], pa.string())
    return names.take(encoded.indices)


def _is_key(text: str) -> bool:
    try:
        return bool(bytes.fromhex(text)) and text.isalnum()
    except ValueError:
        return False


def _parts(items: Iterable[str], size: int) -> Iterator[list[str]]:
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _count_given(counted: Counted, batch: pa.RecordBatch) -> None:
    """Rows that came from outside, or hold a passage that did, by the licence they state."""
    source, meta = batch.column("source"), batch.column("meta")
    stating = pc.match_substring(meta, '"licen')
    passage = pc.match_substring(meta, '"passage":')
    outside = pc.is_in(source, pa.array(["given", "human"]))
    telling = pc.or_(stating, passage)
    silent = source.filter(pc.and_(outside, pc.invert(telling)))
    for one in pc.value_counts(silent).to_pylist():
        counted.given[_role(one["values"]), None] += one["counts"]
    rows = zip(source.filter(telling).to_pylist(), meta.filter(telling).to_pylist(), strict=True)
    for who, text in rows:
        held = orjson.loads(text)
        stated = text_of(held.get("licence")) or text_of(held.get("license"))
        documents = "document" in held and "passage" in held
        if stated is None and not documents and who not in ("given", "human"):
            continue  # the word stands in some other field
        key: Given = ("documents" if documents else _role(who), stated)
        if len(counted.given) >= MOST and key not in counted.given:
            key = (key[0], MANY)
        counted.given[key] += 1


def _role(source: str) -> Role:
    return "human" if source == "human" else "data"


def _writers(
    counted: Counted, called: set[str], own: Sequence[Source], before: Sequence[Source]
) -> list[Source]:
    """The models that wrote: those in the rows, and those a step of the recipe (`own`) asked, for
    they had a say in the rows that others wrote. `before`: sources of earlier runs, which know on
    which terms their models answered."""
    known = {one.name: one for one in (*before, *own) if one.role == "generator"}
    names = set(counted.models) | ({one.name for one in own} & called)
    found = []
    for name in sorted(names):
        source = known.get(name)
        if source is None:
            in_file = name in counted.named and name not in called
            source = _model(name, given_rights(name) if in_file else called_rights(name))
        found.append(msgspec.structs.replace(source, rows=counted.models[name]))
    return found


def _model(name: str, said: Rights) -> Source:
    return Source(
        role="generator", name=name, licence=said.licence, training=said.training, note=said.note,
        document=said.source,
    )  # fmt: skip


def _given(counts: Mapping[Given, int], expected: Sequence[File], *, settled: bool) -> list[Source]:
    """The files behind the rows that were not made here, and files none of whose rows is left."""
    found, named = [], set[str]()
    for (role, licence), rows in sorted(counts.items(), key=str):
        behind = _behind(expected, role, licence)
        if not behind and licence is None and settled:
            continue
        names = ", ".join(file.name for file in behind) or _WORDS[role]
        named |= {file.name for file in behind}
        if licence is None:  # what a dataset's card says, its rows need not
            cards = {one for file in behind for one in file.licences}
            stated = "" if None in cards else " AND ".join(sorted(filter(None, cards)))
        else:
            stated = licence
        by = behind[0].by if len(behind) == 1 else ""
        found.append(Source(role=role, name=names, licence=stated, by=by, rows=rows))
    for file in expected:
        if file.name not in named:
            found += [Source(role=file.role, name=file.name, licence=one or "", by=file.by, rows=0)
                      for one in file.licences]  # fmt: skip
    return found


_WORDS: dict[Role, str] = {
    "data": "rows that were given", "human": "rows of people", "documents": "documents"
}  # fmt: skip


def _behind(expected: Sequence[File], role: Role, licence: str | None) -> list[File]:
    """The files that rows with that licence can be from: those that state it, else those that
    state none, else a dataset whose rows do not say what its card does."""
    own = [file for file in expected if file.role == role]
    for wanted in (licence, None):
        if fitting := [file for file in own if wanted in file.licences]:
            return fitting
    return own if licence is None else []
