"""live.json: it says what a run does while it does it, how it ended, and never harms the run."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import pytest
from conftest import start_karat
from server import Server

import karat
import karat.live as live
from karat.errors import RunError
from karat.live import MOST_REASONS, OTHERS, Pace, _reasons, read, written
from karat.rundir import Run

KEYS = [
    "version", "pid", "host", "started", "updated", "state", "error", "note", "steps", "calls",
    "answers", "replayed", "retries", "failures", "tokens_out", "cost_usd", "unpriced",
    "projected_usd", "budget_usd", "expected", "executor", "workers", "crew",
]  # fmt: skip


def seen_while(run, wanted, timeout_s=20):
    """The first state of a run that is as wanted."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        state = read(run)
        if state is not None and wanted(state):
            return state
        time.sleep(0.02)
    raise AssertionError(f"never seen: {read(run)}")


def test_a_run_is_seen_at_work_and_then_finished(make_recipe, tmp_path):
    often = "import karat.live; karat.live.EVERY_S = 0.05"
    price = {"input": 1, "output": 2}
    with Server(latency_s=0.15) as server:
        teacher = server.model(concurrency=2, price=price)
        path = make_recipe(teacher, 12, budget_usd=3)
        process = start_karat("run", path, "--out", tmp_path / "out", prelude=often)
        run = Run(tmp_path / "out")
        try:
            state = seen_while(run, lambda s: s.calls >= 4 and s.state == "running")
            assert process.poll() is None
        finally:
            process.communicate(timeout=30)
    assert state.pid == process.pid
    assert [step.label for step in state.steps] == ["read", "respond"]
    read_, respond = state.steps
    assert respond.current
    assert not respond.sealed
    assert respond.in_flight > 0
    assert respond.rows_in == respond.rows_out + respond.in_flight
    assert read_.rows_in == read_.rows_out
    assert (state.expected, state.budget_usd, state.unpriced) == (12, 3.0, False)
    assert 0 < state.cost_usd < state.projected_usd
    assert time.time() - 60 < state.started < state.updated

    ended = read(run)
    assert (ended.state, ended.error, ended.pid) == ("finished", "", process.pid)
    assert (ended.calls, ended.answers, ended.failures) == (12, 12, 0)
    assert ended.cost_usd == pytest.approx(run.report["cost_usd"])
    assert [step.rows_out for step in ended.steps] == [12, 12]
    assert list(json.loads(run.live_file.read_bytes())) == KEYS


def test_a_second_run_says_what_it_found_done(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(), 3)
        karat.run(path, tmp_path / "out")
        run = karat.run(path, tmp_path / "out")
    state = read(run)
    assert (state.state, state.calls) == ("finished", 0)
    assert all(step.sealed for step in state.steps)


def test_a_failed_run_says_why_and_no_key(make_recipe, user_module, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB", "lab-1234567890")
    monkeypatch.setenv("OTHER_TOKEN", "tok-abcdefghij")
    user_module(
        "mine_leaks",
        "import os\n@step\nasync def f(row, ctx):\n"
        ' raise ValueError(f\'{os.environ["LAB"]} {os.environ["OTHER_TOKEN"]} \\x1b\\ud800\')\n',
    )
    with Server() as server:
        steps = [
            {"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["teacher"]}},
            "mine_leaks:f",
        ]  # fmt: skip
        path = make_recipe(server.model(key_env="LAB"), 2, steps)
        with pytest.raises(RunError):
            karat.run(path, tmp_path / "out")
    state = read(Run(tmp_path / "out"))
    assert state.state == "failed"
    assert "step 'f' broke" in state.error
    assert state.error.count("[key]") == 2
    written_ = (tmp_path / "out" / "live.json").read_text()
    assert not any(secret in written_ for secret in ("lab-1234567890", "tok-abcdefghij", "\x1b"))


def test_a_run_that_cannot_begin_has_failed(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(), 2)
        run = karat.run(path, tmp_path / "out")
        run.journal.write_bytes(b"no database" * 100)
        with pytest.raises(RunError, match="damaged"):
            karat.run(path, tmp_path / "out")
    state = read(run)
    assert state.state == "failed"
    assert "damaged" in state.error


def test_a_run_killed_before_its_journal_leaves_a_folder_to_go_on_in(make_recipe, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "live.json").write_bytes(b"{}")
    (out / ".live.json.tmp").write_bytes(b"{")
    with Server() as server:
        run = karat.run(make_recipe(server.model(), 2), out)
    assert read(run).state == "finished"


@pytest.mark.parametrize(
    ("number", "left"), [(signal.SIGINT, "stopped"), (signal.SIGKILL, "running")]
)
def test_an_interrupted_run_is_stopped(make_recipe, tmp_path, number, left):
    with Server(latency_s=0.2) as server:
        path = make_recipe(server.model(concurrency=1), 40)
        process = start_karat("run", path, "--out", tmp_path / "out")
        run = Run(tmp_path / "out")
        try:
            seen_while(run, lambda s: s.state == "running" and s.pid == process.pid)
            time.sleep(0.3)  # it handles signals by now
            assert read(run).state == "running"
        finally:
            process.send_signal(number)
            process.communicate(timeout=30)
    assert json.loads(run.live_file.read_bytes())["state"] == left
    assert read(run).state == "stopped"


# --- a run is not harmed -------------------------------------------------------------------------


def test_a_full_disk_costs_the_file_and_not_the_run(make_recipe, tmp_path, monkeypatch):
    tried = []

    def full(path, data):
        tried.append(path)
        raise RunError("no room")

    monkeypatch.setattr(live, "write_atomic", full)
    with Server() as server:
        run = karat.run(make_recipe(server.model(), 3), tmp_path / "out")
    assert run.report["rows"]["accepted"] == 3
    assert len(tried) >= 2
    assert not run.live_file.exists()


def test_a_slow_disk_holds_nothing_up_and_the_last_word_is_last(tmp_path, monkeypatch):
    order = []

    def slow(path, data):
        time.sleep(0.1)
        order.append(json.loads(data)["state"])

    monkeypatch.setattr(live, "write_atomic", slow)

    async def work():
        async with written(Run(tmp_path)):
            began = time.monotonic()
            await asyncio.sleep(0.02)
            return time.monotonic() - began

    assert asyncio.run(work()) < 0.09
    assert order == ["running", "finished"]


def test_it_takes_less_than_a_hundredth_of_a_core(make_recipe, tmp_path, monkeypatch):
    spent = []
    snapshot, put = live.snapshot, live.write_atomic

    def timed(function):
        def call(*args):
            began = time.thread_time()
            try:
                return function(*args)
            finally:
                spent.append(time.thread_time() - began)

        return call

    monkeypatch.setattr(live, "EVERY_S", 0.02)
    monkeypatch.setattr(live, "snapshot", timed(snapshot))
    monkeypatch.setattr(live, "write_atomic", timed(put))
    with Server(latency_s=0.1) as server:
        karat.run(make_recipe(server.model(concurrency=8), 40), tmp_path / "out")
    assert len(spent) > 10
    assert 2 * sorted(spent)[len(spent) // 2] < 0.01  # of the second between two


# --- arithmetic ----------------------------------------------------------------------------------


def test_a_rate_is_over_the_last_seconds_and_starts_anew_with_a_round(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    pace = Pace()
    assert pace.rate("a", 5) == 0.0
    for second in range(1, 41):
        clock[0] = 100.0 + second
        rate = pace.rate("a", 5 + 10 * second if second <= 10 else 105 + 2 * (second - 10))
    assert rate == pytest.approx(2.0, rel=0.05)
    clock[0] += 1
    assert pace.rate("a", 3) == 0.0  # counted from nothing again, and not backwards
    clock[0] += 2
    assert pace.rate("a", 9) == 3.0


def test_a_thousand_reasons_are_counted_and_not_listed():
    dropped = {f"reason {n}": n for n in range(1, 1001)}
    found = _reasons(dropped)
    assert len(found) == MOST_REASONS
    assert sum(found.values()) == sum(dropped.values())
    assert found["reason 1000"] == 1000
    assert found[OTHERS] > 1000
