"""Which row comes next: what is unsure first, random rows among all, nobody asked twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reviewed import compare, how, rate, row, rows, run_of, walk

from karat.errors import RecipeError
from karat.reviewing import lines
from karat.reviewing.bench import Bench
from karat.reviewing.choice import main_scores
from karat.reviewing.pool import Pool
from karat.reviewing.queue import EVERY, disagreement, margins, set_aside, shared, uncertainty
from karat.row import Response


def bench_of(folder: Path, *parts: Any, **meta: Any) -> Bench:
    return Bench(run_of(folder, *parts, **meta))


def test_a_pool_holds_kept_and_dropped_rows_with_answers(tmp_path: Path) -> None:
    held = rows(6)
    held[4].dropped, held[5].dropped = "reject: low", "failed"
    held[5].responses = []
    bench = bench_of(tmp_path, held[:4], held[4:], ranking="rm.reward")
    pool = bench.pool()
    assert pool.ids.to_pylist() == [one.id for one in held[:5]]
    assert pool.main == "rm.reward"
    for place, one in enumerate(held[:5]):
        assert pool.row(place) == (one, [])
        assert pool.find(one.id) == place
    assert pool.find("none") is None
    assert [place for place, *_ in pool.rows([4, 0, 2])] == [0, 2, 4]


def test_rows_are_found_in_any_row_group(tmp_path: Path) -> None:
    held = rows(900, n=2)
    for one in held:
        one.responses[
            0
        ].content = f"{one.id} {np.random.default_rng(int(one.id, 16)).bytes(20_000).hex()}"
    bench = bench_of(tmp_path, held[:700], held[700:])
    pool = bench.pool()
    assert len(pool._ends) > 2
    for place in (0, 255, 256, 511, 699, 700, 899):
        assert pool.row(place)[0].id == held[place].id
    assert [one.id for _, one, _ in pool.rows([899, 3, 300])] == [held[i].id for i in (3, 300, 899)]


def test_a_run_that_has_not_ended_has_no_rows_yet(tmp_path: Path) -> None:
    run = run_of(tmp_path, [])
    run.accepted_file.unlink()
    run.dropped_file.unlink()
    with pytest.raises(RecipeError, match="has no rows yet"):
        Pool(run)


def test_a_new_result_of_the_run_is_seen(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, rows(3))
    assert len(bench.pool()) == 3
    run_of(tmp_path, rows(5))
    assert len(bench.pool()) == 5


def test_margins_are_of_the_best_two() -> None:
    owner = np.array([0, 0, 0, 1, 2, 2, 4])
    score = np.array([1.0, 5.0, 3.5, 2.0, np.nan, 1.0, 9.0])
    found = margins(owner, score, 5)
    assert found[0] == 1.5
    assert np.isnan(found[1:]).all()


def test_the_least_margin_comes_first_but_for_random_rows(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, rows(40), ranking="rm.reward")
    pool, turns = bench.pool(), list(bench.queue("uncertainty", "compare").turns())
    assert sorted(turn.place for turn in turns) == list(range(40))
    aside = set_aside(pool.turn_P)
    assert [aside[turn.place] for turn in turns] == [turn.drawn == "random" for turn in turns]
    ranked = [turn.place for turn in turns if turn.drawn != "random"]
    assert ranked == sorted(ranked)  # row i has margin i + 1
    groups = min(int(aside.sum()), int((~aside).sum()) // (EVERY - 1))
    assert groups >= 5
    both = turns[: EVERY * groups]
    assert [i % EVERY == 1 for i in range(len(both))] == [one.drawn == "random" for one in both]


def test_draws_are_shares_and_do_not_hang_on_the_order_of_rows(tmp_path: Path) -> None:
    many = rows(4000, n=1)
    pool = Pool(run_of(tmp_path / "a", many))
    assert abs(set_aside(pool.turn_P).mean() - 0.25) < 0.03
    assert abs(shared(pool.turn_P).mean() - 0.3) < 0.03
    both = set_aside(pool.turn_P) & shared(pool.turn_P)
    assert abs(both.mean() - 0.075) < 0.02  # two draws, not one
    turned = Pool(run_of(tmp_path / "b", many[::-1]))
    assert (turned.turn_P[::-1] == pool.turn_P).all()


def test_nobody_sees_a_row_twice_and_others_rows_only_where_shared(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, rows(60), ranking="rm.reward")
    queue, pool = bench.queue("uncertainty", "rate"), bench.pool()
    ann = walk(bench, queue, "ann", 40)
    assert len(set(ann)) == 40
    bob = walk(bench, queue, "bob")
    assert len(set(bob)) == len(bob)
    everybody = {pool.ids[i].as_py() for i in np.flatnonzero(shared(pool.turn_P))}
    assert set(ann) & set(bob) == set(ann) & everybody
    assert set(ann) | set(bob) == set(pool.ids.to_pylist())
    # A row rated is a row seen, whatever one is asked next.
    compared = bench.queue("random", "compare").next("ann", bench.reviews.all())
    assert compared is None or compared.row.id not in ann


def test_the_same_seed_gives_the_same_queue(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        bench = bench_of(tmp_path / name, rows(30))
        found.append(walk(bench, bench.queue("random", "rate"), "ann"))
    assert found[0] == found[1]
    assert found[0] != sorted(found[0])


def test_a_row_half_done_comes_first_and_a_skipped_one_never(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, rows(8))
    queue = bench.queue("random", "rate")
    item = queue.next("ann", [])
    assert item is not None
    first = item.row.responses[item.shown[0]]
    bench.reviews.append([lines.rating(item.row, first, {"helpfulness": 1}, how(item, "ann"))])
    again = queue.next("ann", bench.reviews.all())
    assert again is not None
    assert (again.row.id, again.shown, again.done) == (item.row.id, item.shown, item.shown[:1])
    bench.reviews.append([lines.skip(item.row, lines.How("ann"))])
    other = queue.next("ann", bench.reviews.all())
    assert other is not None
    assert other.row.id != item.row.id


def test_the_order_of_answers_tells_nothing_about_them(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, rows(150, n=2), ranking="rm.reward")
    queue = bench.queue("uncertainty", "compare")
    items = [queue.at(row_id) for row_id in bench.pool().ids.to_pylist()]
    first = [item.shown[0] for item in items if item]
    assert 0.35 < np.mean(first) < 0.65
    assert {tuple(sorted(item.shown)) for item in items if item} == {(0, 1)}


def test_the_two_best_are_compared_and_equal_texts_are_not(tmp_path: Path) -> None:
    held = rows(30, n=4)
    for response in held[3].responses:
        response.content = "The same."
    bench = bench_of(tmp_path, held, ranking="rm.reward")
    queue = bench.queue("uncertainty", "compare")
    for number in range(30):
        item = queue.at(held[number].id)
        if number == 3:
            assert item is None
        elif item is not None and item.drawn == "uncertainty":
            assert set(item.shown) == {2, 3}
    walked = []
    while item := queue.next("ann", bench.reviews.all()):
        walked.append(item.row.id)
        compare(bench, item, "ann", -1)
    assert len(walked) == 29


def test_random_rows_show_random_answers(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, rows(120, n=4), ranking="rm.reward")
    queue = bench.queue("random", "rate", 1)
    places = [item.shown[0] for one in bench.pool().ids.to_pylist() if (item := queue.at(one))]
    counts = np.bincount(places, minlength=4)
    assert counts.min() > 15


def test_uncertainty_that_a_reward_states_decides_what_is_rated(tmp_path: Path) -> None:
    held = [row(i, [{"rm.reward": 1.0, "rm.uncertainty": (i * 7 % 10) / 10},
                    {"rm.reward": 2.0, "rm.uncertainty": 0.05}]) for i in range(10)]  # fmt: skip
    bench = bench_of(tmp_path, held, ranking="rm.reward")
    worth = uncertainty(bench.pool(), "rate")
    assert worth.tolist() == pytest.approx([max(i * 7 % 10 / 10, 0.05) for i in range(10)])
    queue = bench.queue("uncertainty", "rate", 1)
    for one in held:
        item = queue.at(one.id)
        if item and item.drawn == "uncertainty" and one.id != held[0].id:
            assert item.shown == [0]
    assert (uncertainty(bench.pool(), "compare") == -1).all()


def test_disagreement_is_what_both_graders_lose(tmp_path: Path) -> None:
    alike = [row(i, [{"a.reward": 0.0, "b.reward": 1.0}, {"a.reward": 2.0, "b.reward": 3.0}])
             for i in range(6)]  # fmt: skip
    apart = row(9, [{"a.reward": 0.0, "b.reward": 3.0}, {"a.reward": 2.0, "b.reward": 1.0}])
    bench = bench_of(tmp_path, [*alike, apart], ranking="a.reward")
    worth = disagreement(bench.pool())
    assert worth[:6].tolist() == [0.0] * 6
    assert worth[6] > 0.5
    item = bench.queue("disagreement", "compare").at(apart.id)
    assert item is not None
    assert sorted(item.shown) == [0, 1]


def test_a_verifier_against_a_reward_is_a_disagreement(tmp_path: Path) -> None:
    held = [row(i, [{"rm.reward": 3.0, "verifier.math": float(i != 2)},
                    {"rm.reward": 1.0, "verifier.math": 1.0}]) for i in range(5)]  # fmt: skip
    worth = disagreement(bench_of(tmp_path, held, ranking="rm.reward").pool())
    assert int(worth.argmax()) == 2
    assert (worth[[0, 1, 3, 4]] == 0).all()


def test_rows_of_one_answer_disagree_by_their_scores(tmp_path: Path) -> None:
    held = [
        row(i, [{"a.reward": float(i), "b.reward": float(i if i != 3 else 9)}]) for i in range(6)
    ]
    worth = disagreement(bench_of(tmp_path, held, ranking="a.reward").pool())
    assert int(worth.argmax()) == 3


def test_rows_that_a_step_marked_come_first(tmp_path: Path) -> None:
    held = rows(8)
    held[5].meta["disagreement"] = {"graders": ["a", "b"], "sigma": 1.5}
    held[2].meta["disagreement"] = {"graders": ["a", "b"], "sigma": 2.5}
    held[1].meta["disagreement"] = "a field of the user's own"
    worth = disagreement(bench_of(tmp_path, held).pool())
    assert list(np.argsort(-np.nan_to_num(worth, nan=-1.0))[:2]) == [2, 5]


def test_what_a_judge_says_of_itself_is_used_where_it_is_alone(tmp_path: Path) -> None:
    held = [row(i, [{"judge.helpfulness": 1.0, "judge.disagreement": i / 10}]) for i in range(4)]
    assert disagreement(bench_of(tmp_path, held).pool()).tolist() == [0.0, 0.1, 0.2, 0.3]


def test_what_a_run_lacks_is_told(tmp_path: Path) -> None:
    ungraded = bench_of(tmp_path / "a", [row(i, [{}, {}]) for i in range(3)])
    with pytest.raises(RecipeError, match=r"has no scores.*queue random"):
        ungraded.queue("uncertainty", "rate")
    with pytest.raises(RecipeError, match="no two graders"):
        ungraded.queue("disagreement", "rate")
    assert len(walk(ungraded, ungraded.queue("random", "rate"), "ann")) == 3
    with pytest.raises(RecipeError, match="no two graders"):
        bench_of(tmp_path / "b", rows(3)).queue("disagreement", "rate")
    empty = bench_of(tmp_path / "c", [])
    assert empty.queue("random", "rate").next("ann", []) is None


def test_graders_have_one_score_each() -> None:
    keys = ["rm.helpfulness", "rm.reward", "rm.uncertainty", "verifier.math", "verifier.code",
            "route.value", "judge.depth", "human.preferred", "panel.disagreement"]  # fmt: skip
    assert main_scores(keys) == ["rm.reward", "verifier.math", "verifier.code", "judge.depth"]


def test_a_wanted_row_comes_back_though_it_was_done(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, rows(6))
    queue = bench.queue("random", "rate")
    done = walk(bench, queue, "ann", 2)
    item = queue.next("ann", bench.reviews.all(), want=done[0])
    assert item is not None
    assert item.row.id == done[0]
    assert item.done == item.shown
    rate(bench, item, "ann", 4, 4)
    assert len(bench.reviews.all()) == 4


def test_an_empty_answer_can_be_rated(tmp_path: Path) -> None:
    held = rows(1, n=1)
    held[0].responses.append(Response(""))
    bench = bench_of(tmp_path, held)
    item = bench.queue("random", "rate").next("ann", [])
    assert item is not None
    assert len(item.shown) == 2
