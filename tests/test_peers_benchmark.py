"""The benchmark against peers: its table, its measure of a process tree, its adapters."""

from __future__ import annotations

import ast
import importlib
import json
import os
import random
import re
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
HOME = BENCHMARKS / "peers"
ADAPTERS = sorted(HOME.glob("*/*_peer.py"))
PINS = sorted((HOME / "requirements").glob("*.txt"))


@pytest.fixture
def peers(monkeypatch):
    """A module of benchmarks/peers by name, as run.py finds it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield lambda name: importlib.import_module(f"peers.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "peers"]:
        del sys.modules[name]


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_adapter_can_be_read_at_a_glance(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 80
    assert "python " + path.name in ast.get_docstring(tree)
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert not {"karat", "peers"} & imported


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_requirements_pin_everything(path):
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    pins = [line for line in lines if line]
    assert pins
    assert not [pin for pin in pins if not re.match(r"^[A-Za-z0-9._-]+==[^\s;*]+( ; .+)?$", pin)]


def test_every_peer_has_an_adapter_and_a_pinned_version(peers):
    tools = peers("tools")
    for tool in tools.PEERS:
        assert re.match(r"\d", tool.version), tool.name
        for work in set(tool.works) - {"faults", "gateway", "client"}:
            assert HOME / work / tool.adapter in ADAPTERS


def test_the_table_has_a_line_a_record_and_says_what_failed(peers):
    good = {"work": "dedupe", "tool": "a", "version": "1", "setting": "usual", "failure": None,
            "cpu_s": 1.234, "wall_s": 12.34, "mb": 1234.0, "over_karat": [2.0, 1.0, 3.0],
            "result": "x | y"}  # fmt: skip
    bad = {"work": "dedupe", "tool": "b", "version": "2", "failure": "no end in 9 s", "cpu_s": 9.0}
    lines = peers("tables").table([good, bad]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2:] == [
        "| dedupe | a 1, usual | 1.23 | 2.00 (1.00–3.00) | 12.3 | – | 1,234 | x / y |",
        "| dedupe | b 2 | – | – | – | – | – | **no end in 9 s** |",
    ]


def test_the_table_of_the_docs_is_that_of_the_records_beside_the_benchmark(peers):
    records = json.loads((HOME / "measured.json").read_text())["records"]
    page = (BENCHMARKS.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert peers("tables").table(records) in page
    assert {record["work"] for record in records} == set(peers("tools").WORKS)
    measured = {record["tool"].partition(" ")[0] for record in records}
    assert {tool.name for tool in peers("tools").PEERS} <= measured


def test_quality_is_what_counting_by_hand_finds(peers):
    quality = peers("documents").quality
    truth = [{"cluster": c, "kind": k, "rate": r} for c, k, r in
             [(0, "base", 0.0), (0, "near", 0.02), (1, "base", 0.0), (2, "base", 0.0),
              (2, "near", 0.15), (3, "base", 0.0), (3, "exact", 0.0)]]  # fmt: skip
    assert quality(truth, {1, 2, 3, 4, 5}) == {
        "recall": 0.5, "precision": 1.0, "drops": 2, "2%": 1.0, "15%": 0.0
    }  # fmt: skip
    none_of_a_pair = quality(truth, {2, 3, 4, 5, 6})
    assert (none_of_a_pair["recall"], none_of_a_pair["precision"]) == (0.0, 0.5)
    dice = random.Random(3)
    for _ in range(20):  # what stays of each cluster, counted one by one
        kept = {place for place in range(len(truth)) if dice.random() < 0.5}
        right = wrong = 0
        for cluster in range(4):
            places = [i for i, row in enumerate(truth) if row["cluster"] == cluster]
            gone = [place for place in places if place not in kept]
            spared = len(gone) - (len(gone) == len(places))
            right, wrong = right + spared, wrong + len(gone) - spared
        found = quality(truth, kept)
        assert found["drops"] == right + wrong
        assert found["precision"] == right / max(1, right + wrong)


SPIN = "import time\nend = time.process_time() + .15\nwhile time.process_time() < end: pass\n"
ORPHAN = f"""
import os, subprocess, sys, time
if os.fork() == 0:  # a daemon: its parent leaves it
    os.setsid()
    {"exec(" + repr(SPIN) + ")"}
    open("orphan", "w").write(str(os.getpid()))
    time.sleep(60)
while not os.path.exists("orphan"): time.sleep(.01)
"""


def test_a_tree_is_counted_with_what_it_leaves_behind_and_ended(peers, tmp_path):
    ran = peers("trees").run_tree([sys.executable, "-S", "-c", ORPHAN], tmp_path, 30)
    assert (ran.ended, ran.code, ran.failure()) == ("itself", 0, None)
    assert 0.15 <= ran.cpu_s < 2
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "orphan").read_text()), 0)


def test_a_tree_ends_in_time_or_when_told(peers, tmp_path):
    run_tree = peers("trees").run_tree
    sleep = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    began = time.monotonic()
    assert run_tree(sleep, tmp_path, 0.3).failure() == "no end in 0 s"
    killed = run_tree(sleep, tmp_path, 30, kill=lambda: time.monotonic() - began > 0.6)
    assert (killed.ended, killed.code, killed.failure()) == ("killed", -9, None)
    assert time.monotonic() - began < 10


def test_a_failure_is_said_in_its_last_line(peers, tmp_path):
    program = "import sys; print('much'); sys.exit('no such module: x')"
    ran = peers("trees").run_tree([sys.executable, "-S", "-c", program], tmp_path, 30)
    assert ran.failure() == "exit 1: no such module: x"
