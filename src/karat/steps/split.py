"""split: train, validation and test rows of which none is nearly the same as one of another part.

Split at random, a data set whose prompts repeat each other with small edits tests what it trained
on. Here whole clusters go to one part. What was not seen while clusters were made is looked for
afterwards by other means, and reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from karat import places
from karat.columns import Decision, Table
from karat.context import Context
from karat.curation.closeness import fixed
from karat.curation.embedding import embed
from karat.curation.leakage import MOST_SHARED, Runs, leakage
from karat.curation.minhash import NearDuplicates
from karat.curation.selection import Floats, Ints, Vectors
from karat.curation.shingles import Hashes, chunks, digests, normalise, words
from karat.curation.splitting import assign, components, lots, numbered
from karat.row import SPLITS
from karat.step import step
from karat.steps._bars import Strata
from karat.steps._duplicates import chains
from karat.steps._said import Said
from karat.steps._verdicts import forget, room_beside

On = Literal["prompt", "conversation"]
Part = Annotated[float, msgspec.Meta(ge=0, le=1)]
FIRST_TURN_WORDS = 5  # "hi" begins many dialogues that have nothing else in common


@step
def split(
    table: Table,
    ctx: Context,
    *,
    train: Part = 0.9,
    validation: Part = 0.05,
    test: Part = 0.05,
    on: On = "prompt",
    threshold: Annotated[float, msgspec.Meta(ge=0.3, le=1)] = 0.6,
    per: list[str] = [],  # noqa: B006  (read from a recipe, never written to)
    keep: bool = True,
) -> Decision:
    """Writes `train`, `validation` or `test` into `meta.split`, in these shares.

    Rows go together whose texts are near-duplicates (Jaccard similarity of words and word pairs at
    least `threshold`, over any number of steps), equal, or begin with the same turn of at least
    five words. A text is all turns but the system's, with `on: conversation` the first kept
    response as well. The threshold is lower than dedupe's: two rows put together for little reason
    cost nothing, two apart spoil the test. 0.6 finds texts with 15% of their words edited.

    A cluster's part is drawn by a hash of the run's seed and the text of its first row. So shares
    are reached on average, and rows added at the end of a file move no row before them, unless one
    joins two clusters. With `per` the shares hold within rows alike in these fields of `meta`; a
    few clusters may then change their part as rows are added. With `keep`, rows that have one of
    the three names in `meta.split` already stay there whatever is added, and the rest of their
    cluster goes with them; a row near to rows of two parts is dropped.

    The notes say how near the parts come to each other: `leakage`, by karat.curation.leakage.
    Memory is 3 KB a row, and some 30 bytes a word. Of a table in parts near-duplicates are found
    where those are; the rest is worked out in one process. Source of the threshold:
    karat.steps.dedupe.
    """
    folder = table.path.parent / f"{table.path.stem}.split"
    with room_beside(table.path):
        rows = _Rows(table, folder, on, threshold, per)
    rows.strata.warn(ctx)
    component_N = components(rows.labels(), len(rows.ids))
    known_N = rows.known_N if keep else np.full(len(rows.ids), -1)
    shares_K = np.array([train, validation, test])
    part_N = assign(
        component_N, known_N, lots(rows.keys, ctx.seed()), shares_K,
        rows.code_N if per else None,
    )  # fmt: skip
    parts = {name: np.flatnonzero(part_N == place) for place, name in enumerate(SPLITS)}
    apart = leakage(rows.runs, rows.vectors, parts, rows.ids)
    sizes = np.bincount(component_N, minlength=1)
    notes = {
        "rows": {name: len(places) for name, places in parts.items()},
        "clusters": int((sizes > 0).sum()),
        "largest_cluster": int(sizes.max()),
        "kept_their_part": int((known_N >= 0).sum()),
        "between_parts": int((part_N < 0).sum()),
        "leakage": apart,
        **({"strata": _strata(rows, parts)} if per else {}),
    }
    _warn(ctx, notes, shares_K, len(rows.ids))
    if len(rows.base) == 2:
        made = _decided(rows.ids, part_N)
    else:
        with room_beside(table.path):
            made = _decided_apart(folder, rows.base, part_N)
    made.notes = notes
    return made


@split.rule
def _rule(*, train: float, validation: float, test: float, **_: Any) -> str | None:
    total = train + validation + test
    if abs(total - 1) > 1e-6:
        return f"train, validation and test must be 1 together, and are {total:g}"
    if max(train, validation, test) == 1:
        return "one part has all rows; give a share to another one, or leave split out"
    return None


split.marks = ("split",)


def _decided(ids: list[str], part_N: Ints) -> Decision:
    fields = {place: {"split": name} for place, name in enumerate(SPLITS)}
    return Decision(
        drop={ids[place]: "near rows of two parts" for place in np.flatnonzero(part_N < 0)},
        meta={
            one: fields[part] for one, part in zip(ids, part_N.tolist(), strict=True) if part >= 0
        },
    )


def _decided_apart(folder: Path, base: Ints, part_N: Ints) -> Decision:
    """The decision on each file of a table. What it needs is in the folder until all are made."""
    for number, (first, end) in enumerate(pairwise(base.tolist())):
        share = part_N[first:end].astype(np.int8)
        places.write_whole(_file(folder, number), share.tobytes())
    return Decision(each=partial(_decide, folder), gather=partial(forget, folder))


def _decide(folder: Path, part: Table) -> Decision:
    share = np.frombuffer(places.read_bytes(_file(folder, part.number)), np.int8)
    return _decided(part.ids(), share.astype(np.int64))


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.share"


class _Rows:
    """What is known of each row; N: row. A table's file p begins at row base_P[p]."""

    def __init__(
        self, table: Table, folder: Path, on: On, threshold: float, per: Sequence[str]
    ) -> None:
        said, parts = Said(on), table.parts()
        self.strata, self.runs = Strata(per), Runs()
        near = NearDuplicates(threshold) if len(parts) == 1 else None
        self.ids: list[str] = []
        vectors: list[Vectors] = [embed([])]
        known, codes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        texts_N, firsts_N = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        base = [0]
        for part in parts:
            for batch in part.batches(["id", "meta", "messages", *said.columns]):
                texts = said.texts(batch)
                normal = normalise(texts)
                if near is not None:
                    near.add(normal)
                for chunk in chunks(normal):
                    self.runs.add(words(chunk))
                vectors.append(embed(texts.to_pylist()))
                self.ids += batch.column("id").to_pylist()
                texts_N.append(digests(normal))
                firsts_N.append(_first_turns(batch.column("messages")))
                known.append(_known(batch.column("meta")))
                codes.append(self.strata.of(batch))
            base.append(len(self.ids))
        self.base: Ints = np.array(base)
        self._near_N = np.arange(len(self.ids))
        if near is not None:
            self._near_N = near.chains()
        else:
            _, joined = chains(table, folder, said, fixed(threshold))
            self._near_N[joined.members] = joined.label
        self.vectors: Vectors = np.concatenate(vectors)
        self.known_N: Ints = np.concatenate(known)
        self.code_N: Ints = np.concatenate(codes)
        self._texts_N, self._firsts_N = np.concatenate(texts_N), np.concatenate(firsts_N)

    @property
    def keys(self) -> list[str]:
        """What a row's lot hangs on: its text, or its id where it has none."""
        pairs = zip(self._texts_N.tolist(), self.ids, strict=True)
        return [f"{text:016x}" if text else f"id {one}" for text, one in pairs]

    def labels(self) -> list[Ints]:
        """What joins rows: near-duplicates, equal texts, the same first turn."""
        return [self._near_N, numbered(self._texts_N), numbered(self._firsts_N)]


def _first_turns(messages: pa.ListArray) -> Hashes:
    """A digest of each conversation's first user turn; 0 where that is short, or missing."""
    flat = messages.flatten()
    users = np.flatnonzero(pc.equal(flat.field("role"), "user").to_numpy(zero_copy_only=False))
    starts = messages.offsets.to_numpy().astype(np.int64)
    starts = starts - starts[0]
    at = np.append(users, len(flat))[np.searchsorted(users, starts[:-1])]
    missing = at >= starts[1:]
    places = pa.array(np.where(missing, 0, at), mask=missing)
    first = normalise(pc.fill_null(flat.field("content").take(places), ""))
    count = pc.list_value_length(pc.utf8_split_whitespace(first)).to_numpy(zero_copy_only=False)
    return np.where(count >= FIRST_TURN_WORDS, digests(first), 0).astype(np.uint64)


def _known(meta: pa.StringArray) -> Ints:
    """The part each row has already; -1 for none, or a word of the user's own."""
    parts = dict(zip(SPLITS, range(len(SPLITS)), strict=True))
    found = []
    for text in meta.to_pylist():
        named = orjson.loads(text).get("split") if '"split"' in text else None
        found.append(parts.get(named, -1) if isinstance(named, str) else -1)
    return np.array(found, np.int64)


def _strata(rows: _Rows, parts: dict[str, Ints]) -> dict[str, dict[str, int]]:
    names = rows.strata.names
    counts = {
        part: np.bincount(rows.code_N[places], minlength=len(names))
        for part, places in parts.items()
    }
    largest = np.argsort(-sum(counts.values(), np.zeros(len(names), np.int64)), kind="stable")[:50]
    return {names[s]: {part: int(counts[part][s]) for part in parts} for s in largest.tolist()}


def _warn(ctx: Context, notes: dict[str, Any], shares_K: Floats, rows: int) -> None:
    for name, share in zip(SPLITS, shares_K.tolist(), strict=True):
        if rows and share and not notes["rows"][name]:
            ctx.warn(f"no row came into {name}: {rows:,} rows are few for a share of {share:g}")
    smallest = min(share for share in shares_K.tolist() if share)
    if notes["largest_cluster"] > max(1, smallest * rows):
        ctx.warn(
            f"one cluster has {notes['largest_cluster']:,} of {rows:,} rows, more than the "
            "smallest part is to have, so shares are off: raise threshold, or dedupe first"
        )
    for pair, found in notes["leakage"].items():
        if leaked := found["shared_runs"]["rows"]:
            ctx.warn(
                f"{pair}: {leaked:,} rows share more than {MOST_SHARED:.0%} of their runs of eight "
                f"words, for example {found['shared_runs']['worst']}; lower threshold to put such "
                "rows together"
            )
