"""ROUGE-L and its pool against plain-Python references: every answer, not most of them."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import mostly_slow
from hypothesis import example, given
from hypothesis import strategies as st

from karat.curation import rouge
from karat.curation.rouge import RougeDuplicates, RougePool, longest_common, rouge_l, word_lists
from karat.curation.shingles import normalise

DATA = Path(__file__).parents[3] / "shared/data/prompts"


def plain_lcs(one: list[str], two: list[str]) -> int:
    """The table of the textbook."""
    above = [0] * (len(two) + 1)
    for a in one:
        row = [0]
        for j, b in enumerate(two):
            row.append(above[j] + 1 if a == b else max(row[j], above[j + 1]))
        above = row
    return above[-1]


def plain_rouge(one: str, two: str) -> float:
    """ROUGE-L F1 with precision and recall, for texts of ASCII words and blanks."""
    left, right = one.lower().split(), two.lower().split()
    both = plain_lcs(left, right)
    if not both:
        return 0.0
    precision, recall = both / len(right), both / len(left)
    return 2 * precision * recall / (precision + recall)


def first_near(text: str, pool: list[str], threshold: float) -> tuple[int, float] | None:
    """Every text of the pool scored, as Self-Instruct's own code does."""
    for place, other in enumerate(pool):
        if plain_rouge(text, other) >= threshold - 1e-12:
            return place, plain_rouge(text, other)
    return None


WORDS = st.lists(st.sampled_from(["one", "two", "THREE", "four", "five"]), max_size=9).map(" ".join)
THRESHOLDS = st.sampled_from([0.01, 0.3, 0.5, 0.6, 2 / 3, 0.7, 0.8, 0.9, 1.0])


# --- ROUGE-L --------------------------------------------------------------------------------------


@given(WORDS, WORDS)
def test_rouge_l_is_that_of_the_textbook(one: str, two: str) -> None:
    assert rouge_l(one, two) == pytest.approx(plain_rouge(one, two))
    assert rouge_l(one, two) == rouge_l(two, one)


@given(st.lists(st.integers(0, 5), max_size=200), st.lists(st.integers(0, 5), max_size=200))
def test_longest_common_across_machine_words(one: list[int], two: list[int]) -> None:
    want = plain_lcs([str(i) for i in one], [str(i) for i in two])
    assert longest_common(one, two) == want


def test_known_values() -> None:
    """The first is Lin 2004, §3: of these three words, "police killed gunman" keeps two."""
    assert rouge_l("police killed the gunman", "police kill the gunman") == 0.75
    assert rouge_l("police killed the gunman", "the gunman kill police") == 0.5
    assert rouge_l("Same words, OTHER case!", "same words other case") == 1
    assert rouge_l("", "word") == rouge_l("???", "???") == 0
    assert rouge_l("写一首关于猫的诗", "写一首关于狗的诗") == 7 / 8
    assert rouge_l("What is 3 + 4?", "What is 3 * 4?") == 4 / 5


def test_one_word_replaced() -> None:
    """The figure that dedupe's docstring states."""
    for n in (2, 10, 20):
        text = [f"word{i}" for i in range(n)]
        assert rouge_l(" ".join(text), " ".join([*text[:1], "other", *text[2:]])) == (n - 1) / n


# --- the pool -------------------------------------------------------------------------------------


@given(st.lists(WORDS, max_size=25), st.lists(WORDS, min_size=1, max_size=5), THRESHOLDS)
@example(["one two three"], ["one two three four five four five"], 0.6)
@example(["two one"], ["two two one"], 0.8)  # the pool has no second "two"
@example(["one two"], ["two two one two"], 0.6)
def test_the_pool_answers_as_the_full_comparison(
    pool: list[str], asked: list[str], threshold: float
) -> None:
    held = RougePool(threshold)
    for place, text in enumerate(pool):
        assert held.add(text) == place == len(held) - 1
    for text in asked:
        found, want = held.near(text), first_near(text, pool, threshold)
        assert (found is None) == (want is None)
        if found is not None and want is not None:
            assert found[0] == want[0]
            assert found[1] == pytest.approx(want[1])


@given(st.lists(WORDS, max_size=20), THRESHOLDS, st.integers(1, 40))
def test_counting_and_sorting_read_the_same(
    texts: list[str], threshold: float, sparse: int
) -> None:
    """Long lists are counted and short ones sorted: which of the two does not matter."""
    answers = []
    for rate in (0, sparse, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rouge, "SPARSE", rate)
            held = RougePool(threshold)
            found = []
            for text in texts:
                found.append(held.near(text))
                held.add(text)
            answers.append(found)
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("threshold", mostly_slow([0.7, 0.3, 0.9], 3))
def test_the_pool_on_a_zipfian_vocabulary(threshold: float) -> None:
    """Texts that share common words without being alike: where an index could lose a pair."""
    rng = random.Random(3)
    vocabulary = [f"w{i}" for i in range(400)]
    weights = [1 / (i + 1) for i in range(400)]
    held, pool, hits = RougePool(threshold), list[str](), 0
    for _ in range(300):
        words = rng.choices(vocabulary, weights, k=rng.randint(1, 30))
        if pool and rng.random() < 0.4:
            old = rng.choice(pool).split()
            words = [w if rng.random() > 0.2 else rng.choice(vocabulary) for w in old]
        text = " ".join(words)
        want = first_near(text, pool, threshold)
        found = held.near(text)
        assert (found and found[0]) == (want and want[0])
        hits += want is not None
        held.add(text)
        pool.append(text)
    assert 20 < hits < 300


def test_a_text_as_words_or_as_itself() -> None:
    texts = ["Name three rivers of Asia.", "name FOUR rivers of asia", "说说三条河流的名字", ""]
    lists = word_lists(normalise(pa.array(texts)))
    assert [len(found) for found in lists] == [5, 5, 9, 0]
    held, other = RougePool(0.7), RougePool(0.7)
    for text, found in zip(texts, lists, strict=True):
        assert held.near(text) == other.near(found)
        held.add(text)
        other.add(found)


def test_a_text_without_words_is_near_nothing() -> None:
    held = RougePool(0.5)
    assert held.near("word") is None
    held.add("")
    held.add("?!")
    assert held.near("?!") is None
    assert held.near("word") is None


def test_threshold_out_of_range() -> None:
    for wrong in (0.0, -1.0, 1.01):
        with pytest.raises(ValueError, match="above 0"):
            RougePool(wrong)


def test_five_thousand_prompts_are_taken_in_seconds() -> None:
    """The full comparison would compute 12 million subsequences."""
    rng = random.Random(1)
    vocabulary = [f"w{i}" for i in range(20_000)]
    weights = [1 / (i + 5) for i in range(20_000)]
    texts = [" ".join(rng.choices(vocabulary, weights, k=rng.randint(5, 25))) for _ in range(4_000)]
    texts += [f"{rng.choice(texts)} again" for _ in range(1_000)]
    near = RougeDuplicates(0.7)
    started = time.process_time()
    near.add(normalise(pa.array(texts)))
    found = near.resolve()
    assert time.process_time() - started < 5  # .4 s where nothing else runs
    assert (found.repeats[4_000:] >= 0).sum() > 970


# --- duplicates -----------------------------------------------------------------------------------


def reference(texts: list[str], threshold: float, rank: list[float]) -> list[int]:
    """In order of rank, a text stays unless near one that stays; every pair is counted."""
    out, stays = [-1] * len(texts), list[int]()
    for i in sorted(range(len(texts)), key=lambda i: (rank[i], i)):
        hit = first_near(texts[i], [texts[j] for j in stays], threshold)
        if hit is None:
            stays.append(i)
        else:
            out[i] = stays[hit[0]]
    return out


@given(
    st.lists(WORDS, max_size=15), THRESHOLDS, st.randoms(use_true_random=False), st.integers(1, 9)
)
def test_duplicates_equal_the_reference(
    texts: list[str], threshold: float, rng: random.Random, batch: int
) -> None:
    rank = [float(rng.randrange(3)) for _ in texts]
    near = RougeDuplicates(threshold)
    for start in range(0, len(texts), batch):
        near.add(normalise(pa.array(texts[start : start + batch], pa.string())))
    found = near.resolve(np.array(rank))
    assert found.repeats.tolist() == reference(texts, threshold, rank)
    for i, j in enumerate(found.repeats.tolist()):
        assert (found.similarity[i] >= threshold) == (j >= 0)


def test_without_ranks_the_first_stays() -> None:
    near = RougeDuplicates(0.7)
    near.add(normalise(pa.array(["a b c", "x y z", "a b c d", "z y x"])))
    found = near.resolve()
    assert found.repeats.tolist() == [-1, -1, 0, -1]
    assert found.similarity[2] == pytest.approx(6 / 7)
    assert found.clusters == 1


@pytest.mark.skipif(not DATA.exists(), reason="shared data is not here")
def test_the_human_seeds_are_all_new_to_each_other() -> None:
    """Self-Instruct's 175 seed tasks: nearly all pass the rule that new ones must pass."""
    lines = (DATA / "self-instruct-seeds.jsonl").read_text(encoding="utf-8").splitlines()
    near = RougeDuplicates(0.7)
    near.add(normalise(pa.array([json.loads(line)["instruction"] for line in lines])))
    assert (near.resolve().repeats >= 0).sum() <= 5
