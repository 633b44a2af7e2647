"""dedupe: of rows that say the same, one stays.

Exact duplicates are texts equal after NFKC, lower case and folded white space. Near-duplicates are
those as similar as the threshold: by their words and word pairs (Jaccard similarity), by the words
they share in the same order (ROUGE-L), both counted exactly, or by what they mean (cosine of
embeddings). Every dropped row names the row that stays in its place and how similar the two are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Decision, Table, best_texts, score_values
from karat.context import Context
from karat.curation import rouge, semantic
from karat.curation.closeness import BY_LENGTH
from karat.curation.minhash import NearDuplicates, Repeats
from karat.curation.normal import Hashes, digests, normalise
from karat.curation.rouge import RougeDuplicates
from karat.curation.semantic import SemanticDuplicates
from karat.curation.spool import Spool, file_key
from karat.errors import RunError
from karat.step import ScoreKey, step

Floats = NDArray[np.float64]
MOST_ROUGE = 200_000  # rows; their comparison is quadratic, if with a small factor
SPOOLED = 200_000  # rows from which what is worked out goes beside the stage, in case of a kill
SIGNED = 1  # changes when a text is signed in another way
COMMITTED = 50_000  # rows after each of which that is final

Measure = Literal["jaccard", "rouge_l", "semantic"]
Finder = NearDuplicates | RougeDuplicates | SemanticDuplicates
SHOWN = {"jaccard": "", "rouge_l": "ROUGE-L ", "semantic": "cosine "}


@step
def dedupe(
    table: Table,
    ctx: Context,
    *,
    on: Literal["prompt", "question", "response", "conversation"] = "prompt",
    threshold: Annotated[float, msgspec.Meta(ge=0.3, le=1)] | Literal["auto"] = "auto",
    keep: Literal["first", "longest", "best"] = "first",
    by: ScoreKey | None = None,
    measure: Measure = "jaccard",
    mark: bool = False,
) -> Decision:
    """Drops rows that repeat another one; `threshold: 1.0` drops exact duplicates only.

    `on: prompt` compares all turns of the conversation but not its system message, which a recipe
    may vary; `question` that of `closed_qa` without its passage; `response` the first kept
    response; `conversation` prompt and response. A row without such a text stays. `keep` says which
    row stays: the `first` in the file, the `longest` in characters, or the `best` by the score `by`
    of its best response; among equals the first. With `mark` a row that stays for others says how
    many rows it stands for, itself among them, as `meta.stands_for`.

    By default the rule is Jaccard similarity ≥ threshold on the set of words and neighbouring word
    pairs, and the threshold depends on the length of the shorter text: 0.85 up to 20 words, 0.6
    from 200 words on, equally less each time the length doubles between them (0.78 for 40, 0.68 for
    100). One word replaced in the middle of n different words leaves (2n - 2) / (2n + 4): 0.80 for
    13 words, 0.85 for 19, 0.86 for 20. So of two prompts of one template that differ in a single
    name or number, those below 19 words both stay, while a document of 200 words with 30 of them
    changed is found. A number holds at every length: 0.8 takes prompts that differ in one word for
    the same from 13 words on, 0.6 finds texts with 15% of the words edited whatever their length.

    `measure: rouge_l` compares by ROUGE-L F1 instead: twice the longest common subsequence over the
    words of both, so one word replaced in n leaves (n - 1) / n, and a sentence with other words put
    in stays near. Self-Instruct keeps an instruction only below 0.7 of it, which is the default. No
    pair is missed, at 14,000 prompts of 15 words or 1,400 answers of 200 words per CPU second among
    20,000; that rate falls as rows get more, and beyond 200,000 the run stops.

    `measure: semantic` compares static embeddings (curation.embedding) by cosine, 0.9 by default,
    or more in a cluster of texts that are as alike as that by chance. It sees through other words
    for the same, not through a changed order.

    Beyond 200,000 rows what is worked out is kept in a folder beside the stage file until the step
    is done: a run killed half-way goes on from there.

    Source: MinHash, Broder 1997; settings by length: benchmarks/curation_dedupe.py; ROUGE-L, Lin
    2004; its 0.7, Self-Instruct (2212.10560 §2.2); SemDeDup (2303.09540).
    """
    with _room(table.path), _spool(table, measure, on, keep, by) as spool:
        near = _finder(table, measure, threshold, spool)
        named, ranks = spool.column("digest", np.uint64), spool.column("rank", np.float64)
        done, seen = spool.rows, 0
        for batch in table.batches(_columns(on, by)):
            seen += batch.num_rows
            if seen <= done:
                continue
            texts = normalise(_texts(batch, on))
            named.extend(digests(texts))
            ranks.extend(_ranks(batch, texts, keep, by))
            if near is not None:
                near.add(texts)
            if seen - spool.rows >= COMMITTED:
                spool.commit(seen)
        digest_P, rank_P = np.array(named.values), np.array(ranks.values)
        found = _found(near, digest_P, rank_P)
    same_P = digest_P == digest_P[found.repeats]
    notes = {
        "on": on,
        "threshold": threshold,
        "exact_duplicates": int((same_P & (found.repeats >= 0)).sum()),
        "near_duplicates": int((~same_P & (found.repeats >= 0)).sum()),
        "clusters": found.clusters,
        "largest_cluster": _largest(found),
    }
    ids = table.ids()
    marks = _marks(ids, found) if mark else {}
    return Decision(drop=_reasons(ids, found, same_P, measure), meta=marks, notes=notes)


@dedupe.rule
def _rule(*, keep: str, by: str | None, **_: Any) -> str | None:
    if keep == "best" and by is None:
        return "keep: best needs by, the score to compare, for example by: helpsteer2.reward"
    if keep != "best" and by is not None:
        return f"by has no use with keep: {keep}; write keep: best or leave by out"
    return None


def _spool(table: Table, measure: str, *settings: object) -> Spool:
    """Where columns grow: in memory for few rows, else in a folder named after the stage file."""
    if measure == "rouge_l" or table.count() < SPOOLED:
        return Spool()
    folder = table.path.with_name(f"{table.path.stem}.dedupe")
    return Spool(folder, file_key(table.path, SIGNED, measure, *settings))


@contextmanager
def _room(path: Path) -> Iterator[None]:
    """Says what to do where the disk has no room for what is kept beside a stage."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write beside {path}: {os.strerror(error.errno or 0)}; make room and run "
            "again: it goes on from there"
        ) from error


def _finder(
    table: Table, measure: str, threshold: float | Literal["auto"], spool: Spool
) -> Finder | None:
    """What finds near-duplicates; None where only exact ones are asked for."""
    given = None if threshold == "auto" else threshold
    if given is not None and given >= 1:
        return None
    if measure == "jaccard":
        return NearDuplicates(given or BY_LENGTH, spool=spool)
    if measure == "semantic":
        return SemanticDuplicates(given or semantic.THRESHOLD, spool)
    rows = table.count()
    if rows > MOST_ROUGE:
        raise RunError(
            f"measure: rouge_l compares at most {MOST_ROUGE:,} rows, and here are {rows:,}; leave "
            "it out, or let a dedupe with jaccard, which takes any number, go before it"
        )
    return RougeDuplicates(given or rouge.THRESHOLD)


def _found(near: Finder | None, digest: Hashes, rank: Floats) -> Repeats:
    exact = _exact(digest, rank)
    if near is None:
        return exact
    close = near.resolve(rank)
    # Texts without a word ("???") have no shingles: only the exact comparison sees them.
    wordless = close.repeats < 0
    close.repeats[wordless] = exact.repeats[wordless]
    close.similarity[wordless] = exact.similarity[wordless]
    return close


def _columns(on: str, by: str | None) -> list[str]:
    columns = {"response": [], "question": ["meta"]}.get(on, ["messages"])
    if on in ("response", "conversation") or by is not None:
        columns += [f"responses.list.element.{name}" for name in ("content", "scores", "kept")]
    return columns


def _texts(batch: pa.RecordBatch, on: str) -> pa.Array:
    """What is compared of each row; empty where it has no such text."""
    if on == "prompt":
        return turns(batch.column("messages"))
    if on == "question":
        asked = [orjson.loads(meta).get("question") for meta in batch.column("meta").to_pylist()]
        return pa.array([text if isinstance(text, str) else "" for text in asked], pa.string())
    answers = pc.fill_null(best_texts(batch.column("responses")), "")
    if on == "response":
        return answers
    return pc.binary_join_element_wise(turns(batch.column("messages")), answers, "\n")


def turns(messages: pa.ListArray) -> pa.Array:
    """All turns of each conversation but the system's, joined by line ends."""
    flat = messages.flatten()
    spoken = pc.not_equal(flat.field("role"), "system")
    counts = np.concatenate([[0], np.cumsum(spoken.to_numpy(zero_copy_only=False))])
    offsets = messages.offsets.to_numpy()
    ends = pa.array(counts[offsets - offsets[0]], pa.int32())
    contents = flat.field("content").filter(spoken)
    return pc.binary_join(pa.ListArray.from_arrays(ends, contents), "\n")


def _ranks(batch: pa.RecordBatch, texts: pa.Array, keep: str, by: str | None) -> Floats:
    """rank_P: the lower, the rather a row stays."""
    if keep == "longest":
        return -np.asarray(pc.utf8_length(texts).to_numpy(zero_copy_only=False), np.float64)
    rank_P = np.zeros(batch.num_rows)
    if by is not None:
        responses = batch.column("responses")
        flat = responses.flatten()
        score_R = score_values(flat.field("scores"), by)
        owner_R = np.repeat(np.arange(batch.num_rows), np.diff(responses.offsets.to_numpy()))
        open_R = pc.fill_null(flat.field("kept"), True).to_numpy(zero_copy_only=False)
        graded = np.isfinite(score_R) & open_R.astype(np.bool_)
        rank_P[:] = np.inf
        np.minimum.at(rank_P, owner_R[graded], -score_R[graded])
    return rank_P


def _exact(digest: Hashes, rank: Floats) -> Repeats:
    """Rows whose digest a row of lower rank, or an earlier one of the same rank, has already."""
    order = np.argsort(rank, kind="stable")
    order = order[digest[order] != 0]
    _, first, same = np.unique(digest[order], return_index=True, return_inverse=True)
    stays = order[first[same]]
    found = Repeats(np.full(len(digest), -1, np.int64), np.zeros(len(digest)))
    again = order != stays
    found.repeats[order[again]] = stays[again]
    found.similarity[order[again]] = 1.0
    return found


def _largest(found: Repeats) -> int:
    """Rows in the largest cluster, with the one that stays; 0 where there is none."""
    repeated = found.repeats[found.repeats >= 0]
    return int(np.bincount(repeated).max()) + 1 if len(repeated) else 0


def _reasons(
    ids: list[str], found: Repeats, same: NDArray[np.bool_], measure: str
) -> dict[str, str]:
    reasons = {}
    name = SHOWN[measure]
    for row in np.flatnonzero(found.repeats >= 0).tolist():
        kept = ids[found.repeats[row]]
        close = f"near duplicate (of {kept}, {name}{found.similarity[row]:.2f})"
        reasons[ids[row]] = f"exact duplicate (of {kept})" if same[row] else close
    return reasons


def _marks(ids: list[str], found: Repeats) -> dict[str, dict[str, Any]]:
    """How many rows each row stands for that others repeat."""
    stays, times = np.unique(found.repeats[found.repeats >= 0], return_counts=True)
    return {
        ids[row]: {"stands_for": count + 1}
        for row, count in zip(stays.tolist(), times.tolist(), strict=True)
    }
