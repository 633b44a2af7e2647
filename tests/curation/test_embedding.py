"""The static table: what a vector is, that it depends on nothing else, and what it knows."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections import Counter
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation import embedding
from karat.curation.embedding import ASSET, DIGEST, DIMENSIONS, count_tokens, embed

TEXTS = st.lists(
    st.one_of(st.text(max_size=20), st.text("abc dé ", max_size=40), st.just("the the tide")),
    max_size=8,
)


def test_the_asset_is_the_one_that_keys_name():
    assert blake2b(ASSET.read_bytes(), digest_size=8).hexdigest() == DIGEST
    assert ASSET.stat().st_size <= 8_000_000
    card = ASSET.with_suffix(".md").read_text(encoding="utf-8")
    assert DIGEST in card
    assert "Apache-2.0" in card


@given(TEXTS)
def test_a_vector_has_length_one_or_is_zero(texts):
    vectors_ND = embed(texts)
    assert vectors_ND.shape == (len(texts), DIMENSIONS)
    assert vectors_ND.dtype == np.float32
    for text, vector in zip(texts, vectors_ND, strict=True):
        assert np.linalg.norm(vector) == pytest.approx(1 if count_tokens(text) else 0, abs=1e-5)


@given(TEXTS, st.integers(1, 9))
def test_a_vector_depends_on_its_text_alone(texts, chunk):
    whole = embed(texts)
    usual, embedding.CHUNK_TOKENS = embedding.CHUNK_TOKENS, chunk
    try:
        assert np.array_equal(whole, embed(texts))
    finally:
        embedding.CHUNK_TOKENS = usual
    for text, vector in zip(texts, whole, strict=True):
        assert np.array_equal(embed([text])[0], vector)
    assert np.array_equal(embed(texts[::-1]), whole[::-1])


@given(TEXTS)
def test_by_hand(texts):
    """Token by token in plain floats, from the asset itself."""
    with np.load(ASSET) as stored:
        rows, scale = stored["rows"].astype(float), stored["scale"].astype(float)
    pieces = embedding._table().pieces
    for text, vector in zip(texts, embed(texts), strict=True):
        want = np.zeros(DIMENSIONS)
        for token, count in Counter(pieces(text)).items():
            want += math.sqrt(count) * scale[token] * rows[token]
        norm = np.linalg.norm(want)
        assert np.abs(vector - (want / norm if norm else want)).max() < 1e-5


def test_nothing_known_is_a_row_of_zeros():
    vectors_ND = embed(["", "  \n", "\u0378", "x" * 101, "?! 😀", "tide"])
    assert not vectors_ND[:5].any()
    assert vectors_ND[5].any()
    assert embed([]).shape == (0, DIMENSIONS)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("How do I bake bread?", "A recipe for sourdough loaves", "Explain quantum entanglement"),
        ("Compose a short poem about showers", "Verses on falling rain", "Fix my Java code"),
        ("What causes inflation?", "Why do prices rise in an economy?", "Train a puppy to sit"),
        ("My dog will not eat", "The puppy refuses its food", "Solve x squared plus two x"),
    ],
)
def test_meaning_without_a_common_word(text, near, far):
    one, two, three = embed([text, near, far])
    assert one @ two > one @ three + 0.1


def test_case_accents_and_marks_are_folded_and_order_is_not_seen():
    one, two, three = embed(["Über den Café", "uber, DEN cafe!", "cafe den uber"])
    assert np.array_equal(one, two)
    assert two @ three == pytest.approx(1, abs=1e-6)


def test_a_long_text_is_read_to_its_limit(monkeypatch):
    monkeypatch.setattr(embedding, "TEXT_CHARS", 10)
    assert np.array_equal(*embed(["word word and the end", "word word "]))


def test_importing_loads_nothing_and_first_use_is_quick():
    code = (
        "import time, karat.curation.embedding as e\n"
        "assert e._table.cache_info().currsize == 0\n"
        "start = time.process_time(); e.embed(['a']); print(time.process_time() - start)"
    )
    spent = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert float(spent.stdout) < 0.5  # 0.02 s on an idle machine


def test_thousands_of_prompts_a_second():
    texts = [
        f"Write a short story about {w} {i} in a {w}y town." for i in range(500) for w in "abc"
    ]
    embed(texts[:1])
    start = time.process_time()
    embed(texts)
    assert len(texts) / (time.process_time() - start) > 2_000  # 29,000 on an idle machine
