"""dedupe: of rows that say the same, one stays.

Exact duplicates are texts equal after NFKC, lower case and folded white space. Near-duplicates are
those as similar as the threshold: by their words and word pairs (Jaccard similarity), by the words
they share in the same order (ROUGE-L), both counted exactly, or by what they mean (cosine of
embeddings). Every dropped row names the row that stays in its place and how similar the two are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat import parquet, places
from karat.columns import Decision, Table
from karat.context import Context
from karat.curation import rouge, semantic
from karat.curation.closeness import BY_LENGTH, fixed
from karat.curation.groups import Repeats
from karat.curation.minhash import NearDuplicates
from karat.curation.normal import Hashes, digests, normalise
from karat.curation.rouge import RougeDuplicates
from karat.curation.semantic import SemanticDuplicates
from karat.curation.spool import Spool, file_key
from karat.errors import RunError
from karat.step import ScoreKey, step
from karat.steps._duplicates import equal_rows, near_rows
from karat.steps._parted import SIGNED, exact
from karat.steps._said import Said
from karat.steps._said import turns as turns  # other steps compare the same turns
from karat.steps._verdicts import Verdicts, decided, decided_apart, room_beside

Floats = NDArray[np.float64]
MOST_ROUGE = 200_000  # rows; their comparison is quadratic, if with a small factor
SPOOLED = 200_000  # rows from which what is worked out goes beside the stage, in case of a kill
APART = 50_000  # rows from which parts are worked on apart: fewer are done before tasks begin
COMMITTED = 50_000  # rows after each of which that is final

Measure = Literal["jaccard", "rouge_l", "semantic"]
Finder = NearDuplicates | RougeDuplicates | SemanticDuplicates


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
    is done: a run killed half-way goes on from there. Of a table in parts, each is signed and
    compared where it is, 1.1 KB a row go from one place to another, and no process holds more than
    a few parts; `rouge_l` and `semantic` read all of it in one process.

    Source: MinHash, Broder 1997; settings by length: benchmarks/curation_dedupe.py; ROUGE-L, Lin
    2004; its 0.7, Self-Instruct (2212.10560 §2.2); SemDeDup (2303.09540).
    """
    said = Said(on, keep, by)
    parts, exact_only = len(table.parts()), threshold != "auto" and threshold >= 1
    apart = parts > 1 and parquet.count(table.path) >= APART
    folder = table.path.parent / f"{table.path.stem}.dedupe"
    with room_beside(table.path):
        found = (
            _among_parts(table, folder, said, threshold)
            if apart and (exact_only or measure == "jaccard")
            else _at_once(table, folder, said, measure, threshold)
        )
        made = (
            decided_apart(table, folder, found, measure, mark)
            if parts > 1
            else decided(found, table.ids(), measure, mark)
        )
    made.notes = {"on": on, "threshold": threshold, **found.notes()}
    return made


@dedupe.rule
def _rule(*, keep: str, by: str | None, **_: Any) -> str | None:
    if keep == "best" and by is None:
        return "keep: best needs by, the score to compare, for example by: helpsteer2.reward"
    if keep != "best" and by is not None:
        return f"by has no use with keep: {keep}; write keep: best or leave by out"
    return None


def _among_parts(
    table: Table, folder: Path, said: Said, threshold: float | Literal["auto"]
) -> Verdicts:
    """What is found where the parts are, whose rows are in no process together."""
    if threshold == "auto":
        return near_rows(table, folder, said, BY_LENGTH)
    return equal_rows(table, said) if threshold >= 1 else near_rows(
        table, folder, said, fixed(threshold)
    )  # fmt: skip


def _at_once(
    table: Table, folder: Path, said: Said, measure: Measure, threshold: float | Literal["auto"]
) -> Verdicts:
    """What is found in one process, with something of every row at hand."""
    with _spool(table, folder, measure, said) as spool:
        near = _finder(table, measure, threshold, spool)
        named, ranks = spool.column("digest", np.uint64), spool.column("rank", np.float64)
        done, seen, base = spool.rows, 0, [0]
        for part in table.parts():
            for batch in part.batches(said.columns):
                seen += batch.num_rows
                if seen <= done:
                    continue
                texts = normalise(said.texts(batch))
                named.extend(digests(texts))
                ranks.extend(said.ranks(batch, texts))
                if near is not None:
                    near.add(texts)
                if seen - spool.rows >= COMMITTED:
                    spool.commit(seen)
            base.append(seen)
        digest_P, rank_P = np.array(named.values), np.array(ranks.values)
        found = _found(near, digest_P, rank_P)
    row = np.flatnonzero(found.repeats >= 0)
    stay = found.repeats[row]
    same = digest_P[row] == digest_P[stay]
    return Verdicts(np.array(base), row, stay, found.similarity[row], same)


def _spool(table: Table, folder: Path, measure: str, said: Said) -> Spool:
    """Where columns grow: in memory for few rows, else in a folder of this machine."""
    if measure == "rouge_l" or places.is_remote(folder) or table.count() < SPOOLED:
        return Spool()
    keys = [file_key(part.path, SIGNED, measure, said) for part in table.parts()]
    return Spool(folder, " ".join(keys))


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
    equal = exact(digest, rank)
    if near is None:
        return equal
    close = near.resolve(rank)
    # Texts without a word ("???") have no shingles: only the exact comparison sees them.
    wordless = close.repeats < 0
    close.repeats[wordless] = equal.repeats[wordless]
    close.similarity[wordless] = equal.similarity[wordless]
    return close
