"""decontaminate: rows that hold what a model will be tested with are dropped, or marked.

A model trained on its test answers from memory, and its score says nothing. Every drop names the
set, the item and the words that both have, so that it can be judged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec

from karat.columns import Decision, Table
from karat.context import Context
from karat.step import DatasetName, Positive, step
from karat.steps._by_part import by_part
from karat.steps._contamination import Hit, On, Rules, Searcher, Seen, needed_columns, row_texts
from karat.steps._evaluation_sets import Columns, Part, load_sets, problem

if TYPE_CHECKING:
    from karat.recipe import Recipe

Cosine = Annotated[float, msgspec.Meta(gt=0, le=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Words = Annotated[int, msgspec.Meta(ge=2, le=100)]

FIELD = "contaminated"  # of meta
MOST_FACTS = 5  # hits of one row that are told in it


@step
def decontaminate(
    table: Table,
    ctx: Context,
    *,
    against: list[DatasetName],
    n: Words = 13,
    on: On = "any",
    parts: list[Part] = ["question", "answer"],  # noqa: B006  read only
    least: Positive = 1,
    covered: Fraction = 0.0,
    common: Fraction = 1.0,
    looks_like: Cosine | None = None,
    action: Literal["drop", "flag"] = "drop",
    question: str | list[str] | None = None,
    answer: str | list[str] | None = None,
    split: str = "test",
) -> Decision:
    """Drops rows that share n words in a row with an item of an evaluation set.

    `against` lists sets: files or folders (.jsonl, .json, .csv, .tsv, .parquet, packed or not; .txt
    with an item a line; what `datasets` saved), names such as gsm8k, math, humaneval, mbpp, mmlu,
    mmlu-pro, arc, hellaswag, truthfulqa, winogrande, gpqa, bbh, ifeval, mt-bench, alpaca-eval,
    arena-hard, livecodebench, rewardbench, rewardbench-2, rm-bench, judgebench or llmbar, or
    `owner/name` of the Hub with its `split`. Names need `karat[hf]`, and the network once. Columns
    of files are found by their names unless `question` and `answer` name them.

    Words are compared without case, width and sentence marks. An item's question of 8 words or
    more, but fewer than n, counts where a text has all of it; a shorter one where it is all of a
    text. Answers count by n words only. `parts` may add `context`, the passages that items are
    about; they come from the web, and having read one is no unfair help.

    `on` says which texts of a row: `any` message and response, the `prompt` (all turns but the
    system's), the first kept `response`, or both (`conversation`). Stricter rules spare rows: at
    `least` so many of an item's runs of n words, a share `covered` of its words, and none of the
    runs that stand in more than a share `common` of the rows (and in more than ten). A run that
    more than ten different items of a set share is their template and never counts.

    `looks_like: 0.85` also takes rows whose embedding is as near to a question, which finds what
    was said in other words: 8 of 8 paraphrased gsm8k questions had 0.86 or more, and none of 1,066
    prompts of Self-Instruct and HelpSteer came above 0.79 with any of gsm8k, IFEval, MT-Bench and
    HumanEval. But 1.6% of gsm8k's own questions are as near to another one: it suspects variants
    too. It costs a CPU second per 1,000 texts.

    `action: flag` keeps the rows; either way what was found is in their `meta` as `contaminated`.

    Raises: RunError for a set that cannot be had from the Hub now.
    Source: n = 13: GPT-3 (2005.14165, appendix C); n = 8 with `covered: 0.7`: PaLM (2204.02311,
    §8); a share of the item: Llama 2 (2307.09288, appendix A.6); rephrased items pass every n-gram
    rule: Yang et al. (2311.04850).
    """
    rules = Rules(n, least, covered, common, parts, looks_like)
    search = Searcher(load_sets(against, ctx.path, _columns(question, answer, split)), rules)
    found = _Found(search)
    for looked in table.each(_looked, search, on):
        found.add(looked)
    hits = search.hits(found.rows)
    exact = {hit.row for hit in hits if hit.cosine is None}
    summary = search.summary(hits)
    for one in summary:
        for example in one["examples"]:
            example["row"] = found.ids[example["row"]]
    return Decision(
        each=by_part(found.decisions(hits, drop=action == "drop")),
        notes={
            "on": on,
            "n": n,
            "rows": found.rows,
            "contaminated": len(exact),
            "looks_like": len({hit.row for hit in hits}) - len(exact),
            "template_ngrams": search.overlap.boilerplate,
            "benchmarks": summary,
        },
    )


decontaminate.marks = (FIELD,)


@decontaminate.rule
def _rule(*, against: list[str], parts: list[str], **_: Any) -> str | None:
    if not against:
        return "against lists no evaluation set; name a file, or a set such as gsm8k"
    if not parts:
        return "parts is empty; write parts: [question]"
    for name, listed in (("against", against), ("parts", parts)):
        if twice := next((one for one in listed if listed.count(one) > 1), None):
            return f"{name} lists '{twice}' twice"
    return None


@decontaminate.fits
def _fits(
    recipe: Recipe, *, against: list[str], question: Any, answer: Any, split: str, **_: Any
) -> str | None:
    """Whether the sets are there, as far as can be told without the Hub."""
    return problem(against, recipe.path, _columns(question, answer, split))


class _Looked(NamedTuple):
    """What one part had: rows, what was seen in them, and the ids of those by their numbers."""

    rows: int
    seen: list[Seen]
    ids: dict[int, str]


def _looked(part: Table, search: Searcher, on: On) -> _Looked:
    """Looks at one part of the table."""
    rows, seen, ids = 0, list[Seen](), dict[int, str]()
    for batch in part.batches(["id", *needed_columns(on)]):
        texts, owner = row_texts(batch, on)
        one = search.look(texts, owner + rows)
        places = one.rows()
        ids |= zip(places.tolist(), batch.column("id").take(places - rows).to_pylist(), strict=True)
        seen.append(one)
        rows += batch.num_rows
    return _Looked(rows, seen, ids)


class _Found:
    """What all parts had, rows numbered through them."""

    def __init__(self, search: Searcher) -> None:
        self._search, self.rows = search, 0
        self.ids: dict[int, str] = {}
        self._firsts: list[int] = []  # the number of each part's first row

    def add(self, looked: _Looked) -> None:
        """Takes in the next part."""
        for seen in looked.seen:
            self._search.add(seen.after(self.rows))
        self.ids |= {row + self.rows: one for row, one in looked.ids.items()}
        self._firsts.append(self.rows)
        self.rows += looked.rows

    def decisions(self, hits: Sequence[Hit], *, drop: bool) -> list[Decision]:
        """What becomes of the rows of each part."""
        made = [Decision(drop={}, meta={}) for _ in self._firsts]
        for hit in hits:
            one, row = made[bisect_right(self._firsts, hit.row) - 1], self.ids[hit.row]
            if drop:
                one.drop.setdefault(row, self._search.reason(hit))
            told = one.meta.setdefault(row, {FIELD: []})[FIELD]
            if len(told) < MOST_FACTS:
                told.append(self._search.fact(hit))
        return made


def _columns(
    question: str | list[str] | None, answer: str | list[str] | None, split: str
) -> Columns:
    return Columns(_listed(question), _listed(answer), split)


def _listed(columns: str | list[str] | None) -> list[str]:
    return [columns] if isinstance(columns, str) else columns or []
