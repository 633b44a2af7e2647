"""The diversity of a run's prompts: of those accepted, of what each step wrote, of their topics.

A data set becomes dull somewhere. So the prompts are measured where they come out of the steps that
write them as well as at the end, and topics and tasks are counted against all that the run made:
a topic of which no prompt was accepted is missing from the data, whatever the averages say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from karat import parquet
from karat.columns import Table
from karat.curation.balance import balance
from karat.curation.diversity import diversity
from karat.mill import Mill
from karat.rundir import Run

STEP_SAMPLE = 1_000  # prompts of one step that are measured
COLUMNS = ("topic", "macro_topic", "task")


def run_diversity(run: Run, mill: Mill) -> dict[str, Any]:
    """accepted: measures of the accepted prompts (curation.diversity), none but `rows` where none
    was accepted. questions: how many of them are about a passage and were measured without it.
    by_step: the same of the prompts that came out of each step that makes several rows of one, on
    1,000 of them. columns: balance of the topics and tasks of the accepted rows, and their coverage
    of all the run had.
    """
    accepted = Table(run.accepted_file)
    steps = {
        stage.labels[-1]: [Table(path) for path in _files(mill, stage.file_name)]
        for stage in mill.stages
        if stage.fans
    }
    counts = Counter[str]()
    measured = diversity(prompts(accepted, counts))
    return {
        "accepted": measured if measured["rows"] else {"rows": 0},
        "questions": counts["questions"],
        "by_step": {
            label: step
            for label, tables in steps.items()
            if (step := _measured(tables)) is not None
        },
        "columns": _columns(accepted, [*chain.from_iterable(steps.values()), accepted]),
    }


def prompts(table: Table, counts: Counter[str] | None = None) -> Iterator[str]:
    """What the live rows ask, where they ask something: of a passage, its question alone.

    `counts` is told how many `questions` there were.
    """
    for texts, batch in zip(table.texts("prompt"), table.batches(["meta"]), strict=True):
        for text, meta in zip(texts, batch.column("meta").to_pylist(), strict=True):
            question = question_in(orjson.loads(meta)) if '"question"' in meta else ""
            if counts is not None:
                counts["questions"] += bool(question)
            if question or text:
                yield question or text


def question_in(meta: dict[str, Any]) -> str:
    """The question that a row asks about a passage, as `closed_qa` leaves it in meta, or ""."""
    value = meta.get("question")
    return value if isinstance(value, str) and value.strip() else ""


def _files(mill: Mill, name: str) -> list[Path]:
    """A stage's file, or its files where the recipe was walked in rounds."""
    stem = name.removesuffix(".parquet")
    names = [name, *(f"{stem}.{number}.parquet" for number in range(2, mill.rounds + 1))]
    return [path for path in (mill.folder / one for one in names) if parquet.exists(path)]


def _measured(tables: list[Table]) -> dict[str, Any] | None:
    """None where the rows have no text yet, as topics have none."""
    found = diversity(chain.from_iterable(map(prompts, tables)), STEP_SAMPLE)
    return found if found["rows"] else None


def _columns(accepted: Table, everywhere: list[Table]) -> dict[str, dict[str, Any]]:
    counts = _counts(accepted)
    seen: dict[str, Counter[str]] = {column: Counter() for column in COLUMNS}
    for table in everywhere:
        for column, values in _counts(table).items():
            seen[column].update(values)
    return {column: balance(counts[column], values) for column, values in seen.items() if values}


def _counts(table: Table) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {column: Counter() for column in COLUMNS}
    for batch in table.batches(["meta"]):
        for text in batch.column("meta").to_pylist():
            meta = orjson.loads(text)
            for column in COLUMNS:
                if isinstance(value := meta.get(column), str):
                    found[column][value] += 1
    return found


def diversity_lines(report: dict[str, Any]) -> list[str]:
    """What `karat show` says of it. A report of an earlier karat may lack any part."""
    found = report["diversity"]
    spread = found["accepted"]
    parts = []
    if isinstance(value := spread.get("vendi_embedding"), int | float):
        parts.append(f"effective number (Vendi score) {value:.3g}")
    parts += [
        f"{name} {spread[key]:.3g}"
        for key, name in (
            ("distinct_1", "distinct-1"), ("distinct_2", "distinct-2"),
            ("self_bleu", "self-BLEU"), ("near_duplicates", "near-duplicates"),
        )
        if isinstance(spread.get(key), int | float)
    ]  # fmt: skip
    told = [f"{_measured_by(found)} diversity: {', '.join(parts)}"] if parts else []
    if spread.get("rows", 1):
        told += [_spread_over(column, one) for column, one in found.get("columns", {}).items()]
    by_step = found.get("by_step", {})
    if len(by_step) > 1:
        each = [f"{label} {one['vendi_embedding']:.3g}" for label, one in by_step.items()]
        told.append(f"effective number of prompts (Vendi score) by step: {', '.join(each)}")
    return told


def _measured_by(found: dict[str, Any]) -> str:
    """What the measured texts are."""
    questions = found.get("questions", 0)
    if not questions:
        return "prompt"
    if questions == found["accepted"]["rows"]:
        return "question (without its passage)"
    return f"prompt (of {questions:,} rows the question without its passage)"


def _spread_over(column: str, one: dict[str, Any]) -> str:
    name = f"{column.replace('_', ' ')}s"
    total = one["values"] + one["missing"]
    covered = f"{one['values']:,} of {total:,}" if one["missing"] else f"all {total:,}"
    even = f"evenness {one['evenness']:.2f}, " if "evenness" in one and one["values"] > 1 else ""
    return f"{name} covered: {covered}; {even}largest {one['largest']:.0%}"
