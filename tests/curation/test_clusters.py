"""Groups of texts: found where they are, named by their words, the same every time."""

from __future__ import annotations

import time

import numpy as np
import pytest
from conftest import slow
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.clusters import STOP_WORDS, group, how_many, names, told_apart
from karat.curation.embedding import embed

KINDS = {
    "bread": ["Bake a loaf of bread", "How long does bread rise?", "Bread without yeast",
              "Why is my bread dough sticky?"],
    "planet": ["Which planet is largest?", "Name a planet with rings", "How old is the planet?"],
    "guitar": ["Tune a guitar", "Which guitar strings last?"],
}  # fmt: skip
TEXTS = [text for texts in KINDS.values() for text in texts]


def vectors(many, dimensions, seed):
    found = np.random.default_rng(seed).normal(size=(many, dimensions)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_plain_groups_are_found_and_named():
    label = group(embed(TEXTS), 3)
    assert label.tolist() == [0] * 4 + [1] * 3 + [2] * 2
    assert [name.split(", ")[0] for name in names(TEXTS, label)] == list(KINDS)


@given(st.integers(0, 40), st.integers(1, 4), st.integers(2, 8), st.integers(0, 50))
def test_labels_count_from_the_largest_group(many, dimensions, wanted, seed):
    some = vectors(many, dimensions, seed)
    label = group(some, wanted)
    size = np.bincount(label) if many else np.zeros(0)
    assert len(label) == many
    assert (size > 0).all()
    assert len(size) <= wanted
    assert (np.diff(size) <= 0).all()
    assert np.array_equal(label, group(some, wanted))


@given(st.integers(2, 30), st.integers(2, 6), st.integers(0, 50))
def test_each_is_with_the_nearest_centre(many, wanted, seed):
    some = vectors(many, 3, seed)
    label = group(some, wanted)
    centres = np.stack([some[label == one].sum(axis=0) for one in range(label.max() + 1)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    similarity = some @ centres.T
    own = similarity[np.arange(many), label]
    assert (own >= similarity.max(axis=1) - 1e-4).all()


def test_equal_texts_are_one_group():
    assert group(np.repeat(vectors(1, 5, 0), 6, axis=0), 3).tolist() == [0] * 6


@pytest.mark.parametrize(
    ("texts", "groups"), [(0, 0), (1, 1), (2, 2), (8, 2), (50, 5), (800, 20), (10**6, 24)]
)
def test_how_many(texts, groups):
    assert how_many(texts) == groups


def test_names_hold_no_stop_word_and_no_word_twice():
    texts = ["Please write about the cat and cats and the catalogue", "you are using what I want"]
    assert names(texts, np.array([0, 1])) == ["cat, catalogue", "no words"]
    assert names(texts, np.array([-1, 0])) == ["no words"]
    assert names([], np.zeros(0, np.int64)) == []


def test_a_word_of_every_group_names_none():
    same = ["how tea works", "how tea works", "how rain works", "how rain works"]
    assert names(same, np.array([0, 0, 1, 1])) == ["tea", "rain"]
    most = ["tea pot", "tea cup", "tea rain", "rain hail"]  # one group's word, met in another
    assert names(most, np.array([0, 0, 0, 1]))[0].startswith("tea")
    texts = ["city tram", "city tram", "city boat", "city boat"]
    assert names(texts, np.array([0, 0, 1, 1])) == ["tram", "boat"]


def test_groups_that_begin_with_the_same_words_are_named_apart():
    same = "tea cup pot"
    texts = [f"{same} zebra", f"{same} zebra", f"{same} yak", f"{same} yak", "", " "]
    label = np.array([0, 0, 1, 1, 2, 3])
    assert len(set(names(texts, label))) == 4
    assert names([same, same], np.array([0, 1])) == ["cup, pot, tea", "cup, pot, tea 2"]


@pytest.mark.parametrize(
    ("words", "least", "said"),
    [
        ([["tea", "cup"], ["rain"]], 1, ["tea", "rain"]),
        ([["tea", "cup"], ["tea", "pot"]], 1, ["tea, cup", "tea, pot"]),
        ([["tea"], ["tea", "pot"], ["rain", "fog"]], 1, ["tea", "tea, pot", "rain"]),
        ([["tea"], ["tea"], ["tea"]], 1, ["tea", "tea 2", "tea 3"]),
        ([["tea", "a", "b"], ["tea", "a", "c"]], 2, ["tea, a, b", "tea, a, c"]),
        ([["tea", "a", "b"], ["tea", "d", "c"]], 2, ["tea, a", "tea, d"]),
        ([], 2, []),
    ],
)
def test_as_many_words_as_tell_a_name_apart(words, least, said):
    assert told_apart(words, least) == said


WORDS = st.lists(st.sampled_from(["a", "b", "2", "a 2"]), max_size=3)


@given(st.lists(WORDS, max_size=6), st.integers(1, 4))
def test_no_two_names_are_alike(words, least):
    said = told_apart(words, least)
    assert len(set(said)) == len(said) == len(words)


def test_stop_words_are_plain_words():
    words = STOP_WORDS.read_text(encoding="utf-8").split()
    assert words == sorted(set(words))
    assert all(word.islower() and word.isalpha() and len(word) > 2 for word in words)


@slow
def test_twenty_thousand_texts_are_no_matter():
    some = vectors(20_000, 256, 1)
    start = time.process_time()
    group(some, 24)
    assert time.process_time() - start < 20  # 2 s on an idle machine
