"""The page of a survey: well-formed, without a script, its labels apart, whatever the texts say."""

from __future__ import annotations

import importlib.util
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from conftest import mostly_slow
from page_reader import Reader

from karat.errors import RecipeError, RunError
from karat.report import projection, survey_page
from karat.report.measures import MEASURES
from karat.report.projection import project
from karat.report.survey import survey
from karat.report.survey_map import LIGHT, Map, Point, mark, short_names
from karat.report.survey_page import check_place, page, write_page

EVIL = '<script>alert("x")</script> & <b>'
KINDS = ("bread and yeast", "planets and rings", "guitars and strings")
TEXTS = [
    f"Tell me {what} about {kind}" for kind in KINDS for what in ("more", "less", "all", "a bit")
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def prompts(tmp_path):
    rows = [
        {"prompt": text, "response": f"Answer {n % 2}", "topic": text.split()[-1], "task": "qa",
         "number": n, "note": "x" * 100}
        for n, text in enumerate(TEXTS)
    ]  # fmt: skip
    return write(tmp_path / "prompts.jsonl", rows)


@pytest.fixture(autouse=True)
def _quick_map(monkeypatch):
    """The plain projection, unless a test is about the other."""
    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: None)


# --- the page ----------------------------------------------------------------------------------


def test_the_page_holds_everything_and_no_script(tmp_path):
    rows = [
        {"prompt": f"{EVIL} {text}", "topic": EVIL[: 20 + n % 2]}
        for n, text in enumerate(TEXTS * 2)
    ]
    found = survey(write(tmp_path / "a.jsonl", rows))
    source = page(found)
    seen = Reader(source)
    assert "script" not in seen.tags
    assert not {"link", "img", "iframe"} & set(seen.tags)
    assert "http" not in source.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert EVIL in seen.raw
    assert source.count("</html>") == 1
    for measure in MEASURES:
        assert measure.label in seen.raw
    svgs = re.findall(r"<svg xmlns.*?</svg>", source, re.DOTALL)
    assert len(svgs) == 2
    for svg in svgs:
        ET.fromstring(svg)
        assert svg.count("<title>") >= len(rows)
    ids = re.findall(r'id="([^"]+)"', source)
    assert len(ids) == len(set(ids))


def test_the_page_is_the_same_every_time_and_says_how_it_was_drawn(prompts):
    assert page(survey(prompts)) == page(survey(prompts))
    assert "PCA" in page(survey(prompts))


def test_a_page_of_one_text_and_of_none_known(tmp_path):
    one = page(survey(write(tmp_path / "a.jsonl", [{"prompt": "Hello world"}])))
    assert "1 prompt, in meaning" in one
    unknown = survey(write(tmp_path / "b.jsonl", [{"prompt": "😀"}, {"prompt": "?!"}]))
    assert unknown.groups == []
    assert "Map by meaning" not in page(unknown)
    assert "2 have no word the embeddings know" in page(unknown)


def test_only_so_many_points_are_drawn(prompts, monkeypatch):
    monkeypatch.setattr(survey_page, "MOST_WIDE", 5)
    monkeypatch.setattr(survey_page, "MOST_NARROW", 3)
    source = page(survey(prompts))
    assert "5 of them, drawn at random" in source
    assert "3 of them, drawn at random" in source


def test_a_page_that_cannot_be_written(prompts, tmp_path):
    with pytest.raises(RunError, match="cannot write"):
        write_page(survey(prompts), tmp_path / "nowhere" / "x.html")


def test_a_page_that_could_not_be_written_is_told_before(tmp_path):
    check_place(tmp_path / "x.html")
    for place, said in ((tmp_path / "no" / "x.html", "there is no folder"), (tmp_path, "a folder")):
        with pytest.raises(RecipeError, match=f"cannot write {place}: .*{said}"):
            check_place(place)


def test_in_short_says_what_the_title_does_not(prompts):
    seen = Reader(page(survey(prompts))).raw
    short = seen.partition("In short")[2].partition("\n")[0]
    assert str(prompts) not in short
    assert short.startswith("12 prompts, in meaning as varied as ")


def test_measures_with_names_of_their_own_are_explained_with_their_papers(prompts):
    seen = Reader(page(survey(prompts))).raw
    for name, paper in (("Vendi score: ", "2210.02410"), ("NovelSum: ", "2502.17184")):
        (line,) = [line for line in seen.splitlines() if line.startswith(name)]
        assert paper in line


def test_repeats_are_counted_and_shown_once(tmp_path):
    rows = [{"prompt": f"{EVIL} {text}"} for text in (*TEXTS, *TEXTS[:2] * 2, TEXTS[0])]
    seen = Reader(page(survey(write(tmp_path / "a.jsonl", rows)))).raw
    repeats = seen.partition("Repeats\n")[2].partition("How this")[0]
    assert f"4 times, word for word{EVIL} {TEXTS[0]}" in repeats
    assert f"3 times, word for word{EVIL} {TEXTS[1]}" in repeats
    assert "1.00 alike" not in repeats


# --- the map -----------------------------------------------------------------------------------


def boxes(svg):
    """Where the labels of a map stand, about: (left, top, right, bottom)."""
    found = []
    for text in ET.fromstring(f"<svg>{svg}</svg>").iter("text"):
        x, y, width = float(text.get("x")), float(text.get("y")), 5 * len("".join(text.itertext()))
        left = {"end": x - width, "middle": x - width / 2}.get(text.get("text-anchor"), x)
        found.append((left, y - 10, left + width, y + 2))
    return found


@pytest.mark.parametrize("width", mostly_slow([1160.0, 344.0], 2))
def test_labels_do_not_overlap(width):
    rng = np.random.default_rng(0)
    names = [f"word{n}, other{n}, third{n}" for n in range(16)]
    points = [Point(*rng.normal(0.5, 0.05, 2).clip(0, 1), n % 16, "text") for n in range(480)]
    placed = boxes(re.sub("<title>.*?</title>", "", Map(points, names, width).draw()))
    assert len(placed) == (16 if width > 450 else 10)
    for i, one in enumerate(placed):
        assert one[0] >= 0
        assert one[2] <= width
        for other in placed[i + 1 :]:
            apart = (
                one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            )
            assert apart


@pytest.mark.parametrize("width", [1160.0, 344.0])
def test_groups_that_begin_alike_have_labels_of_their_own(width):
    names = ["tea, cup, pot", "tea, cup, milk", "tea, leaf, pot", "rain, cup, pot", "rain"]
    names.append(f"{'x' * 60}, a")
    names.append(f"{'x' * 60}, b")
    spots = [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9), (0.5, 0.5), (0.5, 0.1), (0.5, 0.9)]
    points = [Point(*spot, n, "text") for n, spot in enumerate(spots)]
    drawn = ET.fromstring(f"<svg>{Map(points, names, width).draw()}</svg>")
    for title in [*drawn.iter("title")]:
        title.text = ""
    labels = ["".join(text.itertext()) for text in drawn.iter("text")]
    assert len(labels) == len(set(labels)) == 7


def test_names_on_a_map_are_whole_words_of_their_own_and_cover_no_mark():
    names = ["way, soil, rose", "way, moon, star", "way, rent, tax"]
    assert short_names(names, 170.0, 2) == ["soil, rose", "moon, star", "rent, tax"]
    assert short_names(["orchestration, transformation", "b"], 120.0, 2)[0] == "orchestration"
    rng = np.random.default_rng(3)
    middles = [(0.25, 0.3), (0.75, 0.3), (0.5, 0.8)]
    points = [
        Point(*rng.normal(middles[n % 3], 0.05).clip(0, 1), n % 3, "text") for n in range(300)
    ]
    made = Map(points, names, 1160.0)
    for left, top, right, low in boxes(re.sub("<title>.*?</title>", "", made.draw())):
        spots = [made._at(point.x, point.y) for point in points]
        assert not [1 for x, y in spots if left < x < right and top < y < low]


def test_every_group_has_a_mark_of_its_own():
    drawn = {mark(group, 8, 8) for group in range(24)}
    assert len(drawn) == 24 == 3 * len(LIGHT)


@pytest.mark.parametrize("many", [0, 1, 2, 7, 40])
def test_the_plain_projection(many):
    vectors = np.random.default_rng(1).normal(size=(many, 256)).astype(np.float32)
    places, how = project(vectors)
    assert places.shape == (many, 2)
    assert ((places >= 0) & (places <= 1)).all()
    assert "directions" in how or not many
    assert np.array_equal(places, project(vectors)[0])


def test_neighbours_are_kept_together(monkeypatch):
    monkeypatch.undo()
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("needs scikit-learn")
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(4, 256))
    vectors = np.repeat(centres, 12, axis=0) + 0.3 * rng.normal(size=(48, 256))
    places, how = project(vectors.astype(np.float32))
    assert "t-SNE" in how
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    kind = np.repeat(np.arange(4), 12)
    assert (kind[apart.argmin(axis=1)] == kind).all()
    assert np.array_equal(places, project(vectors.astype(np.float32))[0])
