"""Shingles and near-duplicates against plain-Python references."""

from __future__ import annotations

import json
import random
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.curation.buckets import RECALL, WINDOW, bands
from karat.curation.minhash import HASHES, NearDuplicates
from karat.curation.shingles import chunks, normalise, shingles, words

DATA = Path(__file__).parents[3] / "shared/data/prompts"


def sets_of(texts: list[str]) -> list[set[int]]:
    found: list[set[int]] = []
    for chunk in chunks(normalise(pa.array(texts, pa.string()))):
        flat, offsets = shingles(words(chunk))
        found += [set(flat[a:b].tolist()) for a, b in pairwise(offsets.tolist())]
    return found


def jaccard(one: set[int], two: set[int]) -> float:
    return len(one & two) / len(one | two) if one | two else 0.0


def similarity(one: str, two: str) -> float:
    return jaccard(*sets_of([one, two]))


def repeats_of(
    texts: list[str],
    threshold: float = 0.8,
    rank: list[float] | None = None,
    batch: int = 1024,
    window: int = WINDOW,
) -> list[int]:
    near = NearDuplicates(threshold, window)
    for start in range(0, len(texts), batch):
        near.add(normalise(pa.array(texts[start : start + batch], pa.string())))
    ranks = None if rank is None else np.array(rank)
    return [int(i) for i in near.resolve(ranks).repeats]


def reference(texts: list[str], threshold: float, rank: list[float]) -> list[int]:
    """In order of rank, a text stays unless similar to one that stays; every pair is counted."""
    sets = sets_of(texts)
    out, stays = [-1] * len(texts), list[int]()
    for i in sorted(range(len(texts)), key=lambda i: (rank[i], i)):
        for j in stays:
            if sets[i] and jaccard(sets[i], sets[j]) >= threshold:
                out[i] = j
                break
        else:
            stays.append(i)
    return out


# --- words and shingles ---------------------------------------------------------------------------


def plain_shingles(text: str) -> set[tuple[str, ...]]:
    """The rule in words, for texts of ASCII letters and blanks."""
    found = text.lower().split()
    if not found:
        return set()
    edged = ["", *found, ""]
    return {(w,) for w in found} | {tuple(edged[i : i + 2]) for i in range(len(edged) - 1)}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("abAB  ", max_size=25), max_size=6))
def test_shingles_are_words_and_word_pairs(texts: list[str]) -> None:
    plain = [plain_shingles(text) for text in texts]
    hashed = sets_of(texts)
    assert [len(s) for s in hashed] == [len(s) for s in plain]
    for i, j in combinations(range(len(texts)), 2):
        assert len(hashed[i] & hashed[j]) == len(plain[i] & plain[j])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=6), st.integers(1, 6))
def test_a_text_has_the_same_shingles_in_any_company(texts: list[str], size: int) -> None:
    alone = [sets_of([text])[0] for text in texts]
    assert sets_of(texts) == alone
    assert sets_of(texts[::-1]) == alone[::-1]


def test_what_counts_as_a_difference() -> None:
    assert similarity("Hello,   WORLD!", "hello world") == 1  # case, blanks, sentence marks
    assert similarity("ｗｉｄｅ ﬁne", "wide fine") == 1  # NFKC
    assert similarity("What is 3 + 4?", "What is 3 * 4?") < 0.7
    assert similarity("Translate from English to French", "Translate from French to English") < 0.6
    assert similarity("写一首关于猫的诗", "写一首关于狗的诗") < 0.7
    assert similarity("写一首关于猫的诗。", "写一首关于猫的诗") == 1
    assert 0.3 < similarity("ช่วยเขียนบทกวีเกี่ยวกับแมว", "ช่วยเขียนบทกวีเกี่ยวกับหมา") < 0.8
    assert similarity("🙂 great", "🙁 great") < 0.5
    assert sets_of(["", " ?! …"]) == [set(), set()]


def test_one_word_replaced_in_the_middle() -> None:
    """The figures that dedupe's docstring states."""
    for n in (12, 13, 20):
        text = [f"word{i}" for i in range(n)]
        edited = [*text[:5], "other", *text[6:]]
        want = (2 * n - 2) / (2 * n + 4)
        assert similarity(" ".join(text), " ".join(edited)) == pytest.approx(want)


# --- bands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.99])
def test_bands_find_a_pair_at_the_threshold(threshold: float) -> None:
    count, rows = bands(threshold, HASHES)
    assert count * rows <= HASHES
    assert 1 - (1 - threshold**rows) ** count >= RECALL


def test_threshold_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"0\.3 … 1"):
        NearDuplicates(0.2)


# --- near-duplicates ------------------------------------------------------------------------------

WORDS = st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), max_size=9)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(WORDS.map(" ".join), max_size=12),
    st.sampled_from([0.3, 0.5, 0.65, 0.8, 1.0]),
    st.randoms(use_true_random=False),
)
def test_no_false_merge_and_nothing_left_that_repeats(
    texts: list[str], threshold: float, rng: random.Random
) -> None:
    rank = [float(rng.randrange(3)) for _ in texts]
    found = repeats_of(texts, threshold, rank)
    sets = sets_of(texts)
    for i, j in enumerate(found):
        if j >= 0:
            assert found[j] == -1
            assert jaccard(sets[i], sets[j]) >= threshold
            assert (rank[j], j) < (rank[i], i)


def test_equals_the_reference_on_planted_edits() -> None:
    rng = random.Random(5)
    vocabulary = [f"w{i}" for i in range(300)]
    texts = []
    for _ in range(150):
        text = rng.choices(vocabulary, k=rng.randint(5, 40))
        for _ in range(rng.randint(1, 4)):
            edited = [rng.choice(vocabulary) if rng.random() < 0.03 else w for w in text]
            texts.append(" ".join(edited))
    rank = [float(rng.randrange(5)) for _ in texts]
    for threshold in (0.5, 0.8):
        want = reference(texts, threshold, rank)
        found = repeats_of(texts, threshold, rank)
        agree = sum(a == b for a, b in zip(want, found, strict=True))
        assert agree >= 0.98 * len(texts)  # MinHash may miss a pair, never invent one
        assert sum(i >= 0 for i in want) > 100


def test_nothing_merges_through_a_chain() -> None:
    base = [f"w{i}" for i in range(30)]
    chain = [" ".join([*(f"x{i}" for i in range(k)), *base[k:]]) for k in range(0, 12, 2)]
    assert similarity(chain[0], chain[1]) >= 0.8 > similarity(chain[0], chain[2])
    assert repeats_of(chain) == [-1, 0, -1, 2, -1, 4]


def test_the_lowest_rank_stays() -> None:
    texts = ["the quick brown fox"] * 3 + ["something else here"]
    assert repeats_of(texts, rank=[2.0, 1.0, 1.0, 0.0]) == [1, -1, 1, -1]


def test_the_same_answer_in_any_batches() -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices("abcdefgh", k=rng.randint(0, 12))) for _ in range(300)]
    assert repeats_of(texts, batch=7) == repeats_of(texts, batch=300)


def test_one_crowded_bucket() -> None:
    text = "please write a story about a dragon who learns to swim in the cold sea near"
    texts = [f"{text} town{i}" for i in range(400)]
    assert repeats_of(texts, window=4) == [-1] + [0] * 399
    assert repeats_of([text] * 50) == [-1] + [0] * 49


def test_long_texts_are_compared_by_a_sample() -> None:
    rng = random.Random(2)
    long = [f"w{rng.randrange(10_000)}" for _ in range(3000)]
    near = [w if rng.random() > 0.01 else "edited" for w in long]
    far = [w if rng.random() > 0.3 else "edited" for w in long]
    texts = [" ".join(t) for t in (long, near, far)]
    assert repeats_of(texts) == [-1, 0, -1]
    made = NearDuplicates(0.3)
    made.add(normalise(pa.array(texts)))
    exact = jaccard(*sets_of(texts[:2]))
    assert made.resolve().similarity[1] == pytest.approx(exact, abs=0.05)


def test_no_texts() -> None:
    assert repeats_of([]) == []
    assert repeats_of([""]) == [-1]
    assert repeats_of(["", "", "?"]) == [-1, -1, -1]


@pytest.mark.skipif(not DATA.exists(), reason="shared data is not here")
def test_on_human_prompts() -> None:
    texts = [
        str(json.loads(line)[field])
        for name, field in (("gsm8k-test", "question"), ("ifeval", "prompt"))
        for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    edited = [text.replace("the", "that", 1) for text in texts]
    found = repeats_of([*texts, *edited])
    sets = sets_of([*texts, *edited])
    assert sum(i >= 0 for i in found[: len(texts)]) < 0.02 * len(texts)
    for i, j in enumerate(found[len(texts) :], len(texts)):
        if jaccard(sets[i], sets[i - len(texts)]) >= 0.85:
            assert j >= 0
        if j >= 0:
            assert jaccard(sets[i], sets[j]) >= 0.8
