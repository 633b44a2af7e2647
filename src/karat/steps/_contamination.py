"""Evaluation items found in rows: word for word, and apart from that by likeness.

What the step `decontaminate` and the report of contamination share, so that both mean the same by a
hit. Texts come in batches with the number of the row each belongs to; `look` looks at a batch,
anywhere, and `hits` puts together what was seen in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from karat.columns import best_texts, owners
from karat.curation.lookalikes import Lookalikes
from karat.curation.lookalikes import Matches as Alike
from karat.curation.normal import Ints
from karat.curation.overlap import Overlap
from karat.curation.stretches import Matches, Overlaps
from karat.steps._evaluation_sets import EvaluationSet, Part, passages

On = Literal["any", "prompt", "response", "conversation"]

SHOWN = 120  # characters of a text that both have
EXAMPLES = 3  # of a set in the notes


class Rules(msgspec.Struct):
    """What counts as a hit; see the step's parameters."""

    n: int = 13
    least: int = 1
    covered: float = 0.0
    common: float = 1.0
    parts: Sequence[Part] = ("question", "answer")
    looks_like: float | None = None


class Hit(msgspec.Struct):
    """A row and an item. `ngrams`: how many of the item's runs of words the row has, 0 for one that
    only looks like it; `word`: where in the row's text their longest stretch begins, -1 where it
    stands in pieces; `words`: how many words it has; `cosine` of a lookalike."""

    row: int
    set: int
    item: int
    part: str
    text: str
    ngrams: int = 0
    covered: float = 0.0
    word: int = -1
    words: int = 0
    cosine: float | None = None


class Seen(msgspec.Struct):
    """What some rows have in common with the items: word for word, and by likeness."""

    exact: Matches
    near: Alike | None

    def rows(self) -> Ints:
        """The numbers of the rows that have something, in order."""
        near = np.zeros(0, np.int64) if self.near is None else self.near.text
        return np.union1d(self.exact.text, near)

    def after(self, rows: int) -> Seen:
        """The same where so many rows come before."""
        exact = Matches(self.exact.text + rows, self.exact.word, self.exact.key)
        near = self.near and Alike(self.near.text + rows, self.near.passage, self.near.cosine)
        return Seen(exact, near)


class Searcher:
    """Looks for the items of some sets in rows. `look` changes nothing in it, so that copies of one
    can look at the parts of a table."""

    def __init__(self, sets: Sequence[EvaluationSet], rules: Rules) -> None:
        self.sets, self._rules = list(sets), rules
        self._passages = passages(self.sets, rules.parts)
        self._parts = _parts(self.sets, rules.parts)
        self._first = np.cumsum([0, *(len(one.items) for one in self.sets)])
        self.overlap = Overlap(self._passages, rules.n)
        self._asked = [i for i, one in enumerate(self._passages) if one.question]
        asked = [self._passages[i].text for i in self._asked]
        likeness = rules.looks_like
        self._alike = None if likeness is None else Lookalikes(asked, likeness)
        self._seen: list[Seen] = []

    def look(self, texts: pa.Array, rows: Ints) -> Seen:
        """What is in texts, by the number of the row that each belongs to."""
        found = self.overlap.find(texts)
        found.text = rows[found.text]
        near = None if self._alike is None else self._alike.find(texts)
        if near is not None:
            near.text = rows[near.text]
        return Seen(found, near)

    def add(self, seen: Seen) -> None:
        """Takes in what was seen in further rows, by their numbers among all."""
        self._seen.append(seen)

    def find(self, texts: pa.Array, rows: Ints) -> None:
        """Looks and takes in."""
        self.add(self.look(texts, rows))

    def hits(self, rows: int) -> list[Hit]:
        """One for each row and item: rows in order, in each the item it has most of first, those
        that it only looks like last."""
        rules = self._rules
        found = self.overlap.overlaps((seen.exact for seen in self._seen), rows, rules.common)
        possible = np.maximum(self.overlap.sizes[found.passage] - rules.n + 1, 1)
        good = (found.runs >= np.minimum(rules.least, possible)) & (found.covered >= rules.covered)
        best: dict[tuple[int, int], Hit] = {}
        for place in np.flatnonzero(good).tolist():
            hit = self._hit(found, place)
            held = best.get((hit.row, hit.item))
            if held is None or hit.ngrams > held.ngrams:
                best[hit.row, hit.item] = hit
        for hit in self._lookalikes():
            held = best.get((hit.row, hit.item))
            if held is None or (not held.ngrams and (held.cosine or 0) < (hit.cosine or 0)):
                best[hit.row, hit.item] = hit
        hits = list(best.values())
        hits.sort(key=lambda hit: (hit.row, -hit.ngrams, -(hit.cosine or 0), hit.item))
        return hits

    def _hit(self, found: Overlaps, place: int) -> Hit:
        passage = int(found.passage[place])
        words = int(found.words[place])
        one = self._passages[passage]
        return Hit(
            row=int(found.text[place]),
            set=one.group,
            item=one.item,
            part=self._parts[passage],
            text=self.overlap.stretch(passage, int(found.first[place]), words),
            ngrams=int(found.runs[place]),
            covered=round(float(found.covered[place]), 4),
            word=int(found.at[place]),
            words=words,
        )

    def _lookalikes(self) -> list[Hit]:
        return [
            Hit(row, self._passages[at].group, self._passages[at].item, "question",
                " ".join(self._passages[at].text.split()), cosine=cosine)
            for near in (seen.near for seen in self._seen)
            if near is not None
            for row, asked, cosine in zip(
                near.text.tolist(), near.passage.tolist(), near.cosine.tolist(), strict=True
            )
            for at in (self._asked[asked],)
        ]  # fmt: skip

    # --- in words ------------------------------------------------------------------------------

    def name(self, hit: Hit) -> str:
        """The item's name in its set."""
        return self.sets[hit.set].items[hit.item - int(self._first[hit.set])].name

    def where(self, hit: Hit) -> str:
        return f"{self.sets[hit.set].name} {self.name(hit)}"

    def reason(self, hit: Hit) -> str:
        """Why a row goes: "contaminated (gsm8k #17: '…')"."""
        if hit.cosine is None:
            return f"contaminated ({self.where(hit)}: '{short(hit.text)}')"
        return f"looks like an evaluation item ({self.where(hit)}, {hit.cosine:.2f})"

    def fact(self, hit: Hit) -> dict[str, Any]:
        """A hit as a row's `meta` and a report have it."""
        told = {"benchmark": self.sets[hit.set].name, "item": self.name(hit), "part": hit.part}
        if hit.cosine is not None:
            return {**told, "cosine": hit.cosine, "text": short(hit.text)}
        place = {} if hit.word < 0 else {"word": hit.word}
        counts = {"ngrams": hit.ngrams, "covered": hit.covered, "words": hit.words}
        return {**told, **counts, **place, "text": short(hit.text)}

    def summary(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """For each set: its items, how many occur, wholly or not, in how many rows; examples."""
        told = []
        for number, one in enumerate(self.sets):
            mine = [hit for hit in hits if hit.set == number]
            exact = [hit for hit in mine if hit.cosine is None]
            items = len({hit.item for hit in exact})
            fullest = sorted(exact, key=lambda hit: (-hit.covered, -hit.ngrams, hit.row, hit.item))
            entry = {
                "benchmark": one.name,
                "items": len(one.items),
                "items_found": items,
                "items_whole": len({hit.item for hit in exact if hit.covered == 1}),
                "share": items / len(one.items),
                "rows": len({hit.row for hit in exact}),
                "examples": [
                    {"row": hit.row, **self.fact(hit)} for hit in _different(fullest)[:EXAMPLES]
                ],
            }
            if self._alike is not None:
                near = [hit for hit in mine if hit.cosine is not None]
                entry["items_alike"] = len({hit.item for hit in near})
                entry["rows_alike"] = len({hit.row for hit in near})
            told.append(entry)
        return told


def short(text: str) -> str:
    """At most SHOWN characters, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 2].rstrip() + " …"


def row_texts(batch: pa.RecordBatch, on: On) -> tuple[pa.Array, Ints]:
    """(texts, rows): every text of a batch that is looked at, and the row of the batch it is of.

    Turns and answers are texts of their own: no run of words reaches from one into the next.
    """
    texts, rows = [pa.array([], pa.string())], [np.zeros(0, np.int64)]
    if on != "response":
        messages = batch.column("messages")
        flat, owner = messages.flatten(), owners(messages)
        spoken = np.ones(len(flat), np.bool_)
        if on != "any":  # a system message is the recipe's, not the row's
            spoken = pc.not_equal(flat.field("role"), "system").to_numpy(zero_copy_only=False)
        texts.append(flat.field("content").filter(pa.array(spoken)))
        rows.append(owner[spoken])
    if on == "any":
        responses = batch.column("responses")
        texts.append(responses.flatten().field("content"))
        rows.append(owners(responses))
    elif on != "prompt":
        texts.append(best_texts(batch.column("responses")))
        rows.append(np.arange(batch.num_rows))
    return pa.concat_arrays(texts), np.concatenate(rows)


def needed_columns(on: On) -> list[str]:
    """The columns `row_texts` reads."""
    answers = [f"responses.list.element.{name}" for name in ("content", "kept")]
    return [*([] if on == "response" else ["messages"]), *([] if on == "prompt" else answers)]


def _parts(sets: Sequence[EvaluationSet], parts: Sequence[Part]) -> list[Part]:
    """Of each passage which part of its item it is."""
    return [
        part
        for one in sets
        for item in one.items
        for part in parts
        for _ in item.texts.get(part, [])
    ]


def _different(hits: Sequence[Hit]) -> list[Hit]:
    """The first hit of each item, and of items with the same words only one."""
    items: dict[int, Hit] = {}
    texts: dict[str, Hit] = {}
    for hit in hits:
        items.setdefault(hit.item, hit)
    for hit in items.values():
        texts.setdefault(hit.text, hit)
    return list(texts.values())
