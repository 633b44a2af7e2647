"""Tiny language models with random weights, to be read and not trained."""

from __future__ import annotations

from pathlib import Path

from tiny_model import CHATML, tiny_model, tiny_tokenizer

from karat.row import Message

PROMPT = [Message("user", "What is rain?")]
LONG = [Message("user", "Why? " * 100), Message("assistant", "So. " * 30), Message("user", "And?")]
# In the manner of Qwen2.5: a system prompt where none is given, which no row has.
ADDS = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"


def writer(folder: Path, before: str, seed: int = 0) -> Path:
    tiny_model(folder, seed=seed, num_hidden_layers=6, initializer_range=0.3)
    tiny_tokenizer(before + CHATML).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    return folder
