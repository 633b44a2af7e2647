"""Batches that outlive the process that bought them: kill -9, Ctrl-C, and the next run."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asking import ask, ledger, request, with_client
from batch_server import BatchServer
from batching import FULL_NANO, KINDS, PRELUDE, hurry, numbered, states
from conftest import environment, mostly_slow, start_karat, wait_for

import karat
from karat.errors import RunError
from karat.journal import Journal
from karat.models import batch
from karat.models.endpoint import Asker

CHILD = f"""
import asyncio, json, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
{PRELUDE}
from asking import ask, request
if sys.argv[3] == "uncommitted":
    from karat.journal import Journal
    async def never(*given, **more):
        await asyncio.Event().wait()
    Journal.put = never
ask(sys.argv[1], json.loads(sys.argv[2]), *(request(f"q{{i}}", n=2) for i in range(6)))
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


STAGES = [
    ("openai", "intent"), ("openai", "uploaded"), ("openai", "created"), ("openai", "polling"),
    ("openai", "uncommitted"), ("anthropic", "intent"), ("anthropic", "created"),
    ("anthropic", "polling"), ("anthropic", "uncommitted"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "stage"), mostly_slow(STAGES, 3))
def test_kill_9_pays_for_nothing_twice(journal, kind, stage):
    first = "upload" if kind == "openai" else "create"
    before = {"intent": {first}}.get(stage, set())
    after = {"uploaded": {"upload"}, "created": {"create"}}.get(stage, set())
    with BatchServer(kind, before=before, after=after) as server:
        server.seconds = 3600 if stage == "polling" else 0
        reached = {
            "intent": lambda: server.calls[first],
            "uploaded": lambda: server.files,
            "created": lambda: server.batches,
            "polling": lambda: server.calls["look"] > 2,
            "uncommitted": lambda: server.calls["results"],
        }[stage]
        given = [sys.executable, "-c", CHILD, str(journal), json.dumps(server.model()), stage]
        with subprocess.Popen(given, env=environment()) as child:
            wait_for(lambda: reached() or child.poll() is not None)
            time.sleep(0.15 if stage == "uncommitted" else 0)
            assert child.poll() is None
            child.send_signal(signal.SIGKILL)
        assert states(journal) == [
            "submitted" if stage in ("polling", "uncommitted") else "submitting"
        ]
        server.seconds = 0
        server.before.clear()
        server.after.clear()
        found = ask(journal, server.model(), *numbered(6, n=2))
        assert sum(server.executed.values()) == 12
        assert server.calls["direct"] == 0
        assert len(server.batches) == 1
    assert len({answer.content for answers in found for answer in answers}) == 12
    assert set(states(journal)) == {"done"}
    assert sum(a["cost_nano"] for a in ledger(journal, table="attempts")) == 12 * FULL_NANO // 2


def test_half_of_the_answers_in_the_journal_are_not_handed_out_again(journal):
    """The kill comes between two commits; the rest must be the rest, not the same again."""
    with BatchServer("anthropic") as server:
        put, count = Journal.put, 0

        async def some(self, records, attempt, **more):
            nonlocal count
            count += 1
            if count > 4:
                raise RunError("killed")
            return await put(self, records, attempt, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "put", some)
            with pytest.raises(RunError, match="killed"):
                ask(journal, server.model(), request(n=10))
        assert len(ledger(journal)) == 4
        (answers,) = ask(journal, server.model(), request(n=10))
        assert sum(server.executed.values()) == 10
    assert len({answer.content for answer in answers}) == 10


def test_another_runs_batch_of_the_same_size_is_not_taken_for_ours(journal, kind):
    with BatchServer(kind, after={"create"}) as server:
        given = [sys.executable, "-c", CHILD, str(journal), json.dumps(server.model()), ""]
        with subprocess.Popen(given, env=environment()) as child:
            wait_for(lambda: server.batches)
            child.send_signal(signal.SIGKILL)
        server.after.clear()
        others = [request(f"other{i}", n=2) for i in range(6)]
        ask(journal.with_name("other"), server.model(), *others)
        ask(journal.with_name("third"), server.model(), *numbered(3))
        assert len(server.batches) == 3
        ask(journal, server.model(), *numbered(6, n=2))
        assert len(server.batches) == 3
        assert server.calls["direct"] == 0


def test_ctrl_c_leaves_the_batch_and_the_next_run_picks_it_up(make_recipe, tmp_path, kind):
    with BatchServer(kind, seconds=3600) as server:
        path = make_recipe(server.model(), 12)
        with start_karat("run", path, "--out", tmp_path / "out", prelude=PRELUDE) as child:
            wait_for(lambda: server.calls["look"] > 2)
            began = time.monotonic()
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=20)
            assert time.monotonic() - began < 5
        assert (child.returncode, "Traceback" in err) == (130, False)
        assert "batch of 12 requests at acme: submitted" in err
        assert server.cancelled == []
        server.seconds = 0
        run = karat.run(path, tmp_path / "out")
        assert run.report["rows"]["accepted"] == 12
        assert (len(server.batches), server.calls["direct"]) == (1, 0)


def test_who_leaves_before_a_batch_is_created_pays_for_none(journal):
    with BatchServer("openai", after={"upload"}) as server:

        async def work(client):
            calls = [client.chat("m", r, Asker("respond", "row")) for r in numbered(3)]
            tasks = [asyncio.ensure_future(call) for call in calls]
            while not server.files:  # noqa: ASYNC110  another thread counts
                await asyncio.sleep(0.01)
            client.stop()
            server.after.clear()
            return await asyncio.gather(*tasks, return_exceptions=True)

        assert {type(error) for error in with_client(journal, server.model(), work)} == {RunError}
        assert server.batches == {}
    assert states(journal) == ["done"]


def test_a_row_long_gone_is_not_asked_about(journal, kind, monkeypatch):
    """Services delete results after a month; what is asked then is bought anew."""
    with BatchServer(kind, seconds=3600) as server:
        model = server.model()

        async def impatient(client):
            calls = [client.chat("m", r, Asker("respond", "row")) for r in numbered(3)]
            tasks = [asyncio.ensure_future(call) for call in calls]
            while server.calls["look"] < 1:  # noqa: ASYNC110  another thread counts
                await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()

        with_client(journal, model, impatient)
        assert states(journal) == ["submitted"]
        server.seconds = 0
        monkeypatch.setattr(batch, "KEPT_S", 0)
        ask(journal, model, *numbered(3))
        assert len(server.batches) == 2
