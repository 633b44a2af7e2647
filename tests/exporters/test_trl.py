"""trl-sft and trl-preference: their lines, and TRL's own preparation of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from kept import lines, response, row, run_of

from karat.exporters import trl_preference, trl_sft
from karat.row import Message, Response, Row

# TRL 1.16 itself uses options that transformers 5.23 calls by a new name.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

QUESTION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Question 1 ä?"},
]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{{ eos_token }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def test_sft_lines_are_prompts_and_completions(tmp_path: Path) -> None:
    rows = [
        row(1, response("best", 3.5, True), response("next", 2.0, True), response("bad", 1, False)),
        row(2, response(" \n", 1.0, True)),
        row(3, response("bad", 1.0, False)),
        row(4),
        Row("f" * 16, [], [response("to nothing")]),
    ]
    done = trl_sft.export(run_of(tmp_path, rows), tmp_path / "export")
    assert lines(done.files["train"]) == [
        {"prompt": QUESTION, "completion": [{"role": "assistant", "content": text}]}
        for text in ("best", "next")
    ]
    assert done.left_out == {"empty response": 1, "no kept response": 2, "no prompt": 1}


def test_a_pair_is_the_best_kept_against_the_worst_turned_down(tmp_path: Path) -> None:
    answers = [
        response("low", 0.5, False),
        response("kept", 2.0, True),
        response("", -9.0, False),
        response("best", 3.5, True),
        response("mid", 1.0, False),
        response("best ", -5.0, False),
        response("ungraded", None, False),
        response("low too", 0.5, False),
    ]
    done = trl_preference.export(run_of(tmp_path, [row(1, *answers)]), tmp_path / "export")
    assert lines(done.files["train"]) == [
        {
            "prompt": QUESTION,
            "chosen": [{"role": "assistant", "content": "best"}],
            "rejected": [{"role": "assistant", "content": "low"}],
            "score_chosen": 3.5,
            "score_rejected": 0.5,
            "margin": 3.0,
        }
    ]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([response("a", 1.0, True)], "fewer than two responses"),
        ([response("a", 2.0), response("b", 1.0)], "no rejected response"),
        ([response("a", 2.0, False), response("b", 1.0, False)], "no kept response"),
        ([response("a", 1.0, True), response("b", 1.0, False)], "equal scores"),
        ([response("a", 1.0, True), response("b", 2.0, False)], "rejected scored above chosen"),
        (
            [response("a b", 2.0, True), response("a\n b ", 1.0, False)],
            "same text chosen and rejected",
        ),
        ([response("a", 2.0, True), response(" ", 1.0, False)], "rejected response empty"),
        ([response("", 2.0, True), response("b", 1.0, False)], "kept response empty"),
        ([response("a", None, True), response("b", 1.0, False)], "kept response not graded"),
        (
            [response("a", 2.0, True), response("b", float("nan"), False)],
            "rejected response not graded",
        ),
    ],
)
def test_what_makes_no_pair_is_left_out_and_counted(
    tmp_path: Path, answers: list[Response], reason: str
) -> None:
    good = row(2, response("yes", 1.0, True), response("no", 0.0, False))
    done = trl_preference.export(run_of(tmp_path, [row(1, *answers), good]), tmp_path / "export")
    assert (done.rows, done.left_out) == (1, {reason: 1})


def test_the_score_is_rejects_or_the_only_reward(tmp_path: Path) -> None:
    rows = [row(1, response("a", 2.0, True), response("b", 1.0, False))]
    by = trl_preference.export(run_of(tmp_path, rows, "rm.helpfulness"), tmp_path / "export")
    assert lines(by.files["train"])[0]["score_chosen"] == 3.0
    only = trl_preference.export(run_of(tmp_path, rows, None), tmp_path / "export")
    assert lines(only.files["train"])[0]["score_chosen"] == 2.0
    rows[0].responses[0].scores["other.reward"] = 1.0
    none = trl_preference.export(run_of(tmp_path, rows, None), tmp_path / "export")
    assert none.files == {}
    assert none.left_out == {
        "no score to rank answers by: no reject step chose, and 2 rewards graded the answers": 1
    }
    assert list((tmp_path / "export").iterdir()) == []  # not even that of the run before


# --- TRL's own preparation -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    rng = random.Random(0)
    words = [f"w{i}" for i in range(50)]
    made = []
    for number in range(24):
        texts = [" ".join(rng.choices(words, k=rng.randint(3, 30))) for _ in range(4)]
        scores = sorted((rng.uniform(0, 4) for _ in texts), reverse=True)
        answers = [
            response(t, s, i == 0) for i, (t, s) in enumerate(zip(texts, scores, strict=True))
        ]
        made.append(row(number, *answers))
        if number % 3 == 0:
            made[-1].messages[1:1] = [Message("user", "w1"), Message("assistant", "w2 w3")]
    return made


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("trl")
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    vocabulary = [
        "<unk>",
        "<pad>",
        "<eos>",
        "<system>",
        "<user>",
        "<assistant>",
        "Be",
        "brief.",
        "Question",
        "ä?",
        *(f"w{i}" for i in range(50)),
        *map(str, range(24)),
    ]
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(
            {word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"
        )
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    )
    made.chat_template = TEMPLATE
    return made


def tiny(tokenizer: Any, kind: str, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        **options,
    )
    return getattr(transformers, f"LlamaFor{kind}")(config)


def loaded(path: Path, cache: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))


def options(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "out"),
        "report_to": [],
        "use_cpu": True,
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "bf16": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def test_sft_trainer_takes_the_loss_on_the_completion_only(
    tmp_path: Path, rows: list[Row], tokenizer: Any
) -> None:
    trl = pytest.importorskip("trl")
    done = trl_sft.export(run_of(tmp_path, rows), tmp_path / "export")
    trainer = trl.SFTTrainer(
        model=tiny(tokenizer, "CausalLM"),
        args=trl.SFTConfig(**options(tmp_path)),
        train_dataset=loaded(done.files["train"], tmp_path / "cache"),
        processing_class=tokenizer,
    )
    prepared = trainer.train_dataset
    assert len(prepared) == 24
    for example, source in zip(prepared, rows, strict=True):
        counted = [label for label in example["labels"] if label != -100]
        text = tokenizer.decode(counted)
        assert text.split() == [*source.responses[0].content.split(), "<eos>"]
        assert example["labels"][-len(counted) :] == example["input_ids"][-len(counted) :]
    assert trainer.train().training_loss > 0


def test_dpo_and_reward_trainers_take_the_pairs(
    tmp_path: Path, rows: list[Row], tokenizer: Any
) -> None:
    trl = pytest.importorskip("trl")
    done = trl_preference.export(run_of(tmp_path, rows), tmp_path / "export")
    data = loaded(done.files["train"], tmp_path / "cache")
    assert data.num_rows == 24
    dpo = trl.DPOTrainer(
        model=tiny(tokenizer, "CausalLM"),
        ref_model=tiny(tokenizer, "CausalLM"),
        args=trl.DPOConfig(**options(tmp_path)),
        train_dataset=data,
        processing_class=tokenizer,
    )
    assert len(dpo.train_dataset) == 24
    for example, source in zip(dpo.train_dataset, rows, strict=True):
        assert tokenizer.decode(example["prompt_ids"]).endswith("<assistant>")
        for side, answer in (("chosen", source.responses[0]), ("rejected", source.responses[-1])):
            ids = example[f"{side}_ids"]
            assert tokenizer.decode(ids).split() == [*answer.content.split(), "<eos>"]
    assert dpo.train().training_loss > 0
    reward = trl.RewardTrainer(
        model=tiny(tokenizer, "SequenceClassification", num_labels=1),
        args=trl.RewardConfig(**options(tmp_path)),
        train_dataset=data,
        processing_class=tokenizer,
    )
    assert len(reward.train_dataset) == 24
    margins = [
        source.responses[0].scores["rm.reward"] - source.responses[-1].scores["rm.reward"]
        for source in rows
    ]
    assert reward.train_dataset["margin"] == pytest.approx(margins)
    assert reward.train().training_loss > 0
