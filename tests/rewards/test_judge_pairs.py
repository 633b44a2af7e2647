"""judge pairwise: both orders, ties that nobody is paid for, and a schedule that is fair."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import graded, quality, score, shown
from server import Server

from karat.rewards.load import load_reward
from karat.rewards.tournament import Verdict, meetings, once_each, schedule, standings

PAIRS = {"reward": "judge/m", "ask": "pairwise"}
TEXTS = ("good good good", "good", "bad", "good good")


def better(word):
    return json.dumps({"reasoning": "", "better": word})


def test_a_fair_judge_ranks_by_quality(tmp_path):
    with Server(answer=graded) as server:
        (found,) = score(tmp_path, server.model(), PAIRS, TEXTS)
        assert len(server.requests) == 4 * 3
    assert [scores["wins"] for scores in found] == [1, 1 / 3, 0, 2 / 3]
    assert all(scores["consistency"] == 1 and scores["first"] == 0.5 for scores in found)


def test_each_pair_is_shown_in_both_orders(tmp_path):
    with Server(answer=graded) as server:
        score(tmp_path, server.model(), PAIRS, TEXTS[:2])
        orders = {
            (shown(r["body"], "response A"), shown(r["body"], "response B"))
            for r in server.requests
        }
    assert orders == {(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[0])}


@pytest.mark.parametrize(("word", "first"), [("A", 1.0), ("B", 0.0)])
def test_position_bias_makes_ties_and_is_counted(tmp_path, word, first):
    with Server(answer=lambda body, place: better(word)) as server:
        (found,) = score(tmp_path, server.model(), PAIRS, TEXTS)
    assert found == [{"wins": 0.5, "consistency": 0.0, "first": first}] * 4


def test_a_preference_in_one_order_only_is_a_tie(tmp_path):
    def answer(body, place):
        good = quality(shown(body, "response A")) > quality(shown(body, "response B"))
        return better("A" if good else "tie")

    with Server(answer=answer) as server:
        (found,) = score(tmp_path, server.model(), PAIRS, TEXTS[:2])
    assert found == [{"wins": 0.5, "consistency": 0.0, "first": 0.75}] * 2


def test_identical_and_empty_responses_cost_nothing(tmp_path):
    with Server(answer=graded) as server:
        found = score(
            tmp_path, server.model(), PAIRS, ["good", "good"], ["", "good", " "], ["good"], []
        )
        assert not server.requests
    tie = {"wins": 0.5, "consistency": 1.0, "first": 0.5}
    assert found[0] == [tie, tie]
    assert [scores["wins"] for scores in found[1]] == [0.25, 1.0, 0.25]
    assert found[2:] == [[None], []]


def test_equal_texts_get_equal_scores_and_are_one_player(tmp_path):
    with Server(answer=graded) as server:
        (found,) = score(tmp_path, server.model(), PAIRS, ["good", "bad", "good", "good good"])
        assert len(server.requests) == 3 * 2
    assert found[0] == found[2]
    assert [scores["wins"] for scores in found] == [0.5, 0, 0.5, 1]


@pytest.mark.parametrize("n", [2, 5, 6, 8])
def test_the_calls_are_as_many_as_are_planned(tmp_path, n):
    with Server(answer=graded) as server:
        score(tmp_path, server.model(), PAIRS, [f"good {i}" for i in range(n)])
        asked = len(server.requests)
    assert asked == load_reward(PAIRS, tmp_path).calls(n) == n * min(n - 1, 4)


def test_samples_decide_by_majority_in_each_order(tmp_path):
    def answer(body, place):
        return better("tie") if place == 2 else graded(body)

    written = {**PAIRS, "samples": 3, "temperature": 1}
    with Server(answer=answer) as server:
        (found,) = score(tmp_path, server.model(), written, TEXTS[:2])
    assert [scores["wins"] for scores in found] == [1, 0]
    assert found[0]["disagreement"] == pytest.approx(1 / 3)


def test_no_word_but_the_three_is_a_verdict(tmp_path):
    with Server(answer=lambda body, place: better("both")) as server:
        (found,) = score(tmp_path, server.model(), PAIRS, TEXTS[:2])
    assert "does not fit the schema after 3 tries" in str(found)


DISTINCT = st.lists(st.text("ab", max_size=6), unique=True, max_size=12)


@given(DISTINCT, st.integers(1, 7))
def test_everybody_meets_the_same_number_of_opponents(texts, opponents):
    count = len(texts)
    pairs = schedule(texts, opponents)
    assert all(a < b for a, b in pairs)
    assert len(set(pairs)) == len(pairs) == meetings(count, opponents)
    if count - 1 <= opponents:
        assert pairs == list(combinations(range(count), 2))
        return
    met = Counter(place for pair in pairs for place in pair)
    wanted = opponents + (opponents % 2) * (count % 2)
    assert [met[place] for place in range(count)] == [wanted] * count


@given(DISTINCT, st.integers(1, 7), st.randoms(use_true_random=False))
def test_who_meets_follows_from_the_texts_not_from_their_order(texts, opponents, random):
    other = random.sample(texts, len(texts))
    by_text = {frozenset((texts[a], texts[b])) for a, b in schedule(texts, opponents)}
    assert by_text == {frozenset((other[a], other[b])) for a, b in schedule(other, opponents)}


VERDICT = st.builds(Verdict, st.sampled_from([-1.0, -0.5, 0.0, 2.0]), st.booleans(),
                    st.floats(0, 1), st.booleans())  # fmt: skip


@given(st.integers(2, 6), st.data())
def test_standings_against_a_plain_count(count, data):
    verdicts = {
        pair: data.draw(VERDICT)
        for pair in combinations(range(count), 2)
        if data.draw(st.booleans())
    }
    for place, scores in enumerate(standings(count, verdicts)):
        won = lost = tied = 0
        asked = []
        for (a, b), verdict in verdicts.items():
            if place in (a, b):
                margin = verdict.margin * (1 if place == a else -1)
                won, lost, tied = won + (margin > 0), lost + (margin < 0), tied + (margin == 0)
                asked += [verdict] if verdict.asked else []
        games = won + lost + tied
        assert scores["wins"] == pytest.approx((won + tied / 2) / games if games else 0.5)
        same = sum(v.same for v in asked)
        assert scores["consistency"] == (same / len(asked) if asked else 1)
        assert 0 <= scores["first"] <= 1


@given(st.lists(st.text("ab", max_size=2)))
def test_once_each_gives_the_texts_back(texts):
    distinct, place = once_each(texts)
    assert [distinct[p] for p in place] == texts
    assert len(set(distinct)) == len(distinct)
