"""report.json: what went in, what came out and why, what it cost, how good and how varied it is.

Everything is counted from the run's own files, so a report can be made again at any time. Costs
come from the journal, which is the only place that knows them.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from karat.columns import READ_ROWS, Table, first_kept, score_values
from karat.curation.diversity import diversity
from karat.journal import Journal
from karat.mill import Mill
from karat.recipe import Recipe
from karat.row import canonical, digest
from karat.rundir import Run

SCORE_SAMPLE = 200_000  # values per attribute from which quantiles are taken; moments use all
DIVERSITY_SAMPLE = 20_000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20
LEAST_HUMAN_SHARE = 0.1


def build(run: Run, recipe: Recipe, mill: Mill, journal: Journal) -> dict[str, Any]:
    """The report of a run whose accepted.parquet and dropped.parquet are written."""
    stats = [mill.monitor.stats[label] for label in recipe.labels]
    accepted = pq.read_metadata(run.accepted_file).num_rows
    dropped = pq.read_metadata(run.dropped_file).num_rows
    human = _human_share(run.accepted_file)
    warnings = list(mill.services.warnings)
    if accepted == 0:
        warnings.append("no row was accepted; the funnel shows where they went")
    elif human < LEAST_HUMAN_SHARE:
        warnings.append(
            f"{human:.0%} of the accepted rows are human; below {LEAST_HUMAN_SHARE:.0%} a model "
            "trained on its own output can collapse: add a 'mix' step"
        )
    return {
        "name": recipe.name,
        "seed": recipe.seed,
        "recipe_hash": digest(canonical(recipe.resolved())).hex(),
        "rows": {"accepted": accepted, "dropped": dropped},
        "funnel": [msgspec.to_builtins(s) for s in stats],
        "ranking": ranking_of(mill),
        "scores": _scores(run),
        "models": models(journal),
        "failures": _failures(journal),
        "cost_usd": total_cost(journal),
        "diversity": {
            "accepted": _diversity(run.accepted_file),
        },
        "human_share": human,
        "warnings": warnings,
        "versions": _versions(),
    }


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
        "SELECT kind, model, count(DISTINCT request), count(*), sum(prompt_tokens), "
        "sum(completion_tokens), max(estimated), sum(cost_nano), sum(cost_nano IS NULL), "
        "sum(CASE WHEN key = request THEN retries END) "
        "FROM calls GROUP BY kind, model ORDER BY kind, model"
    )
    entries = []
    for (
        kind,
        model,
        calls,
        samples,
        tokens_in,
        tokens_out,
        estimated,
        nano,
        unpriced,
        retries,
    ) in list(found):
        ((errors,),) = journal.query("SELECT count(*) FROM failures WHERE model = ?", model)
        entries.append(
            {
                "model": model,
                "role": "reward" if kind == "score" else "writer",
                "calls": calls,
                "samples": samples,
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
                "tokens_estimated": bool(estimated),
                "cost_usd": None if unpriced else (nano or 0) / 1e9,
                "latency_ms": _latency(journal, kind, model, calls),
                "retries": retries or 0,
                "errors": errors,
            }
        )
    return entries


def _latency(journal: Journal, kind: str, model: str, calls: int) -> dict[str, float]:
    """Exact percentiles; SQLite sorts, so nothing is held here."""
    found = {}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        rows = journal.query(
            "SELECT latency_ms FROM calls WHERE kind = ? AND model = ? AND key = request "
            "ORDER BY latency_ms LIMIT 1 OFFSET ?",
            kind, model, min(calls - 1, int(share * calls)),
        )  # fmt: skip
        found[name] = next((round(value, 3) for (value,) in rows), 0.0)
    return found


def _failures(journal: Journal) -> list[dict[str, Any]]:
    found = journal.query(
        "SELECT model, step, status, message, count(*) FROM failures "
        "GROUP BY model, step, status, message ORDER BY count(*) DESC LIMIT 20"
    )
    return [
        dict(zip(("model", "step", "status", "message", "count"), f, strict=True)) for f in found
    ]


def total_cost(journal: Journal) -> float | None:
    """Dollars paid so far; None when some call's price is unknown."""
    ((nano, unpriced),) = journal.query("SELECT sum(cost_nano), sum(cost_nano IS NULL) FROM calls")
    return None if unpriced else (nano or 0) / 1e9


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


def _diversity(path: Path) -> dict[str, Any]:
    texts: list[str] = []
    for batch in Table(path).texts("prompt"):
        texts += batch[: DIVERSITY_SAMPLE - len(texts)]
        if len(texts) >= DIVERSITY_SAMPLE:
            break
    found: dict[str, Any] = diversity(texts)
    return found


class _Spread:
    """Distribution of one attribute: exact moments, quantiles from an even sample."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0
        self.low, self.high = np.inf, -np.inf
        self.sample: list[NDArray[np.float64]] = []
        self._held = 0
        self._stride = 1

    def add(self, values: NDArray[np.float64]) -> None:
        values = values[~np.isnan(values)]
        if not len(values):
            return
        self.count += len(values)
        self.total += float(values.sum())
        self.squares += float((values**2).sum())
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        self.sample.append(values[:: self._stride])
        self._held += len(self.sample[-1])
        if self._held > SCORE_SAMPLE:
            self.sample = [np.concatenate(self.sample)[::2]]
            self._held, self._stride = len(self.sample[0]), self._stride * 2

    def summary(self) -> dict[str, Any]:
        if not self.count:
            return {"count": 0}
        values = np.concatenate(self.sample)
        mean = self.total / self.count
        counts, edges = np.histogram(
            values, bins=BINS, range=(self.low, max(self.high, self.low + 1e-9))
        )
        return {
            "count": self.count,
            "mean": mean,
            "sd": float(np.sqrt(max(0.0, self.squares / self.count - mean**2))),
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
        with pq.ParquetFile(path) as file:
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


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("karat", "pyarrow", "numpy", "aiohttp", "xllamacpp"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
