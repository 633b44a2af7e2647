"""The rows of a run, asked for with filters: the same answers as plain Python over hostile rows."""

from __future__ import annotations

from collections import Counter
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_made import KEYS, LONG, MODELS, NASTY, Made, chosen, field, oracle, parts, passes, score

from karat.errors import RecipeError
from karat.web.rows.asked import Filter, View, check, query, read
from karat.web.rows.engine import Stop
from karat.web.rows.search import Search


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("rows") / "run")


BOUNDS = st.sampled_from([None, -1.5, 0.0, 0.1, 1.0, 2.5, 4.0, 1e300])
FILTERS = st.builds(
    Filter,
    kept=st.sampled_from(["", "", "accepted", "dropped"]),
    step=st.sampled_from(["", "", "", "reject", "x", "'; --"]),
    reason=st.sampled_from(["", "", "", "below minimum", "y: z", "near duplicate"]),
    model=st.sampled_from(["", "", *MODELS]),
    source=st.sampled_from(["", "", "human", "given", "none such"]),
    score=st.sampled_from(["", *KEYS]),
    of=st.sampled_from(["", "best", "worst"]),
    low=BOUNDS,
    high=BOUNDS,
    meta=st.lists(
        st.tuples(st.sampled_from(["task", "it's"]), st.sampled_from(["coding", "it's", "true"])),
        max_size=2,
        unique_by=lambda pair: pair[0],
    ).map(lambda found: tuple(sorted(found))),
).map(lambda f: f if f.score else msgspec.structs.replace(f, low=None, high=None, of=""))
SORTS = st.sampled_from(["", "length", "prompt", "responses", "reason", *KEYS])


@given(FILTERS, SORTS, st.booleans())
def test_filters_and_orders_are_those_of_plain_python(
    made: Made, asked: Filter, sort: str, down: bool
) -> None:
    view = View(asked, sort, down)
    wanted = oracle(made.rows, view)
    assert made.engine.places(view, LONG).tolist() == wanted
    assert made.engine.places(view, LONG, 3, 7).tolist() == wanted[3:10]
    if wanted:
        place = wanted[len(wanted) // 2]
        assert made.engine.rank(view, place, LONG) == wanted.index(place)


@given(FILTERS)
def test_counts_are_those_of_plain_python(made: Made, asked: Filter) -> None:
    rows = [row for row in made.rows if passes(row, asked)]
    found = made.engine.summary(asked, LONG)
    assert (found.count, found.accepted) == (len(rows), sum(r.dropped is None for r in rows))
    wanted = Counter(parts(row) for row in rows if row.dropped is not None)
    assert {(step, why): n for step, why, n in found.reasons} == dict(wanted)
    models = Counter(m for row in rows for m in {r.model for r in row.responses} if m)
    assert dict(found.facets["model"].values) == dict(models)
    for name in made.names.counted:
        values = Counter(filter(None, (field(row, name) for row in rows)))
        assert dict(found.facets[f"meta.{name}"].values) == dict(values)


@pytest.mark.parametrize("text", [
    "WORDS", "it's", "100%", "_under_", "(regex.*[", "\\", "twin", "\0", "alert(1)", "absent", "ß",
    "\u202e", "DROP TABLE", " 1",
])  # fmt: skip
@pytest.mark.parametrize("asked", [Filter(), Filter(kept="dropped"), Filter(source="human")])
def test_a_text_is_found_where_plain_python_finds_it(made: Made, text: str, asked: Filter) -> None:
    places = None if asked == Filter() else made.engine.places(View(asked), LONG)
    search = Search(made.held, text, places)
    wanted = oracle(made.rows, View(msgspec.structs.replace(asked, q=text)))
    search.until(3, LONG)
    assert search.hits[:3] == wanted[:3]
    search.until(None, LONG)
    assert (search.hits, search.done) == (wanted, True)
    assert search.looked == search.total


def test_a_search_goes_on_where_it_stopped(made: Made) -> None:
    search = Search(made.held, "words")
    search.until(1, LONG)
    looked = search.looked
    assert 0 < looked < search.total
    search.until(1, LONG)
    assert search.looked == looked
    search.until(None, Stop(0))  # no time: nothing is lost, nothing counted twice
    assert search.looked == looked
    search.until(None, LONG)
    assert len(set(search.hits)) == len(search.hits)


def test_rows_are_read_in_the_order_asked_for(made: Made) -> None:
    places = [299, 0, 150, 36, 37, 38, 0]
    found = made.held.read(places, ["id"]).column("id").to_pylist()
    assert found == [made.rows[place].id for place in places]


def test_an_id_finds_all_its_rows_with_and_without_an_index(made: Made) -> None:
    wanted = [place for place, row in enumerate(made.rows) if row.id == "twin"]
    assert len(wanted) > 10
    assert made.held.find("twin") == wanted
    assert made.engine.find("twin", LONG) == wanted
    assert made.engine.find("' OR 1=1 --", LONG) == []


def test_the_index_holds_what_the_rows_say(made: Made) -> None:
    found = made.engine.facts(list(range(300)), LONG)
    for row, fact in zip(made.rows, found, strict=True):
        one = chosen(row)
        assert fact["id"] == row.id
        assert fact["length"] == (None if one is None else len(one.content))
        assert fact["training"] in ("yes", "unknown")
        for number, key in enumerate(made.names.scores):
            assert fact[f"s{number}"] == score(row, key)
    low, high = made.engine.ranges(LONG)["r.two"]
    every = [r.scores["r.two"] for row in made.rows for r in row.responses if "r.two" in r.scores]
    assert (low, high) == (min(every), max(every))


# --- what a URL may say --------------------------------------------------------------------------


@given(
    st.builds(
        View, FILTERS, SORTS, st.booleans(), st.integers(1, 1000), st.sampled_from([25, 50, 200])
    ),
    st.sampled_from(["", *(text for text in NASTY if text and "\ud800" not in text)]),
)
def test_a_view_is_read_back_from_its_url(view: View, text: str) -> None:
    if not view.sort:
        view = msgspec.structs.replace(view, down=True)
    asked = msgspec.structs.replace(view.filter, q=text)
    if asked.low is not None and asked.high is not None and asked.low > asked.high:
        asked = msgspec.structs.replace(asked, high=None)
    view = msgspec.structs.replace(view, filter=asked)
    assert read(parse_qsl(query(view).removeprefix("?"))) == view


@pytest.mark.parametrize(("url", "said"), [
    ("min=1", "say which one"), ("score=r.one&min=x", "must be a number"),
    ("score=r.one&min=nan", "must be a number"), ("score=r.one&max=1e999", "must be a number"),
    ("score=r.one&min=3&max=2", "above"), ("page=0", "whole number"), ("page=-1", "whole number"),
    ("page=1e3", "whole number"), ("page=²", "whole number"), ("size=100000", "whole number"),
    ("kept=maybe", "one of"), ("dir=up", "one of"), ("of=mean", "one of"), ("nope=1", "no filter"),
    ("training=perhaps", "one of"), ("meta.=1", "no filter"), (f"q={'x' * 501}", "longer"),
    ("page=99999999999999999999", "whole number"),
])  # fmt: skip
def test_what_no_view_can_be_is_said(url: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read(parse_qsl(url))


@pytest.mark.parametrize("view", [
    View(Filter(score="r.onne")), View(sort="r.onne"), View(Filter(meta=(("tusk", "x"),))),
])  # fmt: skip
def test_a_name_that_no_row_has_is_said(made: Made, view: View) -> None:
    with pytest.raises(RecipeError, match=r"did you mean '(r.one|task)'"):
        check(view, made.names)
