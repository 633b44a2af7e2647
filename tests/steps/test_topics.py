"""topics: the user's own as they are, then a model's, none twice, never more than asked for."""

from __future__ import annotations

import pytest
from conftest import rows_of
from server import Server

import karat
from karat import RecipeError
from karat.step import find


def made(make_recipe, tmp_path, server=None, **params):
    teacher = server.model() if server else None
    if server:
        params = {"model": "teacher", **params}
    run = karat.run(make_recipe(teacher, steps=[{"topics": params}]), tmp_path / "out")
    return [row.meta["topic"] for row in rows_of(run.accepted_file)], run


def numbered(*items):
    return lambda body, place: "".join(f"{i}. {item}\n" for i, item in enumerate(items, 1))


GIVEN = ["Star Wars: A New Hope", "R", "C++", "U.S.", "茶", "*args", 'What is "love"', "x" * 150]


def test_topics_of_the_users_own_stay_as_they_are(make_recipe, tmp_path):
    found, run = made(make_recipe, tmp_path, given=GIVEN)
    assert found == GIVEN
    assert run.report["warnings"] == [w for w in run.report["warnings"] if "ran dry" not in w]


def test_a_topic_given_twice_is_one(make_recipe, tmp_path):
    assert made(make_recipe, tmp_path, given=["tea", "Tea", "sea"])[0] == ["tea", "sea"]


def test_a_model_fills_up_what_was_given(make_recipe, tmp_path):
    with Server(answer=numbered("sea", "moon", "Tea", "sun")) as server:
        found, _ = made(make_recipe, tmp_path, server, n=4, given=["tea"], about="nature")
        assert found == ["tea", "sea", "moon", "sun"]
        (sent,) = server.requests
        text = sent["body"]["messages"][-1]["content"]
    assert "3 different topics about nature" in text
    assert "tea" in text


def test_an_explanation_behind_a_topic_is_left_out(make_recipe, tmp_path):
    with Server(answer=numbered("**Tides**: why the sea moves", "Moons.", "x" * 200)) as server:
        assert made(make_recipe, tmp_path, server, n=2)[0] == ["Tides", "Moons"]


def test_a_model_that_runs_dry_gives_fewer_with_a_warning(make_recipe, tmp_path):
    with Server(answer=numbered("sea", "moon")) as server:
        found, run = made(make_recipe, tmp_path, server, n=5)
        assert found == ["sea", "moon"]
        assert len(server.requests) == 4
        assert len({r["body"]["seed"] for r in server.requests}) == 4
    assert any("2 topics instead of 5" in warning for warning in run.report["warnings"])


def test_a_list_cut_off_loses_its_last_item(make_recipe, tmp_path):
    with Server(answer=numbered("sea", "moon", "renewable ener"), finish_reason="length") as server:
        assert "renewable ener" not in made(make_recipe, tmp_path, server, n=3)[0]


@pytest.mark.parametrize("about", [None, "health"])
def test_an_example_comes_first(make_recipe, tmp_path, about):
    with Server(answer=numbered("sea", "moon")) as server:
        made(make_recipe, tmp_path, server, n=2, about=about)
        first, example, ask = server.requests[0]["body"]["messages"]
    assert [m["role"] for m in (first, example, ask)] == ["user", "assistant", "user"]
    assert ("about tea" in first["content"]) is ("Brewing" in example["content"]) is bool(about)
    assert ("about health" in ask["content"]) is bool(about)
    assert "List 2 different topics" in ask["content"]


def test_many_are_asked_for_in_two_levels(make_recipe, tmp_path):
    def answer(body, place):
        text = body["messages"][-1]["content"]
        name = text.partition('"')[2].partition('"')[0] or "macro"
        count = int(text.split()[1])
        return "".join(f"{i}. {name} {'abcdefghijklmnop'[i]}\n" for i in range(1, count + 1))

    with Server(answer=answer) as server:
        found, _ = made(make_recipe, tmp_path, server, n=30)
        assert len(server.requests) == 1 + 6
    assert len(set(found)) == 30
    assert all(topic.startswith("macro ") for topic in found)


def test_no_topic_at_all_drops_the_row_with_the_reason(make_recipe, tmp_path):
    with Server(answer=lambda body, place: "") as server:
        _, run = made(make_recipe, tmp_path, server, n=2)
    (row,) = rows_of(run.dropped_file)
    assert "named no topics" in row.dropped


def test_every_topic_row_knows_the_calls_that_made_it(make_recipe, tmp_path):
    with Server(answer=numbered("sea", "moon")) as server:
        _, run = made(make_recipe, tmp_path, server, n=2)
    rows = rows_of(run.accepted_file)
    assert all(len(row.calls) == 1 and len(row.calls[0]) == 32 for row in rows)
    assert len({row.id for row in rows}) == 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "needs a model to name topics, or topics of your own"),
        ({"given": ["a"], "n": 2}, "n is 2 but given holds 1"),
        ({"given": ["tea", "Tea"], "n": 2}, "given holds 1"),
        ({"model": "m"}, "needs n"),
        ({"given": ["tea", "", " "]}, "given"),
    ],
)
def test_what_cannot_be_meant_is_refused(params, message):
    with pytest.raises(RecipeError, match=message):
        find("topics")(**params)
