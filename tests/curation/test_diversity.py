"""Diversity measures: exact values on small sets, and their order on real ones."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.curation.diversity import WIDTH, diversity, vendi_score

DATA = Path(__file__).parents[3] / "shared/data/prompts/ifeval.jsonl"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5))
def test_every_number_is_finite(texts: list[str]) -> None:
    found = diversity(texts)
    assert all(math.isfinite(value) for value in found.values())
    assert found["rows"] == found["sampled"] == len(texts)
    assert found == json.loads(json.dumps(found))
    assert 0 <= found["vendi"] <= max(1, len(texts)) + 1e-9


def test_no_text_one_text_two_texts() -> None:
    assert diversity([]) == {
        "rows": 0, "sampled": 0, "mean_words": 0.0, "distinct_1": 0.0, "distinct_2": 0.0,
        "near_duplicates": 0.0, "nearest_similarity": 0.0, "neighbours": 0, "vendi": 0.0,
        "compression_ratio": 0.0,
    }  # fmt: skip
    one = diversity(["tell me a story"])
    assert (one["vendi"], one["nearest_similarity"]) == (pytest.approx(1), 0)
    twice = diversity(["tell me a story", "Tell me a story!"])
    assert twice["vendi"] == pytest.approx(1)
    assert twice["nearest_similarity"] == pytest.approx(1)
    assert twice["near_duplicates"] == 0.5


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


def test_vendi_equals_its_definition() -> None:
    """Through the N × N matrix, as the paper writes it."""
    rng = np.random.default_rng(3)
    vectors_ND = rng.normal(size=(40, 12)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    spectrum = np.linalg.eigvalsh(vectors_ND.astype(float) @ vectors_ND.T.astype(float) / 40)
    spectrum = spectrum[spectrum > 1e-9]
    want = np.exp(-(spectrum * np.log(spectrum)).sum())
    assert vendi_score(vectors_ND) == pytest.approx(want, rel=1e-5)
    assert vendi_score(np.eye(7, dtype=np.float32)) == pytest.approx(7)


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
    for key in ("distinct_1", "distinct_2", "vendi"):
        assert rich[key] > dull[key]
    for key in ("near_duplicates", "nearest_similarity", "compression_ratio"):
        assert rich[key] < dull[key]
    assert rich["vendi"] <= WIDTH
