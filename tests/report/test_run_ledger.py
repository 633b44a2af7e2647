"""What a journal says of a run: sums that agree with the report, times, errors with a remedy."""

from __future__ import annotations

import asyncio

import pytest
from seen_run import seen_run

from karat.journal import open_journal
from karat.ledger import Attempt, Record, new_id
from karat.report import run_ledger
from karat.report.run_ledger import advice, cost_lines, faults, model_lines, paid_usd, series


def record(path, attempts, answers=1):
    """A journal with these attempts."""

    async def write():
        journal = open_journal(path)
        for one in attempts:
            if one.error:
                journal.note(one)
            else:
                rows = [
                    Record(f"{one.id}{n}".encode(), one.id, "chat", one.model, "s", "r", n, "")
                    for n in range(answers)
                ]  # fmt: skip
                await journal.put(rows, one)
        await journal.close()

    asyncio.run(write())
    return path


def attempt(at, **more):
    fields = {
        "id": new_id(), "kind": "chat", "role": "teacher", "model": "m", "route": "m",
        "step": "respond", "row": "r", "started": at, "latency_ms": 500.0, "ttft_ms": 100.0,
        "prompt_tokens": 10, "completion_tokens": 20, "cost_nano": 1_000_000,
        "tokens_from": "reported", **more,
    }  # fmt: skip
    return Attempt(**fields)


def test_sums_are_those_of_the_report():
    run = seen_run()
    by_model = {one["model"]: one for one in run.report["models"]}
    lines = model_lines(run.journal)
    assert {one.model for one in lines} == set(by_model)
    for one in lines:
        told = by_model[one.model]
        assert (one.calls, one.answers) == (told["calls"], told["samples"])
        assert one.cost_usd == pytest.approx(told["cost_usd"])
        assert one.latency_ms["p95"] == pytest.approx(told["latency_ms"]["p95"], abs=0.001)
    total = sum(one.cost_usd for one in cost_lines(run.journal))
    assert total == pytest.approx(run.report["cost_usd"])
    assert paid_usd(run.journal) == (pytest.approx(run.report["cost_usd"]), False)


def test_a_price_nobody_knows_is_not_nothing(tmp_path):
    path = record(tmp_path / "j.sqlite", [attempt(1e9), attempt(1e9, cost_nano=None)])
    (line,) = model_lines(path)
    assert line.cost_usd is None
    assert cost_lines(path)[0].cost_usd is None
    assert paid_usd(path) == (0.001, True)


def test_first_token_and_whole_answer_have_percentiles_of_their_own(tmp_path):
    many = [attempt(1e9 + n, latency_ms=float(n + 1), ttft_ms=(n + 1) / 10) for n in range(100)]
    (line,) = model_lines(record(tmp_path / "j.sqlite", many))
    for share, p in ((50, "p50"), (95, "p95"), (99, "p99")):
        assert line.latency_ms[p] == pytest.approx(share, rel=0.045)
        assert line.ttft_ms[p] == pytest.approx(share / 10, rel=0.045)


@pytest.mark.parametrize("fine", [50_000, 0])
def test_a_series_adds_up_to_what_was_paid_and_answered(tmp_path, monkeypatch, fine):
    monkeypatch.setattr(run_ledger, "FINE", fine)
    times = [1_700_000_000.0 + 7 * n + (600 if n > 20 else 0) for n in range(40)]
    path = record(tmp_path / "j.sqlite", [attempt(at, samples=2) for at in times], 2)
    found = series(path)
    assert sum(found.answers) * found.width_s == pytest.approx(80)
    assert sum(found.tokens) * found.width_s == pytest.approx(800)
    assert found.cost_usd[-1] == pytest.approx(0.04)
    assert found.cost_usd == sorted(found.cost_usd)
    # A pause is points of nothing, not a slope between two.
    gaps = {round(b - a) for a, b in zip(found.at, found.at[1:], strict=False)}
    assert gaps == {round(found.width_s)}
    assert 0 in found.answers


def test_a_run_again_days_later_does_not_make_a_point_a_second(tmp_path):
    times = [1_700_000_000.0, 1_700_000_001.0, 1_700_900_000.0]
    found = series(record(tmp_path / "j.sqlite", [attempt(at) for at in times]))
    assert len(found.at) <= 20 * run_ledger.POINTS
    assert found.cost_usd[-1] == pytest.approx(0.003)


def test_errors_alike_are_one_line_each_with_a_remedy():
    found = faults(seen_run().journal)
    refused = next(one for one in found if one.status == 400)
    assert not refused.passing
    assert "refuses the content" in refused.advice
    slow = next(one for one in found if one.status == 429)
    assert slow.passing
    assert "Lower concurrency" in slow.advice
    assert found.index(refused) < found.index(slow)  # what was given up comes first


@pytest.mark.parametrize("kind", [
    "wait", "retry", "timeout", "connection", "unreadable", "broken", "row", "context", "content",
    "abandoned", "something new",
])  # fmt: skip
def test_every_kind_of_error_has_its_advice(kind):
    assert len(advice(500, kind, "said")) > 20
    assert "said" not in advice(500, kind, "said")


@pytest.mark.parametrize(("status", "word"), [(401, "key_env"), (402, "credit"), (404, "base_url"),
                                              (307, "redirects")])  # fmt: skip
def test_what_no_retry_mends_has_the_remedy_of_its_status(status, word):
    assert word in advice(status, "model", f"HTTP {status}: no")
    assert "HTTP" not in advice(status, "model", f"HTTP {status}: no")


def test_no_journal_says_nothing(tmp_path):
    nowhere = tmp_path / "journal.sqlite"
    assert model_lines(nowhere) == cost_lines(nowhere) == faults(nowhere) == []
    assert series(nowhere).at == []
    assert paid_usd(nowhere) == (0.0, False)
