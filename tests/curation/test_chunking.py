"""chunking: passages are exact spans, hold every word, repeat what they may, and cut none."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.chunking import SECTION, SENTENCE, Span, _Places, cut, words_of

PIECES = [
    "word ",
    "Tea.",
    " ",
    "\n",
    "\n\n",
    "Dr. ",
    "Is it? ",
    "x",
    "end.\n\n",
    "茶",
    "は。",
    "a-b ",
    "3. ",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=200).map("".join)
SIZES = st.integers(1, 24).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size // 2)))


def passages(text: str, size: int, overlap: int, headings: list[Span] | None = None) -> list[str]:
    return [text[start:end] for start, end in cut(text, size, overlap, headings or [])]


def words(count: int) -> str:
    return " ".join(f"w{i}" for i in range(count))


@given(TEXTS, SIZES)
def test_every_word_is_in_a_passage_and_none_is_cut(text, sizes):
    size, overlap = sizes
    spans = list(cut(text, size, overlap))
    everything = list(words_of(text))
    starts, ends = {word.start for word in everything}, {word.end for word in everything}
    held = set()
    for span in spans:
        assert span.start in starts
        assert span.end in ends
        inside = [w for w in everything if span.start <= w.start and w.end <= span.end]
        assert 1 <= len(inside) <= size
        held.update(inside)
    assert held == set(everything)
    assert spans == sorted(set(spans))
    assert list(cut(text, size, overlap)) == spans


@given(TEXTS, SIZES)
def test_passages_repeat_no_more_than_the_overlap_and_are_no_scraps(text, sizes):
    size, overlap = sizes
    everything = list(words_of(text))
    place = {word.start: number for number, word in enumerate(everything)}
    after = {word.end: number + 1 for number, word in enumerate(everything)}
    spans = [(place[start], after[end]) for start, end in cut(text, size, overlap)]
    for (start, end), (following, _) in pairwise(spans):
        assert end - start > size // 2
        assert start < following
        assert 0 <= end - following <= overlap
    if len(spans) > 1:
        assert spans[-1][1] - spans[-1][0] >= size // 4


@given(TEXTS, SIZES)
def test_a_passage_ends_at_the_best_place_of_its_second_half(text, sizes):
    """Against a reference that ranks every place of the whole text."""
    size, overlap = sizes
    everything = list(words_of(text))
    ranks = [*_Places(text, []).before(everything), SECTION + 1]
    after = {word.end: number + 1 for number, word in enumerate(everything)}
    place = {word.start: number for number, word in enumerate(everything)}
    for start, end in cut(text, size, overlap):
        first, last = place[start], after[end]
        if last == len(everything):
            break
        furthest = min(first + size, max(len(everything) - size // 4, first + size // 2 + 1))
        options = range(first + size // 2 + 1, furthest + 1)
        assert last in options
        assert ranks[last] == max(ranks[option] for option in options)
        assert all(ranks[later] < ranks[last] for later in range(last + 1, furthest + 1))


def test_paragraphs_win_over_sentences_and_sentences_over_words():
    text = "a b c d e.\n\nF g h. I j k l m n o p q r s t u v w x y z"
    assert passages(text, 8, 0)[0] == "a b c d e."
    assert passages(text.replace("\n\n", " "), 8, 0)[0] == "a b c d e. F g h."
    assert passages(text.replace(".", "").replace("\n\n", " "), 8, 0)[0] == "a b c d e F g h"


@pytest.mark.parametrize(
    "text",
    [
        "Ask Dr. Weyland",
        "see e.g. Tea",
        "It is 3.5 or so",
        "J. Hart came",
        "1. Tea",
        "by Fig. 3",
        "etc. or",
    ],
)
def test_what_is_no_end_of_a_sentence(text):
    ranks = _Places(text, []).before(list(words_of(text)))
    assert max(ranks) < SENTENCE


@pytest.mark.parametrize(
    "text", ["It ends. Then", 'He said "no." Then', "Is it? 3 are", "終わり。次", "In 1999. Then"]
)
def test_what_is_an_end_of_a_sentence(text):
    ranks = _Places(text, []).before(list(words_of(text)))
    assert ranks.count(SENTENCE) == 1


def test_a_section_begins_a_passage_and_nothing_is_repeated_across_it():
    text = "One two three. Four five six.\n\nTitle\n\nSeven eight nine ten eleven twelve."
    heading = Span(text.index("Title"), text.index("Title") + 5)
    found = passages(text, 8, 4, [heading])
    assert found == [
        "One two three. Four five six.",
        "Title\n\nSeven eight nine ten eleven twelve.",
    ]


def test_a_passage_does_not_end_with_a_heading():
    text = "a b c d e f\n\nTitle\n\ng h i j k l m n o p"
    heading = Span(text.index("Title"), text.index("Title") + 5)
    assert not any(passage.endswith("Title") for passage in passages(text, 7, 0, [heading]))
    assert passages(text, 7, 0, [])[0].endswith("Title")


def test_whole_sentences_are_repeated_and_bare_words_only_inside_one():
    sentences = (
        "One two three four five. Six seven. Eight nine ten eleven. Twelve thirteen fourteen."
    )
    first, second = passages(sentences, 8, 3)[:2]
    assert first == "One two three four five. Six seven."
    assert second.startswith("Six seven. Eight")
    assert passages(sentences, 8, 1)[1].startswith("Eight")
    assert [p.split()[0] for p in passages(words(20), 8, 3)] == ["w0", "w5", "w10", "w15"]


def test_a_script_without_spaces_is_cut_between_characters():
    text = "茶は十七世紀にヨーロッパへ渡った。" * 4
    found = passages(text, 20, 0)
    assert "".join(found) == text
    assert all(passage.endswith("。") for passage in found)


def test_a_run_without_an_end_is_cut():
    found = passages("x" * 1000, 4, 0)
    assert "".join(found) == "x" * 1000
    assert max(map(len, found)) == 400


@pytest.mark.parametrize("text", ["", " \n\t ", "\n"])
def test_no_words_no_passage(text):
    assert passages(text, 10, 2) == []


def test_a_long_text_is_not_held_as_words():
    text = "Some words that go on. " * 40_000
    tracemalloc.start()
    count = sum(1 for _ in cut(text, 200, 40))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 1_000
    assert peak < 0.4e6
