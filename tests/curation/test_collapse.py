"""The collapse guard against a brute-force reference, on splits of one set and on cut tails."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import slow
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.curation import collapse
from karat.curation.collapse import Comparison, compared

GSM8K = Path(__file__).parents[3] / "shared/data/prompts/gsm8k-test.jsonl"
KINDS = 4_000


def people(count: int, seed: int, kinds: int = KINDS) -> list[str]:
    """Texts of a Zipf vocabulary with topics: words of one text resemble each other."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, kinds + 1)
    words = rng.choice(kinds, (count, 30), p=share / share.sum())
    topic = rng.integers(0, 20, (count, 1))
    of_topic = rng.random((count, 30)) < 0.3
    words = np.where(of_topic, (words % (kinds // 20)) * 20 + topic, words)
    return [" ".join(f"w{word}" for word in text) for text in words]


def without_tail(texts: list[str], kept: int) -> list[str]:
    """Only the `kept` most frequent words of all, others become some of these."""
    counts = Counter(word for text in texts for word in text.split())
    stay = [word for word, _ in counts.most_common(kept)]
    known = set(stay)
    return [
        " ".join(w if w in known else stay[int(w[1:]) % kept] for w in text.split())
        for text in texts
    ]


def judged(made: list[str], human: list[str], used: int = 0, seed: int = 0) -> Comparison:
    found = compared(made, human, used, seed=seed, meanings=False)
    assert found is not None
    return found


word = st.sampled_from([f"w{n}" for n in range(8)])
texts = st.lists(st.lists(word, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(trained=texts, held=texts)
def test_surprise_and_coverage_are_what_counting_gives(trained: list[str], held: list[str]) -> None:
    bag = collapse._Bag([*trained, *held])
    first = np.arange(len(trained))
    reference = bag.take(np.arange(len(trained), bag.texts))
    side = bag.take(first)
    found = collapse._fit(bag, reference, [side], np.ones(bag.vocabulary, np.bool_))
    assert found["surprise"][0] == pytest.approx(brute_surprise(trained, held), rel=1e-9)
    said = {w for text in held for w in text.split()}
    there = {w for text in trained for w in text.split()}
    assert (
        found["words"][0] == found["rare_words"][0] == pytest.approx(len(said & there) / len(said))
    )
    pairs = [p for text in held for p in _pairs(text)]
    known = {p for text in trained for p in _pairs(text)}
    assert found["word_pairs"][0] == pytest.approx(sum(p in known for p in pairs) / len(pairs))


def _pairs(text: str) -> list[tuple[str | None, str]]:
    return list(zip([None, *text.split()], text.split(), strict=False))


def brute_surprise(trained: list[str], held: list[str]) -> float:
    words = [text.split() for text in trained]
    vocabulary = {w for text in [*trained, *held] for w in text.split()}
    single = Counter(w for text in words for w in text)
    pairs = Counter(p for text in words for p in zip([None, *text], text, strict=False))
    total, d = sum(single.values()), collapse.DISCOUNT
    nats, count = 0.0, 0
    for text in held:
        for left, w in zip([None, *text.split()], text.split(), strict=False):
            p = max(single[w] - d, 0) / total + d * len(single) / total / len(vocabulary)
            after = {pair: n for pair, n in pairs.items() if pair[0] == left}
            if after:
                n = sum(after.values())
                p = max(after.get((left, w), 0) - d, 0) / n + d * len(after) / n * p
            nats -= math.log(p)
            count += 1
    return math.exp(nats / count)


def test_splits_of_the_same_human_texts_raise_no_alarm() -> None:
    alarms = 0
    for seed in range(40):
        both = people(600, seed)
        alarms += bool(judged(both[:300], both[300:], seed=seed).worse)
    assert alarms <= 2  # 5%


@pytest.mark.skipif(not GSM8K.exists(), reason="shared data is not here")
@slow
def test_splits_of_real_human_texts_raise_no_alarm() -> None:
    records = [json.loads(line) for line in GSM8K.read_text("utf-8").splitlines()]
    answers = [record["answer"] for record in records]
    alarms = 0
    for seed in range(40):
        mixed = [answers[n] for n in np.random.default_rng(seed).permutation(len(answers))]
        used = (0, 100, 400)[seed % 3]
        alarms += bool(judged(mixed[:500], mixed[500:], used, seed).worse)
    assert alarms <= 2  # 5%


@pytest.mark.parametrize("used", [0, 40])
def test_a_cut_tail_raises_an_alarm(used: int) -> None:
    human = people(800, 1)
    found = judged(without_tail(people(400, 2), 300), human, used)
    assert {"rare_words", "surprise"} <= set(found.worse)
    assert found.figures["rare_words"].ratio.value < 0.5
    assert "of the rare human words that as much human text has" in found.says(
        "the mix", "as much human text"
    )
    assert not found.seen


def test_the_more_is_cut_the_fewer_words_and_the_more_surprise() -> None:
    human, made = people(800, 1), people(400, 2)
    ratios = [
        {name: f.ratio.value for name, f in judged(without_tail(made, n), human).figures.items()}
        for n in (KINDS, 1_000, 300, 60)
    ]
    for milder, harder in pairwise(ratios):
        assert harder["surprise"] > milder["surprise"]
        for name in ("words", "rare_words", "types"):
            assert harder[name] < milder[name]


def test_more_human_rows_in_the_mix_make_it_better() -> None:
    human, made = people(1_200, 1), without_tail(people(400, 2), 200)
    surprise = [
        judged(made, human, used).figures["surprise"].ratio.value for used in (0, 40, 150, 400)
    ]
    assert surprise == sorted(surprise, reverse=True)


def test_a_round_is_compared_with_the_one_before() -> None:
    human, before = people(800, 1), people(400, 2)
    worse = compared(without_tail(before, 400), human, previous=before)
    same = compared(people(400, 3), human, previous=before)
    assert worse is not None
    assert same is not None
    assert worse.worse
    assert not same.worse


def test_copies_of_one_text_raise_an_alarm() -> None:
    assert "word_pairs" in judged(people(1, 5) * 400, people(800, 1)).worse


def test_texts_without_words_are_told_and_not_passed_over() -> None:
    assert "surprise" in judged([") ) . ) )"] * 400, people(800, 1)).worse
    assert "surprise" in judged([""] * 400, people(800, 1), 20).worse


def test_where_all_human_rows_are_used_it_says_so() -> None:
    human, made = people(400, 1), people(400, 2)
    assert judged(made, human, 400).seen
    assert not judged(made, human, 300).seen


def test_too_little_text_is_not_judged() -> None:
    assert compared(people(400, 2), people(20, 1)) is None
    assert compared(people(10, 2), people(800, 1)) is None
    assert compared([], []) is None


def test_the_same_texts_give_the_same_figures() -> None:
    human, made = people(400, 1), people(300, 2)
    assert compared(made, human, 50, seed=4) == compared(made, human, 50, seed=4)


def test_figures_are_finite_in_notes() -> None:
    found = compared(["w1 " * 30] * 400, people(800, 1))
    assert found is not None
    notes = found.notes()
    assert "vendi" in notes
    assert json.loads(json.dumps(notes, allow_nan=False)) == notes
