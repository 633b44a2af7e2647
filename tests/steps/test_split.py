"""split on real stage files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.errors import RecipeError
from karat.row import SPLITS, Message, Response, Row
from karat.stage import StageWriter
from karat.steps.split import split
from karat.table import from_batch

DATA = Path(__file__).parents[3] / "shared/data/prompts"
STORY = "please write a short story about an old lighthouse keeper and his very curious cat"
EVEN = {"train": 0.34, "validation": 0.33, "test": 0.33}


class Ctx:
    """As much of a context as the step touches."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self.warnings: list[str] = []

    def seed(self) -> int:
        return self._seed

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def run(
    path: Path, rows: list[Row], ctx: Ctx | None = None, **params: Any
) -> tuple[Decision, dict[str, str], Ctx]:
    """The decision, the part of each row that stays, and the context."""
    writer = StageWriter(path / "stage.parquet")
    writer.add(rows)
    writer.close({})
    ctx = ctx or Ctx()
    decision = split.function(Table(writer.path), ctx, **split.check(params))
    batches = [batch for batch, _ in apply_decision(writer.path, decision, "split")]
    after = [row for batch in batches for row in from_batch(batch) if row.dropped is None]
    return decision, {row.id: row.meta["split"] for row in after}, ctx


def ask(number: int, *turns: str, **meta: Any) -> Row:
    roles = ("user", "assistant") * len(turns)
    messages = [Message(role, text) for role, text in zip(roles, turns, strict=False)]
    return Row(f"row{number:04}", messages, [Response(f"answer {number}")], meta=meta)


def families(count: int, size: int = 3, seed: int = 0) -> list[Row]:
    """Prompts and edited copies of them, one family after another; meta.family says which."""
    rng = random.Random(seed)
    made = []
    for family in range(count):
        text = [f"w{rng.randrange(5000)}" for _ in range(rng.randint(15, 40))]
        for _ in range(size):
            made.append((family, list(text)))
            text[rng.randrange(len(text))] = f"edit{rng.randrange(5000)}"
    return [ask(i, " ".join(text), family=family) for i, (family, text) in enumerate(made)]


def test_families_stay_together_and_shares_are_met(tmp_path):
    rows = families(300)
    random.Random(1).shuffle(rows)
    decision, parts, ctx = run(tmp_path, rows, train=0.8, validation=0.1, test=0.1)
    of = {}
    for row in rows:
        of.setdefault(row.meta["family"], set()).add(parts[row.id])
    # Candidates are found by MinHash, which may miss one in some hundred.
    divided = sum(len(found) > 1 for found in of.values())
    assert divided <= 3
    counts = decision.notes["rows"]
    assert sum(counts.values()) == 900
    assert 0.72 < counts["train"] / 900 < 0.88
    assert 300 <= decision.notes["clusters"] <= 300 + 2 * 3
    assert decision.notes["largest_cluster"] == 3
    leaked = [found["shared_runs"]["rows"] for found in decision.notes["leakage"].values()]
    assert (sum(leaked) > 0) == bool(ctx.warnings)
    assert sum(leaked) <= 3 * divided
    assert run(tmp_path, rows, Ctx(1), train=0.8, validation=0.1, test=0.1)[1] != parts


def test_rows_added_later_move_no_row(tmp_path):
    rows = families(60)
    _, before, _ = run(tmp_path, rows[:120], **EVEN)
    _, after, _ = run(tmp_path, rows, **EVEN)
    assert {one: after[one] for one in before} == before


def test_with_keep_rows_stay_wherever_they_stand_in_the_file(tmp_path):
    rows = families(60)
    _, before, _ = run(tmp_path, rows[:90], per=["half"], **EVEN)
    for row in rows[:90]:
        row.meta["split"] = before[row.id]
    random.Random(2).shuffle(rows)
    decision, after, _ = run(tmp_path, rows, Ctx(9), per=["half"], **EVEN)
    assert {one: after[one] for one in before} == before
    assert decision.notes["kept_their_part"] == 90
    of = {}
    for row in rows:
        of.setdefault(row.meta["family"], set()).add(after[row.id])
    assert all(len(found) == 1 for found in of.values())
    assert run(tmp_path, rows, Ctx(9), keep=False, **EVEN)[1] != after


def test_a_row_near_rows_of_two_parts_is_dropped(tmp_path):
    words = STORY.split()
    chain = []
    for place in (2, 5, 8, 11):
        chain.append(" ".join(words))
        words[place] = f"other{place}"
    rows = [ask(0, chain[0], split="train"), ask(1, chain[-1], split="test"),
            *(ask(2 + i, text) for i, text in enumerate(chain[1:-1]))]  # fmt: skip
    rows.append(ask(9, "2 + 2", split="dev"))
    decision, parts, _ = run(tmp_path, rows)
    assert decision.drop == dict.fromkeys(("row0002", "row0003"), "near rows of two parts")
    assert (parts["row0000"], parts["row0001"]) == ("train", "test")
    assert parts["row0009"] in SPLITS  # a word of the user's own is no part
    assert decision.notes["between_parts"] == 2


def test_dialogues_that_begin_alike_stay_together(tmp_path):
    first = "Explain to me how the tides of the sea come about"
    rows = [ask(i, first, "The moon.", f"{'more ' * i}about {i}", "Yes.", f"topic {i * 77}")
            for i in range(12)]  # fmt: skip
    assert len(set(run(tmp_path, rows, **EVEN)[1].values())) == 1
    rows = [ask(i, "Hello there!", "Hi.", f"tell me about {i * 71}{i * 37}") for i in range(40)]
    assert len(set(run(tmp_path, rows, threshold=1.0, **EVEN)[1].values())) == 3


def test_shares_within_strata(tmp_path):
    rows = [ask(i, f"w{i} x{i} y{i} z{i} question", topic="ab"[i % 5 == 0]) for i in range(200)]
    decision, _, _ = run(tmp_path, rows, train=0.8, validation=0.1, test=0.1, per=["topic"])
    assert decision.notes["strata"] == {
        "a": {"train": 128, "validation": 16, "test": 16},
        "b": {"train": 32, "validation": 4, "test": 4},
    }


def test_what_a_low_threshold_would_have_caught_is_warned_about(tmp_path):
    rows = families(40, size=2)
    decision, _, ctx = run(tmp_path, rows, threshold=1.0, **EVEN)
    leaked = sum(one["shared_runs"]["rows"] for one in decision.notes["leakage"].values())
    assert leaked > 5
    assert any("lower threshold" in text for text in ctx.warnings)


def test_small_and_odd_tables(tmp_path):
    decision, parts, ctx = run(tmp_path, [])
    assert (decision.drop, parts, ctx.warnings) == ({}, {}, [])
    rows = [Row("blank"), ask(1, ""), ask(2, "???"), ask(3, "a real question about bridges")]
    rows.append(Row("gone", dropped="earlier: gone"))
    _, parts, ctx = run(tmp_path, rows)
    assert set(parts) == {"blank", "row0001", "row0002", "row0003"}
    assert any("no row came into" in text for text in ctx.warnings)
    one = [ask(i, "say the same thing again and again") for i in range(30)]
    _, parts, ctx = run(tmp_path, one)
    assert len(set(parts.values())) == 1
    assert any("one cluster has 30 of 30 rows" in text for text in ctx.warnings)


def test_conversations_are_compared_with_their_answers(tmp_path):
    texts = [row.prompt for row in families(30, size=1)]
    rows = [Row(f"r{i}{side}", [Message("user", f"question {side} {i}")], [Response(text)])
            for i, text in enumerate(texts) for side in "ab"]  # fmt: skip
    _, parts, _ = run(tmp_path, rows, on="conversation", threshold=0.6, **EVEN)
    assert all(parts[f"r{i}a"] == parts[f"r{i}b"] for i in range(30))


def test_parameters_are_checked():
    with pytest.raises(RecipeError, match="1 together, and are"):
        split(train=0.95)
    with pytest.raises(RecipeError, match="one part has all rows"):
        split(train=1, validation=0, test=0)
    for wrong in ({"threshold": 0.1}, {"train": -1}, {"on": "response"}):
        with pytest.raises(RecipeError):
            split(**wrong)
    assert split.marks == ("split",)


@pytest.mark.skipif(not DATA.exists(), reason="shared data is not here")
def test_on_real_questions(tmp_path):
    lines = (DATA / "gsm8k-test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [ask(i, json.loads(line)["question"]) for i, line in enumerate(lines)]
    decision, _, ctx = run(tmp_path, rows)
    counts = decision.notes["rows"]
    assert 0.87 < counts["train"] / len(rows) < 0.93
    assert decision.notes["largest_cluster"] < 10
    assert all(one["shared_runs"]["rows"] == 0 for one in decision.notes["leakage"].values())
    assert ctx.warnings == []
