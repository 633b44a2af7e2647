"""Agreement of reviewers with each other and with the reward, against sums done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reviewed import FIVE, compare, rate, row, rows, run_of
from scipy.stats import pearsonr, spearmanr

from karat.reviewing.agreement import Line, at_random, between, with_reward
from karat.reviewing.bench import Bench
from karat.reviewing.queue import set_aside
from karat.reviewing.store import Said

RATINGS = [(4, 4), (3, 3), (0, 1), (2, 2), (4, 3), (1, 0), (2, 4), (0, 0)]


def line(lines: list[Line], attribute: str, statistic: str) -> Line:
    (found,) = [one for one in lines if (one.attribute, one.statistic) == (attribute, statistic)]
    return found


def kappa(pairs: list[tuple[int, int]]) -> float:
    """Quadratic-weighted κ, from its definition."""
    one, other = np.array(pairs).T
    observed = ((one - other) ** 2).mean()
    return float(1 - observed / ((one[:, None] - other[None, :]) ** 2).mean())


def bench_of(folder: Path, count: int = 8) -> Bench:
    held = [
        row(i, [{"rm.helpfulness": (i * 3 % 8) / 2, "rm.reward": float(i)},
                {"rm.helpfulness": 1.0, "rm.reward": float(7 - 2 * i)}])
        for i in range(count)
    ]  # fmt: skip
    return Bench(run_of(folder, held, ranking="rm.reward"))


def test_kappa_of_two_reviewers_is_that_of_the_definition(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    queue = bench.queue("random", "rate", 1)
    for number, (ann, bob) in enumerate(RATINGS):
        item = queue.at(f"{number:016x}")
        assert item is not None
        rate(bench, item, "ann", {**dict.fromkeys(FIVE, ann), "coherence": 3})
        rate(bench, item, "bob", {"helpfulness": bob, "coherence": 3})
    said = bench.reviews.all()
    lines = between(said, "ann", "bob")
    found = line(lines, "helpfulness", "κ").all
    assert found.value == pytest.approx(kappa(RATINGS))
    assert found.n == 8
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert line(lines, "correctness", "κ").all.n == 0  # rated by one alone
    constant = line(lines, "coherence", "κ").all
    assert (constant.value, constant.n) == (None, 8)  # nothing varies: not agreement, nothing
    assert line(lines, "preference", "κ").all.n == 0
    backwards = line(between(said, "bob", "ann"), "helpfulness", "κ").all
    assert backwards.value == pytest.approx(found.value)


def test_comparisons_agree_whichever_side_an_answer_stood_on(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    queue = bench.queue("random", "compare")
    for number in range(8):
        item = queue.at(f"{number:016x}")
        assert item is not None
        strength = (-3, 1, 2, 0, -1, 3, -2, 1)[number]
        compare(bench, item, "ann", strength)
        compare(bench, item._replace(shown=item.shown[::-1]), "bob", -strength)
    found = line(between(bench.reviews.all(), "ann", "bob"), "preference", "κ").all
    assert (found.value, found.n) == (1.0, 8)


def test_a_reward_is_held_against_each_reviewer(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    queue, people, theirs = bench.queue("random", "rate", 1), [], []
    for number, (ann, _) in enumerate(RATINGS):
        item = queue.at(f"{number:016x}")
        assert item is not None
        rate(bench, item, "ann", {"helpfulness": ann})
        people.append(ann)
        theirs.append(item.row.responses[item.shown[0]].scores["rm.helpfulness"])
    lines = with_reward(bench.reviews.all(), "ann", bench.scores(), "rm")
    assert line(lines, "helpfulness", "Pearson").all.value == pytest.approx(
        pearsonr(people, theirs)[0]
    )
    assert line(lines, "helpfulness", "Spearman").all.value == pytest.approx(
        spearmanr(people, theirs)[0]
    )
    assert {one.attribute for one in lines} == {"helpfulness", "pairs in the same order"}
    assert not any(
        one.all.n for one in with_reward(bench.reviews.all(), "bob", bench.scores(), "rm")
    )


def test_pairs_are_those_compared_and_those_rated_apart(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    right = 0
    for number in range(4):  # rated: the first response higher than the second, or equal
        item = bench.queue("random", "rate").at(f"{number:016x}")
        assert item is not None
        values = [3 if place == 0 or number == 3 else 1 for place in item.shown]
        rate(bench, item, "ann", *values)
        right += number != 3 and number > 7 - 2 * number
    for number in range(4, 8):  # compared: the first response better, or neither
        item = bench.queue("random", "compare").at(f"{number:016x}")
        assert item is not None
        compare(bench, item, "ann", 0 if number == 7 else (-2 if item.shown[0] == 0 else 2))
        right += number != 7 and number > 7 - 2 * number
    found = with_reward(bench.reviews.all(), "ann", bench.scores(), "rm")[-1]
    assert (found.statistic, found.all.n) == ("rm.reward", 6)
    assert found.all.value == pytest.approx(right / 6)


def said(row_id: str, drawn: str) -> Said:
    return Said(kind="rating", rater="ann", row=row_id, mark=f"{row_id}{drawn}", drawn=drawn)


def test_figures_for_the_run_are_of_random_rows_alone(tmp_path: Path) -> None:
    pool = Bench(run_of(tmp_path, rows(40))).pool()
    ids, aside = pool.ids.to_pylist(), set_aside(pool.turn_P)
    everything = [said(one, "random") for one in ids]
    assert at_random(everything) == everything
    mixed = [*everything, said(ids[0], "uncertainty")]
    # The queue random went on beyond the rows set aside, and another queue had taken some of them.
    assert [one.row for one in at_random(mixed)] == [
        i for i, a in zip(ids, aside, strict=True) if a
    ]
    assert at_random([said(ids[0], "uncertainty")]) == []


def test_rows_chosen_for_being_hard_do_not_count_for_the_run(tmp_path: Path) -> None:
    held = [row(i, [{"rm.reward": float(i % 2)}, {"rm.reward": float(i % 3)}]) for i in range(80)]
    bench = Bench(run_of(tmp_path, held, ranking="rm.reward"))
    queue = bench.queue("uncertainty", "compare")
    for _ in range(40):
        item = queue.next("ann", bench.reviews.all())
        assert item is not None
        score = [item.row.responses[place].scores["rm.reward"] for place in item.shown]
        agrees = item.drawn == "random"  # on hard rows the reward is always wrong
        better = -1 if (score[0] > score[1]) == agrees else 1
        compare(bench, item, "ann", better)
    found = with_reward(bench.reviews.all(), "ann", bench.scores(), "rm")[-1]
    assert found.random.value == 1.0
    assert found.all.value is not None
    assert found.all.value < 1.0
    assert 0 < found.random.n < found.all.n
