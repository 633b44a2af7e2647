"""mix on real stage files and real human rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixing import Ctx
from staged import settled

from karat.columns import Decision, Table
from karat.errors import RecipeError, RunError
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps.mix import mix

GSM8K = Path(__file__).parents[3] / "shared/data/prompts/gsm8k-test.jsonl"


def made(number: int, prompt: str = "", source: str = "synthetic", **fields: Any) -> Row:
    text = prompt or f"made question {number}"
    return Row(f"id{number}", [Message("user", text)], [Response("a", kept=True)], source, **fields)


def human_file(path: Path, records: list[dict[str, Any]]) -> None:
    lines = [json.dumps(record) for record in records]
    (path / "human.jsonl").write_text("\n".join(lines), encoding="utf-8")


def written(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"human question {i}", "response": f"answer {i}"} for i in range(count)]


def run(
    path: Path, rows: list[Row], ctx: Ctx | None = None, **params: Any
) -> tuple[Decision, list[Row], Ctx]:
    writer = StageWriter(path / "stage.parquet")
    writer.add(rows)
    writer.close({})
    ctx = ctx or Ctx(path)
    checked = mix.check({"human": "human.jsonl", **params})
    table = Table(writer.path)
    decision = settled(mix.function(table, ctx, **checked), table)
    assert decision.drop == {}
    assert decision.keep is None
    return decision, list(decision.add), ctx


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    others=st.integers(0, 40),
    already=st.integers(0, 5),
    available=st.integers(1, 40),
    share=st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.9]),
    seed=st.integers(0, 3),
)
def test_reaches_the_share_with_the_fewest_rows(
    tmp_path: Path, others: int, already: int, available: int, share: float, seed: int
) -> None:
    human_file(tmp_path, written(available))
    rows = [made(i) for i in range(others)]
    rows += [made(100 + i, source="human") for i in range(already)]
    rows.append(made(200, dropped="reject: below minimum (best 1.00)"))
    decision, added, ctx = run(tmp_path, rows, Ctx(tmp_path, seed), share=share)
    notes, total = decision.notes, already + len(added)
    assert len(added) == min(notes["wanted"], available) == notes["added"]
    assert len({row.prompt for row in added}) == len(added)
    if len(added) == notes["wanted"]:
        assert total >= share * (others + total) - 1e-6
        if added:
            assert total - 1 < share * (others + total - 1)
        assert bool(ctx.warnings) == (others + already == 0)
    else:
        assert len(added) == available
        assert len(ctx.warnings) == 1
    assert notes["share"] == (total / (others + total) if others + total else 0)


def test_rows_are_ready_to_learn_from(tmp_path: Path) -> None:
    human_file(
        tmp_path,
        [{"instruction": "Name a river", "output": "The Elbe.", "topic": "geo", "quality": 4}],
    )
    params = {"prompt": "instruction", "response": "output", "scores": ["quality"]}
    _, (row,), _ = run(tmp_path, [made(0), made(1)], licence="MIT", **params)
    assert row.source == "human"
    assert row.meta == {"topic": "geo", "licence": "MIT"}
    assert row.messages == [Message("user", "Name a river")]
    (response,) = row.responses
    assert (response.content, response.kept, response.model) == ("The Elbe.", True, "")
    assert response.scores == {"human.quality": 4.0}


def test_of_two_answers_the_preferred_one_is_kept(tmp_path: Path) -> None:
    pair = {"prompt": "Why?", "rejected": "No idea.", "chosen": "Because."}
    human_file(tmp_path, [pair])
    _, (row,), _ = run(tmp_path, [made(0)])
    assert [(r.content, r.kept) for r in row.responses] == [("Because.", True), ("No idea.", False)]


def test_left_out_rows_are_counted(tmp_path: Path) -> None:
    human_file(
        tmp_path,
        [
            {"prompt": "Made  QUESTION 0", "response": "known"},
            {"prompt": "fresh", "response": "one"},
            {"prompt": "Fresh", "response": "again"},
            {"prompt": "no answer", "response": " "},
            {"prompt": "", "response": "no prompt"},
            {"prompt": "also fresh", "response": "two"},
        ],
    )
    decision, added, ctx = run(tmp_path, [made(0), made(1)], share=0.5)
    assert [row.prompt for row in added] == ["fresh", "also fresh"]
    assert decision.notes == {
        "human": 2, "added": 2, "share": 0.5, "wanted": 2, "available": 2,
        "skipped": {"unusable": 1, "no_answer": 1, "duplicate": 2},
    }  # fmt: skip
    assert ctx.warnings == []


def test_the_seed_chooses_and_ids_do_not_clash(tmp_path: Path) -> None:
    human_file(tmp_path, written(50))
    rows = [made(i) for i in range(40)]
    first, again, other = (
        [row.id for row in run(tmp_path, rows, Ctx(tmp_path, seed))[1]] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) == len(first) == 10
    second = run(tmp_path, rows, Ctx(tmp_path, 1, "mix_2"))[1]
    assert not {row.id for row in second} & set(first)


def test_too_few_human_rows(tmp_path: Path) -> None:
    human_file(tmp_path, written(4))
    rows = [made(i) for i in range(46)]
    decision, added, ctx = run(tmp_path, rows)
    assert (len(added), decision.notes["share"]) == (4, 0.08)
    assert "8.0% of 50, below the floor of 10%" in ctx.warnings[0]
    with pytest.raises(RunError, match="add human rows, or lower floor"):
        run(tmp_path, rows, below="error")
    assert "not 20%" in run(tmp_path, rows[:20], below="error")[2].warnings[0]


def test_no_live_rows(tmp_path: Path) -> None:
    human_file(tmp_path, written(4))
    decision, added, ctx = run(tmp_path, [made(0, dropped="x: y")], below="error")
    assert (added, decision.notes["share"]) == ([], 0.0)
    assert "no live rows" in ctx.warnings[0]


def test_human_rows_alone_need_no_more(tmp_path: Path) -> None:
    human_file(tmp_path, written(4))
    decision, added, ctx = run(tmp_path, [made(0, source="human")])
    assert (added, decision.notes["share"], ctx.warnings) == ([], 1.0, [])


def test_parameters_are_checked() -> None:
    with pytest.raises(RecipeError, match=r"share 0\.05 is below floor 0\.1"):
        mix(human="h.jsonl", share=0.05)
    assert mix(human="h.jsonl", share=0.05, floor=0.05).params["share"] == 0.05
    with pytest.raises(RecipeError, match="prompt and messages"):
        mix(human="h.jsonl", prompt="q", messages="m")
    assert list(mix(human="h.jsonl").named("path")) == [("human", "h.jsonl")]


@pytest.mark.skipif(not GSM8K.exists(), reason="shared data is not here")
def test_on_real_rows(tmp_path: Path) -> None:
    rows = [made(i) for i in range(400)]
    _, added, ctx = run(
        tmp_path, rows, Ctx(GSM8K.parent), human=GSM8K.name, prompt="question", response="answer"
    )
    assert len(added) == 100
    assert all("####" in row.kept()[0].content for row in added)
    assert ctx.warnings == []
