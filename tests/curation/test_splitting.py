"""Clusters, their parts and what leaks between parts, against plain implementations."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.curation import leakage as leaks
from karat.curation.embedding import embed
from karat.curation.leakage import Runs, leakage
from karat.curation.minhash import NearDuplicates
from karat.curation.shingles import normalise, words
from karat.curation.splitting import assign, components, lots, numbered

STORY = "please write a short story about an old lighthouse keeper and his very curious cat"
SHARES = np.array([0.8, 0.1, 0.1])
label = st.lists(st.integers(-1, 6), min_size=12, max_size=12)


@given(st.lists(label, min_size=0, max_size=3))
def test_components_by_walking(labels):
    arrays = [np.array(one) for one in labels]
    want = list(range(12))
    for _ in range(12):
        for row in range(12):
            for other in range(12):
                if any(one[row] == one[other] >= 0 for one in labels):
                    want[row] = want[other] = min(want[row], want[other])
    assert components(arrays, 12).tolist() == want


def test_a_long_chain_is_one_component():
    many = 2000
    pairs = np.arange(many) // 2
    shifted = (np.arange(many) + 1) // 2
    order = np.random.default_rng(0).permutation(many)
    found = components([pairs[order], shifted[order]], many)
    assert set(found.tolist()) == {0}


def test_keys_are_numbered():
    assert numbered(np.array([7, 0, 9, 7], np.uint64)).tolist() == [1, -1, 2, 1]


clusters = st.lists(st.integers(0, 9), min_size=1, max_size=30)


@given(clusters, st.data())
def test_a_cluster_is_never_divided_and_known_parts_stay(labels, data):
    component = components([np.array(labels)], len(labels))
    known = np.array(data.draw(st.lists(
        st.sampled_from([-1, -1, -1, 0, 1, 2]), min_size=len(labels), max_size=len(labels)
    )))  # fmt: skip
    lot = lots([f"text {one}" for one in labels], 3)
    strata = data.draw(st.sampled_from([None, np.array(labels) % 2]))
    part = assign(component, known, lot, SHARES, strata)
    assert (part[known >= 0] == known[known >= 0]).all()
    for root in set(component.tolist()):
        members = component == root
        settled = set(known[members & (known >= 0)].tolist())
        others = set(part[members & (known < 0)].tolist())
        if len(settled) > 1:
            assert others <= {-1}
        elif settled:
            assert others <= settled
        else:
            assert len(others) == 1
            assert others <= {0, 1, 2}


@given(clusters, clusters)
def test_rows_added_at_the_end_move_no_row_before_them(labels, more):
    def parts(some):
        component = components([np.array(some)], len(some))
        lot = lots([f"text {number} of {one}" for number, one in enumerate(some)], 3)
        return assign(component, np.full(len(some), -1), lot, SHARES).tolist()

    assert parts(labels + more)[: len(labels)] == parts(labels)


def test_shares_are_reached_on_average_and_with_strata_exactly():
    many = 20_000
    alone = np.arange(many)
    none = np.full(many, -1)
    lot = lots([str(i) for i in range(many)], 0)
    counts = np.bincount(assign(alone, none, lot, SHARES))
    assert counts / many == pytest.approx(SHARES, abs=0.01)
    strata = np.arange(many) % 400  # 50 rows each
    part = assign(alone, none, lot, SHARES, strata)
    for stratum in range(0, 400, 37):
        assert np.bincount(part[strata == stratum]).tolist() == [40, 5, 5]
    known = np.where(alone % 10 == 0, 0, -1)  # a tenth is in train already
    assert np.bincount(assign(alone, known, lot, SHARES, alone * 0)).tolist() == [16000, 2000, 2000]
    assert assign(alone[:0], none[:0], lot[:0], SHARES).tolist() == []
    assert set(assign(alone, none, lot, np.array([0.5, 0.0, 0.5])).tolist()) == {0, 2}


def near(*texts):
    found = NearDuplicates(0.6)
    found.add(normalise(pa.array(texts, pa.string())))
    return found.chains().tolist()


def test_chains_join_what_no_single_pair_does():
    base = STORY.split()
    steps = [" ".join(base)]
    for place in (2, 5, 8, 11):
        base[place] = f"other{place}"
        steps.append(" ".join(base))
    apart = near(steps[0], steps[-1])
    assert apart == [0, 1]
    assert near(*steps, "what is two plus two", steps[0]) == [0, 0, 0, 0, 0, 5, 0]
    assert near() == []


vocabulary = st.sampled_from("abc")


@given(st.lists(st.lists(vocabulary, max_size=14), min_size=1, max_size=8), st.integers(0, 8))
def test_shared_runs_by_hand(texts, cut):
    def grams(text):
        if len(text) < 8:
            return [tuple(text)] if text else []
        return [tuple(text[i : i + 8]) for i in range(len(text) - 7)]

    runs = Runs()
    runs.add(words(normalise(pa.array([" ".join(text) for text in texts]))))
    rows, others = np.arange(len(texts))[:cut], np.arange(len(texts))[cut:]
    known = {gram for place in others for gram in grams(texts[place])}
    want = [
        np.mean([gram in known for gram in grams(texts[place])]) if grams(texts[place]) else 0.0
        for place in rows
    ]
    assert runs.shared(rows, others).tolist() == pytest.approx(want)


def test_leaks_are_found_and_named(monkeypatch):
    long = "explain in simple words how a heat pump moves heat from the cold garden into a house"
    texts = ["name a river in the north", long, f"{long} please", "how do tides work", "2 + 2"]
    runs = Runs()
    runs.add(words(normalise(pa.array(texts))))
    ids = [f"row{i}" for i in range(5)]
    parts = {
        "train": np.array([0, 1, 3]),
        "test": np.array([2, 4]),
        "validation": np.array([], int),
    }
    found = leakage(runs, embed(texts), parts, ids)
    assert list(found) == ["test in train"]
    one = found["test in train"]
    assert one["shared_runs"] == {"most": pytest.approx(10 / 11), "rows": 1, "worst": "row2"}
    assert one["cosine"]["nearest"] == ["row2", "row1"]
    assert one["cosine"]["rows"] == 1
    assert one["cosine"]["compared"] == 2
    monkeypatch.setattr(leaks, "SAMPLE", 1)
    assert leakage(runs, embed(texts), parts, ids)["test in train"]["cosine"]["compared"] == 1
