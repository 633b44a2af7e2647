"""trl-kto and trl-grpo: what is labelled and what is not, and what goes along with a prompt."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kept import lines, response, row, run_of

from karat.exporters import trl_grpo, trl_kto
from karat.row import Message, Response, Row


def kto(tmp_path: Path, rows: list[Row], ranking: str | None = "rm.reward") -> Any:
    return trl_kto.export(run_of(tmp_path, rows, ranking), tmp_path / "export")


def labels(path: Path) -> dict[str, bool]:
    return {line["completion"][0]["content"]: line["label"] for line in lines(path)}


def test_kept_is_true_and_turned_down_is_false(tmp_path: Path) -> None:
    done = kto(tmp_path, [row(1, response("yes", 3.0, True), response("no", 1.0, False))])
    assert lines(done.files["train"]) == [
        {
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Question 1 ä?"},
            ],
            "completion": [{"role": "assistant", "content": text}],
            "label": label,
        }
        for text, label in (("yes", True), ("no", False))
    ]
    assert (done.rows, done.left_out) == (2, {})


DECIDED = [response("yes", 3.0, True), response("no", 1.0, False)]


@pytest.mark.parametrize(
    ("answers", "left_out"),
    [
        ([response("open", 2.0)], {"undecided": 1}),
        ([response(" \n", 2.0, True), response("", 1.0, False)], {"empty response": 2}),
        (
            [response("a b", 2.0, True), response("a  b\n", 1.0, False)],
            {"same text kept and turned down": 2},
        ),
        ([response("as good", 3.0, False)], {"turned down with the score of a kept response": 1}),
    ],
)
def test_what_teaches_nothing_is_left_out_and_counted(
    tmp_path: Path, answers: list[Response], left_out: dict[str, int]
) -> None:
    done = kto(tmp_path, [row(1, *DECIDED, *answers), Row("f" * 16, [], [response("x")])])
    assert labels(done.files["train"]) == {"yes": True, "no": False}
    assert done.left_out == {**left_out, "no prompt": 1}


def test_a_higher_score_turned_down_by_a_gate_is_still_false(tmp_path: Path) -> None:
    done = kto(tmp_path, [row(1, *DECIDED, response("wrong and long", 4.0, False))])
    assert labels(done.files["train"]) == {"yes": True, "no": False, "wrong and long": False}


def test_ties_are_not_seen_where_no_score_chose(tmp_path: Path) -> None:
    rows = [row(1, response("yes", None, True), response("no", None, False))]
    assert labels(kto(tmp_path, rows, None).files["train"]) == {"yes": True, "no": False}


def test_of_paired_rows_the_members_of_pairs_alone(tmp_path: Path) -> None:
    made = {"chosen": 0, "rejected": 2, "chosen_reward": 4.0, "rejected_reward": 1.0}
    late = {"chosen": 1, "rejected": 3, "chosen_reward": 3.0, "rejected_reward": 0.5}
    answers = [response(text, 4.0 - i, i == 0) for i, text in enumerate("abcde")]
    done = kto(tmp_path, [row(1, *answers, meta={"pairs": [made, late]})])
    assert labels(done.files["train"]) == {"a": True, "c": False, "d": False}
    assert done.left_out == {"turned down by a later step": 1, "in no pair": 1}


@pytest.mark.parametrize(("kept", "missing"), [(True, "turned-down"), (False, "kept")])
def test_one_label_alone_makes_no_file(tmp_path: Path, kept: bool, missing: str) -> None:
    rows = [row(i, response(f"a{i}", 1.0, kept)) for i in range(3)]
    done = kto(tmp_path, rows)
    assert (done.rows, done.files) == (0, {})
    assert done.left_out == {f"no {missing} response beside it in the data to train on": 3}
    assert list((tmp_path / "export").iterdir()) == []


def test_both_labels_must_be_in_the_part_to_train_on(tmp_path: Path) -> None:
    rows = [
        row(1, response("yes", 1.0, True), meta={"split": "train"}),
        row(2, response("no", 1.0, False), response("y", 2.0, True), meta={"split": "test"}),
    ]
    done = kto(tmp_path, rows)
    assert (done.rows, done.files) == (0, {})
    rows[0].responses.append(response("no", 0.0, False))
    done = kto(tmp_path, rows)
    assert {key: path.name for key, path in done.files.items()} == {
        "train": "trl-kto.train.jsonl",
        "test": "trl-kto.test.jsonl",
    }


@pytest.mark.parametrize("count", [2, 7, 40, 1500])
def test_neighbours_answer_different_prompts(tmp_path: Path, count: int) -> None:
    """TRL gives each prompt the answer of the line before, for one that does not belong to it."""
    rows = [
        row(i, *(response(f'{i} ,"completion": {j}', 3.0 - j, j == 0) for j in range(4)))
        for i in range(count)
    ]
    found = lines(kto(tmp_path, rows).files["train"])
    prompts = [line["prompt"][-1]["content"] for line in found]
    assert all(one != two for one, two in pairwise(prompts))
    assert sorted(json.dumps(line) for line in found) == sorted(
        json.dumps(line)
        for one in rows
        for line in [
            {
                "prompt": [{"role": m.role, "content": m.content} for m in one.messages],
                "completion": [{"role": "assistant", "content": answer.content}],
                "label": answer.kept,
            }
            for answer in one.responses
        ]
    )
    early = [line["label"] for line in found[: len(found) // 4]]
    assert len(set(early)) == 2 or count == 2


def test_grpo_prompts_bring_what_reward_functions_need(tmp_path: Path) -> None:
    rows = [
        row(1, response("4", 1.0, True), meta={"answer": "4", "split": "dev"}),
        row(2, meta={"answer": [7, 8]}),
        row(3, meta={"answer": {"x": 1}, "tests": ["assert f(1) == 2"]}),
        Row("e" * 16, [Message("user", "a"), Message("assistant", "b")]),
        Row("f" * 16, []),
    ]
    done = trl_grpo.export(run_of(tmp_path, rows), tmp_path / "export")
    found = lines(done.files["train"])
    assert [(line["reference"], line["id"][-1]) for line in found] == [
        ("4", "1"), ("7", "2"), ("", "3"),
    ]  # fmt: skip
    assert found[0]["prompt"][-1] == {"role": "user", "content": "Question 1 ä?"}
    assert json.loads(found[2]["meta"]) == {"answer": {"x": 1}, "tests": ["assert f(1) == 2"]}
    assert done.left_out == {"prompt ends with no question": 1, "no prompt": 1}
    assert len({tuple(line) for line in found}) == 1
