"""The ledger's sums: what minutes and latencies say is what the attempts say."""

from __future__ import annotations

import sqlite3
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.ledger import SCHEMA, Attempt, Batch, bucket, bucket_ms, new_id, quantile

ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        id=st.just(0), kind=st.sampled_from(["chat", "score"]),
        role=st.sampled_from(["teacher", "judge"]), model=st.sampled_from(["a/x", "b/y"]),
        route=st.just("r"), step=st.sampled_from(["respond", "grade"]), row=st.just("row"),
        started=st.floats(0, 300), latency_ms=st.floats(0, 1e6), queue_ms=st.floats(0, 1e4),
        ttft_ms=st.none() | st.floats(0, 1e4), error=st.sampled_from(["", "wait", "retry"]),
        samples=st.integers(1, 8), prompt_tokens=st.integers(0, 10**6),
        completion_tokens=st.integers(0, 10**6), cost_nano=st.none() | st.integers(0, 10**12),
        tokens_from=st.sampled_from(["", "reported", "estimated"]),
    ),
    max_size=40,
)  # fmt: skip


def written(*lots):
    base = sqlite3.connect(":memory:")
    base.executescript(SCHEMA)
    for attempts in lots:
        batch = Batch()
        for attempt in attempts:
            attempt.id = new_id()
        batch.attempts = attempts
        batch.write(base)
    return base


@given(ATTEMPTS, ATTEMPTS)
def test_minutes_are_the_sums_of_the_attempts(first, second):
    base = written(first, second)
    by = "model, step, role, kind, error"
    raw = base.execute(
        f"SELECT cast(started / 60 AS INTEGER) AS minute, {by}, count(*), sum(prompt_tokens), "
        "sum(completion_tokens), sum(coalesce(cost_nano, 0)), sum(cost_nano IS NULL), "
        f"sum(tokens_from NOT IN ('', 'reported')) FROM attempts GROUP BY minute, {by} ORDER BY "
        f"minute, {by}"
    ).fetchall()
    sums = base.execute(
        f"SELECT minute, {by}, attempts, prompt_tokens, completion_tokens, cost_nano, unpriced, "
        f"estimated FROM minutes ORDER BY minute, {by}"
    ).fetchall()
    base.close()
    assert raw == sums


@given(ATTEMPTS)
def test_every_answered_attempt_is_in_one_bucket(attempts):
    base = written(attempts)
    found = dict(base.execute("SELECT measure, sum(count) FROM latencies GROUP BY measure"))
    base.close()
    good = [a for a in attempts if not a.error]
    expected = {"latency": len(good), "queue": len(good)}
    expected["ttft"] = sum(a.ttft_ms is not None for a in good)
    assert found == {name: count for name, count in expected.items() if count}


def test_replays_are_counted_beside_the_attempts():
    base = sqlite3.connect(":memory:")
    base.executescript(SCHEMA)
    for _ in range(2):
        batch = Batch()
        batch.replays[(1, "a/x", "respond", "teacher", "chat")] += 3
        batch.write(base)
    found = base.execute("SELECT attempts, replayed FROM minutes").fetchall()
    base.close()
    assert found == [(0, 6)]


@given(st.lists(st.floats(0.02, 1e7), min_size=1, max_size=200), st.floats(0.01, 1))
def test_quantiles_from_buckets_are_within_half_a_bucket(times, share):
    counts = defaultdict(int)
    for time in times:
        counts[bucket(time)] += 1
    exact = float(np.quantile(times, share, method="inverted_cdf"))
    assert quantile(counts.items(), share) == pytest.approx(exact, rel=0.046)


def test_no_time_has_no_quantile():
    assert quantile([], 0.5) == 0.0


@given(st.floats(0.01, 1e9))
def test_a_bucket_holds_its_times(time):
    number = bucket(time)
    assert bucket_ms(number - 1) < time * 1.0001
    assert time < bucket_ms(number + 1) * 1.0001
