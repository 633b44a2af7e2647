"""Choosing rows by their vectors, against plain implementations of each definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation import facility_location as facility
from karat.curation import frontier, novelselect
from karat.curation.facility_location import facility_location, neighbours_for
from karat.curation.k_center import k_center
from karat.curation.novelselect import density
from karat.curation.repr_filter import repr_filter
from karat.curation.selection import (
    drawn,
    highest,
    nearest_chosen,
    quotas,
    similarities,
)

SIZES = {"many": st.integers(2, 24), "dimensions": st.integers(2, 5), "seed": st.integers(0, 99)}


def some(many, dimensions, seed, copies=3):
    """Unit vectors, the last few of which are copies of the first ones."""
    found = np.random.default_rng(seed).normal(size=(many, dimensions)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    copies = min(copies, many // 3)
    found[many - copies :] = found[:copies]
    return found


@pytest.fixture(params=[1, 3, 2048])
def hot(request, monkeypatch):
    """How many candidates are kept up to date: the choice must not depend on it."""
    monkeypatch.setattr(frontier, "HOT", request.param)
    monkeypatch.setattr(frontier, "ROWS", 5)


@pytest.mark.usefixtures("hot")
@given(**SIZES)
def test_k_center_is_the_plain_farthest_first(many, dimensions, seed):
    vectors = some(many, dimensions, seed)
    distance = 1 - similarities(vectors, vectors).astype(float)
    want = [seed % many]
    while len(want) < many:
        nearest = distance[:, want].min(axis=1)
        nearest[want] = -1
        want.append(int(nearest.argmax()))
    assert k_center(vectors, many, seed % many).tolist() == want
    assert k_center(vectors, 2, seed % many).tolist() == want[:2]


@given(many=st.integers(3, 9), dimensions=st.integers(2, 3), n=st.integers(1, 3),
       seed=st.integers(0, 99))  # fmt: skip
def test_k_center_reaches_no_more_than_twice_the_least_radius(many, dimensions, n, seed):
    from itertools import combinations

    vectors = some(many, dimensions, seed, copies=0).astype(float)
    chord = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    best = min(chord[:, list(c)].min(axis=1).max() for c in combinations(range(many), n))
    chosen = k_center(vectors.astype(np.float32), n, 0)
    # Distances are compared in steps of 1/10,000 of a cosine.
    assert chord[:, chosen].min(axis=1).max() <= 2 * best + 0.03


@given(**SIZES, k=st.integers(1, 30))
def test_facility_location_is_the_plain_greedy(many, dimensions, seed, k):
    vectors = some(many, dimensions, seed)
    worth = np.rint(np.clip(vectors @ vectors.T, 0, 1) * 10_000).astype(int)
    order = np.rint((vectors @ vectors.T + 1) * 10_000)
    np.fill_diagonal(order, -1)
    sparse = np.zeros_like(worth)
    for row in range(many):  # each row counts for its k nearest
        near = np.lexsort((np.arange(many), -order[row]))[: min(k, many - 1)]
        sparse[row, near] = worth[row, near]
    np.fill_diagonal(sparse, 10_000)
    want, covered = [], np.zeros(many, int)
    while len(want) < many:
        gain = np.maximum(sparse - covered[:, None], 0).sum(axis=0)
        gain[want] = -1
        want.append(int(gain.argmax()))
        covered = np.maximum(covered, sparse[:, want[-1]])
    assert facility_location(vectors, many, k).tolist() == want


@given(many=st.integers(3, 9), dimensions=st.integers(2, 3), n=st.integers(1, 3),
       seed=st.integers(0, 99))  # fmt: skip
def test_facility_location_keeps_its_guarantee(many, dimensions, n, seed):
    from itertools import combinations

    vectors = some(many, dimensions, seed)
    worth = np.clip(vectors @ vectors.T, 0, None)
    values = {c: worth[:, list(c)].max(axis=1).sum() for c in combinations(range(many), n)}
    chosen = tuple(sorted(facility_location(vectors, n, many).tolist()))
    assert values[chosen] >= (1 - 1 / np.e) * max(values.values()) - 1e-3


def test_neighbours_follow_how_many_are_kept():
    assert neighbours_for(10, 5) == 9
    assert neighbours_for(100_000, 50_000) == facility.LEAST_NEIGHBOURS
    assert neighbours_for(100_000, 5_000) == 40
    assert neighbours_for(100_000, 10) == facility.MOST_NEIGHBOURS
    assert neighbours_for(1, 1) == 0
    assert facility_location(some(1, 3, 0), 1).tolist() == [0]


def novelty_by_hand(distances, weight):
    """The measure's own sum: distances rising, weights 1/rank, the density of the candidate."""
    return weight * float((np.sort(distances) / np.arange(1, len(distances) + 1)).sum())


@pytest.mark.usefixtures("hot")
@given(**SIZES, power=st.sampled_from([0.0, 0.5]))
def test_novelselect_is_the_plain_greedy(many, dimensions, seed, power):
    vectors = some(many, dimensions, seed)
    distance = 1 - similarities(vectors, vectors)
    weight = density(vectors) ** power
    found = novelselect.novelselect(vectors, many, seed % many, power).tolist()
    # Sums of float32 distances may differ in their last bits, so ties may: scores must not.
    for step in range(1, many):
        before = found[:step]
        scores = [
            -1.0 if row in before else novelty_by_hand(distance[row, before], weight[row])
            for row in range(many)
        ]
        assert scores[found[step]] == pytest.approx(max(scores), abs=1e-5)
    assert sorted(found) == list(range(many))


@pytest.mark.usefixtures("hot")
@pytest.mark.parametrize("seed", range(3))
def test_far_distances_enter_by_their_mean(seed, monkeypatch):
    """Past `NEAREST` chosen, against a plain loop with the same rule; and near the exact one."""
    monkeypatch.setattr(novelselect, "NEAREST", 4)
    vectors = some(60, 6, seed, copies=0)
    distance = 1 - similarities(vectors, vectors).astype(float)
    harmonic = np.cumsum(1 / np.arange(1, 61))

    def novelty(row, before):
        rising = np.sort(distance[row, before])
        head, rest = rising[:4], rising[4:]
        value = (head / np.arange(1, len(head) + 1)).sum()
        if len(rest):
            value += rest.mean() * (harmonic[len(rising) - 1] - harmonic[3])
        return value

    found = novelselect.novelselect(vectors, 30, 0, 0.0).tolist()
    for step in range(1, 30):
        scores = [-1 if r in found[:step] else novelty(r, found[:step]) for r in range(60)]
        assert scores[found[step]] == pytest.approx(max(scores), abs=1e-5)
    exact = [novelty_by_hand(distance[r, found[:20]], 1.0) for r in range(60)]
    near = [novelty(r, found[:20]) for r in range(60)]
    assert np.abs(np.array(near) / exact - 1).max() < 0.15


def test_density_is_one_over_the_mean_distance_of_the_ten_nearest(monkeypatch):
    vectors = some(40, 4, 1, copies=0)
    distance = 1 - similarities(vectors, vectors).astype(float)
    np.fill_diagonal(distance, np.inf)
    want = 1 / np.sort(distance, axis=1)[:, :10].mean(axis=1)
    assert density(vectors) == pytest.approx(want, rel=1e-4)
    rows = np.array([30, 2, 7])
    assert density(vectors, rows) == pytest.approx(want[rows], rel=1e-4)
    assert density(vectors[:1]).tolist() == [1.0]
    assert density(np.repeat(vectors[:1], 5, axis=0)) == pytest.approx([100] * 5)
    monkeypatch.setattr(novelselect, "REFERENCES", 20)
    sampled = density(vectors)
    assert np.corrcoef(sampled, want)[0, 1] > 0.5


@given(**SIZES, n=st.integers(1, 24), most=st.sampled_from([-0.5, 0.3, 0.9, 1.0]))
def test_repr_filter_row_by_row(many, dimensions, seed, n, most):
    vectors = some(many, dimensions, seed)
    order = np.random.default_rng(seed + 1).permutation(many)
    similarity = similarities(vectors, vectors)
    want, near = [], {}
    for place in order.tolist():
        if len(want) == n:
            break
        if want and similarity[place, want].max() > most + 1e-6:
            near[place] = similarity[place, want].max()
        else:
            want.append(place)
    found = repr_filter(vectors, order, n, most)
    assert found.chosen.tolist() == want
    assert found.near.tolist() == list(near)
    assert found.to.similarity.tolist() == pytest.approx(list(near.values()), abs=2e-4)
    assert all(place in want for place in found.to.places.tolist())


def test_repr_filter_over_several_blocks(monkeypatch):
    vectors = some(40, 3, 5)
    order = np.arange(40)
    whole = repr_filter(vectors, order, 40, 0.8)
    monkeypatch.setattr("karat.curation.repr_filter.BLOCK", 3)
    parts = repr_filter(vectors, order, 40, 0.8)
    assert whole.chosen.tolist() == parts.chosen.tolist()
    assert whole.near.tolist() == parts.near.tolist()
    assert 1 < len(whole.chosen) < 40


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.floats(0, 1))
def test_quotas_are_proportional(sizes, share):
    sizes = np.array(sizes)
    n = int(share * sizes.sum())
    quota = quotas(sizes, n)
    assert quota.sum() == (n if sizes.sum() else 0)
    assert (quota <= sizes).all()
    if sizes.sum():
        assert (np.abs(quota - n * sizes / sizes.sum()) < 1).all()


def test_orders():
    assert quotas(np.array([3, 3, 3]), 4).tolist() == [2, 1, 1]
    assert highest(np.array([1.0, np.nan, 3.0, 3.0])).tolist() == [2, 3, 0, 1]
    ids = [f"row{i}" for i in range(50)]
    order = [ids[i] for i in drawn(ids, 7)]
    assert order != ids
    fewer = [one for one in order if one not in ("row3", "row40")]
    left = [one for one in ids if one in fewer]
    assert [left[i] for i in drawn(left, 7)] == fewer  # others' turns do not change
    assert [ids[i] for i in drawn(ids, 8)] != order


def test_nearest_chosen_by_blocks(monkeypatch):
    vectors = some(30, 4, 2)
    chosen = np.array([25, 3, 9, 11])
    similarity = similarities(vectors, vectors[chosen])
    monkeypatch.setattr("karat.curation.selection.ROWS", 7)
    monkeypatch.setattr("karat.curation.selection.COLUMNS", 2)
    found = nearest_chosen(vectors, chosen)
    assert found.places.tolist() == chosen[similarity.argmax(axis=1)].tolist()
    assert found.similarity == pytest.approx(similarity.max(axis=1))
    one = nearest_chosen(vectors, chosen, np.array([3]))
    assert (one.places.tolist(), one.similarity.tolist()) == ([3], [1.0])
    none = nearest_chosen(vectors, chosen[:0])
    assert set(none.places.tolist()) == {-1}
