"""The funnel as a flow: every row is drawn once, every branch leads to its rows."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.report.labels import width_of
from karat.report.run_charts import STYLE, drawn
from karat.report.run_flow import MOST, NARROW, WIDE, Flow, FlowStep, steps_of, told
from karat.report.run_parts import flow_charts

EVIL = '"><script>alert(1)</script>\u202e\x00'
REASONS = st.dictionaries(st.text(min_size=1, max_size=30), st.integers(0, 10**6), max_size=9)


@st.composite
def funnels(draw):
    rows, steps = draw(st.integers(0, 10**6)), []
    for number in range(draw(st.integers(0, 7))):
        dropped = draw(REASONS)
        left = max(0, rows - sum(dropped.values()))
        out = draw(st.sampled_from([left, left * 3, left + 7, 0]))
        steps.append(FlowStep(f"step {number}", rows, out, dropped, draw(st.integers(0, 5))))
        rows = out
    return steps


def paths(picture, kind):
    """(fill class) paths of a picture, as lists of their numbers."""
    found = re.findall(rf'<path class="{kind}"[^>]* d="([^"]*)"', picture)
    return [[float(n) for n in re.findall(r"-?\d+\.?\d*", one)] for one in found]


def tree(picture):
    return ElementTree.fromstring(picture)


@given(funnels(), st.sampled_from([WIDE, NARROW]))
def test_any_funnel_is_a_picture_inside_its_frame(steps, width):
    flow = Flow(steps, width)
    picture = drawn(flow, "Rows", told(steps), "flow")
    tree(picture)
    for numbers in paths(picture, "k-grey"):
        assert all(-0.1 <= n <= max(width, flow.height) + 0.1 for n in numbers)
    for x, y in re.findall(r'<text class="[^"]*" x="([\d.-]+)" y="([\d.-]+)"', picture):
        assert -0.1 <= float(x) <= width
        assert 0 <= float(y) <= flow.height


def test_a_branch_is_as_thick_as_its_rows_are_many():
    steps = [FlowStep("read", 1000, 1000, {}), FlowStep("check", 1000, 600, {"a": 300, "b": 100})]
    flow = Flow(steps, WIDE)
    (a, b) = flow._bands(steps[1], 100.0)
    assert (a[0], b[0]) == ("a", "b")
    assert a[2] == pytest.approx(3 * b[2])
    assert flow._wide(1000) == pytest.approx(flow._wide(600) + a[2] + b[2])
    # The outer branch turns first, so that the two do not cross.
    assert b[3] - b[2] / 2 >= a[3] + a[2] / 2


@pytest.mark.parametrize(("width", "least"), [(WIDE, 0.5), (NARROW, 0.34)])
def test_the_stream_takes_what_the_texts_leave(width, least):
    steps = [FlowStep("read", 900, 900, {}), FlowStep("check", 900, 600, {"below minimum": 300})]
    flow = Flow(steps, width)
    assert flow._stream > least * width
    assert flow._text + width_of("300", 12.5) + width_of("below minimum", 12.5) < width
    if width == WIDE:  # nothing stands beside it where nothing is dropped
        assert Flow(steps[:1], width)._stream > 0.8 * width


def test_what_is_at_work_is_marked_beside_its_name():
    step = FlowStep("respond", 20, 8, {}, 12, current=True)
    for width in (WIDE, NARROW):
        drawn_ = Flow([step], width).draw()
        dot = float(re.search(r'<circle class="k-gold now" cx="([\d.]+)"', drawn_)[1])
        name = float(re.search(r'<text class="k-ink" x="([\d.]+)"[^>]*><title>respond', drawn_)[1])
        assert abs(dot - name) < 16


def test_texts_of_branches_never_lie_on_each_other():
    dropped = {f"reason {n}": 1 for n in range(MOST)}
    flow = Flow([FlowStep("check", 10**6, 10**6 - MOST, dropped)], NARROW)
    middles = [middle for _, _, _, middle in flow._bands(flow._steps[0], 0.0)]
    assert all(two - one >= 14 for one, two in pairwise(middles))


def test_rare_reasons_leave_together_and_none_is_lost():
    dropped = {f"reason {n}": 10 * n for n in range(1, 9)}
    step = FlowStep("check", 1000, 1000 - sum(dropped.values()), dropped)
    picture = drawn(Flow([step], WIDE), "t", "d", "flow")
    assert "4 other reasons" in picture
    counts = [int(n) for n in re.findall(r'<tspan font-weight="600">([\d,]+)</tspan>', picture)]
    assert len(counts) == MOST
    assert sum(counts) == sum(dropped.values())


def test_links_lead_to_the_rows_of_a_step_a_reason_and_all_accepted():
    asked = []

    def link(step, reason):
        asked.append((step, reason))
        return f"/rows?step={step}&reason={reason}"

    dropped = {f"reason {n}": 10 * n for n in range(1, 8)}
    wide, narrow = flow_charts([FlowStep("check", 1000, 700, dropped)], link)
    assert ("check", "reason 7") in asked
    assert ("check", None) in asked  # what is told together leads to the whole step
    assert (None, None) in asked
    assert 'role="group"' in wide
    assert 'href="/rows?step=check&amp;reason=reason 7"' in wide
    for one in tree(narrow).iter("{http://www.w3.org/2000/svg}a"):
        assert one.get("aria-label")


def test_others_words_are_text_only():
    step = FlowStep(EVIL, 10, 5, {EVIL: 5})
    wide, _ = flow_charts([step], lambda step, reason: f"/rows?{step}")
    names = {one.tag.rpartition("}")[2] for one in tree(wide).iter()}
    assert "script" not in names
    assert "<style" not in wide
    assert "\x00" not in wide


def test_a_live_funnel_says_what_has_not_begun_and_what_is_at_work():
    live = [
        {"label": "respond", "rows_in": 20, "rows_out": 8, "in_flight": 12, "dropped": {},
         "current": True, "sealed": False, "rate": 2.0, "eta_s": None},
        {"label": "grade", "rows_in": 0, "rows_out": 0, "in_flight": 0, "dropped": {},
         "current": False, "sealed": False, "rate": 0.0, "eta_s": None},
    ]  # fmt: skip
    picture, _ = flow_charts(steps_of(live), finished=False)
    assert "20 → 8, 12 in flight" in picture
    assert "not yet" in picture
    assert picture.count("<title>at work</title>") == 1
    assert "0 through so far" in picture
    assert told(steps_of(live)).startswith("respond: 20 → 8")


def test_colours_are_light_on_paper():
    assert STYLE.rindex("@media print") > STYLE.rindex("prefers-color-scheme:dark")
