"""Best-of-n by a reward, valued by people: against all subsets written out."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from karat.scoring import lift_pool
from karat.scoring.lift_pool import agreement, by_model, rungs, wins


def pools(count, sizes, seed=0, lean=1.0):
    random = np.random.default_rng(seed)
    counts_P = random.choice(sizes, count)
    human_R = random.integers(0, 5, int(counts_P.sum())).astype(float)
    reward_R = lean * human_R + random.normal(size=len(human_R))
    return counts_P, reward_R, human_R, random.integers(10, 900, len(human_R)).astype(float)


def split(counts_P, *flat):
    ends = np.cumsum(counts_P)[:-1]
    return zip(*(np.split(one, ends) for one in flat), strict=True)


def test_gains_are_those_of_every_subset():
    counts_P, reward_R, human_R, length_R = pools(40, (2, 4))
    for rung in rungs(counts_P, reward_R, human_R, length_R):
        gains, ahead = [], []
        for reward, human, length in split(counts_P, reward_R, human_R, length_R):
            if len(reward) >= rung.n:
                subsets = list(combinations(range(len(reward)), rung.n))
                best = [human[max(s, key=lambda i: reward[i])] for s in subsets]
                longest = [
                    np.mean([human[i] for i in s if length[i] == max(length[list(s)])])
                    for s in subsets
                ]
                gains.append(np.mean(best) - human.mean())
                ahead.append(np.mean(best) - np.mean(longest))
        assert rung.prompts == len(gains)
        assert rung.reward.gain.value == pytest.approx(np.mean(gains))
        assert rung.over_longest.value == pytest.approx(np.mean(ahead))
        assert rung.oracle.gain.value >= rung.reward.gain.value


def test_a_reward_that_knows_gains_what_people_would():
    counts_P, _, human_R, length_R = pools(40, (3,))
    found = rungs(counts_P, human_R, human_R, length_R)[-1]
    assert found.reward == found.oracle
    assert found.n == 3


def test_a_random_answer_wins_half():
    counts_P, _, human_R, _ = pools(30, (2, 3))
    won = [part.mean() for (part,) in split(counts_P, wins(counts_P, human_R))]
    np.testing.assert_allclose(won, 0.5)
    for human, won_N in split(counts_P, human_R, wins(counts_P, human_R)):
        for i, value in enumerate(won_N):
            rest = np.delete(human, i)
            assert value == pytest.approx(((human[i] > rest) + 0.5 * (human[i] == rest)).mean())


def test_agreement_counts_ordered_pairs():
    counts_P, reward_R, human_R, _ = pools(25, (2, 3, 4))
    right = total = 0.0
    for reward, human in split(counts_P, reward_R, human_R):
        for i, j in permutations(range(len(human)), 2):
            if human[i] > human[j]:
                total += 1
                right += (reward[i] > reward[j]) + 0.5 * (reward[i] == reward[j])
    assert agreement(counts_P, reward_R, human_R).value == pytest.approx(right / total)


def test_models_meet_only_other_models():
    counts_P = np.full(12, 3)
    human_R = np.tile([2.0, 1.0, 0.0], 12)
    models = ["good", "good", "poor"] * 12
    found = by_model(counts_P, models, -human_R, human_R)
    assert list(found) == ["good", "poor"]
    assert (found["good"].people.value, found["good"].reward.value) == (1, 0)
    assert found["good"].answers == 24
    few = ["rare", *models[1:]]
    assert "rare" not in by_model(counts_P, few, human_R, human_R)


def test_an_n_that_few_prompts_have_is_not_told():
    counts_P, reward_R, human_R, length_R = pools(lift_pool.FEWEST - 1, (2,))
    assert rungs(counts_P, reward_R, human_R, length_R) == []
