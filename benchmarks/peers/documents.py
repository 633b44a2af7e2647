"""Deduplication: documents with planted copies, from JSON lines to the ids that stay.

The documents are those of curation_dedupe.py: 100 to 290 words of Zipf's vocabulary, 8% of them
copies with 2, 5, 10 or 15% of the words edited, 1% equal copies. Its words are spelt in letters
here, since some tools take all numbers for the same. A copy is found if one of it and
its original goes and one stays; recall is of the edited copies. A drop is right if another text of
the same cluster stays. Tools differ in what they take for near, so each runs at two settings: its
own usual one, and one with single words as shingles, which suits documents this short.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from peers.environments import InstallError
from peers.tools import KARAT, Tool, environment
from peers.trees import run_tree

SETTINGS = ("usual", "short")
LETTERS = str.maketrans("0123456789", "ghijklmnop")  # the words are w and a hexadecimal number


def documents(count: int, folder: Path) -> Path:
    """A folder with corpus.jsonl (id, text) and truth.jsonl, the same every time."""
    from curation_dedupe import made

    folder.mkdir()
    corpus = made(count, folder) / "corpus.jsonl"
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    with corpus.open("w") as out:
        for row in rows:
            out.write(json.dumps({"id": row["id"], "text": row["text"].translate(LETTERS)}) + "\n")
    return folder


def quality(truth: list[dict[str, Any]], kept: set[int]) -> dict[str, float]:
    """Recall over planted near copies, also by share of edited words, and precision of drops.

    `truth` has cluster, kind and rate of each document, in order; `kept` are places in it.
    """
    clusters: dict[int, list[int]] = defaultdict(list)
    for place, row in enumerate(truth):
        clusters[row["cluster"]].append(place)
    right = gone = 0
    found: dict[float, list[bool]] = defaultdict(list)
    for places in clusters.values():
        stay = sum(place in kept for place in places)
        gone += len(places) - stay
        right += min(len(places) - stay, len(places) - 1)
        for place in places:
            if truth[place]["kind"] == "near":
                found[truth[place]["rate"]].append(0 < stay < len(places))
    every = [one for rate in found.values() for one in rate]
    by_rate = {f"{rate:.0%}": sum(some) / len(some) for rate, some in sorted(found.items())}
    return {
        "recall": sum(every) / max(1, len(every)), "precision": right / max(1, gone),
        "drops": gone, **by_rate,
    }  # fmt: skip


def once(command: list[str], corpus: Path, setting: str, timeout_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=corpus.parent) as name:
        folder = Path(name)
        line = [*command, str(corpus / "corpus.jsonl"), str(folder), setting]
        ran = run_tree(line, folder, timeout_s, environment(folder))
        record = {"cpu_s": ran.cpu_s, "wall_s": ran.wall_s, "mb": ran.peak_mb}
        if failure := ran.failure():
            return {**record, "failure": failure}
        kept = {int(line) for line in (folder / "kept.txt").read_text().split()}
    lines = (corpus / "truth.jsonl").read_text().splitlines()
    return {**record, **quality([json.loads(line) for line in lines], kept), "failure": None}


def measure(
    tools: list[Tool], home: Path, *, count: int, large: int, rounds: int, timeout_s: float
) -> list[dict[str, Any]]:
    """One record a tool and setting on `count` documents, and one of karat on `large`.

    karat runs before each peer, `rounds` times in all at least; a peer, which takes minutes, once.
    """
    corpus = documents(count, home / "corpus")
    ours: list[dict[str, Any]] = []
    own = KARAT.command("dedupe")
    records = []
    for tool in tools:
        for setting in SETTINGS:
            print(f"dedupe: {tool.name}, {setting}", file=sys.stderr, flush=True)
            record = {"tool": tool.name, "version": tool.version, "setting": setting}
            try:
                command = tool.command("dedupe")
            except InstallError as error:
                records.append({**record, "failure": str(error)})
                break
            ours.append(once(own, corpus, "usual", timeout_s))
            ran = once(command, corpus, setting, timeout_s)
            records.append({**record, **ran, "over_karat": [ran["cpu_s"] / ours[-1]["cpu_s"]]})
            if ran["failure"]:
                records[-1].pop("over_karat")
                break
    while len(ours) < rounds:
        ours.append(once(own, corpus, "usual", timeout_s))
    karat = [_ours(ours, "usual")]
    if large:
        corpus = documents(large, home / "large")
        runs = [once(own, corpus, "usual", timeout_s) for _ in range(rounds)]
        karat.append({**_ours(runs, f"usual, {large:,} documents"), "over_karat": []})
    found = [{"work": "dedupe", **record} for record in (*karat, *records)]
    return [{**record, "result": _said(record)} for record in found]


def _ours(runs: list[dict[str, Any]], setting: str) -> dict[str, Any]:
    middle = {key: statistics.median(run[key] for run in runs) for key in ("cpu_s", "wall_s", "mb")}
    return {
        **runs[0], **middle, "tool": "karat", "version": KARAT.version, "setting": setting,
        "over_karat": [1.0], "runs": [run["cpu_s"] for run in runs],
    }  # fmt: skip


def _said(record: dict[str, Any]) -> str:
    if record["failure"]:
        return ""
    rates = " ".join(f"{record[rate]:.2f}" for rate in ("2%", "5%", "10%", "15%"))
    return f"recall {record['recall']:.3f} ({rates}), precision {record['precision']:.3f}"
