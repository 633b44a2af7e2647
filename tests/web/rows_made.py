"""What tests of a run's rows share: a run with every odd thing in it, and its answers worked out
in plain Python from the rows themselves."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from karat.columns import Table
from karat.finish import write_results
from karat.licensing.rows import Licences
from karat.row import Message, Response, Row
from karat.rundir import Run
from karat.stage import written
from karat.web.rows.asked import Filter, View
from karat.web.rows.engine import Engine, Stop
from karat.web.rows.files import holding
from karat.web.rows.index import build

NASTY = [
    "", "plain words", "it's \"quoted\"; DROP TABLE rows; --", "<script>alert(1)</script>",
    "=HYPERLINK(\"x\")", "+1", "-2+3", "@SUM(A1)", "\tx", "\ud800 alone", "nul \0 here",
    "\u202eright to left", "100% _under_", "a\nline\r\nend", "𝔘nicode ß ſ", "(regex.*[", "\\",
]  # fmt: skip
MODELS = ["", "p/small", "p/teacher'); --", "p/ünïcode"]
REASONS = [
    None, None, "reject: below minimum (best 1.2)", "reject: below minimum (best 0.3)",
    "dedupe: near duplicate", "no colon at all", "x: y: z (a (b))", "respond: call failed (429)",
]  # fmt: skip
KEYS = ["r.one", "r.two", "odd key'\""]
VALUES = ["coding", "writing", "it's", True, 3, 2.5, None, ["nested"], "x" * 500]
LONG = Stop(86_400.0)  # made when tests are collected, long before some of them run


def make_rows(count: int, seed: int = 7) -> list[Row]:
    """Rows with everything a model, a file and a user's step could put into them."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        chosen = rng.choice([None, True])
        responses = [
            Response(
                f"{rng.choice(NASTY)} {rng.randrange(99)}", rng.choice(MODELS), index,
                call=f"{number:030x}{index:02x}",
                scores={key: _score(rng) for key in KEYS if rng.random() < 0.8},
                kept=None if chosen is None else rng.random() < 0.4,
            )
            for index in range(rng.randrange(4))
        ]  # fmt: skip
        meta = {name: rng.choice(VALUES) for name in ("task", "it's", "rare") if rng.random() < 0.7}
        turns = [Message(rng.choice(["system", "user"]), rng.choice(NASTY))
                 for _ in range(rng.randrange(3))]  # fmt: skip
        identity = rng.choice([f"{number:016x}", f"a/b?c#{number}.json", f"{number} '\"", "twin"])
        source = rng.choice(["synthetic", "human", "given"])
        rows.append(Row(identity, turns, responses, source, meta, dropped=rng.choice(REASONS)))
    return rows


def _score(rng: random.Random) -> float:
    return rng.choice([0.0, -1.5, 0.1, 2.5, 4.0, 1e300, math.nan, math.inf, rng.uniform(0, 4)])


def write_run(folder: Path, rows: list[Row], ranking: str | None = "r.one") -> Run:
    """A finished run of these rows; several row groups, so that places cross them."""
    run = Run(folder)
    run.stages.mkdir(parents=True)
    run.recipe.write_text("name: test\nsteps: []\n")
    last = run.stages / "01-reject.parquet"
    with written(last, {}) as writer:
        writer.add(rows)
    write_results(Table(last), run, ranking, Licences({}, {}, run.journal))
    for path in (run.accepted_file, run.dropped_file):
        table = pq.read_table(path)
        pq.write_table(table, path, row_group_size=37)
    return run


class Made:
    """A run with its index, and the rows in the order of their places."""

    def __init__(self, folder: Path) -> None:
        rows = [as_written(row) for row in make_rows(300)]
        self.run = write_run(folder, make_rows(300))
        self.rows = [r for r in rows if r.dropped is None] + [r for r in rows if r.dropped]
        self.held = holding(self.run)
        self.engine = Engine(*build(self.run, self.held))
        self.names = self.engine.names


def as_written(row: Row) -> Row:
    """What a file can hold of a row: lone surrogates become question marks."""
    return msgspec.json.decode(
        msgspec.json.encode(_clean(msgspec.to_builtins(row))), type=Row
    )  # fmt: skip


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(one) for key, one in value.items() if not _odd(one)}
    return value


def _odd(value: Any) -> bool:
    """What is no score: JSON cannot say it, and the index leaves it out."""
    return isinstance(value, float) and not math.isfinite(value)


# --- the same in plain Python --------------------------------------------------------------------


def parts(row: Row) -> tuple[str | None, str | None]:
    """(step, reason) of a dropped row."""
    if row.dropped is None:
        return None, None
    step, colon, why = row.dropped.partition(": ")
    return ("", row.dropped.partition(" (")[0]) if not colon else (step, why.partition(" (")[0])


def chosen(row: Row) -> Response | None:
    kept = [r for r in row.responses if r.kept]
    if kept:
        return kept[0]
    undecided = row.responses and all(r.kept is None for r in row.responses)
    return row.responses[0] if undecided else None


def score(row: Row, key: str, of: str = "") -> float | None:
    found = [r.scores[key] for r in row.responses if key in r.scores]
    one = chosen(row)
    if not of and one is not None:
        return one.scores.get(key)
    return (min if of == "worst" else max)(found, default=None)  # type: ignore[type-var]


def field(row: Row, name: str) -> str | None:
    value = row.meta.get(name)
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, str | int | float) else ""
    return text if 0 < len(text) <= 120 else None


def passes(row: Row, asked: Filter) -> bool:
    step, reason = parts(row)
    return all((
        not asked.kept or (asked.kept == "accepted") == (row.dropped is None),
        not asked.step or asked.step == step,
        not asked.reason or asked.reason == reason,
        not asked.source or asked.source == row.source,
        not asked.model or asked.model in {r.model for r in row.responses},
        not asked.score or _within(score(row, asked.score, asked.of), asked),
        all(field(row, name) == value for name, value in asked.meta),
        not asked.q or _has(row, asked.q),
    ))  # fmt: skip


def _within(value: float | None, asked: Filter) -> bool:
    low, high = asked.low, asked.high
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


def _has(row: Row, text: str) -> bool:
    texts = [m.content for m in row.messages] + [r.content for r in row.responses]
    return row.id == text or any(re.search(re.escape(text), t, re.IGNORECASE) for t in texts)


def oracle(rows: list[Row], view: View) -> list[int]:
    """The places of a view's rows in its order."""
    places = [place for place, row in enumerate(rows) if passes(row, view.filter)]
    if not view.sort:
        return places

    def value(row: Row) -> Any:
        one = chosen(row)
        if view.sort == "reason":
            return parts(row)
        if view.sort in KEYS:
            of = view.filter.of if view.sort == view.filter.score else ""
            return (score(row, view.sort, of),)
        return ({
            "length": None if one is None else len(one.content),
            "prompt": len(row.messages[-1].content) if row.messages else None,
            "responses": len(row.responses),
        }[view.sort],)  # fmt: skip

    # One part after the other, the last first: rows without a value come last either way.
    width = 2 if view.sort == "reason" else 1
    for at in reversed(range(width)):
        there = [p for p in places if value(rows[p])[at] is not None]
        absent = [p for p in places if value(rows[p])[at] is None]
        there.sort(key=lambda p: _ordered(value(rows[p])[at]), reverse=view.down)
        places = there + absent
    return places


def _ordered(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value
