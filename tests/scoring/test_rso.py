"""RSO: equal to the paper's algorithm draw by draw, and to the distribution it is made for."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from karat.scoring.rso import places, statistical_rejection, uniforms


def by_the_paper(
    scores: list[float], seeds: list[int], accept: int, beta: float
) -> tuple[set[int], int]:
    """2309.06657 Algorithm 1 for one prompt, its random numbers taken from the candidates' seeds.

    Also how often it took a new maximum.
    """

    def random(which: int, turn: int) -> float:
        return float(uniforms(np.array([seeds[which]], np.uint64), turn)[0])

    order = sorted(range(len(scores)), key=lambda which: random(which, 0))
    candidates = {which: scores[which] for which in order}
    accepted: list[int] = []
    turn = 0
    while len(accepted) < accept and candidates:
        turn += 1
        highest = max(candidates.values())
        leaving = []
        for which, reward in candidates.items():
            if random(which, turn) >= np.exp((reward - highest) / beta):
                continue
            accepted.append(which)
            leaving.append(which)
            if len(accepted) == accept:
                break
        for which in leaving:
            candidates.pop(which)
    return set(accepted), turn


POOLS = st.lists(
    st.lists(st.integers(-8, 8).map(lambda i: i / 4), min_size=1, max_size=7),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(POOLS, st.integers(1, 4), st.sampled_from([0.05, 0.5, 3.0]), st.integers(0, 2**32 - 1))
def test_equals_the_paper(pools: list[list[float]], accept: int, beta: float, seed: int) -> None:
    counts = [len(pool) for pool in pools]
    random = np.random.default_rng(seed)
    seed_R = random.integers(0, 2**64, sum(counts), np.uint64, endpoint=False)
    scores_R = np.concatenate([np.array(pool) for pool in pools])
    owner_R = np.repeat(np.arange(len(pools)), counts)
    found = statistical_rejection(scores_R, owner_R, seed_R, accept, beta)
    for owner, pool in enumerate(pools):
        mine = owner_R == owner
        want, _ = by_the_paper(pool, seed_R[mine].tolist(), accept, beta)
        assert set(np.flatnonzero(found[mine]).tolist()) == want
        assert len(want) == min(accept, len(pool))


def test_the_maximum_is_taken_anew_over_what_remains() -> None:
    """One far above the others is accepted first; with its maximum no other would ever follow."""
    scores = [50.0, 0.0, 0.1, -0.1]
    random = np.random.default_rng(3)
    turns = []
    for _ in range(100):
        seeds = random.integers(0, 2**64, 4, np.uint64, endpoint=False)
        want, turn = by_the_paper(scores, seeds.tolist(), 3, 0.5)
        turns.append(turn)
        owner = np.zeros(4, np.int64)
        found = statistical_rejection(np.array(scores), owner, seeds, 3, 0.5)
        assert found[0]
        assert set(np.flatnonzero(found).tolist()) == want
    assert min(turns) > 1


def test_accepts_what_the_optimal_policy_would_write() -> None:
    """Of candidates drawn from π, the accepted one is distributed as π(y)·exp(r(y)/β)."""
    prompts, n, beta = 20_000, 64, 0.5
    policy, reward = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.0, 0.4, 0.2, 0.9])
    random = np.random.default_rng(11)
    drawn = random.choice(4, (prompts, n), p=policy)
    seed_R = random.integers(0, 2**64, prompts * n, np.uint64, endpoint=False)
    owner_R = np.repeat(np.arange(prompts), n)
    found = statistical_rejection(reward[drawn.ravel()], owner_R, seed_R, 1, beta)
    counts = np.bincount(drawn.ravel()[found], minlength=4)
    assert counts.sum() == prompts
    target = policy * np.exp(reward / beta)
    assert stats.chisquare(counts, prompts * target / target.sum()).pvalue > 1e-3
    # A test that could not tell: the policy itself and best-of-n are far away.
    assert stats.chisquare(counts, prompts * policy).pvalue < 1e-6
    assert counts[3] < prompts / 2


def test_the_ends_of_beta() -> None:
    random = np.random.default_rng(0)
    scores_R = random.normal(size=4000)
    owner_R = np.repeat(np.arange(500), 8)
    seed_R = random.integers(0, 2**64, 4000, np.uint64, endpoint=False)
    greedy = statistical_rejection(scores_R, owner_R, seed_R, 3, 1e-9).reshape(500, 8)
    best = np.argsort(-scores_R.reshape(500, 8), axis=1)[:, :3]
    assert np.take_along_axis(greedy, best, axis=1).all()
    blind = statistical_rejection(scores_R, owner_R, seed_R, 1, 1e9)
    place = np.flatnonzero(blind) % 8
    assert stats.chisquare(np.bincount(place, minlength=8)).pvalue > 1e-3  # no place is favoured


def test_another_prompt_changes_no_draw() -> None:
    random = np.random.default_rng(5)
    scores_R, seed_R = random.normal(size=60), random.integers(0, 2**63, 60).astype(np.uint64)
    owner_R = np.repeat(np.arange(10), 6)
    all_of_them = statistical_rejection(scores_R, owner_R, seed_R, 2, 0.5)
    last = statistical_rejection(scores_R[54:], owner_R[54:] - 9, seed_R[54:], 2, 0.5)
    assert all_of_them[54:].tolist() == last.tolist()
    none = statistical_rejection(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.uint64), 2, 1.0)
    assert none.tolist() == []


def test_uniforms_are_uniform_and_draws_of_one_seed_unrelated() -> None:
    seeds = np.arange(50_000, dtype=np.uint64)
    draws = [uniforms(seeds, draw) for draw in range(4)]
    for numbers in draws:
        assert stats.kstest(numbers, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.02
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.02


def test_places_count_within_equals() -> None:
    assert places(np.array([2, 2, 5, 7, 7, 7])).tolist() == [0, 1, 0, 0, 1, 2]
    assert places(np.zeros(0, np.int64)).tolist() == []
