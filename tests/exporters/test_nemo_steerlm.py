"""nemo-aligner-steerlm: what NeMo-Aligner's regression reward model learns from.

`regression_line` says in our words what `RegressionRewardModelDataset` of
nemo_aligner/data/nlp/datasets.py (0.7.0) and the template of examples/nlp/data/steerlm/common.py
ask of a line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from kept import lines, response, row, run_of

from karat.exporters import nemo_aligner_steerlm
from karat.row import Message, Response, Row


def exported(tmp_path: Path, made: list[Row], **options: Any) -> Any:
    return nemo_aligner_steerlm.export(run_of(tmp_path, made, **options), tmp_path / "export")


def graded(text: str, kept: bool | None = None, **scores: float) -> Response:
    named = {key.replace("__", "."): value for key, value in scores.items()}
    return Response(text, "small", 0, "stop", "ab" * 16, named, kept)


def regression_line(line: dict[str, Any]) -> list[float]:
    assert set(line) == {"text", "label"}
    assert isinstance(line["label"], list)
    assert all(isinstance(value, float | int) for value in line["label"])
    assert len(line["label"]) == 9
    assert any(value != -100 for value in line["label"]), "at least one attribute"
    assert line["text"].startswith("<extra_id_0>System\n")
    assert line["text"].endswith("\n<extra_id_2>")
    return line["label"]


def test_every_graded_response_is_a_line_with_nine_labels(tmp_path: Path) -> None:
    answers = [
        graded("good", True, rm__helpfulness=3.5, rm__verbosity=1.25, rm__reward=2.0),
        graded("bad", False, rm__helpfulness=0.5, rm__verbosity=float("nan"), rm__toxicity=3.0),
        graded("ungraded"),
        graded("only a reward", rm__reward=1.0),
        graded(" ", rm__helpfulness=0.0),
    ]
    done = exported(tmp_path, [row(1, *answers)])
    found = lines(done.files["train"])
    assert [regression_line(line) for line in found] == [
        [-100, -100, -100, -100, 3.5, -100, -100, -100, 1.25],
        [-100, 3.0, -100, -100, 0.5, -100, -100, -100, -100],
    ]
    assert found[0]["text"] == (
        "<extra_id_0>System\nBe brief.\n<extra_id_1>User\nQuestion 1 ä?\n"
        "<extra_id_1>Assistant\ngood\n<extra_id_2>"
    )
    assert done.left_out == {"response without attributes": 2, "empty response": 1}


def test_a_row_without_a_system_prompt_has_that_of_nemos_own_data(tmp_path: Path) -> None:
    turns = [Message("user", "First?"), Message("assistant", "Yes."), Message("user", "So?")]
    done = exported(tmp_path, [Row("a" * 16, turns, [graded("best", rm__helpfulness=3.0)])])
    assert lines(done.files["train"])[0]["text"] == (
        "<extra_id_0>System\nA chat between a curious user and an artificial intelligence "
        "assistant. The assistant gives helpful, detailed, and polite answers to the user's "
        "questions.\n<extra_id_1>User\nFirst?\n<extra_id_1>Assistant\nYes.\n<extra_id_1>User\n"
        "So?\n<extra_id_1>Assistant\nbest\n<extra_id_2>"
    )


def test_labels_are_of_the_reward_that_chose_or_the_only_one(tmp_path: Path) -> None:
    both = graded("x", True, rm__helpfulness=1.0, judge__helpfulness=9.0)
    chose = exported(tmp_path, [row(1, both)], ranking="judge.overall")
    assert regression_line(lines(chose.files["train"])[0])[4] == 9.0
    nobody = exported(tmp_path, [row(1, both)], ranking=None)
    assert (nobody.files, nobody.left_out) == (
        {}, {"2 rewards gave HelpSteer's attributes and none of them chose": 1},
    )  # fmt: skip
    one = graded("x", True, rm__helpfulness=1.0)
    only = exported(tmp_path, [row(1, one)], ranking="length.reward")
    assert regression_line(lines(only.files["train"])[0])[4] == 1.0
    none = exported(tmp_path, [row(1, response("x"))], ranking=None)
    assert none.left_out == {"no reward gave HelpSteer's attributes": 1}


def test_peoples_ratings_come_before_a_rewards(tmp_path: Path) -> None:
    answers = [
        graded("rated", True, human__helpfulness=4.0, rm__helpfulness=1.0, rm__coherence=2.0),
        graded("not rated", rm__helpfulness=1.0),
    ]
    done = exported(tmp_path, [row(1, *answers)])
    found = [regression_line(line) for line in lines(done.files["train"])]
    assert [(label[4], label[6]) for label in found] == [(4.0, -100), (1.0, -100)]
    alone = exported(tmp_path / "b", [row(1, answers[0])], ranking=None)
    assert alone.rows == 1


def test_the_training_settings_are_helpsteer2s(tmp_path: Path) -> None:
    done = exported(tmp_path, [row(1, graded("x", True, rm__helpfulness=1.0))])
    found = yaml.safe_load(done.files["config"].read_text(encoding="utf-8"))["model"]
    assert found["reward_model_type"] == "regression"
    assert found["regression"] == {"num_attributes": 9, "loss_mask_val": -100}
    assert found["optim"]["lr"] == found["optim"]["sched"]["min_lr"] == 2e-6
