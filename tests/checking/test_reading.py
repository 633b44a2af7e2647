"""What is read from tokens: words nobody wrote, a BOS too many, a format that is another's."""

from __future__ import annotations

import numpy as np
import pytest

from karat.checking.probes import ENDINGS, long_text, probes
from karat.checking.reading import doubled, length, other_template, smuggled
from karat.checking.trial import Evidence, Length
from karat.rewards.tokens import Seen, seen_in

QUESTION = probes()[0].prompt


def evidence(**more):
    first = np.arange(36.0).reshape(12, 3, 1)
    base = {"attributes": ["reward"], "main": "reward", "first": first, "again": first}
    empty = {"systems": {}, "system_tokens": {}, "lengths": [], "refusals": []}
    return Evidence(**{**base, **empty, **more})


@pytest.mark.parametrize("mark", [" ", "Ġ", "▁"])
@pytest.mark.parametrize(
    ("head", "added"),
    [
        ("<|im_start|>user\n", ""),
        ("<s>[INST] ", ""),
        ("<bos><start_of_turn>user\n", ""),
        ("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n", ""),
        ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
         "You are a helpful assistant."),
        ("<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023"
         "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
         "Cutting Knowledge Date: December 2023"),
    ],
)  # fmt: skip
def test_words_before_the_first_turn(head, added, mark):
    text = f"{head}{QUESTION}".replace(" ", mark).replace("\n", "Ċ")
    findings = [*smuggled(evidence(seen=Seen([1, 2], [text[:9], text[9:]])))]
    assert bool(findings) == bool(added)
    assert not added or f'"{added}"' in findings[0].seen


def test_a_bos_too_many_shows_in_ids_or_in_what_was_charged():
    assert [one.check for one in doubled(evidence(seen=Seen([5, 5, 7])))] == ["bos"]
    assert [one.check for one in doubled(evidence(seen=Seen([5, 6, 7]), used=4))] == ["bos"]
    assert not [*doubled(evidence(seen=Seen([5, 6, 7]), used=3))]
    assert not [*doubled(evidence(used=4))]


def test_two_templates_are_told_apart_where_they_part():
    (finding,) = other_template(evidence(seen=Seen([1, 2, 3]), otherwise=Seen([1, 2, 4])))
    assert "part at token 2" in finding.seen
    (finding,) = other_template(evidence(seen=Seen([1, 2]), otherwise=Seen([1, 2, 4])))
    assert "one ends before the other" in finding.seen
    assert not [*other_template(evidence(seen=Seen([1]), otherwise=Seen([1])))]


def test_where_an_end_is_not_seen_any_more():
    lengths = [Length(60, (1.0, 2.0), 3.0), Length(400, (1.0, 1.0), 3.0)]
    (finding,) = length(evidence(lengths=lengths))
    assert "from 400 words on (about 540 tokens; not at 60) two endings" in finding.seen
    assert not [*length(evidence(lengths=lengths[:1]))]
    assert not [*length(evidence(lengths=[Length(60, (None, None), None, "too long")]))]


@pytest.mark.parametrize("words", [1, 60, 6400])
def test_long_texts_are_as_long_as_they_say_and_differ_at_the_end(words):
    texts = [long_text(words, ending) for ending in ENDINGS]
    assert all(
        len(t.removesuffix(e).split(" ")) == words for t, e in zip(texts, ENDINGS, strict=True)
    )
    assert texts[0] != texts[1]


@pytest.mark.parametrize("tree", [{}, [], {"tokens": "x"}, {"tokens": [1.5]}, None])
def test_what_holds_no_tokens(tree):
    with pytest.raises(ValueError, match="no tokens in it"):
        seen_in(tree)


def test_tokens_of_one_text_in_a_list_of_texts():
    assert seen_in({"tokens": [[1, 2]], "max_model_len": -1}) == Seen([1, 2])
    assert seen_in({"tokens": [1, 2], "max_model_len": 10**30}).limit is None
    assert seen_in({"tokens": [1], "max_model_len": 4096, "token_strs": ["a"]}).limit == 4096
