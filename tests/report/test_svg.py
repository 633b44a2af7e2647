"""A chart is well-formed XML whatever it is told to show, and says in words what that is."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.report.axes import fit
from karat.report.svg import DARK, LIGHT, Panel, figure

NS = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(\"x\")</script> & 'co' ]]> \x00\x1b\ud800\ufffe"


def chart(names, title="Title", told="What it shows", **more):
    values = [(0.1 * 3**i, 1.0 + i) for i in range(len(names))]
    x, y = fit([v for v, _ in values], "cost"), fit([v for _, v in values], "quality")
    panel = Panel(title, x, y, 400, 300, [("best", "taken"), ("other", "left")])
    for name, (cost, quality) in zip(names, values, strict=True):
        panel.spread((cost, quality - 0.3), (cost, quality + 0.3), "k-grey-line")
        panel.dot(cost, quality, "best", f"{name}: {cost}", name)
    return figure([panel], title, told, **more)


def texts(root):
    return ["".join(element.itertext()) for element in root.iter(f"{NS}text")]


@given(st.lists(st.text(max_size=30), max_size=5))
def test_whatever_names_are_the_document_is_well_formed(names):
    root = ET.fromstring(chart(names, title="".join(names), told="".join(names)))
    assert root.tag == f"{NS}svg"
    assert not list(root.iter(f"{NS}script"))


def test_a_hostile_name_is_shown_as_it_is_written():
    source = chart([HOSTILE], HOSTILE, HOSTILE)
    root = ET.fromstring(source)
    assert "<script" not in source
    seen = [text for text in texts(root) if "alert" in text]
    assert seen
    assert all("<script>" in text for text in seen)
    assert '<script>alert("x")</script>' in root.find(f"{NS}desc").text


def test_it_says_what_it_shows_to_those_who_cannot_see_it():
    root = ET.fromstring(chart(["a"], key="one"))
    assert root.get("role") == "img"
    ids = root.get("aria-labelledby").split()
    found = {element.get("id"): element.text for element in root.iter() if element.get("id")}
    assert [found[name] for name in ids] == ["Title", "What it shows"]
    other = ET.fromstring(chart(["a"], key="two"))
    assert not set(ids) & set(other.get("aria-labelledby").split())


def test_it_follows_the_readers_scheme_and_fetches_nothing():
    source = chart(["a"])
    assert "prefers-color-scheme:dark" in source
    for unwanted in ("<script", "<image", "url(", "@import", "href"):
        assert unwanted not in source


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_told_apart_in_both_schemes():
    """Source of the formula and the limits: WCAG 2.2, 1.4.3 and 1.4.11."""
    for paper, ink, soft, _, gold, grey in (LIGHT, DARK):
        assert contrast(paper, ink) >= 7
        assert contrast(paper, soft) >= 4.5
        assert contrast(paper, gold) >= 3
        assert contrast(paper, grey) >= 3


def test_marks_lie_where_their_values_are():
    x, y = fit([0.0, 10.0], "x"), fit([0.0, 10.0], "y")
    panel = Panel("t", x, y, 400, 300)
    left, low = panel.at(0, 0)
    right, high = panel.at(10, 10)
    middle = panel.at(5, 5)
    assert left < right
    assert low > high
    assert middle == pytest.approx(((left + right) / 2, (low + high) / 2))
    panel.dot(5, 5, "good")
    root = ET.fromstring(figure([panel], "t", "d"))
    circle = root.find(f".//{NS}circle")
    assert abs(float(circle.get("cx")) - middle[0]) < 0.01
    assert abs(float(circle.get("cy")) - middle[1]) < 0.01


def test_an_error_bar_that_goes_on_has_no_cap_there():
    def caps(high):
        panel = Panel("t", fit([1.0, 2.0], "x"), fit([1.0, 2.0], "y"), 400, 300)
        before = figure([panel], "t", "d")
        panel.spread((1.0, 1.5), (high, 1.5), "k-grey-line")
        return figure([panel], "t", "d").count("L") - before.count("L")

    assert caps(2.0) == 3  # the bar and its two ends
    assert caps(float("inf")) == 2


def test_panels_stand_in_columns():
    def panel(width, height):
        return Panel("t", fit([1.0, 2.0], "x"), fit([1.0, 2.0], "y"), width, height)

    root = ET.fromstring(
        figure([panel(300, 200), panel(300, 250), panel(300, 200)], "t", "d", columns=2, margin=10)
    )
    places = [g.get("transform") for g in root.findall(f"{NS}g")]
    assert places == ["translate(10 10)", "translate(338 10)", "translate(10 288)"]
    assert (root.get("width"), root.get("height")) == ("648", "498")
