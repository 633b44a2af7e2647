"""repetition: loops and texts that say things twice fail; lists, verses and tables do not."""

from __future__ import annotations

import pytest
from answers_read import RATINGS, item, rated
from hypothesis import given
from hypothesis import strategies as st

from karat.verifiers.repetition import _loop, verify

GOOD = (
    "Bread needs flour, water, salt and time. Knead the dough until it is smooth, let it rise in a "
    "warm place, fold it twice, and bake it in a hot oven on a stone. Steam in the first minutes "
    "makes the crust thin; a dry oven later makes it crisp. Let the loaf cool before you cut it."
)
LOOPS = [
    GOOD + " The best bread is fresh." * 8,
    "The sun is a star. " * 5,
    "".join(f"{n}. Add the salt to the water.\n" for n in range(1, 9)),
    "na " * 40,
    "The answer is 2O + " + "H 2O + " * 30,
    "这个问题很好。" * 10,
    "Sure! " + "A" * 80,
    GOOD + "\n```python\nx = 1\n" + "print('hello to you')\n" * 12,
]


@pytest.mark.parametrize("text", LOOPS, ids=range(len(LOOPS)))
def test_loops_fail(text):
    verdict = verify(item(text))
    assert verdict.passed is False
    assert verdict.share is not None
    assert 0 <= verdict.share < 0.9
    assert verdict.reason


FINE = [
    GOOD,
    "Row, row, row your boat\nGently down the stream\nMerrily, merrily, merrily, merrily\n"
    "Life is but a dream\n" * 2,
    "| a | b |\n|---|---|\n" + "".join(f"| {n} | {n * n} |\n" for n in range(40)),
    "Name: ______________________________________________________________________\n\nDate: ____",
    "=" * 90 + "\nTitle\n" + "=" * 90,
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26",
    "0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1",
    "Ha ha ha! Very, very, very good.",
    '[{"review": 1, "score": 5}, {"review": 2, "score": 4}, {"review": 3, "score": 4}, '
    '{"review": 4, "score": 1}, {"review": 5, "score": 5}]',
]


@pytest.mark.parametrize("text", FINE, ids=range(len(FINE)))
def test_what_has_a_form_passes(text):
    assert verify(item(text)).passed is True


def test_without_words_nothing_is_decided():
    assert verify(item("👍")).passed is None
    assert verify(item("")).passed is None


def test_a_loop_in_the_middle_passes_where_it_is_a_small_part():
    short = "go on and on and on " * 5
    assert verify(item(f"{short}\n{GOOD} {GOOD.swapcase()[::-1]}")).passed is True
    assert verify(item(f"{GOOD}\n{short}{short}")).passed is False


def test_options_move_the_limits():
    paragraphs = f"{GOOD}\n\n{GOOD}"
    assert verify(item(paragraphs)).passed is True
    assert verify(item(paragraphs)).share == pytest.approx(0.5, abs=0.01)
    assert verify(item(paragraphs), most=0.4).passed is False
    refrain = "Oh come and sing along with me tonight.\n" * 3
    assert verify(item(refrain)).passed is True
    assert verify(item(refrain), times=3).passed is False


WORD = st.sampled_from(["a", "b", "cc", "7"])


@given(st.lists(WORD, min_size=1, max_size=60), st.integers(2, 5))
def test_the_longest_loop_is_the_one_brute_force_finds(words, times):
    kept = ["" if word.isdigit() else word for word in words]
    best = 0
    for size in range(1, len(kept) // 2 + 1):
        for start in range(len(kept) - size):
            turns = 1
            while kept[start : start + size] == kept[start + turns * size :][:size]:
                turns += 1
            telling = sum(map(bool, kept[start : start + size]))
            least = times if telling >= 4 else -(-24 // max(telling, 1))
            if telling and turns >= least:
                best = max(best, size * turns)
    start, size, turns = _loop(words, times)
    piece = kept[start : start + size]
    assert kept[start : start + size * turns] == piece * turns
    assert size * turns == best


@pytest.mark.skipif(not RATINGS.exists(), reason="the shared data are not here")
def test_what_people_found_coherent_hardly_ever_fails():
    verdicts = [(verify(one).passed, rating["coherence"]) for one, rating in rated()]
    failed = [coherence for passed, coherence in verdicts if passed is False]
    assert 3 <= len(failed) <= 12
    assert not [coherence for coherence in failed if coherence == 4]
