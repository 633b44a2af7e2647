"""Peers: a step that draws other rows gets the same ones however the run goes."""

from __future__ import annotations

import pytest
from conftest import rows_of
from hypothesis import given
from hypothesis import strategies as st
from server import Server

import karat
from karat.errors import RecipeError
from karat.peers import Peers
from karat.row import Message, Row
from karat.step import find

SOURCE = """
@step
async def pair(row: Row, ctx: Context, peers, *, k: int = 2) -> list[Row]:
    others = peers.draw(row.id, k)
    made = Row("", [Message("user", " + ".join(p.prompt for p in others))], meta={"of": row.prompt})
    return [row, made]

@step
async def among(row: Row, ctx: Context, peers) -> Row:
    row.meta["peers"] = [peers.count, *(p.id for p in peers.draw(row.id, 3, 1))]
    return row
"""


def rows(count):
    return [Row(f"{i:04x}", [Message("user", f"What is {i}?")]) for i in range(count)]


@given(st.integers(0, 40), st.integers(0, 50), st.randoms())
def test_a_draw_is_of_others_each_once_and_does_not_depend_on_order(count, k, random):
    made = rows(count)
    shuffled = random.sample(made, count)
    for row in made[:3]:
        drawn = [peer.id for peer in Peers(made, 7, "s").draw(row.id, k)]
        assert drawn == [peer.id for peer in Peers(shuffled, 7, "s").draw(row.id, k)]
        assert len(set(drawn)) == len(drawn) == min(k, count - 1)
        assert row.id not in drawn


def test_draws_differ_by_row_index_step_and_seed():
    made = rows(200)
    peers = Peers(made, 7, "s")
    draws = [
        peers.draw("0000", 5), peers.draw("0001", 5), peers.draw("0000", 5, 1),
        Peers(made, 8, "s").draw("0000", 5), Peers(made, 7, "t").draw("0000", 5),
    ]  # fmt: skip
    assert len({tuple(peer.id for peer in draw) for draw in draws}) == 5


def test_every_row_is_drawn_about_as_often():
    made = rows(50)
    peers = Peers(made, 7, "s")
    counts = dict.fromkeys((row.id for row in made), 0)
    for index in range(1000):
        for peer in peers.draw("ffff", 5, index):
            counts[peer.id] += 1
    assert all(60 < count < 145 for count in counts.values())


def test_one_more_row_changes_few_draws():
    made = rows(101)
    before, after = Peers(made[:100], 7, "s"), Peers(made, 7, "s")
    same = sum(
        [p.id for p in before.draw(row.id, 3)] == [p.id for p in after.draw(row.id, 3)]
        for row in made[:100]
    )
    assert same >= 90


@pytest.mark.parametrize("width", [1, 16])
def test_a_step_draws_from_the_stage_before(make_recipe, tmp_path, user_module, width, monkeypatch):
    monkeypatch.setattr("karat.executors.rows.LEAST_WIDTH", width)
    name = user_module("pairing", SOURCE)
    path = make_recipe(
        rows=12, steps=[{"read": {"path": "prompts.jsonl"}}, f"{name}:pair", f"{name}:among"]
    )
    run = karat.run(path, tmp_path / "out")
    found = rows_of(run.accepted_file)
    assert len(found) == 24
    prompts = {f"What is number {i}?" for i in range(12)}
    for row in found:
        if "of" in row.meta:
            parts = row.prompt.split(" + ")
            assert len(parts) == 2
            assert set(parts) <= prompts - {row.meta["of"]}
        assert row.meta["peers"][0] == 24
    assert {p.name for p in run.stages.iterdir()} == {
        "01-read.parquet", "02-pair.parquet", "03-among.parquet"
    }  # fmt: skip
    again = karat.run(path, tmp_path / "again")
    assert again.accepted_file.read_bytes() == run.accepted_file.read_bytes()


def test_peers_are_bounded_and_bring_no_responses(tmp_path, make_recipe, user_module, monkeypatch):
    monkeypatch.setattr("karat.peers.MOST", 5)
    name = user_module("pairing2", SOURCE)
    with Server() as server:
        steps = [{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["teacher"]}}]
        path = make_recipe(server.model(), rows=12, steps=[*steps, f"{name}:among"])
        run = karat.run(path, tmp_path / "out")
    for row in rows_of(run.accepted_file):
        assert row.meta["peers"][0] == 5
        assert len(row.responses) == 1


def test_nobody_to_draw_from_is_said_before_anything_runs(make_recipe, user_module):
    name = user_module("pairing3", SOURCE)
    with pytest.raises(RecipeError, match="step 1 'pair': works on all rows"):
        karat.Recipe.load(make_recipe(steps=[f"{name}:pair"]))
    assert find("dedupe").draws is False
