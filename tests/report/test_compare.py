"""The page and the table of a comparison: every figure, others' words as text, no script."""

from __future__ import annotations

import importlib.util
import io
import re
import struct
import sys
import types
import xml.etree.ElementTree as ET

import pytest
from candidates import compared, measured
from page_reader import Reader
from rich.console import Console

from karat.report import png
from karat.report.compare import differences, method, page, print_comparison
from karat.report.frontier import NARROW, WIDE, charts, picture

EVIL = '<script>alert("x")</script>'
TERMINAL_EVIL = "\x1b[2J[bold]x[/bold]\u202e"


def eight():
    names = [
        "embedded/smollm2-135m-instruct", "openrouter/meta-llama/llama-3.3-70b-instruct",
        "anthropic/claude-sonnet-4-5-20260401", "anthropic/claude-opus-4-5-20260401",
        "openai/gpt-5.2-mini-2026-03", "google/gemini-3-flash", "deepseek/deepseek-v4-chat", EVIL,
    ]  # fmt: skip
    costs = [0.0, 0.0004, 0.006, 0.03, 0.0009, 0.0012, 0.00001, None]
    return compared(
        *(
            measured(name, 2.5 + 0.1 * i, cost, seconds=0.5 + i, seed=i)
            for i, (name, cost) in enumerate(zip(names, costs, strict=True))
        ),
        notes=[f"beware of {EVIL}"], shared_usd=0.01,
    )  # fmt: skip


def two():
    return compared(measured("b", 3.2, 0.0004), measured("a", 2.9, 0.002))


@pytest.mark.parametrize("found", [two(), eight()], ids=["two", "eight"])
def test_the_page_is_one_file_that_runs_and_fetches_nothing(found):
    source = page(found)
    reader = Reader(source)
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert len(reader.ids) == len(set(reader.ids))
    assert "default-src 'none'" in source
    said = reader.text
    assert found.recommendation in said
    for c in found.candidates:
        assert c.name in said


def test_every_figure_is_on_the_page():
    said = Reader(page(two())).text
    for words in (
        "2 models compared", "3.20", "80", "$0.0005", "$0.0025", "$0.04", "$0.2", "2.0 s",
        "recommended", "on both frontiers", "BCa bootstrap", "2,000 draws",
    ):  # fmt: skip
        assert words in said


def test_an_unknown_price_is_said_on_the_page_and_not_drawn_as_nothing():
    found = compared(measured("a", 3.0, None), measured("b", 2.0, 0.1), measured("c", 1.5, 0.5))
    said = Reader(page(found)).raw
    assert said.count("price unknown") >= 2
    cost, time, _ = charts(found, WIDE)
    assert (cost.title, time.title) == ("Quality against cost", "Quality against time")
    assert ">a<" not in cost.draw()
    assert ">a<" in time.draw()


def test_where_nothing_costs_anything_there_is_no_chart_of_costs():
    found = compared(measured("a", 3.0, 0.0), measured("b", 2.0, 0.0))
    assert [panel.title for panel in charts(found, WIDE)] == [
        "Quality against time", "How far behind the best",
    ]  # fmt: skip


def test_one_that_cannot_be_compared_has_no_mark():
    a, b = measured("a", 3.0), measured("b", 2.0)
    b.kept[:80] = float("nan")
    found = compared(a, b)
    assert len(charts(found, WIDE)) == 2
    assert "b answered 20 of 100 prompts" in Reader(page(found)).raw


LABEL = re.compile(r'<text class="k-ink k-halo" x="([\d.]+)" y="([\d.]+)"')


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("found", [two(), eight()], ids=["two", "eight"])
def test_every_candidate_has_a_label_and_no_text_leaves_the_picture(found, width):
    panels = charts(found, width)
    priced = sum(c.cost_per_accepted is not None for c in found.candidates)
    assert len(LABEL.findall(panels[0].draw())) == priced
    assert len(LABEL.findall(panels[1].draw())) == len(found.candidates)
    for panel in panels:
        for x, y in re.findall(r'<text[^>]* x="([-\d.]+)" y="([-\d.]+)"', panel.draw()):
            assert -0.01 <= float(x) <= width
            assert 0 <= float(y) <= panel.height


def test_the_picture_names_every_candidate_in_words():
    found = eight()
    root = ET.fromstring(picture(found))
    told = root.find("{http://www.w3.org/2000/svg}desc").text
    assert all(c.name in told for c in found.candidates)
    assert found.recommendation in told


def printed(found, width=160):
    stream = io.StringIO()
    print_comparison(Console(file=stream, width=width, force_terminal=False), found)
    return stream.getvalue()


def test_the_table_on_a_terminal():
    found = two()
    found.files = {"html": "runs/x/compare.html", "svg": "runs/x/compare.svg"}
    text = printed(found)
    for words in (
        "b: quality 3.20 against 2.90", "candidate", "accepted", "$ per accepted row", "$0.0005",
        "b: recommended, on both frontiers", "a: 0.30,", "behind b", "BCa bootstrap",
        "html  runs/x/compare.html", "no png  (needs `pip install 'karat[plots]'`",
    ):  # fmt: skip
        assert words in text
    found.files["png"] = "runs/x/compare.png"
    assert "no png" not in printed(found)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_narrow_terminal_gets_fewer_figures_and_whole_ones(width):
    text = printed(eight(), width)
    assert "…" not in text
    assert "$ per accepted row" in text
    assert "google/gemini-3-flash" in text
    assert ("a call takes" in text) == (width == 200)
    assert all(len(line) <= width for line in text.split("no png")[0].splitlines())


def test_words_of_others_are_text_on_a_terminal():
    found = compared(measured("a" + TERMINAL_EVIL, 3.0), measured("b", 2.0), notes=[TERMINAL_EVIL])
    text = printed(found)
    assert "[bold]x[/bold]" in text
    assert not [c for c in text if c in "\x1b\u202e"]


def test_differences_say_when_they_may_be_none():
    found = compared(measured("a", 3.0), measured("b", 3.01), measured("c", 1.0))
    (name, _, more), (other, _, nothing) = differences(found)
    assert (name, other, nothing) == ("a", "c", "")
    assert more.startswith(", which cannot be told from none; about ")


def test_the_method_is_told_as_it_was():
    lines = " ".join(method(eight()))
    assert "scale of 0 to 4" in lines
    assert "28 pairs, each at 99.8%" in lines
    assert "cost $0.01 more" in lines
    assert "pairs" not in " ".join(method(two()))
    unknown = compared(measured("a", 3.0), measured("b", 2.0), shared_usd=None)
    assert "price of prompts and grading is unknown" in " ".join(method(unknown))


def test_without_the_renderer_there_is_no_png(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    assert png.as_png(picture(two())) is None


def test_on_a_machine_without_fonts_there_is_no_png(monkeypatch):
    blind = types.SimpleNamespace(svg_to_bytes=lambda **_: b"the same whatever is written")
    monkeypatch.setitem(sys.modules, "resvg_py", blind)
    monkeypatch.setattr(png, "_writes", png._writes.__wrapped__)
    assert png.as_png(picture(two())) is None


@pytest.mark.skipif(
    importlib.util.find_spec("resvg_py") is None, reason="resvg-py is not installed"
)
def test_the_png_is_the_picture_at_twice_its_size():
    svg = picture(two())
    drawn = png.as_png(svg)
    if drawn is None:
        pytest.skip("no font on this machine")
    root = ET.fromstring(svg)
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", drawn[16:24])
    assert (width, height) == pytest.approx(
        (2 * float(root.get("width")), 2 * float(root.get("height"))), abs=1
    )
