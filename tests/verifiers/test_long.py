"""Every verifier reads a hundred kilobytes of anything in well under a second."""

from __future__ import annotations

import time

import pytest
from answers_read import item
from conftest import mostly_slow

from karat.verifiers import copied, instructions, language, refusal, repetition, truncation
from karat.verifiers._language import can_tell

SIZE = 100_000
ATOMS = [
    "a", " ", "\n", "$", "\\[", "`", "```\n", "a@", "<a ", "i can not ", "sorry, ", "could you ",
    "in the ", "without a ", "1. ", "http://", '"', "[", "{", "ich kann ", "我", "回答を",
    "answer ", ". ",
    "- ", "no x ", "you did not ", "I'm afraid ", "मैं ", "لا أستطيع ", "je ne peux pas ",
    "\\a{", "“", "can't ",
]  # fmt: skip
VERIFIERS = [copied, instructions, refusal, repetition, truncation, *([language] * can_tell())]
SECONDS = 2.0  # several times what it takes; quadratic time would be minutes


@pytest.mark.parametrize("atom", mostly_slow(ATOMS, 4), ids=range(len(ATOMS)))
def test_no_text_takes_long(atom):
    text = atom * (SIZE // len(atom))
    for verifier in VERIFIERS:
        for one in (item(text, "What is the capital of France, and why?"), item(text, text)):
            started = time.process_time()
            verifier.verify(one)
            assert time.process_time() - started < SECONDS, verifier.__name__
