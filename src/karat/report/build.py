"""report.json: what went in, what came out and why, what it cost, how good and how varied it is.

Everything is counted from the run's own files, so a report can be made again at any time. Costs
come from the journal, which is the only place that knows them.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat import parquet
from karat.columns import READ_ROWS, Table, first_kept, score_values
from karat.curation.moments import Moments
from karat.journal import Journal
from karat.ledger import dollars, quantile
from karat.licensing import solve_run
from karat.mill import Mill
from karat.recipe import Recipe, recipe_hash
from karat.report.grading import grading
from karat.report.run_diversity import run_diversity
from karat.report.voices import voices
from karat.rundir import Run
from karat.stage import StepStats

SCORE_SAMPLE = 200_000  # values per attribute from which quantiles are taken; moments use all
CUT_OFF_WARNING = 0.05
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20
LEAST_HUMAN_SHARE = 0.1


def build(run: Run, recipe: Recipe, mill: Mill, journal: Journal) -> dict[str, Any]:
    """The report of a run whose accepted.parquet and dropped.parquet are written."""
    stats = list(mill.monitor.stats.values())
    accepted = parquet.count(run.accepted_file)
    dropped = parquet.count(run.dropped_file)
    human = _human_share(run.accepted_file)
    warnings = [*mill.services.warnings, *_waiting(run.dropped_file)]
    if accepted == 0:
        warnings.append("no row was accepted; the funnel shows where they went")
    elif human < LEAST_HUMAN_SHARE:
        warnings.append(
            f"{human:.0%} of the accepted rows are human (people wrote prompt and answer); below "
            f"{LEAST_HUMAN_SHARE:.0%} a model trained on its own output can collapse: add a 'mix' "
            "step"
        )
    cut_off = _cut_off(run.accepted_file)
    if cut_off > CUT_OFF_WARNING:
        warnings.append(
            f"{cut_off:.0%} of the kept responses are cut off at max_tokens and end in the middle: "
            "raise it, or ask for shorter answers"
        )
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "recipe_hash": recipe_hash(recipe.resolved()),
        "rows": {"in": _rows_in(recipe, stats[0]), "accepted": accepted, "dropped": dropped},
        "funnel": [msgspec.to_builtins(s) for s in stats],
        "ranking": ranking_of(mill),
        "scores": _scores(run),
        "grading": grading(mill, journal),
        "variety": voices(run, ranking_of(mill)),
        "models": models(journal),
        "failures": _failures(journal),
        "cost_usd": total_cost(journal),
        "diversity": run_diversity(run, mill),
        "human_share": human,
        "cut_off_share": cut_off,
        "licences": msgspec.to_builtins(solve_run(run, recipe)),
        "warnings": warnings,
        "versions": _versions(),
    }


def _rows_in(recipe: Recipe, first: StepStats) -> int:
    """Rows the first step read; where it is a model that writes them, those it made."""
    return first.rows_in if recipe.steps[0].step.kind == "source" else first.rows_out


def _waiting(dropped: Path) -> list[str]:
    """A warning when calls failed for good in rows that are dropped."""
    count = 0
    with parquet.Parts(dropped) as file:
        for batch in file.iter_batches(READ_ROWS, columns=["failed"]):
            count += pc.sum(batch.column("failed")).as_py() or 0
    waits = "row waits" if count == 1 else "rows wait"
    return [f"{count:,} {waits} for another try: run again"] if count else []


def ranking_of(mill: Mill) -> str | None:
    """The score the last choosing step ranked by."""
    for label in reversed(mill.recipe.labels):
        found = mill.monitor.stats[label].notes.get("ranking")
        if found:
            return str(found)
    return None


def models(journal: Journal) -> list[dict[str, Any]]:
    """One entry per model and kind of call, over everything this directory has paid for."""
    found = journal.query(
        "SELECT kind, model, min(role), sum(CASE WHEN error = '' THEN attempts END), sum(answers), "
        "sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), "
        "sum(estimated), sum(cost_nano), sum(unpriced), "
        "sum(CASE WHEN error <> '' THEN attempts END) FROM minutes WHERE attempts > 0 "
        "GROUP BY kind, model ORDER BY kind, model"
    )
    names = (
        "kind", "model", "role", "calls", "samples", "prompt_tokens", "cached_tokens",
        "completion_tokens", "reasoning_tokens", "tokens_estimated", "cost_usd", "unpriced",
        "retries",
    )  # fmt: skip
    entries = []
    for row in list(found):
        entry = dict(zip(names, row, strict=True))
        failed = journal.query(
            "SELECT count(*) FROM attempts WHERE model = ? AND outcome <> 'answered' "
            "AND outcome <> 'retried'", entry["model"],
        )  # fmt: skip
        entry["errors"] = next(failed)[0]
        entry["calls"] = entry["calls"] or 0
        entry["retries"] = max(0, (entry["retries"] or 0) - entry["errors"])
        entry["tokens_estimated"] = bool(entry["tokens_estimated"])
        entry["cost_usd"] = dollars(entry["cost_usd"], entry.pop("unpriced"))
        entry["latency_ms"] = _latency(journal, entry["model"])
        entries.append(entry)
    return entries


def _latency(journal: Journal, model: str) -> dict[str, float]:
    """Percentiles, within 4.5%, from the buckets of the ledger."""
    counts = list(
        journal.query(
            "SELECT bucket, sum(count) FROM latencies WHERE model = ? AND measure = 'latency' "
            "GROUP BY bucket", model,
        )
    )  # fmt: skip
    shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    return {name: round(quantile(counts, share), 3) for name, share in shares}


def _failures(journal: Journal) -> list[dict[str, Any]]:
    found = journal.query(
        "SELECT model, step, status, error, message, count(*) FROM attempts "
        "WHERE outcome IN ('failed', 'moved') "
        "GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 1, 2, 3, 4, 5 LIMIT 20"
    )
    names = ("model", "step", "status", "error", "message", "count")
    return [dict(zip(names, f, strict=True)) for f in found]


def total_cost(journal: Journal) -> float | None:
    """Dollars paid so far; None when some call's price is unknown."""
    ((nano, unpriced),) = journal.query("SELECT sum(cost_nano), sum(unpriced) FROM minutes")
    return dollars(nano, unpriced)


def _cut_off(path: Path) -> float:
    """Share of the chosen responses that stopped at a length limit."""
    rows = cut = 0
    for batch in Table(path).batches(["responses"]):
        responses = batch.column("responses")
        chosen = responses.flatten().field("finish_reason").take(first_kept(responses))
        rows += batch.num_rows
        cut += pc.sum(pc.equal(chosen, "length")).as_py() or 0
    return cut / rows if rows else 0.0


def _human_share(path: Path) -> float:
    """Rows whose prompt and chosen answer both came from people; a model wrote the others."""
    rows = human = 0
    for batch in Table(path).batches(["source", "responses"]):
        responses = batch.column("responses")
        author = responses.flatten().field("model").take(first_kept(responses))
        people = pc.and_(pc.equal(batch.column("source"), "human"), pc.equal(author, ""))
        rows += batch.num_rows
        human += pc.sum(people).as_py() or 0
    return human / rows if rows else 0.0


class _Spread:
    """Distribution of one attribute: exact moments, quantiles from an even sample."""

    def __init__(self) -> None:
        self.moments = Moments()
        self.low, self.high = np.inf, -np.inf
        self.sample: list[NDArray[np.float64]] = []
        self._held = 0
        self._stride = 1

    def add(self, values: NDArray[np.float64]) -> None:
        values = values[np.isfinite(values)]
        if not len(values):
            return
        mean = float(values.mean())
        self.moments.merge(len(values), mean, float(((values - mean) ** 2).sum()))
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        self.sample.append(values[:: self._stride])
        self._held += len(self.sample[-1])
        if self._held > SCORE_SAMPLE:
            self.sample = [np.concatenate(self.sample)[::2]]
            self._held, self._stride = len(self.sample[0]), self._stride * 2

    def summary(self) -> dict[str, Any]:
        if not self.moments.n:
            return {"count": 0}
        values = np.concatenate(self.sample)
        # Wide enough that the edges of equal values differ, whatever their size.
        high = max(self.high, self.low + 1e-9 * max(1.0, abs(self.low)))
        counts, edges = np.histogram(values, bins=BINS, range=(self.low, high))
        return {
            "count": self.moments.n,
            "mean": self.moments.mean,
            "sd": self.moments.sigma,
            "min": float(self.low),
            "max": float(self.high),
            **{
                f"p{round(q * 100)}": float(v)
                for q, v in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)
            },
            "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        }


def _scores(run: Run) -> dict[str, Any]:
    """Per score key: `all` candidates of all rows, and those kept in accepted rows."""
    everything: dict[str, _Spread] = {}
    kept: dict[str, _Spread] = {}
    for path, is_accepted in ((run.accepted_file, True), (run.dropped_file, False)):
        with parquet.Parts(path) as file:
            for batch in file.iter_batches(READ_ROWS, columns=["responses"]):
                flat = batch.column("responses").flatten()
                scores = flat.field("scores")
                chosen = pc.fill_null(flat.field("kept"), True).to_numpy(zero_copy_only=False)
                for key in pc.unique(scores.flatten().field("key")).to_pylist():
                    values = score_values(scores, key)
                    everything.setdefault(key, _Spread()).add(values)
                    if is_accepted:
                        kept.setdefault(key, _Spread()).add(values[chosen.astype(bool)])
    return {
        key: {"all": spread.summary(), "accepted": kept.get(key, _Spread()).summary()}
        for key, spread in sorted(everything.items())
    }


@cache
def _versions() -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    for package in ("karat", "pyarrow", "numpy", "httptools", "xllamacpp"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
