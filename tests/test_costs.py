"""What runs have cost: sums of the ledgers against the attempts they were made of."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections import defaultdict
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.costs import SUMMED, as_tree, costs, read_days
from karat.errors import RecipeError
from karat.journal import open_journal
from karat.journal.address import FILE as JOURNAL
from karat.journal.finding import folders, journals
from karat.journal.grouping import KEYS
from karat.ledger import SCHEMA, Attempt, Batch, bucket, new_id

NOON = datetime(2026, 11, 3, 12).timestamp()  # local
DAY_S = 86_400


def attempt(**more):
    usual = {
        "id": new_id(), "kind": "chat", "role": "teacher", "model": "openai/a", "route": "a",
        "step": "respond", "row": "1", "started": NOON, "latency_ms": 100.0, "prompt_tokens": 10,
        "completion_tokens": 5, "tokens_from": "reported", "cost_nano": 1_000_000_000,
    }  # fmt: skip
    return Attempt(**{**usual, **more})


def failed(**more):
    return attempt(
        error="retry", outcome="retried", prompt_tokens=0, completion_tokens=0, tokens_from="",
        cost_nano=0, **more,
    )  # fmt: skip


def ledger(folder, *attempts, replays=()):
    """A run's folder whose journal holds these."""
    folder.mkdir(parents=True, exist_ok=True)
    batch = Batch()
    batch.attempts += attempts
    batch.replays.update(replays)
    base = sqlite3.connect(folder / "journal.sqlite")
    try:
        base.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        with base:
            batch.write(base)
    finally:
        base.close()
    return folder


def lines(found):
    return {line.name: line for line in found.lines}


def test_every_sum_is_that_of_the_attempts(tmp_path):
    ledger(
        tmp_path / "a",
        attempt(cached_tokens=4, reasoning_tokens=2, samples=3),
        attempt(tokens_from="estimated", cost_nano=None),
        failed(),
        replays={(int(NOON // 60), "openai/a", "respond", "teacher", "chat"): 7},
    )
    (line,) = costs([tmp_path]).lines
    assert [getattr(line, name) for name in SUMMED] == [2, 4, 7, 0, 1, 20, 4, 10, 2, 1, 10**9, 1]


def test_groupings_split_the_same_total(tmp_path):
    ledger(
        tmp_path / "a",
        attempt(),
        attempt(model="openai/b", step="grade", role="judge", latency_ms=900.0),
        attempt(model="groq/b", started=NOON + DAY_S, cost_nano=6_000_000_000),
        attempt(kind="embed", cost_nano=0),
    )
    ledger(tmp_path / "b" / "c", attempt(cost_nano=2_000_000_000), failed(model="groq/b"))
    names = {}
    for by in KEYS:
        found = costs([tmp_path], by)
        names[by] = [line.name for line in found.lines]
        assert (found.total.cost_nano, found.total.calls) == (10_000_000_000, 5)
        for name in SUMMED:
            assert sum(getattr(x, name) for x in found.lines) == getattr(found.total, name)
        buckets = defaultdict(int)
        for x in found.lines:
            assert sum(x.latencies.values()) == x.calls
            for number, count in x.latencies.items():
                buckets[number] += count
        assert buckets == found.total.latencies
    assert sorted(names.pop("model")) == ["groq/b", "openai/a", "openai/b"]
    assert names == {
        "provider": ["groq", "openai"],  # dearest first
        "step": ["respond", "grade"],
        "run": [str(tmp_path / "a"), str(tmp_path / "b" / "c")],
        "day": ["2026-11-03", "2026-11-04"],  # in their order
        "role": ["teacher", "judge"],
        "key": ["(runs)"],
    }


def test_latencies_stay_with_their_key(tmp_path):
    fast = [attempt(latency_ms=10.0 + i / 10) for i in range(50)]
    slow = [attempt(model="z/slow", latency_ms=5000.0, started=NOON + 60 * i) for i in range(50)]
    none = [failed(model="m/never")]
    found = lines(costs([ledger(tmp_path / "a", *fast, *slow, *none)]))
    assert found["openai/a"].latency_ms(0.5) == pytest.approx(12.5, rel=0.05)
    assert found["z/slow"].latency_ms(0.95) == pytest.approx(5000, rel=0.05)
    assert found["m/never"].latency_ms(0.5) is None


@given(st.lists(st.floats(0.02, 1e6), min_size=1, max_size=60))
def test_quantiles_are_within_a_bucket_of_the_exact_ones(tmp_path_factory, times):
    folder = ledger(tmp_path_factory.mktemp("q"), *(attempt(latency_ms=ms) for ms in times))
    for share in (0.5, 0.95):
        exact = sorted(times)[max(1, math.ceil(share * len(times))) - 1]
        assert costs([folder]).total.latency_ms(share) == pytest.approx(exact, rel=0.05)


def test_days_are_local_and_since_counts_from_their_midnight(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")  # half an hour beside the full one
    time.tzset()
    try:
        late = datetime(2026, 11, 3, 23, 59, 59).timestamp()
        folder = ledger(tmp_path / "a", attempt(started=late), attempt(started=late + 1))
        assert list(lines(costs([folder], "day"))) == ["2026-11-03", "2026-11-04"]
        since = costs([folder], since="2026-11-04")
        assert since.total.calls == sum(since.total.latencies.values()) == 1
        assert costs([folder], since="2026-11-05").lines == []
        assert as_tree(since)["time_zone"] == "IST (UTC+05:30)"
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
        assert as_tree(since)["time_zone"] == "UTC"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_run_that_is_writing_is_counted(tmp_path):
    async def main():
        journal = open_journal(tmp_path / "journal.sqlite")
        try:
            await journal.put([], attempt())
            first = costs([tmp_path]).total.calls
            await journal.put([], attempt())
            return first, costs([tmp_path]).total.calls
        finally:
            await journal.close()

    assert asyncio.run(main()) == (1, 2)


def test_a_journal_that_cannot_be_read_is_a_warning(tmp_path):
    ledger(tmp_path / "good", attempt())
    old = ledger(tmp_path / "old", attempt()) / "journal.sqlite"
    base = sqlite3.connect(old)
    base.execute("PRAGMA user_version = 1")
    base.close()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "journal.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "journal.sqlite").write_text("not a database at all" * 100)
    found = costs([tmp_path])
    assert (found.total.calls, found.runs) == (1, [str(tmp_path / "good")])
    assert len(found.warnings) == 3
    for name in ("old", "text", "torn"):
        assert any(str(tmp_path / name / "journal.sqlite") in w for w in found.warnings), name
    assert any("format 1" in warning for warning in found.warnings)


def test_only_the_sums_are_read(tmp_path):
    folder = ledger(tmp_path, attempt())
    base = sqlite3.connect(folder / "journal.sqlite")
    base.execute("DROP TABLE attempts")
    base.execute("DROP TABLE calls")
    base.close()
    assert costs([folder]).total.calls == 1


def test_runs_are_found_three_levels_down_and_once(tmp_path):
    near, deep = ledger(tmp_path / "near"), ledger(tmp_path / "x" / "y" / "deep")
    ledger(tmp_path / "x" / "y" / "z" / "too-deep")
    ledger(tmp_path / ".hidden")
    (tmp_path / "latest").symlink_to(near)
    found = journals([tmp_path, near, deep])
    assert {folder.resolve() for folder, _ in found} == {near, deep}
    assert len(found) == 2


def test_by_default_the_runs_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="no folder runs"):
        costs()
    ledger(tmp_path / "runs" / "one", attempt())
    assert costs().runs == ["runs/one"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"by": "modell"}, "did you mean 'model'"),
        ({"since": "yesterday"}, "YYYY-MM-DD"),
        ({"since": "2026-11-31"}, "YYYY-MM-DD"),
        ({}, "no run in"),
    ],
)
def test_mistakes_are_said_in_words(tmp_path, what, said):
    with pytest.raises(RecipeError, match=said):
        costs([tmp_path], **what)


def test_programs_get_exact_figures_and_none_for_the_unknown(tmp_path):
    ledger(
        tmp_path / "a",
        attempt(cost_nano=1),
        attempt(model="openai/b", cost_nano=None),
        attempt(model="openai/c", cost_nano=0),
    )
    tree = as_tree(costs([tmp_path]))
    cost = {line["name"]: (line["cost_usd"], line["unpriced"]) for line in tree["lines"]}
    assert cost == {"openai/a": (1e-9, 0), "openai/b": (None, 1), "openai/c": (0.0, 0)}
    assert tree["total"]["cost_usd"] == 1e-9
    assert (tree["total"]["unpriced"], tree["runs"]) == (1, [str(tmp_path / "a")])


# --- times to the first token, caches, keys ------------------------------------------------------


def test_times_to_the_first_token_stand_beside_those_of_the_whole_answer(tmp_path):
    streamed = [attempt(latency_ms=1000.0 * i, ttft_ms=10.0 * i) for i in range(1, 101)]
    silent = [attempt(model="openai/b", latency_ms=700.0)]
    broken = [failed(ttft_ms=9e6)]  # what was not answered has no time
    found = lines(costs([ledger(tmp_path / "a", *streamed, *silent, *broken)]))
    line = found["openai/a"]
    assert sum(line.firsts.values()) == sum(line.latencies.values()) == 100
    for share in (0.5, 0.95, 0.99):
        assert line.latency_ms(share) == pytest.approx(100_000 * share, rel=0.05)
        assert line.ttft_ms(share) == pytest.approx(1000 * share, rel=0.05)
    assert found["openai/b"].ttft_ms(0.5) is None
    tree = {one["name"]: one for one in as_tree(costs([tmp_path]))["lines"]}
    assert tree["openai/a"]["ttft_p99_ms"] == line.ttft_ms(0.99)
    assert tree["openai/a"]["p99_ms"] == line.latency_ms(0.99)
    assert tree["openai/b"]["ttft_p50_ms"] is None


@settings(max_examples=15)
@given(st.lists(st.tuples(st.floats(0.001, 1e9), st.floats(0.001, 1e9)), min_size=1, max_size=30))
def test_no_time_is_taken_for_another(tmp_path_factory, times):
    """However long or short: whole answers and first tokens are read in one question."""
    made = [
        attempt(model=f"m/{place % 3}", latency_ms=whole, ttft_ms=first)
        for place, (whole, first) in enumerate(times)
    ]
    found = lines(costs([ledger(tmp_path_factory.mktemp("t"), *made)]))
    for name, line in found.items():
        own = [one for one in made if one.model == name]
        for counts, field in ((line.latencies, "latency_ms"), (line.firsts, "ttft_ms")):
            wanted = defaultdict(int)
            for one in own:
                wanted[bucket(getattr(one, field))] += 1
            assert counts == wanted


def test_the_gateways_cache_is_told_from_a_journals_replays(tmp_path):
    minute = int(NOON // 60)
    ledger(
        tmp_path / "run",
        attempt(),
        replays={(minute, "openai/a", "respond", "teacher", "chat"): 5},
    )
    ledger(
        tmp_path / "gateway",
        attempt(step="key:ci", cost_nano=3),
        attempt(step="key:ann.b@c", role="reward", cost_nano=4),
        replays={(minute, "openai/a", "key:ci", "gateway", "chat"): 7},
    )
    found = lines(costs([tmp_path], "key"))
    assert {name: (x.calls, x.replayed, x.cache_hits) for name, x in found.items()} == {
        "(runs)": (1, 5, 0), "ci": (1, 7, 7), "ann.b@c": (1, 0, 0),
    }  # fmt: skip
    assert (found["ci"].cost_nano, found["ann.b@c"].cost_nano) == (3, 4)
    (line,) = costs([tmp_path]).lines
    assert (line.replayed, line.cache_hits) == (12, 7)


def test_days_split_what_other_keys_say(tmp_path):
    folder = ledger(
        tmp_path / "a",
        attempt(),
        attempt(model="groq/b", started=NOON + DAY_S, cost_nano=None),
        failed(model="groq/b", started=NOON + DAY_S),
    )
    found = {(one.day, one.name): one[2:] for one in read_days(folder / JOURNAL, "model")}
    assert found == {
        ("2026-11-03", "openai/a"): (10**9, 0, 15, 1),
        ("2026-11-04", "groq/b"): (0, 1, 15, 2),
    }
    assert [one.day for one in read_days(folder / JOURNAL, "step", date(2026, 11, 4))] == [
        "2026-11-04"
    ]


def test_links_that_lead_in_rings_are_entered_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for i in range(25):
        (tmp_path / "a" / f"ring{i}").symlink_to(tmp_path)
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    elsewhere.mkdir()
    (tmp_path / "a" / "to").symlink_to(elsewhere)
    found = [path.relative_to(tmp_path).as_posix() for path in folders(tmp_path, 4)]
    assert found == [".", "a", "a/b", "a/to"]
