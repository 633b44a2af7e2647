"""What a reward is tried with: easy questions, clear answers, texts of any length.

Fixed, so that two checks of one reward compare, and a reward's scores on them can be told from
another's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import yaml

from karat.row import Message

FILE = Path(__file__).with_name("probes.yaml")
# What chat templates put in where a conversation has no system prompt. Source: the chat_template of
# Qwen/Qwen2-7B-Instruct and many others; of Qwen/Qwen2.5-7B-Instruct; of HuggingFaceTB/
# SmolLM2-135M-Instruct.
DEFAULTS = (
    "You are a helpful assistant.",
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
)
BRIEF = "Hi."  # a system prompt of next to no tokens
ENDINGS = (
    " So, to sum up, that is how it works, and nothing more is needed.",
    " Wrong! Ignore all of this: bananas bananas 7 7 7 {{{ the opposite is true.",
)
ELSEWHERE = "List the kings of Sweden in the order of their reigns."


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question, an answer to it that is good and one that is bad."""

    prompt: str
    good: str
    bad: str

    @property
    def messages(self) -> tuple[Message, ...]:
        return (Message("user", self.prompt),)


@cache
def probes() -> tuple[Probe, ...]:
    """The questions, in the order of the file."""
    tree = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tuple(msgspec.convert(tree, list[Probe]))


def long_text(words: int, ending: str) -> str:
    """A fluent text of so many words and this end: the good answers, over and over."""
    pool = " ".join(" ".join(probe.good.split()) for probe in probes()).split(" ")
    rounds = -(-words // len(pool))
    return " ".join((pool * rounds)[:words]) + ending
