"""read on the shapes of published datasets, on real ones where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reading import Ctx, jsonl, one, rows_of, turns

from karat.errors import RecipeError
from karat.row import Message, Response, Row
from karat.stage import StageWriter

DATA = Path(__file__).parents[3] / "shared/data"
TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ASK = {"role": "user", "content": "More?"}
real = pytest.mark.skipif(not DATA.is_dir(), reason="real data is not here")


def test_messages_and_prompts_may_stand_in_one_file(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "a.jsonl", [{"prompt": "p"}, {"messages": [*TALK, ASK]}, {"prompt": [ASK]}]
    )
    assert [turns(row) for row in rows_of(path)] == [
        [("user", "p")],
        [("user", "Hi"), ("assistant", "Hello"), ("user", "More?")],
        [("user", "More?")],
    ]


def test_a_last_assistant_turn_is_the_given_response(tmp_path: Path) -> None:
    row = one(tmp_path, {"messages": TALK, "helpfulness": 3}, scores=["helpfulness"])
    assert turns(row) == [("user", "Hi")]
    assert row.responses == [Response("Hello", scores={"human.helpfulness": 3.0})]
    assert one(tmp_path, {"messages": TALK}, responses=[]).responses == []
    given = one(tmp_path, {"messages": TALK, "response": "Hello"}, response="response")
    assert [r.content for r in given.responses] == ["Hello"]


@pytest.mark.parametrize(
    ("record", "expected", "answers"),
    [
        (
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "human", "value": "q"},
                    {"from": "gpt", "value": "a"},
                ]
            },
            [("system", "s"), ("user", "q")],
            ["a"],
        ),
        ({"instruction": "do", "input": "it", "output": "done"}, [("user", "do\n\nit")], ["done"]),
        ({"instruction": "do", "input": "", "output": "done"}, [("user", "do")], ["done"]),
        (
            {"system_prompt": "s", "question": "q", "response": "a"},
            [("system", "s"), ("user", "q")],
            ["a"],
        ),
        ({"question": "q", "answer": "#### 4"}, [("user", "q")], []),
        ({"prompt": [ASK], "completion": [TALK[1]]}, [("user", "More?")], ["Hello"]),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, [("user", "p")], ["a", "b"]),
        ({"prompt": "p", "response_1": "a", "response_2": "b"}, [("user", "p")], ["a", "b"]),
        ({"context": [ASK], "response1": "a", "response2": "b"}, [("user", "More?")], ["a", "b"]),
        (
            {"chosen": TALK, "rejected": [TALK[0], {"role": "assistant", "content": ""}]},
            [("user", "Hi")],
            ["Hello", ""],
        ),
        ({"prompt": "\n\nHuman: q\n\nAssistant:"}, [("user", "q")], []),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            [("user", "a")],
            [],
        ),
        (
            {"instruction": "do", "completions": [{"model": "m", "response": "a"}]},
            [("user", "do")],
            ["a"],
        ),
        ({"prompt": "p", "response": '[{"a": 1}]'}, [("user", "p")], ['[{"a": 1}]']),
        ({"prompt": "p", "responses": '["a", "b"]'}, [("user", "p")], ["a", "b"]),
    ],
)
def test_shapes_are_found_by_their_columns(
    tmp_path: Path, record: dict[str, Any], expected: list[tuple[str, str]], answers: list[str]
) -> None:
    row = one(tmp_path, record)
    assert turns(row) == expected
    assert [(r.content, r.index) for r in row.responses] == [(a, i) for i, a in enumerate(answers)]


def test_a_guess_is_said_and_a_plain_name_is_not(tmp_path: Path) -> None:
    ctx = Ctx()
    rows_of(jsonl(tmp_path / "a.jsonl", [{"prompt": "p", "response": "a"}]), ctx)
    assert ctx.warnings == []
    rows_of(jsonl(tmp_path / "a.jsonl", [{"instruction": "p", "output": "a"}]), ctx)
    assert ctx.warnings == [
        "read 'instruction' as the prompt; 'output' as given answers. Name the columns in the "
        "recipe to be sure"
    ]
    ctx = Ctx()
    rows_of(jsonl(tmp_path / "a.jsonl", [{"question": "p", "answer": "a"}]), ctx)
    assert ctx.warnings == [
        "read 'question' as the prompt; no column as given answers (response: answer would take "
        "'answer'). Name the columns in the recipe to be sure"
    ]


@pytest.mark.parametrize("limit", [None, 4])
def test_answers_to_one_prompt_in_many_rows_are_told(tmp_path: Path, limit: int | None) -> None:
    rated = [{"prompt": f"p{i // 2}", "response": f"a{i}"} for i in range(6)]
    path, ctx = jsonl(tmp_path / "a.jsonl", rated), Ctx()
    seen = limit or 6
    assert len(rows_of(path, ctx, limit=limit)) == seen
    assert ctx.warnings == [
        f"{seen // 2} of {seen} rows answer the prompt of the row before; `group: true` puts the "
        "answers to one prompt in one row"
    ]
    ctx = Ctx()
    assert len(rows_of(path, ctx, group=True)) == 3
    bare = [{"prompt": "the same"} for _ in range(6)]  # no answers that could be compared
    rows_of(jsonl(tmp_path / "b.jsonl", bare), ctx)
    assert ctx.warnings == []


def test_what_a_conversation_cannot_be(tmp_path: Path) -> None:
    good = {"messages": TALK}
    bad = [
        ({"messages": [{"role": "tool", "content": "x"}]}, "unknown role"),
        ({"messages": [{"role": "user", "content": None}]}, "wrong type"),
        ({"messages": [{"role": "system", "content": "x"}]}, "empty prompt"),
        ({"messages": [ASK, "x"]}, "wrong type"),
    ]
    rows = rows_of(jsonl(tmp_path / "a.jsonl", [good, *(record for record, _ in bad)]))
    assert [str(r.dropped).partition(" (")[0] for r in rows[1:]] == [reason for _, reason in bad]


def test_scores_and_models_of_several_answers(tmp_path: Path) -> None:
    pair = {
        "prompt": "p",
        "chosen": "a",
        "rejected": "b",
        "score_chosen": 8,
        "score_rejected": 2.5,
        "chosen_model": "m1",
        "rejected_model": "m2",
        "subset": "s",
    }
    row = one(tmp_path, pair, scores=["score"])
    assert [r.scores for r in row.responses] == [
        {"human.preferred": 1.0, "human.score": 8.0},
        {"human.preferred": 0.0, "human.score": 2.5},
    ]
    assert [r.model for r in row.responses] == ["m1", "m2"]
    assert row.meta == {"subset": "s"}
    listed = {"prompt": "p", "responses": ["a", "b"], "rank": [1, None], "model": "m"}
    row = one(tmp_path, listed, scores=["rank"])
    assert [(r.scores, r.model) for r in row.responses] == [({"human.rank": 1.0}, "m"), ({}, "m")]
    inside = {"prompt": "p", "completions": [{"response": "a", "model": "m", "overall_score": 7}]}
    (answer,) = one(tmp_path, inside, scores=["overall_score"]).responses
    assert answer == Response("a", "m", scores={"human.overall_score": 7.0})


@pytest.mark.parametrize("value", ["high", [1, 2], 1e999])
def test_a_score_that_is_no_number_for_each_answer_drops_the_row(
    tmp_path: Path, value: Any
) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"prompt": "p", "response": "a", "s": 1}])
    with path.open("a") as stream:
        stream.write(json.dumps({"prompt": "p", "response": "a", "s": value}) + "\n")
    _, row = rows_of(path, scores=["s"])
    assert row.dropped is not None


def test_group_merges_neighbours_only_and_keeps_every_value(tmp_path: Path) -> None:
    lines = [
        {"prompt": "a", "response": "1", "who": "x", "t": 1},
        "broken",
        {"prompt": "a", "response": "2", "who": "y", "t": 1},
        {"prompt": "b", "response": "3"},
        {"prompt": "a", "response": "4"},
    ]
    rows = rows_of(jsonl(tmp_path / "a.jsonl", lines), group=True)
    live = [row for row in rows if row.dropped is None]
    assert [(r.prompt, [a.content for a in r.responses]) for r in live] == [
        ("a", ["1", "2"]),
        ("b", ["3"]),
        ("a", ["4"]),
    ]
    assert live[0].meta == {"who": ["x", "y"], "t": 1}
    assert [answer.index for answer in live[0].responses] == [0, 1]
    assert len(rows) == 4


def test_karats_own_files_come_back_with_answers_scores_and_meta(tmp_path: Path) -> None:
    row = Row(
        "0" * 16,
        [Message("user", "q")],
        [Response("a", "m", 0, "stop", "00", {"r.reward": 1.5})],
        "human",
        {"topic": {"deep": 1}},
    )
    writer = StageWriter(tmp_path / "a.parquet")
    writer.add([row])
    writer.close({})
    (back,) = rows_of(tmp_path / "a.parquet")
    assert (back.messages, back.responses, back.source, back.meta) == (
        row.messages,
        row.responses,
        row.source,
        row.meta,
    )


def test_a_local_hugging_face_dataset_is_streamed(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    records = [{"prompt": f"p{i}", "response": "a", "helpfulness": float(i)} for i in range(5)]
    (tmp_path / "files").mkdir()
    jsonl(tmp_path / "files/train.jsonl", records)
    datasets.Dataset.from_list(records).save_to_disk(tmp_path / "saved")
    for folder in ("files", "saved"):
        rows = rows_of(dataset=str(tmp_path / folder), scores=["helpfulness"])
        assert [r.responses[0].scores["human.helpfulness"] for r in rows] == [0, 1, 2, 3, 4]
    with pytest.raises(RecipeError, match=r"dataset '.*', split 'tests': "):
        rows_of(dataset=str(tmp_path / "files"), split="tests")


@real
def test_helpsteer2_grouped_has_two_rated_answers_to_each_prompt() -> None:
    rows = rows_of(DATA / "helpsteer2/ratings.jsonl", group=True)
    assert len(rows) == 500
    assert {len(row.responses) for row in rows} == {2}
    assert {len(r.scores) for row in rows for r in row.responses} == {5}
    assert all(0 <= v <= 4 for row in rows for r in row.responses for v in r.scores.values())
    several = [row for row in rows if len(row.messages) > 1]
    assert len(several) == 52
    assert all(
        [m.role for m in row.messages][::2] == ["user"] * (len(row.messages) // 2 + 1)
        for row in several
    )
    assert not any("<extra_id" in m.content for row in rows for m in row.messages)


@real
@pytest.mark.parametrize("name", ["hh-helpful", "hh-harmless"])
def test_hh_pairs_share_their_turns(name: str) -> None:
    rows = rows_of(DATA / f"pairs/{name}.jsonl")
    live = [row for row in rows if row.dropped is None]
    assert (len(rows), len(live)) == (500, 499)  # one pair in each parts before its last turn
    assert {tuple(r.scores["human.preferred"] for r in row.responses) for row in live} == {
        (1.0, 0.0)
    }
    assert all(row.messages[-1].role == "user" for row in live)


@real
def test_seeds_and_word_problems() -> None:
    rows = rows_of(
        DATA / "prompts/self-instruct-seeds.jsonl",
        prompt=["instruction", "instances.0.input"],
        response="instances.0.output",
        keep=["name"],
        source="human",
        licence="Apache-2.0",
    )
    assert len(rows) == 175
    assert rows[1].prompt.endswith("\n\nNight : Day :: Right : Left")
    assert rows[1].meta == {"name": "antonym_relation", "licence": "Apache-2.0"}
    sums = rows_of(DATA / "prompts/gsm8k-test.jsonl")
    assert len(sums) == 1319
    assert sums[0].meta["answer"].endswith("#### 18")
