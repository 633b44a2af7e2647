"""Labels never share a place, and short names never become one."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from karat.report.labels import Box, Wish, elide, place_labels, shorten, width_of

INSIDE = Box(40, 50, 340, 330)
PLACES = st.tuples(st.floats(40, 340), st.floats(50, 330))
TEXTS = st.text("abcdefghijklmnop-/0123456789", min_size=1, max_size=24)


@settings(max_examples=30)
@given(st.lists(st.tuples(PLACES, TEXTS), max_size=8), st.booleans())
def test_no_two_labels_overlap_and_none_leaves_the_plot(points, crowded):
    wishes = [
        Wish(*((180.0, 180.0) if crowded else place), elide(text, 130, 12))
        for place, text in points
    ]
    taken = [Box.around(w.x, w.y, 12, 12) for w in wishes]
    boxes = place_labels(wishes, taken, INSIDE, 12)
    assert len(boxes) == len(wishes)
    assert all(INSIDE.holds(box) for box in boxes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].over(pair[1])]
    assert boxes == place_labels(wishes, taken, INSIDE, 12)


def test_a_lone_label_stands_at_the_right_of_its_point_and_needs_no_line():
    (box,) = place_labels([Wish(100, 200, "teacher")], [Box.around(100, 200, 12, 12)], INSIDE, 12)
    assert 100 < box.left < 115
    assert box.top < 200 < box.bottom
    assert box.tie(100, 200) is None


def test_a_label_that_is_pushed_away_is_tied_to_its_point():
    wall = Box(60, 150, 240, 250)
    (box,) = place_labels([Wish(150, 200, "teacher")], [wall], INSIDE, 12)
    assert not box.over(wall)
    x0, y0, x1, y1 = box.tie(150, 200)
    assert abs(x0 - 150) + abs(y0 - 200) < 11
    assert (x1, y1) == box.nearest(150, 200)


@given(st.text(max_size=60), st.floats(20, 200))
def test_an_elided_text_fits_and_keeps_both_ends(text, width):
    shown = elide(text, width, 12)
    assert width_of(shown, 12) <= max(width, width_of(f"{shown[:1]}…", 12))
    if "…" in shown and "…" not in text and len(shown) > 2:
        assert " ".join(text.split()).startswith(shown.partition("…")[0])
        assert " ".join(text.split()).endswith(shown.partition("…")[2])


@given(st.lists(TEXTS, max_size=8, unique=True), st.floats(60, 200))
def test_short_names_stay_apart(names, width):
    short = shorten(names, width, 12)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(width_of(text, 12) <= width for text in short.values())


def test_the_model_alone_is_named_where_it_is_one_of_a_kind():
    names = ["openai/gpt", "x/meta/llama", "y/meta/llama", "teacher"]
    assert list(shorten(names, 200, 12).values()) == ["gpt", *names[1:]]
    dates = ["anthropic/claude-sonnet-4-5-20260401", "anthropic/claude-opus-4-5-20260401"]
    assert len(set(shorten(dates, 90, 12).values())) == 2


def test_widths_are_those_of_letters():
    assert width_of("iii", 12) < width_of("nnn", 12) < width_of("WWW", 12)
    assert width_of("中", 12) == 12
    assert width_of("e\u0301", 12) == width_of("e", 12)
