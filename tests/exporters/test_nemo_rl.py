"""nemo-rl-sft and nemo-rl-preference, read as NeMo-RL's loaders and processors read them.

The readers below say in our words what nemo_rl/data/processors.py and examples/run_{sft,dpo}.py of
0.6.0, 0.7.0 and main at 7ea279a ask of a line and of a configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kept import lines, response, row, run_of
from tiny_model import tiny_tokenizer

from karat.exporters import nemo_rl_preference, nemo_rl_sft, trl_preference
from karat.row import Message, Row

EXPORTERS = {"nemo-rl-sft": nemo_rl_sft, "nemo-rl-preference": nemo_rl_preference}
DATASETS = {"nemo-rl-sft": "openai_format", "nemo-rl-preference": "PreferenceDataset"}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("transformers")
    return tiny_tokenizer()


def rows(*splits: str | None) -> list[Row]:
    made = []
    for number, split in enumerate(splits):
        answers = [response(f"{word} {number}", score, score > 2)
                   for word, score in (("best", 3.0), ("mid", 2.0), ("worst", 0.5))]  # fmt: skip
        made.append(row(number, *answers, meta={"split": split} if split else {}))
        if number % 2:
            made[-1].messages[1:1] = [Message("user", "First?"), Message("assistant", "Yes {x}.")]
    return made


def exported(tmp_path: Path, name: str, made: list[Row]) -> Any:
    return EXPORTERS[name].export(run_of(tmp_path, made), tmp_path / "export")


def message_log(messages: list[dict[str, Any]], tokenizer: Any) -> list[str]:
    """The text of each turn as NeMo-RL cuts it: what a turn adds to the turns before it."""
    chunks, before = [], ""
    for place, message in enumerate(messages):
        assert set(message) == {"role", "content"}
        assert isinstance(message["content"], str)
        text = tokenizer.apply_chat_template(messages[: place + 1], tokenize=False)
        assert text.startswith(before)
        chunks.append(text[len(before) :])
        before = text
    return chunks


def sft_line(line: dict[str, Any], tokenizer: Any) -> list[str]:
    assert set(line) == {"messages"}  # `tools` would be handed to the template, `task_name` clash
    assert line["messages"][-1]["role"] == "assistant"
    return message_log(line["messages"], tokenizer)


def preference_line(line: dict[str, Any], tokenizer: Any) -> tuple[list[str], list[str]]:
    assert "task_name" not in line  # the loader adds this column, and datasets takes none twice
    assert len(line["completions"]) == 2
    best, worse = sorted(line["completions"], key=lambda completion: completion["rank"])
    assert best["rank"] < worse["rank"]
    logs = [message_log(line["context"] + one["completion"], tokenizer) for one in (best, worse)]
    assert logs[0][:-1] == logs[1][:-1]
    return logs[0], logs[1]


def config(path: Path, data: Path) -> dict[str, Any]:
    """The configuration, as far as it can be read without NeMo-RL's defaults below it."""
    text = path.read_text(encoding="utf-8")
    return yaml.safe_load(text.replace("${oc.env:DATA}", str(data)))


def test_conversations_end_with_the_kept_response(tmp_path: Path, tokenizer: Any) -> None:
    done = exported(tmp_path, "nemo-rl-sft", rows(None, None))
    found = [sft_line(line, tokenizer) for line in lines(done.files["train"])]
    assert found[0] == [
        "<|im_start|>system\nBe brief.<|im_end|>\n",
        "<|im_start|>user\nQuestion 0 ä?<|im_end|>\n",
        "<|im_start|>assistant\nbest 0<|im_end|>\n",
    ]
    assert [len(log) for log in found] == [3, 5]
    assert (done.rows, done.left_out) == (2, {})


def test_pairs_are_ranked_and_carry_their_rewards(tmp_path: Path, tokenizer: Any) -> None:
    made = rows(None, None)
    done = exported(tmp_path, "nemo-rl-preference", made)
    found = lines(done.files["train"])
    assert found[0]["completions"] == [
        {"rank": 0, "completion": [{"role": "assistant", "content": "best 0"}], "reward": 3.0},
        {"rank": 1, "completion": [{"role": "assistant", "content": "worst 0"}], "reward": 0.5},
    ]
    for line in found:
        best, worse = preference_line(line, tokenizer)
        assert "best" in best[-1]
        assert "worst" in worse[-1]
    twin = trl_preference.export(run_of(tmp_path / "twin", made), tmp_path / "twin/export")
    assert [line["context"] for line in found] == [
        line["prompt"] for line in lines(twin.files["train"])
    ]


def test_datasets_loads_the_files(tmp_path: Path, tokenizer: Any) -> None:
    datasets = pytest.importorskip("datasets")
    for name in EXPORTERS:
        done = exported(tmp_path / name, name, rows(*[None] * 9))
        loaded = datasets.load_dataset(
            "json",
            data_files=str(done.files["train"]),
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )
        assert loaded.num_rows == 9
        assert "task_name" in loaded.add_column("task_name", ["x"] * 9).column_names
        read = sft_line if name == "nemo-rl-sft" else preference_line
        assert [read(line, tokenizer) for line in loaded] == [
            read(line, tokenizer) for line in lines(done.files["train"])
        ]


PROBLEMS = [
    ([], "no prompt"),
    ([Message("user", "a"), Message("user", "b")], "turns do not alternate up to a question"),
    ([Message("user", "a"), Message("assistant", "b")], "turns do not alternate up to a question"),
    ([Message("assistant", "a"), Message("user", "b")], "turns do not alternate up to a question"),
    ([Message("system", "a")], "turns do not alternate up to a question"),
    ([Message("system", "a"), Message("system", "b"), Message("user", "c")],
     "system prompt after the first turn"),
    ([Message("user", "a"), Message("tool", "b"), Message("user", "c")],
     "turn of neither user nor assistant"),
    ([Message("user", " ")], "empty turn"),
]  # fmt: skip


@pytest.mark.parametrize("name", EXPORTERS)
@pytest.mark.parametrize(("messages", "reason"), PROBLEMS)
def test_what_is_no_conversation_is_left_out(
    tmp_path: Path, name: str, messages: list[Message], reason: str
) -> None:
    made = rows(None, None)
    made[1].messages = messages
    done = exported(tmp_path, name, made)
    assert (done.rows, done.left_out) == (1, {reason: 1})


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_configuration_names_the_parts(tmp_path: Path, name: str) -> None:
    made = rows("train", "validation", "test", "train")
    done = exported(tmp_path, name, made)
    assert [path.name for path in done.files.values()] == [
        f"{name}.train.jsonl", f"{name}.validation.jsonl", f"{name}.test.jsonl", f"{name}.yaml",
    ]  # fmt: skip
    assert {path.name for path in done.files.values()} <= set(EXPORTERS[name].FILES)
    found = config(done.files["config"], tmp_path / "export")
    data = found["data"]
    for part in ("train", "validation"):
        assert Path(data[part]["data_path"]) == done.files[part]
        assert data[part]["dataset_name"] == DATASETS[name]  # the logger's name interpolates it
        assert "split" not in data[part]
    assert data["_override_"] is True
    assert {"max_input_seq_length", "shuffle", "num_workers", "default"} <= set(data)
    assert "val_period" not in str(found)
    assert found["policy"]["tokenizer"]["chat_template"] == "default"


def test_supervised_data_name_their_processor_and_the_last_turn(tmp_path: Path) -> None:
    done = exported(tmp_path, "nemo-rl-sft", rows(None))
    found = config(done.files["config"], tmp_path / "export")
    assert {"add_bos", "add_eos", "add_generation_prompt"} <= set(found["data"])  # read by key
    assert found["data"]["default"]["processor"] == "sft_processor"
    assert found["sft"]["only_unmask_final"] is True


@pytest.mark.parametrize(
    ("name", "sections"), [("nemo-rl-sft", ["sft"]), ("nemo-rl-preference", ["dpo", "rm"])]
)
def test_without_validation_the_trainer_is_told(
    tmp_path: Path, name: str, sections: list[str]
) -> None:
    done = exported(tmp_path, name, rows(None, None))
    found = config(done.files["config"], tmp_path / "export")
    assert Path(found["data"]["train"]["data_path"]) == done.files["train"]
    assert found["data"]["validation"] is None
    for section in sections:
        assert found[section]["val_period"] == 0  # asserted by the trainers' setup
        assert found[section]["val_at_start"] is False
    assert found["checkpointing"] == {"metric_name": None}


@pytest.mark.parametrize("name", EXPORTERS)
def test_nothing_to_train_on_makes_no_configuration(tmp_path: Path, name: str) -> None:
    exported(tmp_path, name, rows("train"))
    (tmp_path / "stages").rename(tmp_path / "before")
    done = exported(tmp_path, name, rows("test"))
    assert list(done.files) == ["test"]
    assert not (tmp_path / f"export/{name}.yaml").exists()
