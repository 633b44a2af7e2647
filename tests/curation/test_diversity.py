"""Diversity measures: exact values on small sets, and their order on real ones."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.curation import diversity as module
from karat.curation.diversity import WIDTH, diversity

DATA = Path(__file__).parents[3] / "shared/data/prompts/ifeval.jsonl"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5))
def test_every_number_is_finite(texts: list[str]) -> None:
    found = diversity(texts)
    assert all(math.isfinite(value) for value in found.values())
    assert found["rows"] == found["sampled"] == len(texts)
    assert found == json.loads(json.dumps(found))
    assert 0 <= found["vendi"] <= max(1, len(texts)) + 1e-9
    assert 0 <= found["vendi_embedding"] <= max(1, len(texts)) + 1e-5
    assert 0 <= found["self_bleu"] <= 1
    assert 0 <= found["novelsum"] <= 2


def test_no_text_one_text_two_texts() -> None:
    assert set(diversity([]).values()) == {0}
    one = diversity(["tell me a story"])
    assert (one["vendi"], one["nearest_similarity"]) == (pytest.approx(1), 0)
    assert (one["vendi_embedding"], one["novelsum"]) == (pytest.approx(1), 0)
    twice = diversity(["tell me a story", "Tell me a story!"])
    assert twice["vendi"] == pytest.approx(1)
    assert twice["nearest_similarity"] == pytest.approx(1)
    assert twice["near_duplicates"] == 0.5
    assert twice["self_bleu"] == pytest.approx(1)
    assert twice["vendi_embedding"] == pytest.approx(1, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab  ", max_size=15), max_size=6))
def test_distinct_n_by_hand(texts: list[str]) -> None:
    words = [text.split() for text in texts]
    singles = [w for text in words for w in text]
    pairs = [p for text in words for p in pairwise(text)]
    found = diversity(texts)
    for grams, key in ((singles, "distinct_1"), (pairs, "distinct_2")):
        assert found[key] == pytest.approx(len(set(grams)) / len(grams) if grams else 0)
    assert found["mean_words"] == pytest.approx(len(singles) / len(texts) if texts else 0)


def test_a_large_set_is_sampled_the_same_way_every_time() -> None:
    texts = [f"prompt number {i} about {i * 7919 % 1000}" for i in range(500)]
    found = diversity(iter(texts), sample=100)
    assert (found["rows"], found["sampled"]) == (500, 100)
    assert found == diversity(texts, sample=100)


@pytest.mark.skipif(not DATA.exists(), reason="shared data is not here")
def test_repetition_shows_in_every_measure() -> None:
    lines = DATA.read_text(encoding="utf-8").splitlines()
    texts = [str(json.loads(line)["prompt"]) for line in lines][:300]
    rng = random.Random(1)
    poor = [rng.choice(texts[:30]) for _ in texts]
    rich, dull = diversity(texts), diversity(poor)
    for key in ("distinct_1", "distinct_2", "vendi", "vendi_embedding", "novelsum"):
        assert rich[key] > dull[key]
    for key in ("near_duplicates", "nearest_similarity", "self_bleu", "compression_ratio"):
        assert rich[key] < dull[key]
    assert rich["vendi"] <= WIDTH


def test_only_so_many_are_compared(monkeypatch):
    texts = [f"prompt number {i} about {i * 7919 % 1000}" for i in range(60)]
    monkeypatch.setattr(module, "COMPARED", 20)
    found = diversity([*texts, "", "!"])
    assert (found["rows"], found["compared"]) == (62, 20)
    assert found == diversity([*texts, "", "!"])


def test_words_of_other_languages_are_not_lost() -> None:
    """A text of which the table knows nothing still has words."""
    found = diversity(["\u12a0\u121b\u122d\u129b \u1270\u1293\u1308\u1228"] * 3)
    assert found["vendi"] == pytest.approx(1)
    assert found["near_duplicates"] == pytest.approx(2 / 3)


def test_intervals_hold_their_figure() -> None:
    texts = [f"tell me about {a} and {b}" for a in ("tea", "rain", "law") for b in "abcdefgh"]
    found = diversity(texts, intervals=True)
    for name in ("vendi_embedding", "distinct_2"):
        low, high = found["intervals"][name]
        assert low < found[name] < high
    assert "intervals" not in diversity(texts)
    assert diversity(texts[:7], intervals=True)["intervals"] == {}
    plain = {key: value for key, value in found.items() if key != "intervals"}
    assert plain == diversity(texts)
