"""Ledgers and a comparison as karat writes them, for tests of the Models page."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec
import numpy as np
import orjson

from karat.comparison.candidates import Measured, judge
from karat.ledger import EPOCH_MS, SCHEMA, Attempt, Batch

EVIL = '</a><script>alert("x")</script>\u202egnp \x1b[31m'
NOON = datetime(2026, 11, 3, 12).timestamp()  # local
DAY_S = 86_400


def attempt(place, **more):
    started = more.get("started", NOON + place)
    usual = {
        "id": (round(started * 1000) - EPOCH_MS << 20) + place, "kind": "chat", "role": "teacher",
        "model": "openai/a", "route": "a", "step": "respond", "row": f"{place:016x}",
        "started": started, "latency_ms": 1000.0, "ttft_ms": 100.0, "prompt_tokens": 100,
        "cached_tokens": 25, "completion_tokens": 50, "tokens_from": "reported",
        "cost_nano": 10**8,
    }  # fmt: skip
    return Attempt(**{**usual, **more})


def failed(place, kind="wait", status=429, outcome="retried", message="slow down", **more):
    return attempt(
        place, error=kind, status=status, outcome=outcome, message=message, prompt_tokens=0,
        completion_tokens=0, cached_tokens=0, cost_nano=0, ttft_ms=None, **more,
    )  # fmt: skip


def ledger(folder, attempts, recipe=None, replays=()):
    folder.mkdir(parents=True)
    batch = Batch()
    batch.attempts += attempts
    batch.replays.update(replays)
    base = sqlite3.connect(folder / "journal.sqlite")
    base.executescript(f"BEGIN; {SCHEMA} COMMIT;")
    with base:
        batch.write(base)
    base.close()
    if recipe is not None:
        (folder / "recipe.yaml").write_text(f"name: x\nsteps: []\n{recipe}", encoding="utf-8")
    return folder


def compared(folder):
    """compare.json as karat writes it: an end that is open is null."""
    random = np.random.default_rng(1)
    measured = [
        Measured(
            name, f"openai/{name}", 2 + at + random.normal(0, 0.3, 40), random.normal(2, 1, 40),
            np.array([1.0] + [0.0] * 39), np.full(40, cost), np.full(40, 1.0 + at), [900.0, 1100.0],
        )
        for at, (name, cost) in enumerate((("cheap", 0.01), (f"dear {EVIL}", 0.1)))
    ]  # fmt: skip
    found = judge(measured, name="which", by="r.reward", scale=(0, 4), n=1, best=1, seed=1)
    found.recommendation = f"take dear {EVIL}"
    tree = msgspec.to_builtins(found)
    tree.pop("files")
    folder.mkdir()
    (folder / "compare.json").write_bytes(orjson.dumps(tree))
    (folder / "compare.html").write_text("<!doctype html><title>all of it</title>")
    return found
