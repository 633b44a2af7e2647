"""A student is what its data and settings say: same command, same adapter; killed, it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import mostly_slow, slow
from tiny_model import tiny_model, tiny_tokenizer

from karat.errors import RecipeError, RunError
from karat.models.torch_libraries import imported, quiet
from karat.row import Message
from karat.training import telling
from karat.training.chat_tokens import ChatTokens
from karat.training.student_rows import preference_rows, sft_rows
from karat.training.student_settings import Settings, settings_of
from karat.training.students import Trained, train_preference, train_sft
from karat.training.writing import Writer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning", "ignore:.*pin_memory:UserWarning"
)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def sft_lines(count: int = 8, text: str = "ok") -> list[dict[str, Any]]:
    return [{"prompt": user(f"Say {i}"), "completion": answer(text)} for i in range(count)]


def pairs(count: int = 8) -> list[dict[str, Any]]:
    return [
        {"prompt": user(f"Say {i}"), "chosen": answer("yes"), "rejected": answer("no")}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "base")


def quick(**more: Any) -> Settings:
    return Settings(
        **{"epochs": 1, "batch_size": 2, "learning_rate": 5e-3, "device": "cpu", **more}
    )


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def train(base: Path, out: Path, said: list[str] | None = None, **more: Any) -> Trained:
    say = (said if said is not None else []).append
    return train_sft(sft_lines(), str(base), out, quick(**more), say)


def test_a_student_learns_and_says_where_it_comes_from(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    held_out = {"validation": sft_lines(2)}
    done = train_sft(sft_lines(), str(base), out, quick(epochs=4), print, held_out=held_out)
    assert done.steps == 16
    assert done.curve[-1][1] < done.curve[0][1]
    before, after = done.held_out["validation"]
    assert after < before
    rows = sft_rows(sft_lines(), ChatTokens(tiny_tokenizer()), 1024)
    assert done.tokens == 4 * rows.tokens
    facts = json.loads((out / "karat.json").read_bytes())
    assert facts["base"] == str(base)
    assert facts["rows"] == 8
    assert facts["held_out_rows"] == {"validation": 2}
    assert facts["settings"]["learning_rate"] == 5e-3
    assert "beta" not in facts["settings"]
    card = (out / "README.md").read_text()
    assert "library_name: peft" in card
    assert facts["data_sha"] in card
    assert not (out / "checkpoints").exists()
    assert json.loads((out / "adapter_config.json").read_bytes())["r"] == 16


@slow
def test_the_same_command_gives_the_same_adapter_and_then_says_so(
    base: Path, tmp_path: Path
) -> None:
    one, said = train(base, tmp_path / "one"), []
    train(base, tmp_path / "two")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    again = train(base, tmp_path / "one", said, merge=True)
    assert "finished" in said[0]
    assert (tmp_path / "one/merged/config.json").is_file()
    assert (again.new, again.curve, again.tokens) == (False, one.curve, one.tokens)
    with pytest.raises(RecipeError, match=r"differs in seed \(7, now 8\)"):
        train(base, tmp_path / "one", seed=8)
    with pytest.raises(RecipeError, match="differs in its data"):
        train_sft(sft_lines(9), str(base), tmp_path / "one", quick(), print)


@slow
def test_a_killed_training_goes_on_where_it_was(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(base, tmp_path / "whole")
    monkeypatch.setattr(telling, "SAY_EVERY_S", 0.0)

    def kill(text: str) -> None:
        if text.startswith("step 3"):
            raise KeyboardInterrupt

    out, said = tmp_path / "killed", []
    with pytest.raises(KeyboardInterrupt):
        train_sft(sft_lines(), str(base), out, quick(save_every_s=0), kill)
    (out / "checkpoints/checkpoint-9").mkdir()  # one that was being written
    with pytest.raises(RecipeError, match="holds the checkpoint of a student"):
        train(base, out, lora_r=4)
    resumed = train(base, out, said)
    assert "going on from step 2" in said
    assert weights(out) == weights(tmp_path / "whole")
    assert (resumed.curve, resumed.tokens) == (whole.curve, whole.tokens)


def test_a_folder_with_something_else_in_it_is_left_alone(base: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RecipeError, match="is not empty"):
        train(base, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    with pytest.raises(RecipeError, match="is a file"):
        train(base, tmp_path / "README.md")


@pytest.mark.parametrize("pad", mostly_slow(["<|im_end|>", "<|pad|>"], 2))
def test_a_student_learns_to_stop_even_where_the_pad_token_ends_turns(
    tmp_path: Path, pad: str
) -> None:
    base = tiny_model(tmp_path / "base")
    cutter = tiny_tokenizer()
    cutter.pad_token = pad
    cutter.save_pretrained(base)
    lines = [*sft_lines(6), *sft_lines(6, "ok, ok")]
    settings = quick(epochs=6, full=True, device_batch=4, batch_size=4)
    train_sft(lines, str(base), tmp_path / "out", settings, print)
    (written,) = Writer(tmp_path / "out").write([[Message("user", "Say 1")]], max_tokens=40)
    assert written[0] in ("ok", "ok, ok")


def test_what_is_too_long_or_empty_is_counted_and_nothing_is_cut() -> None:
    chat = ChatTokens(tiny_tokenizer())
    lines = [*sft_lines(2), *sft_lines(1, "x" * 99), *sft_lines(1, " ")]
    made = sft_rows(lines, chat, 80)
    assert len(made.rows) == 2
    assert made.left_out == {"longer than 80 tokens": 1, "with an empty answer": 1}
    row = made.rows[0]
    learned = [t for t, kept in zip(row["input_ids"], row["completion_mask"], strict=True) if kept]
    assert learned == [*tiny_tokenizer()("ok")["input_ids"], tiny_tokenizer().eos_token_id]
    same = [{**pairs(1)[0], "rejected": answer(" yes")}, pairs(1)[0]]
    worse = {**pairs(1)[0], "score_chosen": 1.0, "score_rejected": 2.0}
    found = preference_rows([*same, worse], chat, 80)
    assert len(found.rows) == 1
    assert sum(found.left_out.values()) == 2
    with pytest.raises(RecipeError, match="line 1: 'prompt' is no list of messages"):
        sft_rows([{"prompt": None, "completion": answer("a")}], chat, 80)


def test_nothing_left_is_an_error_that_counts(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"8 longer than 9 tokens.*--max-length"):
        train(base, tmp_path / "out", max_length=9)
    with pytest.raises(RecipeError, match="no line"):
        train_sft([], str(base), tmp_path / "out", quick(), print)


def test_preferences_and_a_merged_copy(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = quick(merge=True, epochs=3)
    done = train_preference(pairs(), str(base), out, settings, print, held_out={"test": pairs(2)})
    before, after = done.held_out["test"]
    assert before == pytest.approx(0.6931, abs=1e-4)  # log 2: nothing is preferred yet
    assert after < 0.5
    asked = [([Message("user", "Say 1")], text) for text in ("yes", "no")]
    nats, _ = Writer(out).log_likelihood(asked)
    merged, tokens = Writer(out / "merged").log_likelihood(asked)
    assert nats == pytest.approx(merged, abs=1e-4)
    assert list(tokens) == [4, 3]


def test_a_loss_that_is_no_number_stops(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no number"):
        train(base, tmp_path / "out", learning_rate=1e30, full=True)


def test_further_fields_are_the_trainers_own() -> None:
    assert settings_of({}, ("weight_decay=1e-2",), "sft").more == {"weight_decay": 0.01}
    with pytest.raises(RecipeError, match="did you mean 'weight_decay'"):
        settings_of({}, ("wieght_decay=1",), "sft")
    with pytest.raises(RecipeError, match="say it with --lr"):
        settings_of({}, ("learning_rate=1",), "sft")
    with pytest.raises(RecipeError, match="write key=value"):
        settings_of({}, ("packing",), "sft")
    with pytest.raises(RecipeError, match="weight_decay=much"):
        settings_of({}, ("weight_decay=much",), "sft")
    with pytest.raises(RecipeError, match="epochs"):
        settings_of({"epochs": -1.0}, (), "sft")


def test_no_library_sends_messages_home(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = imported("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    with quiet():
        assert constants.HF_HUB_DISABLE_TELEMETRY
    assert not constants.HF_HUB_DISABLE_TELEMETRY


def test_a_model_that_is_none(tmp_path: Path) -> None:
    for model, said in [
        ("embedded/smolm2-135m", "did you mean 'smollm2-135m'"),
        ("./nowhere", "no folder"),
        (str(tmp_path), "has no config.json"),
    ]:
        with pytest.raises(RecipeError, match=said):
            train_sft(sft_lines(), model, tmp_path / "out", quick(), print)
