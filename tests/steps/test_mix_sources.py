"""mix: several files, shares, caps, tokens, strata, earlier rounds and the guard."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixing import Ctx
from staged import settled

from karat.columns import Table
from karat.errors import RecipeError, RunError
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps._mixing import row_tokens, shared_out, whole
from karat.steps.mix import mix


def made(number: int, answer: str = "a", source: str = "synthetic", **meta: Any) -> Row:
    text = f"made question {number}"
    return Row(f"id{number}", [Message("user", text)], [Response(answer, kept=True)], source, meta)


def file(folder: Path, name: str, count: int, answer: str = "an answer", **fields: Any) -> str:
    lines = [
        json.dumps({"prompt": f"{name} question {n}", "response": answer, **fields})
        for n in range(count)
    ]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return name


def stage(path: Path, rows: list[Row]) -> Path:
    writer = StageWriter(path)
    writer.add(rows)
    writer.close({})
    return path


def run(folder: Path, rows: list[Row], seed: int = 0, **params: Any):  # type: ignore[no-untyped-def]
    ctx = Ctx(folder, seed)
    table = Table(stage(folder / "stage.parquet", rows))
    decision = settled(mix.function(table, ctx, **mix.check(params)), table)
    return decision.notes, list(decision.add), ctx.warnings


def by_file(rows: list[Row]) -> Counter[str]:
    return Counter(row.prompt.split()[0] for row in rows)


def test_several_human_files_are_as_one_or_go_by_weight(tmp_path: Path) -> None:
    names = [file(tmp_path, "a.jsonl", 300), file(tmp_path, "b.jsonl", 100)]
    rows = [made(n) for n in range(160)]
    notes, added, warnings = run(tmp_path, rows, human=names)
    assert by_file(added) == {"a.jsonl": 30, "b.jsonl": 10}
    assert notes["files"]["a.jsonl"] == {"added": 30, "rows": 30, "available": 300}
    assert warnings == []
    _, added, _ = run(tmp_path, rows, human={"a.jsonl": 1, "b.jsonl": 3})
    assert by_file(added) == {"a.jsonl": 10, "b.jsonl": 30}


def test_what_a_file_lacks_comes_from_the_others(tmp_path: Path) -> None:
    file(tmp_path, "a.jsonl", 300), file(tmp_path, "b.jsonl", 5)
    _, added, warnings = run(
        tmp_path, [made(n) for n in range(160)], human={"a.jsonl": 1, "b.jsonl": 3}
    )
    assert by_file(added) == {"a.jsonl": 35, "b.jsonl": 5}
    assert warnings == []


def test_other_files_come_to_their_share_of_the_whole(tmp_path: Path) -> None:
    (
        file(tmp_path, "a.jsonl", 300),
        file(tmp_path, "code.jsonl", 300),
        file(tmp_path, "few.jsonl", 4),
    )
    rows = [made(n) for n in range(120)]
    notes, added, warnings = run(tmp_path, rows, human="a.jsonl", given={"code.jsonl": 0.2})
    assert by_file(added) == {"a.jsonl": 40, "code.jsonl": 40}
    assert Counter(row.source for row in added) == {"human": 40, "given": 40}
    assert warnings == []
    assert notes["share"] == pytest.approx(0.2)
    notes, added, warnings = run(
        tmp_path, rows, human="a.jsonl", given={"code.jsonl": 0.2, "few.jsonl": 0.3}
    )
    total = 120 + len(added)
    assert by_file(added)["few.jsonl"] == 4
    assert by_file(added)["code.jsonl"] == pytest.approx(0.2 * total, abs=1)
    assert by_file(added)["a.jsonl"] == pytest.approx(0.2 * total, abs=1)
    assert any("few.jsonl has 4 usable rows where" in text for text in warnings)


def test_caps_hold(tmp_path: Path) -> None:
    file(tmp_path, "a.jsonl", 300), file(tmp_path, "b.jsonl", 300)
    rows = [made(n) for n in range(160)]
    _, added, warnings = run(tmp_path, rows, human=["a.jsonl", "b.jsonl"], caps={"a.jsonl": 3})
    assert by_file(added) == {"a.jsonl": 3, "b.jsonl": 37}
    assert warnings == []
    _, added, (warning,) = run(
        tmp_path, rows, human=["a.jsonl", "b.jsonl"], caps={"a.jsonl": 3, "b.jsonl": 20}
    )
    assert by_file(added) == {"a.jsonl": 3, "b.jsonl": 20}
    assert "23 usable rows where 40 were wanted" in warning


@settings(max_examples=40, deadline=None)
@given(
    share=st.sampled_from([0.1, 0.25, 0.5]),
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    cap=st.none() | st.integers(1, 100),
)
def test_tokens_reach_the_share_with_the_last_row(
    tmp_path_factory: pytest.TempPathFactory, share: float, lengths: list[int], cap: int | None
) -> None:
    folder = tmp_path_factory.mktemp("tokens")
    lines = [
        json.dumps({"prompt": f"human {n}", "response": "word " * length})
        for n, length in enumerate(lengths)
    ]
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = [made(n, "x" * 40) for n in range(12)]
    params: dict[str, Any] = {"human": "a.jsonl", "share": share, "weigh": "tokens"}
    params |= {"caps": {"a.jsonl": cap}} if cap else {}
    notes, added, _ = run(folder, rows, **params)
    others, human = sum(map(row_tokens, rows)), sum(map(row_tokens, added))
    assert notes["human"] == human
    if cap:
        assert human <= cap
    elif len(added) < len(lengths):
        assert human >= share * (others + human) - 1
        without = human - max(map(row_tokens, added))
        assert without < share / (1 - share) * others
    assert notes["share"] == pytest.approx(human / (others + human))


def test_a_greater_share_keeps_what_a_smaller_one_took(tmp_path: Path) -> None:
    file(tmp_path, "a.jsonl", 200)
    rows = [made(n) for n in range(80)]
    taken = [
        {r.prompt for r in run(tmp_path, rows, human="a.jsonl", share=s)[1]}
        for s in (0.1, 0.2, 0.5)
    ]
    assert taken[0] < taken[1] < taken[2]
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    (tmp_path / "a.jsonl").write_text("\n".join(reversed(lines)))
    assert {row.prompt for row in run(tmp_path, rows, human="a.jsonl")[1]} == taken[1]


def test_strata_get_their_part_as_far_as_there_are_rows(tmp_path: Path) -> None:
    lines = [
        json.dumps({"prompt": f"{topic} {n}", "response": "x", "topic": topic})
        for topic, count in (("sea", 100), ("sky", 3), ("sun", 100))
        for n in range(count)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = [made(n, topic="sea" if n < 30 else "sky") for n in range(80)]
    _, added, _ = run(tmp_path, rows, human="a.jsonl", share=0.5, per=["topic"])
    found = Counter(row.meta["topic"] for row in added)
    assert len(added) == 80
    assert found["sky"] == 3
    assert found["sea"] >= 30
    _, even, _ = run(tmp_path, rows, human="a.jsonl", share=0.05, floor=0, per=["topic"])
    assert Counter(row.meta["topic"] for row in even) == {"sea": 2, "sky": 3}


def test_earlier_rounds_add_up(tmp_path: Path) -> None:
    first = [made(n) for n in range(5)] + [made(50, source="human")]
    stage(tmp_path / "one.parquet", first)
    (tmp_path / "two").mkdir()
    stage(tmp_path / "two" / "accepted.parquet", [made(n) for n in range(3, 9)])
    live = [made(n) for n in range(8, 12)]
    notes, added, warnings = run(tmp_path, live, previous=["one.parquet", "two"], floor=0)
    numbers = [int(row.prompt.split()[-1]) for row in added]
    assert numbers == [0, 1, 2, 3, 4, 50, 5, 6, 7]
    assert [row.meta["round"] for row in added] == [1] * 6 + [2] * 3
    assert notes["previous"] == {"one.parquet": 6, "two": 3}
    assert notes["human"] == 1
    assert warnings == []
    ids = [row.id for row in added]
    assert len(set(ids)) == 9
    assert not set(ids) & {row.id for row in live}


def test_human_rows_of_earlier_rounds_count(tmp_path: Path) -> None:
    file(tmp_path, "a.jsonl", 100)
    rows = [made(n) for n in range(40)]
    _, once, _ = run(tmp_path, rows, human="a.jsonl")
    stage(tmp_path / "one.parquet", rows + once)
    later = [made(n) for n in range(100, 140)]
    notes, added, _ = run(tmp_path, later, human="a.jsonl", previous="one.parquet")
    assert notes["human"] == 20
    assert notes["added"] == 10
    assert len({row.prompt for row in added}) == len(added) == 60


def test_a_round_that_has_not_ended_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(RecipeError, match=r"no accepted\.parquet: run it to the end"):
        run(tmp_path, [made(0)], previous="run")


def test_below_the_floor_without_human_rows(tmp_path: Path) -> None:
    stage(tmp_path / "one.parquet", [made(1)])
    _, _, (warning,) = run(tmp_path, [made(0)], previous="one.parquet")
    assert "mix names no file of human rows" in warning


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "name files to mix in"),
        ({"human": "a", "given": {"b": 0.8}}, "add up to 1"),
        ({"human": "a", "given": {"b": 0}}, "b has share 0"),
        ({"human": "a", "caps": {"c": 5}}, "c is no file of human or given"),
        ({"human": ["a", "a"]}, "a is named twice"),
        ({"human": "a", "given": {"a": 0.1}}, "a is named twice"),
        ({"human": {"a": 0}}, "human"),
        ({"human": "a", "share": 0.05}, "is below floor"),
    ],
)
def test_bad_parameters(params: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        mix(**params)


def test_every_file_is_a_path() -> None:
    call = mix(human={"a": 1, "b": 2}, given={"c": 0.1}, caps={"a": 5}, previous=["r"])
    assert sorted({value for _, value in call.named("path")}) == ["a", "b", "c", "r"]


# --- sharing out -------------------------------------------------------------------------------


@given(
    base=st.integers(1, 1000),
    parts=st.lists(st.tuples(st.floats(0.01, 0.2), st.integers(0, 500)), min_size=1, max_size=4),
)
def test_the_whole_is_what_its_parts_are_shares_of(
    base: int, parts: list[tuple[float, int]]
) -> None:
    shares, limits = (np.array(column, np.float64) for column in zip(*parts, strict=True))
    size = whole(base, shares, limits)
    assert base + np.minimum(shares * size, limits).sum() == pytest.approx(size)


@given(
    total=st.integers(0, 300),
    parts=st.lists(st.tuples(st.floats(0.1, 9), st.integers(0, 100)), min_size=1, max_size=5),
)
def test_all_is_shared_out_and_no_limit_broken(total: int, parts: list[tuple[float, int]]) -> None:
    weights, limits = np.array([w for w, _ in parts]), np.array([n for _, n in parts])
    found = shared_out(total, weights, limits)
    assert found.sum() == min(total, limits.sum())
    assert (found <= limits).all()


# --- the guard ---------------------------------------------------------------------------------


def spoken(count: int, seed: int, kinds: int = 3_000) -> list[str]:
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, kinds + 1)
    words = rng.choice(kinds, (count, 30), p=share / share.sum())
    return [" ".join(f"w{word}" for word in text) for text in words]


def guarded(folder: Path, answers: list[str], **params: Any):  # type: ignore[no-untyped-def]
    lines = [
        json.dumps({"prompt": f"human {n}", "response": text})
        for n, text in enumerate(spoken(600, 1))
    ]
    (folder / "people.jsonl").write_text("\n".join(lines))
    rows = [made(n, text) for n, text in enumerate(answers)]
    return run(folder, rows, human="people.jsonl", **params)


def test_the_guard_is_silent_where_the_made_rows_say_what_people_say(tmp_path: Path) -> None:
    notes, _, warnings = guarded(tmp_path, spoken(300, 2))
    assert warnings == []
    ratio = notes["guard"]["human"]["rare_words"]["ratio"]
    low, high = notes["guard"]["human"]["rare_words"]["interval"]
    assert low < 1 < high
    assert low < ratio < high


def test_the_guard_says_what_is_lost_and_what_to_do(tmp_path: Path) -> None:
    cut = spoken(300, 2, kinds=100)
    notes, added, (warning,) = guarded(tmp_path, cut)
    assert "rare words are being lost" in warning
    assert "Raise share (now 20%)" in warning
    assert notes["guard"]["human"]["rare_words"]["interval"][1] < 0.9
    assert len(added) == 75
    with pytest.raises(RunError, match="or set guard: warn"):
        guarded(tmp_path, cut, guard="error")
    notes, _, warnings = guarded(tmp_path, cut, guard="off")
    assert ("guard" in notes, warnings) == (False, [])


def test_the_guard_compares_with_the_round_before(tmp_path: Path) -> None:
    before = [made(1_000 + n, text) for n, text in enumerate(spoken(300, 3))]
    stage(tmp_path / "one.parquet", before)
    notes, _, (warning,) = guarded(tmp_path, spoken(300, 2, kinds=200), previous="one.parquet")
    assert "what was made in this round has" in warning
    assert notes["guard"]["previous"]["types"]["ratio"] < 0.7
    notes, _, warnings = guarded(tmp_path, spoken(300, 2), previous="one.parquet")
    assert warnings == []
    assert notes["guard"]["previous"]["types"]["ratio"] == pytest.approx(1, abs=0.1)


def test_the_guard_knows_rounds_by_their_number(tmp_path: Path) -> None:
    rows = [made(n, text, round=1) for n, text in enumerate(spoken(300, 3))]
    rows += [made(500 + n, text, round=2) for n, text in enumerate(spoken(300, 4, kinds=200))]
    file(tmp_path, "people.jsonl", 10)
    lines = [json.dumps({"prompt": f"h {n}", "response": t}) for n, t in enumerate(spoken(600, 1))]
    (tmp_path / "people.jsonl").write_text("\n".join(lines))
    notes, _, (warning,) = run(tmp_path, rows, human="people.jsonl")
    assert notes["guard"]["previous"]["types"]["ratio"] < 0.7
    assert "in the round before" in warning
