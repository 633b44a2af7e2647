"""trl-preference on rows that the step `pairs` has paired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kept import lines, response, row, run_of
from parted import applied

from karat.columns import Table
from karat.exporters import trl_preference
from karat.stage import StageWriter
from karat.steps.pairs import pairs


def pair(chosen: int, rejected: int, high: float, low: float) -> dict[str, Any]:
    return {
        "chosen": chosen, "rejected": rejected, "by": "rm.goodness", "chosen_reward": high,
        "rejected_reward": low, "margin_sigma": 1.0,
    }  # fmt: skip


ANSWERS = ("a", "b", "c", "d")


def answers(*texts: str) -> list[Any]:
    return [response(text, float(i), True) for i, text in enumerate(texts)]


def test_a_line_for_each_pair_with_its_own_scores(tmp_path: Path) -> None:
    paired = row(1, *answers(*ANSWERS), meta={"pairs": [pair(3, 0, 5, 1), pair(2, 1, 4, 3.5)]})
    other = row(2, response("yes", 3.0, True), response("no", 1.0, False))
    done = trl_preference.export(run_of(tmp_path, [paired, other]), tmp_path / "export")
    found = lines(done.files["train"])
    assert [
        (x["chosen"][0]["content"], x["rejected"][0]["content"], x["score_chosen"],
         x["score_rejected"], x["margin"]) for x in found
    ] == [
        ("d", "a", 5.0, 1.0, 4.0), ("c", "b", 4.0, 3.5, 0.5), ("yes", "no", 3.0, 1.0, 2.0),
    ]  # fmt: skip
    assert len({tuple(line) for line in found}) == 1  # one shape per file
    assert (done.rows, done.left_out) == (3, {})


def test_pairs_need_no_ranking(tmp_path: Path) -> None:
    paired = row(1, *answers(*ANSWERS), meta={"pairs": [pair(3, 0, 5, 1)]})
    for one in paired.responses:
        one.scores["other.reward"] = 1.0
    done = trl_preference.export(run_of(tmp_path, [paired], None), tmp_path / "export")
    assert done.rows == 1


@pytest.mark.parametrize(
    ("texts", "made", "reason"),
    [
        (("a", " a\n"), pair(0, 1, 2, 1), "same text chosen and rejected"),
        (("a", " "), pair(0, 1, 2, 1), "rejected response empty"),
        (("", "b"), pair(0, 1, 2, 1), "chosen response empty"),
        (("a", "b"), pair(0, 1, 1, 1), "equal scores"),
        (("a", "b"), pair(0, 1, 1, 2), "rejected scored above chosen"),
    ],
)
def test_what_a_later_step_has_spoilt_is_left_out(
    tmp_path: Path, texts: tuple[str, ...], made: dict[str, Any], reason: str
) -> None:
    rows = [row(1, *answers(*texts), meta={"pairs": [made, pair(0, 1, 1, 1)]})]
    done = trl_preference.export(run_of(tmp_path, rows), tmp_path / "export")
    assert done.files == {}
    assert done.left_out.pop(reason) >= 1


def test_a_chosen_answer_that_a_later_step_turned_down_is_no_longer_chosen(tmp_path: Path) -> None:
    paired = row(1, *answers(*ANSWERS), meta={"pairs": [pair(3, 0, 5, 1), pair(2, 1, 4, 3.5)]})
    paired.responses[2].kept = paired.responses[0].kept = False
    done = trl_preference.export(run_of(tmp_path, [paired]), tmp_path / "export")
    assert [line["chosen"][0]["content"] for line in lines(done.files["train"])] == ["d"]
    assert done.left_out == {"chosen response turned down by a later step": 1}


@pytest.mark.parametrize(
    "own",
    [
        "a word",
        3,
        None,
        [1, 2],
        [{"left": "x", "right": "y"}],
        [pair(0, 9, 2, 1)],
        [pair(-1, 0, 2, 1)],
    ],
)
def test_a_field_of_the_users_own_is_no_pair(tmp_path: Path, own: Any) -> None:
    rows = [row(1, response("yes", 3.0, True), response("no", 1.0, False), meta={"pairs": own})]
    done = trl_preference.export(run_of(tmp_path, rows), tmp_path / "export")
    assert [line["score_chosen"] for line in lines(done.files["train"])] == [3.0]


def test_from_the_step_to_the_file(tmp_path: Path) -> None:
    class Ctx:
        def within_prompt(self, key: str) -> bool:
            return False

        def warn(self, text: str) -> None:
            raise AssertionError(text)

    rows = [
        row(i, *(response(f"answer {j}", float((i + j) % 5)) for j in range(5))) for i in range(30)
    ]
    writer = StageWriter(tmp_path / "stage.parquet")
    writer.add(rows)
    writer.close({})
    params = pairs.check({"by": "rm.reward", "rule": "max_min", "n": 2})
    decision = pairs.function(Table(writer.path), Ctx(), **params)
    after, _ = applied(Table(writer.path), decision, "pairs")
    done = trl_preference.export(run_of(tmp_path / "run", after), tmp_path / "export")
    found = lines(done.files["train"])
    assert [line["margin"] for line in found] == [4.0, 2.0] * 30
    assert all(line["score_chosen"] - line["score_rejected"] == line["margin"] for line in found)
