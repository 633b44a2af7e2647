"""split on a table in parts: row for row what it is on one file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from parted import Elsewhere, applied, in_one_file, in_parts

from karat.columns import Table
from karat.row import Message, Response, Row
from karat.steps.split import split

EVEN = {"train": 0.4, "validation": 0.3, "test": 0.3}


class Ctx:
    """As much of a context as the step touches."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def seed(self) -> int:
        return 5

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def made(count: int) -> list[Row]:
    rng = random.Random(count)
    rows: list[Row] = [Row("blank"), Row("gone", dropped="earlier: gone")]
    for family in range(count):
        text = [f"w{rng.randrange(500)}" for _ in range(rng.randint(6, 40))]
        for _ in range(rng.randint(1, 4)):
            meta = {"split": rng.choice(["train", "test"])} if rng.random() < 0.1 else {}
            turns = [Message("user", " ".join(text)), Message("assistant", "Yes.")]
            rows.append(Row(f"r{len(rows)}", turns, [Response(f"a {family}")],
                            meta={"half": family % 2, **meta}))  # fmt: skip
            text[rng.randrange(len(text))] = f"x{rng.randrange(500)}"
    rng.shuffle(rows)
    return rows


def decided(table: Table, **params: Any) -> tuple[list[Row], dict[str, Any], list[str]]:
    ctx = Ctx()
    decision = split.function(table, ctx, **split.check(params))
    return *applied(table, decision, "split"), ctx.warnings


@pytest.mark.parametrize("params", [{}, {**EVEN, "on": "conversation", "per": ["half"]}])
def test_any_parts_and_any_ways_give_the_rows_of_one_file(
    tmp_path: Path, params: dict[str, Any]
) -> None:
    rows = made(60)
    want = decided(in_one_file(tmp_path / "one.parquet", rows), **params)
    assert want[1]["clusters"] < 100
    for number, (parts, ways) in enumerate(((1, 1), (2, 3), (7, 1), (7, 8))):
        table = in_parts(tmp_path / f"p{number}.parquet", rows, parts, Elsewhere(ways, number))
        assert decided(table, **params) == want
        assert not (tmp_path / f"p{number}.split").exists()
    empty = in_parts(tmp_path / "empty.parquet", [], 3)
    assert decided(empty, **params)[0] == []
