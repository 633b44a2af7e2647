"""beir: a retrieval test set: corpus, queries, and which passages answer which query.

The corpus is every passage that the run read, those of dropped rows too, because a search that only
has right answers to choose from measures nothing. Passages overlap, and a question asked of one is
answered by its neighbour as well where that holds the same support: both count as relevant, or a
search would be marked down for finding it.

Source: beir-cellar/beir, beir/datasets/data_loader.py: `GenericDataLoader(folder).load("test")`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

from karat.exporters.base import Exported, Lines, accepted_rows
from karat.exporters.retrieval import known, missing
from karat.row import digest
from karat.rundir import Run
from karat.steps._passages import passages

FOLDER = "beir"
# What this export writes; an older run's are removed first.
FILES = (f"{FOLDER}/corpus.jsonl", f"{FOLDER}/queries.jsonl", f"{FOLDER}/qrels/test.tsv")
HEADER = b"query-id\tcorpus-id\tscore\n"


def export(run: Run, folder: Path) -> Exported:
    """Writes `beir/corpus.jsonl`, `beir/queries.jsonl` and `beir/qrels/test.tsv`.

    A passage's id is a digest of its text, a query's id is its row's. Every relevant passage has
    the score 1. Left out: the rows that retrieval leaves out. A `support`, `start` or `end` that is
    not one of karat's says nothing of other passages. In memory: an id and two numbers for each
    passage.
    """
    made = Exported()
    corpus, queries, qrels = (folder / name for name in FILES)
    places = _Places()
    with Lines(corpus) as lines:
        for passage in _passages(run):
            name = _name(passage["passage"])
            if places.add(name, passage):
                heading = passage.get("heading")
                metadata = {key: known(passage, key) for key in ("file", "page")}
                lines.write({
                    "_id": name, "title": heading if isinstance(heading, str) else "",
                    "text": passage["passage"],
                    "metadata": {key: said for key, said in metadata.items() if said is not None},
                })  # fmt: skip
    with Lines(queries) as lines, Lines(qrels) as table:
        table.put(HEADER)
        for row in accepted_rows(run.accepted_file):
            problem = missing(row)
            if problem:
                made.leave_out(problem)
                continue
            answer = row.meta.get("answer")
            lines.write({
                "_id": row.id, "text": row.meta["question"],
                "metadata": {"answer": answer} if isinstance(answer, str) else {},
            })  # fmt: skip
            for name in places.relevant(row.meta):
                table.put(f"{row.id}\t{name}\t1\n".encode())
        table.count = lines.count  # of a table with nothing but its header no file is made
    made.rows = lines.count
    if made.rows:
        made.files = {"corpus": corpus, "queries": queries, "qrels": qrels}
    else:
        corpus.unlink(missing_ok=True)
    return made


def _name(passage: str) -> str:
    return digest(passage, size=8).hex()


def _passages(run: Run) -> Iterator[dict[str, Any]]:
    """Every passage of the run, most of them several times."""
    for file in (run.accepted_file, run.dropped_file):
        for row in accepted_rows(file):
            held = row.meta.get("passage")
            if isinstance(held, str) and held.strip():
                yield row.meta
            yield from passages(row.meta.get("negatives")) or ()
            yield from passages(row.meta.get("candidates")) or ()


class _Places:
    """Where each passage of the corpus stands."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._files: dict[str, dict[tuple[int, int], str]] = {}
        self._sorted: dict[str, list[tuple[int, int]]] = {}

    def add(self, name: str, passage: dict[str, Any]) -> bool:
        """Notes a passage's place; says whether its text is new."""
        start, end = known(passage, "start"), known(passage, "end")
        if isinstance(start, int) and isinstance(end, int):
            self._files.setdefault(str(passage.get("file")), {})[start, end] = name
        new = name not in self._known
        self._known.add(name)
        return new

    def relevant(self, meta: dict[str, Any]) -> list[str]:
        """The row's own passage, then the others around what supports its answer."""
        found = {_name(meta["passage"]): None}
        place, inside = known(meta, "start"), meta.get("support")
        if isinstance(place, int) and isinstance(inside, dict):
            start, end = known(inside, "start"), known(inside, "end")
            if isinstance(start, int) and isinstance(end, int) and start < end:
                around = self._around(str(meta.get("file")), place + start, place + end)
                found.update((name, None) for name in around)
        return list(found)

    def _around(self, file: str, first: int, last: int) -> Iterator[str]:
        """The passages of a file that hold the characters first … last - 1, last ones first."""
        if file not in self._sorted:
            self._sorted[file] = sorted(self._files.get(file, ()))
        spans = self._sorted[file]
        for span in reversed(spans[: bisect_right(spans, (first, inf))]):
            if span[1] < last:
                return  # ends rise with starts
            yield self._files[file][span]
