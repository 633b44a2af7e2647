"""The collapse guard of `mix`: which texts stand for the mix, for people and for the round before.

What a model learns to say is compared, so a row's text is its answer; of a row without one, its
prompt. A bounded number of texts is looked at, the same whatever the order of the rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from karat.columns import best_texts, last_texts
from karat.context import Context
from karat.curation.collapse import Comparison, compared
from karat.errors import RunError
from karat.row import Row, digest

MOST = 4_000  # texts of each kind: 24 half samples of 8,000 answers take some 3 CPU seconds
CHARS = 2_000  # of each

Guard = Literal["warn", "error", "off"]


COLUMNS = ["messages", "source", "meta",
           *(f"responses.list.element.{name}" for name in ("content", "kept"))]  # fmt: skip


class Texts:
    """Of all texts added, MOST that are chosen by what they say. Those of parts merge to those of
    the whole."""

    def __init__(self) -> None:
        self.rows = 0
        self._held: list[tuple[int, str]] = []

    def add(self, text: str) -> None:
        if not text.strip():
            return
        self.rows += 1
        self._hold(int.from_bytes(digest(text, size=8), "little"), text)

    def merge(self, other: Texts) -> None:
        """Takes in what another one was given."""
        self.rows += other.rows
        for turn, text in other._held:
            self._hold(turn, text)

    def _hold(self, turn: int, text: str) -> None:
        if len(self._held) < MOST:
            heapq.heappush(self._held, (turn, text[:CHARS]))
        elif turn > self._held[0][0]:  # the lowest of those held
            heapq.heapreplace(self._held, (turn, text[:CHARS]))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in sorted(self._held)]


def together(some: Iterable[Texts]) -> Texts:
    """Several as one."""
    found = Texts()
    for one in some:
        found.merge(one)
    return found


class Watched:
    """The texts of a mix by where they come from: people's, and by round what they did not write.

    Of a table each part is watched by itself, then all are merged.
    """

    def __init__(self) -> None:
        self.human = Texts()
        self.given = Texts()  # of rows that people did not write, neither live nor of rounds before
        self._previous, self._earlier = Texts(), Texts()  # of the last round given, of all of them
        self._rounds: dict[int, Texts] = {}  # of the live rows

    def take(self, batch: pa.RecordBatch) -> None:
        """Live rows: people's, and the others' by their `meta.round` where they have one."""
        answers = pc.coalesce(
            best_texts(batch.column("responses")), last_texts(batch.column("messages"))
        )
        found = zip(
            pc.fill_null(answers, "").to_pylist(), batch.column("source").to_pylist(),
            batch.column("meta").to_pylist(), strict=True,
        )  # fmt: skip
        for text, source, meta in found:
            if source == "human":
                self.human.add(text)
                continue
            number = orjson.loads(meta).get("round") if '"round"' in meta else None
            of = number if isinstance(number, int) else 0
            self._rounds.setdefault(of, Texts()).add(text)

    def merge(self, later: Watched) -> None:
        """Takes in the live rows of another part."""
        self.human.merge(later.human)
        for number, texts in later._rounds.items():
            self._rounds.setdefault(number, Texts()).merge(texts)

    def earlier(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows of an earlier round on their way into the mix; the last ones given count."""
        self._previous = Texts()
        for row in rows:
            (self.human if row.source == "human" else self._previous).add(said(row))
            yield row
        self._earlier.merge(self._previous)

    def others(self) -> Texts:
        """All that people did not write."""
        return together([*self._rounds.values(), self._earlier, self.given])

    def newest(self) -> tuple[list[str], list[str]]:
        """(made in this round, made in the one before), as far as they can be told apart."""
        numbers = sorted(self._rounds)
        if self._previous.rows or len(numbers) < 2:
            return together(self._rounds.values()).texts, self._previous.texts
        return self._rounds[numbers[-1]].texts, self._rounds[numbers[-2]].texts


def said(row: Row) -> str:
    """What a row teaches: its kept answer, else its prompt."""
    kept = row.kept()
    return (kept[0].content if kept else "") or row.prompt


def guarded(
    ctx: Context, watched: Watched, unused: list[str], guard: Guard,
    share: float, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What the comparisons found, for the notes; nothing where there is too little text.

    `unused` are people's answers that were left out of the mix, those next in turn first. Raises:
    RunError with `guard: error` where rare words are being lost.
    """
    if guard == "off":
        return {}
    others, people = watched.others(), watched.human
    # Of many rows a part is looked at, of people's as large a part as of the others.
    part = min(1.0, len(others.texts) / max(1, others.rows))
    used = people.texts[: round(part * people.rows)]
    human = used + unused
    with_people = compared(others.texts, human, len(used), seed=seed)
    now, before = watched.newest()
    with_last = compared(now, human, previous=before, seed=seed) if before else None
    notes = {
        name: found.notes()
        for name, found in (("human", with_people), ("previous", with_last))
        if found is not None
    }
    problems = [
        text
        for found, of, base in (
            (with_people, "the mix", "as much human text"),
            (with_last, "what was made in this round", "what was made in the round before"),
        )
        if found is not None and (text := found.says(of, base))
    ]
    if problems:
        _tell(ctx, "; ".join(problems), with_people, guard, share)
    return notes


def _tell(
    ctx: Context, problem: str, with_people: Comparison | None, guard: str, share: float
) -> None:
    advice = (
        f"Raise share (now {share:.0%}), keep earlier rounds (previous) instead of replacing them, "
        "and do not trust scores here: they rise while this gets worse"
    )
    if with_people is not None and with_people.seen:
        advice += ". All human rows are in the mix, so what is lost may be more than this shows"
    if guard == "error":
        raise RunError(f"rare words are being lost: {problem}. {advice}; or set guard: warn")
    ctx.warn(f"rare words are being lost: {problem}. {advice}")
