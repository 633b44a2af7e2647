"""The exports for NeMo-Aligner, read as its dataset classes read them.

The readers below say in our words what nemo_aligner/data/nlp/{builders,datasets}.py of 0.7.0 and
NeMo 2.3.0's gpt_sft_chat_dataset.py ask of a line and of a configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kept import lines, response, row, run_of

from karat.exporters import nemo_aligner_preference, nemo_aligner_sft, nemo_aligner_steerlm
from karat.row import Message, Response, Row

EXPORTERS = {
    "nemo-aligner-sft": nemo_aligner_sft,
    "nemo-aligner-preference": nemo_aligner_preference,
    "nemo-aligner-steerlm": nemo_aligner_steerlm,
}
TOKENS = {
    "system_turn_start": "<extra_id_0>", "turn_start": "<extra_id_1>",
    "label_start": "<extra_id_2>", "end_of_turn": "\n", "end_of_name": "\n",
}  # fmt: skip


def rows(*splits: str | None) -> list[Row]:
    made = []
    for number, split in enumerate(splits):
        answers = [response(f"{word} {number}", score, score > 2)
                   for word, score in (("best", 3.0), ("mid", 2.0), ("worst", 0.5))]  # fmt: skip
        made.append(row(number, *answers, meta={"split": split} if split else {}))
        if number % 2:
            made[-1].messages = [
                Message("user", "First?"), Message("assistant", "Yes."), Message("user", "So?"),
            ]  # fmt: skip
    return made


def exported(tmp_path: Path, name: str, made: list[Row], **options: Any) -> Any:
    return EXPORTERS[name].export(run_of(tmp_path, made, **options), tmp_path / "export")


def written_out(source: dict[str, Any], tokens: dict[str, str]) -> tuple[str, list[str]]:
    """A conversation as NeMo writes it: the whole text, and the parts that bear loss."""
    assert source.get("type") in (None, "VALUE_TO_TEXT", "TEXT_TO_VALUE")
    text = f"{tokens['system_turn_start']}System{tokens['end_of_name']}{source['system']}"
    text += tokens["end_of_turn"]
    speakers = [turn["from"] for turn in source["conversations"]]
    assert source["mask"] in speakers
    learnt = []
    for place, turn in enumerate(source["conversations"]):
        assert turn["label"] is None or isinstance(turn["label"], str)
        head = f"{tokens['turn_start']}{turn['from']}{tokens['end_of_name']}"
        body = f"{turn['value']}{tokens['end_of_turn']}"
        assert not any(mark in turn["value"] for mark in tokens.values() if mark != "\n")
        text += head + body
        if turn["from"] != source["mask"] and place:
            learnt.append(body)
    assert learnt, "mask is empty"
    if speakers[-1] != source["mask"]:
        text += tokens["turn_start"]
    return text, learnt


def as_conversation(messages: list[dict[str, str]]) -> dict[str, Any]:
    systems = [message["content"] for message in messages if message["role"] == "system"]
    assert len(systems) < 2, "multiple system messages seen"
    return {
        "system": systems[0] if systems else "",
        "mask": "User",
        "type": "VALUE_TO_TEXT",
        "conversations": [
            {"from": message["role"].capitalize(), "value": message["content"], "label": None}
            for message in messages
            if message["role"] != "system"
        ],
    }


def test_chat_lines(tmp_path: Path) -> None:
    done = exported(tmp_path, "nemo-aligner-sft", rows(None, None))
    found = lines(done.files["train"])
    assert found[0] == {
        "system": "Be brief.",
        "mask": "User",
        "type": "VALUE_TO_TEXT",
        "conversations": [
            {"from": "User", "value": "Question 0 ä?", "label": None},
            {"from": "Assistant", "value": "best 0", "label": None},
        ],
    }
    assert written_out(found[0], TOKENS) == (
        "<extra_id_0>System\nBe brief.\n<extra_id_1>User\nQuestion 0 ä?\n"
        "<extra_id_1>Assistant\nbest 0\n<extra_id_1>",
        ["best 0\n"],
    )
    assert found[1]["system"] == ""
    assert written_out(found[1], TOKENS)[1] == ["Yes.\n", "best 1\n"]


def test_pairs_are_messages_with_rewards(tmp_path: Path) -> None:
    done = exported(tmp_path, "nemo-aligner-preference", rows(None, None))
    found = lines(done.files["train"])
    assert found[0] == {
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Question 0 ä?"},
        ],
        "chosen_response": {"role": "assistant", "content": "best 0"},
        "rejected_response": {"role": "assistant", "content": "worst 0"},
        "chosen_reward": 3.0,
        "rejected_reward": 0.5,
    }
    for line in found:
        system, *spoken = line["prompt"] if line is found[0] else [{"content": ""}, *line["prompt"]]
        turns = [f"<extra_id_1>{one['role'].capitalize()}\n{one['content']}\n" for one in spoken]
        prompt = f"<extra_id_0>System\n{system['content']}\n{''.join(turns)}"
        for side in ("chosen", "rejected"):
            whole, learnt = written_out(
                as_conversation([*line["prompt"], line[f"{side}_response"]]), TOKENS
            )
            assert whole == f"{prompt}<extra_id_1>Assistant\n{learnt[-1]}<extra_id_1>"
        assert all(type(line[f"{side}_reward"]) is float for side in ("chosen", "rejected"))


MARK = "text with a mark of NeMo-Aligner's template"


def in_prompt(made: Row, text: str) -> None:
    made.messages[-1] = Message("user", text)


def in_answers(made: Row, text: str) -> None:
    made.responses = [
        Response(text + one.content, scores=one.scores, kept=one.kept) for one in made.responses
    ]


@pytest.mark.parametrize("name", EXPORTERS)
@pytest.mark.parametrize("put", [in_prompt, in_answers])
@pytest.mark.parametrize("mark", ["<extra_id_1>User\nhi", "\x11", "a\x00b", "\x12"])
def test_a_text_cannot_open_a_turn_of_its_own(
    tmp_path: Path, name: str, put: Callable[[Row, str], None], mark: str
) -> None:
    made = rows(None, None)
    put(made[1], mark)
    done = exported(tmp_path, name, made)
    assert done.left_out == {MARK: 3 if put is in_answers and "steerlm" in name else 1}
    assert done.rows == (3 if "steerlm" in name else 1)


@pytest.mark.parametrize("name", EXPORTERS)
@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no prompt"),
        ([Message("user", "a"), Message("system", "b")], "system prompt after the first turn"),
        ([Message("user", "a"), Message("assistant", "b")],
         "turns do not alternate up to a question"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_left_out(
    tmp_path: Path, name: str, messages: list[Message], reason: str
) -> None:
    made = rows(None, None)
    made[1].messages = messages
    assert exported(tmp_path, name, made).left_out == {reason: 1}


def config(path: Path, data: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    return yaml.safe_load(text.replace("${oc.env:DATA}", str(data)))


def files_named(model: dict[str, Any]) -> list[str]:
    """Training, validation and test data, as the two kinds of scripts find them."""
    data = model["data"]
    if "data_prefix" in data:
        assert set(data["data_prefix"]) == {"train", "validation", "test"}  # all asserted
        assert data["data_impl"] == "jsonl"
        assert all(len(paths) == 1 for paths in data["data_prefix"].values())
        return [paths[0] for paths in data["data_prefix"].values()]
    return [data[part]["file_path"] for part in ("train_ds", "validation_ds")]


@pytest.mark.parametrize("name", EXPORTERS)
@pytest.mark.parametrize(
    ("splits", "parts"),
    [
        (("train", "validation", "test", "train"), ("train", "validation", "test")),
        (("train", "test", "train"), ("train", "train", "test")),
        (("train", "validation"), ("train", "validation", "validation")),
        ((None, None), ("train", "train", "train")),
    ],
)
def test_the_configuration_names_files_that_are_there(
    tmp_path: Path, name: str, splits: tuple[str | None, ...], parts: tuple[str, ...]
) -> None:
    done = exported(tmp_path, name, rows(*splits))
    path = done.files["config"]
    assert path.name == f"{name}.yaml"
    assert {path.name for path in done.files.values()} <= set(EXPORTERS[name].FILES)
    found = files_named(config(path, tmp_path / "export")["model"])
    assert found == [str(done.files[part]) for part in parts[: len(found)]]
    assert all(lines(Path(file)) for file in found)
    text = path.read_text(encoding="utf-8")
    assert ("train stands for it" in text) == (parts[1] == "train")
    counts = [len(lines(done.files[part])) for part in ("train", "validation") if part in parts]
    assert f"global_batch_size must be at most {min(counts)}:" in text


def test_the_training_settings_are_the_papers(tmp_path: Path) -> None:
    rpo = config(exported(tmp_path / "a", "nemo-aligner-preference", rows(None)).files["config"],
                 tmp_path)["model"]["dpo"]  # fmt: skip
    assert rpo["preference_loss"] == "rpo_bwd_kl"
    assert (rpo["gt_reward_scale"], rpo["sft_loss_weight"]) == (1.0, 1e-5)
    assert 1e-3 <= rpo["ref_policy_kl_penalty"] <= 1
    chat = config(exported(tmp_path / "b", "nemo-aligner-sft", rows(None)).files["config"],
                  tmp_path)["model"]["data"]  # fmt: skip
    assert chat["chat"] is True
    assert chat["chat_prompt_tokens"] == TOKENS
