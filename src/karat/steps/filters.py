"""filters: rows and responses that fail simple rules go, each with the rule and the value.

Filters are cheap and blunt. The published ones were made for crawled pages, and of answers that
people rated helpful each drops 14 to 31%; so by default limits are those of alignment data, and
docs/curation.md says for every rule what share of good and of bad answers it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Decision, Table, owners
from karat.context import Context
from karat.curation.limits import Statistic, Tally
from karat.curation.pages import Lexicon, Pages
from karat.errors import RecipeError
from karat.row import Message
from karat.step import step
from karat.steps._filter_rules import RULES, Judged, On, Preset, chosen, default
from karat.steps.dedupe import turns

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

CHARACTERS = 1 << 21  # of texts judged at once: about 100 MB
FIELD = "filtered"  # of meta: why responses were turned down
MOST_REASONS = 8  # of one row
COLUMNS = ["id", "messages", "responses.list.element.content", "responses.list.element.kept"]


@step
def filters(
    table: Table,
    ctx: Context,
    *,
    on: On = "response",
    rules: list[str | dict[str, dict[str, Any]]] | None = None,
    preset: Preset = "alignment",
) -> Decision:
    """Turns down responses that fail a rule, and drops the rows where none is left.

    A rule is a name, or a name with limits of your own: `[length, {gopher: {min_words: 50}}]`; a
    limit of null is off. Left out, they are `length`, `gopher`, `fineweb`, `repetition`,
    `boilerplate`, `refusal`, `markup` and `pii`.

    `gopher`, `gopher_repetition`, `c4` and `fineweb` are the published heuristics of web pages,
    with their limits at `preset: published`; by default what they have against short answers, code,
    lists and other languages than English is off. The others are made for answers: `length`;
    `repetition` (loops); `boilerplate` (speaks as a model, cookies, lorem ipsum); `refusal`;
    `markup` (mojibake, control characters, template marks, open blocks, HTML); `pii` (key, email,
    iban, card, ip, phone); `language`; `toxicity` (profanity, by words alone). For safety data
    leave out `refusal`; to take personal data out of a row and keep it, use the step `mask`.

    `on: response` judges every response that was not turned down before; `on: prompt` all turns of
    the prompt but the system's, and drops its row; `on: conversation` each response with the turns
    before it. All rules see all texts, so the counts of one do not depend on the others; the reason
    is the first rule that fails. Rows without what is judged stay.

    A response that passes is kept, any other that was judged is turned down; `on: prompt` judges
    no responses. The notes have, for each rule, how many texts fail it, by test, and a histogram of
    each statistic. Why responses were turned down stands in `meta` under `filtered`.

    Source: Gopher (2112.11446) A1.1; C4 (1910.10683) §2.2; FineWeb (2406.17557) §3.5.
    """
    limits = chosen(default(on) if rules is None else rules, preset, on)
    return Decision(each=partial(_sieved, on=on, rules=limits), gather=partial(_added, on=on))


filters.marks = (FIELD,)


@filters.rule
def _rule(*, on: On, rules: list[Any] | None, preset: Preset) -> str | None:
    try:
        found = chosen(default(on) if rules is None else rules, preset, on)
    except RecipeError as error:
        return f"rules: {error}"
    return None if found else "rules is empty; name at least one, or leave out the step"


class _Told(NamedTuple):
    """What one part of the table had: texts, those that failed, a tally of each rule."""

    texts: int
    failed: int
    tallies: dict[str, Tally]


def _sieved(part: Table, on: On, rules: Mapping[str, Any]) -> Decision:
    """The decision on one part of the table."""
    sieve = Sieve(on, rules)
    for batch in part.batches(COLUMNS):
        sieve.add(batch)
    return sieve.decision()


def _added(told: list[dict[str, Any]], on: On) -> dict[str, Any]:
    """The notes of all parts, which have the same rules."""
    parts: list[_Told] = [notes["sieved"] for notes in told]
    rules = {name: Tally() for name in parts[0].tallies}
    for part in parts:
        for name, tally in rules.items():
            tally.merge(part.tallies[name])
    return {
        "on": on,
        "texts": sum(part.texts for part in parts),
        "failed": sum(part.failed for part in parts),
        "rules": {name: tally.notes() for name, tally in rules.items()},
    }


class Sieve:
    """What failed, batch after batch. Texts are judged one by one: no other row has a say."""

    def __init__(self, on: On, rules: Mapping[str, Any]) -> None:
        self._on, self._rules = on, rules
        self._lexicon = Lexicon()
        self._tallies = {name: Tally() for name in rules}
        self._keep: list[Flags] = [np.zeros(0, np.bool_)]
        self._drop: dict[str, str] = {}
        self._meta: dict[str, dict[str, Any]] = {}
        self._texts = self._failed = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Judges one batch of the live rows."""
        responses = batch.column("responses")
        flags = responses.flatten().field("kept")
        open_R = pc.fill_null(flags, True).to_numpy(zero_copy_only=False).astype(np.bool_)
        texts = _Texts(batch, self._on, open_R)
        reasons: dict[int, str] = {}
        for judged, first in texts.parts(self._lexicon):
            reasons |= {first + place: why for place, why in self._judge(judged).items()}
        self._texts += len(texts.owner)
        self._failed += len(reasons)
        self._take(batch.column("id").to_pylist(), texts, reasons)
        passes_R = open_R.copy()
        passes_R[[texts.response[place] for place in reasons if texts.response[place] >= 0]] = False
        self._keep.append(passes_R)

    def _judge(self, judged: Judged) -> dict[int, str]:
        """The reason of each text that fails: of its first rule, the first test."""
        reasons: dict[int, str] = {}
        for name, limits in self._rules.items():
            tests: list[Statistic] = RULES[name].statistics(judged, limits)
            failed = self._tallies[name].add(tests)
            for place in np.flatnonzero(failed).tolist():
                if place not in reasons:
                    test = next(test for test in tests if test.fails()[place])
                    reasons[place] = f"{name}: {test.reason(place)}"
        return reasons

    def _take(self, ids: list[str], texts: _Texts, reasons: Mapping[int, str]) -> None:
        """Drops rows of which nothing that was judged is left, and notes why others lost some."""
        left = np.bincount(texts.owner, minlength=len(ids))
        failed: dict[int, list[int]] = {}
        for place in reasons:
            failed.setdefault(int(texts.owner[place]), []).append(place)
        for row, places in sorted(failed.items()):
            told = list(dict.fromkeys(reasons[place] for place in sorted(places)))
            if len(places) < left[row]:
                self._meta[ids[row]] = {FIELD: [
                    {"response": int(texts.number[place]), "reason": reasons[place]}
                    for place in sorted(places)[:MOST_REASONS]
                ]}  # fmt: skip
            elif len(told) == 1:
                self._drop[ids[row]] = told[0]
            else:
                shown = "; ".join(told[:MOST_REASONS])
                self._drop[ids[row]] = f"no response passes ({shown})"

    def decision(self) -> Decision:
        """The decision over all batches."""
        return Decision(
            drop=self._drop,
            keep=None if self._on == "prompt" else np.concatenate(self._keep),
            meta=self._meta,
            notes={"sieved": _Told(self._texts, self._failed, self._tallies)},
        )


class _Texts:
    """The texts of a batch that are judged: owner (their row), response (their place among all
    responses of the batch, -1 for none), number (their place among their row's)."""

    def __init__(self, batch: pa.RecordBatch, on: On, open_R: Flags) -> None:
        self._batch, self._on = batch, on
        responses = batch.column("responses")
        starts = responses.offsets.to_numpy().astype(np.int64)
        owner_R = owners(responses)
        rows = np.arange(batch.num_rows)
        self._answers = responses.flatten().field("content")
        if on == "prompt":
            self.owner, self.response = rows, np.full(len(rows), -1)
        else:
            self.response = np.flatnonzero(open_R)
            self.owner = owner_R[self.response]
            if on == "conversation":
                bare = np.flatnonzero(np.diff(starts) == 0)
                self.owner = np.append(self.owner, bare)
                self.response = np.append(self.response, np.full(len(bare), -1))
        self.number = np.maximum(self.response - (starts[self.owner] - starts[0]), 0)

    def parts(self, lexicon: Lexicon) -> Iterator[tuple[Judged, int]]:
        """Pieces of bounded size, with the place of each one's first text."""
        spoken = turns(self._batch.column("messages")).to_pylist()
        answers = self._answers.to_pylist()
        before = self._conversations() if self._on != "prompt" else []
        pairs = list(zip(self.owner.tolist(), self.response.tolist(), strict=True))
        said = [answers[place] if place >= 0 else spoken[row] for row, place in pairs]
        whole = said
        if self._on == "conversation":
            whole = [f"{spoken[row]}\n{answers[place]}" if place >= 0 else spoken[row]
                     for row, place in pairs]  # fmt: skip
        start = 0
        while start < len(pairs):
            stop, size = start, 0
            while stop < len(pairs) and (stop == start or size + len(whole[stop]) <= CHARACTERS):
                size += len(whole[stop])
                stop += 1
            earlier = [before[row] for row, _ in pairs[start:stop]] if before else []
            pages = Pages(whole[start:stop], lexicon)
            yield Judged(pages, said[start:stop], earlier), start
            start = stop

    def _conversations(self) -> list[tuple[Message, ...]]:
        return [
            tuple(Message(turn["role"], turn["content"]) for turn in row)
            for row in self._batch.column("messages").to_pylist()
        ]
