"""What a student silently learned wrong, each once found by attack: masks, templates, settings."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import CHATML, tiny_model, tiny_tokenizer

from karat.errors import RecipeError, RowError, RunError
from karat.row import Message
from karat.training import telling
from karat.training.chat_tokens import ChatTokens, Encoded
from karat.training.objectives import rpo
from karat.training.student_rows import preference_rows, reward_spread, sft_rows
from karat.training.student_settings import Settings, settings_of
from karat.training.students import train_preference, train_sft
from karat.training.writing import Writer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning", "ignore:.*pin_memory:UserWarning"
)
MISTRAL = (
    "{% for m in messages %}{% if m.role == 'system' %}{% elif m.role == 'user' %}[INST] "
    "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }} {% endif %}"
    "{{ m.content }}[/INST]{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
)
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def sft_lines(count: int = 6) -> list[dict[str, Any]]:
    return [
        {"prompt": user(f"Say {i}"), "completion": answer("ok" * (1 + i % 3))} for i in range(count)
    ]


def pairs(count: int = 6) -> list[dict[str, Any]]:
    return [
        {"prompt": user(f"Say {i}"), "chosen": answer("yes" * (1 + i % 3)),
         "rejected": answer("no"), "score_chosen": 3.0 + i / 7, "score_rejected": 1.0}
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "base")


def quick(**more: Any) -> Settings:
    return Settings(
        **{"epochs": 1, "batch_size": 2, "learning_rate": 5e-3, "device": "cpu", **more}
    )


def nats(model: Path, side: str, lines: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    said = [([Message("user", one["prompt"][0]["content"])], one[side][0]["content"])
            for one in lines]  # fmt: skip
    return Writer(model).log_likelihood(said)


def test_sft_learns_the_answer_and_its_end_and_nothing_of_the_prompt(
    base: Path, tmp_path: Path
) -> None:
    """Left to itself TRL takes rows of tokens for texts to learn whole."""
    lines = sft_lines()
    done = train_sft(lines, str(base), tmp_path / "o", quick(), print, held_out={"test": lines})
    before, after = done.held_out["test"]
    for model, loss in ((base, before), (tmp_path / "o", after)):
        sums, tokens = nats(model, "completion", lines)
        assert loss == pytest.approx(float(-sums.sum() / tokens.sum()), abs=1e-5)
    two = quick(device_batch=2, batch_size=4)
    again = train_sft(lines, str(base), tmp_path / "p", two, print, held_out={"test": lines[:5]})
    sums, tokens = nats(base, "completion", lines[:5])
    assert again.held_out["test"][0] == pytest.approx(float(-sums.sum() / tokens.sum()), abs=1e-5)


@pytest.mark.parametrize(("objective", "full"), [("dpo", False), ("rpo", True)])
def test_preferences_are_of_the_likelihoods_that_are_measured(
    base: Path, tmp_path: Path, objective: Any, full: bool
) -> None:
    lines, settings = pairs(), quick(full=full, sft_coefficient=0.01)
    done = train_preference(
        lines, str(base), tmp_path / "o", settings, print, objective, held_out={"test": lines}
    )
    chosen, rejected = (nats(tmp_path / "o", side, lines)[0] for side in ("chosen", "rejected"))
    gap = chosen - rejected - (nats(base, "chosen", lines)[0] - nats(base, "rejected", lines)[0])
    wanted = float(np.logaddexp(0, -0.1 * gap).mean())
    if objective == "rpo":
        rewards = np.array([one["score_chosen"] - one["score_rejected"] for one in lines])
        wanted = rpo(gap, rewards / reward_spread(lines)).value - 0.01 * float(chosen.mean())
    assert done.held_out["test"][1] == pytest.approx(wanted, abs=1e-5)


def test_a_whole_model_and_its_reference_are_the_same_before_the_first_step(
    tmp_path: Path,
) -> None:
    import torch
    import transformers

    base = tiny_model(tmp_path / "base")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    model.to(torch.bfloat16).save_pretrained(base)
    done = train_preference(
        pairs(2), str(base), tmp_path / "o", quick(full=True), print, held_out={"t": pairs()}
    )
    assert done.held_out["t"][0] == pytest.approx(np.log(2), abs=1e-6)


def test_a_part_that_is_only_measured_may_have_nothing_to_measure(
    base: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    empty = {"test": [{"prompt": user("x" * 99), "completion": answer("ok")}]}
    done = train_sft(
        sft_lines(), str(base), tmp_path / "o", quick(max_length=80), said.append, held_out=empty
    )
    assert done.held_out == {}
    assert "left out of test: 1 longer than 80 tokens" in said


def test_a_training_goes_on_with_another_part_to_measure(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "SAY_EVERY_S", 0.0)

    def kill(text: str) -> None:
        if text.startswith("step 2"):
            raise KeyboardInterrupt

    out, lines = tmp_path / "o", sft_lines()
    with pytest.raises(KeyboardInterrupt):
        train_sft(lines, str(base), out, quick(save_every_s=0), kill, held_out={"a": lines})
    parts = {"a": lines, "b": lines}
    done = train_sft(lines, str(base), out, quick(), print, held_out=parts)
    assert set(done.held_out) == {"a", "b"}


def test_what_a_template_does_not_take_is_left_out_and_counted() -> None:
    system = [{"role": "system", "content": "Be brief."}, *user("Why?")]
    lines = [*sft_lines(2), {"prompt": system, "completion": answer("So.")}]
    made = sft_rows(lines, ChatTokens(tiny_tokenizer(GEMMA)), 1024)
    assert len(made.rows) == 2
    assert made.left_out == {"refused by the chat template: no system": 1}
    chat = ChatTokens(tiny_tokenizer(MISTRAL))
    made = sft_rows(lines, chat, 1024)
    assert len(made.rows) == 2
    assert "otherwise once it is answered" in made.reasons()
    pair = {"prompt": system, "chosen": answer("So."), "rejected": answer("No.")}
    assert preference_rows([pair], chat, 1024).left_out == made.left_out
    with pytest.raises(RowError, match="otherwise"):
        chat.pair(system, "So.")


def test_a_template_that_ends_no_turn_is_told(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    tiny_tokenizer(CHATML.replace("<|im_end|>", "")).save_pretrained(base)
    said: list[str] = []
    train_sft(sft_lines(), str(base), tmp_path / "o", quick(), said.append)
    assert any("will not learn to stop" in text for text in said)


@pytest.mark.filterwarnings("ignore:.*generation flags.*:UserWarning")
def test_a_writer_does_what_it_is_asked_and_not_what_a_models_files_add(
    base: Path, tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other")
    file = other / "generation_config.json"
    facts = json.loads(file.read_bytes())
    file.write_text(json.dumps({**facts, "repetition_penalty": 50.0, "suppress_tokens": [70]}))
    prompt = [[Message("user", "hello")]]
    for heat in (0.0, 1.0):
        one, two = (
            Writer(model).write(prompt, max_tokens=12, temperature=heat) for model in (base, other)
        )
        assert one == two
    train_sft(sft_lines(2), str(other), tmp_path / "o", quick(merge=True), print)
    (tmp_path / "o/merged/generation_config.json").write_text(json.dumps(facts))
    adapted, merged = (
        Writer(path).write(prompt, max_tokens=12)
        for path in (tmp_path / "o", tmp_path / "o/merged")
    )
    assert adapted == merged


def test_the_first_token_of_all_counts_for_nothing(base: Path) -> None:
    writer = Writer(base)
    ids = [256, 70, 71, 257]
    with writer.torch.inference_mode():
        bare, whole = writer._read([Encoded([], ids), Encoded(ids[:1], ids[1:])])
    assert bare == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "word", "said"),
    [
        ("rpo", "ld_alpha=0.5", "RPO does not have"),
        ("rpo", "label_smoothing=0.3", "RPO does not have"),
        ("sft", "ignore_data_skip=true", "goes on as it would have"),
        ("sft", "save_only_model=true", "goes on as it would have"),
        ("sft", "logging_steps=10", "loss of every step"),
        ("dpo", "hub_token=hf_secret", "student's papers"),
        ("dpo", "auto_find_batch_size=true", "--device-batch"),
    ],
)
def test_a_field_that_would_break_a_promise_is_refused(
    objective: Any, word: str, said: str
) -> None:
    with pytest.raises(RecipeError, match=said) as seen:
        settings_of({}, (word,), objective)
    assert "secret" not in str(seen.value)


def test_a_field_that_needs_another_package_is_told_in_words(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"refuses these settings.*deepspeed"):
        train_sft(sft_lines(), str(base), tmp_path / "o", quick(more={"deepspeed": "x"}), print)


def test_a_full_disk_is_told_in_words_and_the_training_goes_on(base: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    out = tmp_path / "o"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
        with pytest.raises(RunError, match=r"cannot be written.*make room"):
            train_sft(sft_lines(), str(base), out, quick(save_every_s=0), print)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert train_sft(sft_lines(), str(base), out, quick(), print).steps == 3


def test_a_text_that_is_no_unicode_is_told_with_its_line(base: Path, tmp_path: Path) -> None:
    lines = [*sft_lines(2), {"prompt": user("x"), "completion": answer("\ud800")}]
    with pytest.raises(RecipeError, match="line 3 cannot be written as JSON"):
        train_sft(lines, str(base), tmp_path / "o", quick(), print)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("objective", ["dpo", "rpo"])
def test_the_last_rows_count_as_much_as_the_others(
    base: Path, tmp_path: Path, objective: Any
) -> None:
    """Three rows, two at a time: the third is no half of the step."""
    made = [
        train_preference(
            pairs(3), str(base), tmp_path / str(at_once),
            quick(epochs=2, batch_size=4, device_batch=at_once), print, objective,
        ).curve
        for at_once in (1, 2)
    ]  # fmt: skip
    for (_, one), (_, two) in zip(*made, strict=True):
        assert one == pytest.approx(two, abs=2e-5)


def test_a_long_first_step_tells_how_far_it_is(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "SAY_EVERY_S", 0.0)
    said: list[str] = []
    train_preference(pairs(4), str(base), tmp_path / "o", quick(batch_size=4), said.append, "rpo")
    assert said[1].startswith("loading ")
    assert said[2] == "training: 1 step of 4 rows, a row at a time"
    assert said[3] == "in step 1 of 1: part 1 of 4"
