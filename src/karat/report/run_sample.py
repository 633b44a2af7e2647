"""Random rows of a run, and a map of its prompts: a fair part of a file that may be very large.

Which rows are taken is settled by their places alone, from a seed that is told; then only the row
groups that hold one are read. So a million rows cost as much as ten thousand, and whoever asks for
the same seed sees the same rows.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from karat import parquet
from karat.columns import last_texts
from karat.curation.clusters import group, how_many, names
from karat.curation.embedding import embed
from karat.report.projection import project
from karat.report.run_charts import Pair, pair
from karat.report.run_diversity import question_in
from karat.report.survey_map import Map, Point, mark, shortened
from karat.report.svg import words
from karat.row import Row
from karat.table import SCHEMA, from_batch

ROWS = 20
ON_MAP = 600  # more would cover each other, and take longer than a reader waits
WIDE, NARROW = 1160.0, 344.0
MOST_NARROW = 300


def random_rows(path: Path, count: int = ROWS, seed: int = 0) -> list[Row]:
    """`count` rows drawn without replacement, in file order; all where there are fewer."""
    found: list[Row] = []
    for batch in drawn(path, count, seed, SCHEMA.names):
        found += from_batch(batch)
    return found


def drawn(path: Path, count: int, seed: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The same as columns: one batch for each row group that has one of the rows."""
    groups = parquet.Parts(path).groups()
    ends = [group.first + group.rows for group in groups]
    total = ends[-1] if ends else 0
    places = sorted(random.Random(seed).sample(range(total), min(count, total)))
    by_group: dict[int, list[int]] = {}
    for place in places:
        number = bisect_right(ends, place)
        by_group.setdefault(number, []).append(place - groups[number].first)
    for number, inside in by_group.items():
        yield from _taken(groups[number], inside, columns)


def _taken(
    group: parquet.Group, inside: list[int], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Rows of one group by place. Read in batches: a group may be one whole large file."""
    start, left = 0, inside
    for batch in parquet.batches(group.file, 1024, columns, [group.number]):
        mine = [place - start for place in left if place - start < batch.num_rows]
        if mine:
            yield batch.take(pa.array(mine))
        left = left[len(mine) :]
        if not left:
            return
        start += batch.num_rows


class Placed(Map):
    """The map whose marks may be links: `links` has one for each point, in their order."""

    def __init__(
        self, points: Sequence[Point], group_names: Sequence[str], width: float,
        links: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(points, group_names, width)
        self._links = {id(point): link for point, link in zip(points, links, strict=False)}

    def _mark(self, point: Point) -> str:
        made = super()._mark(point)
        link = self._links.get(id(point))
        if link is None:
            return made
        said = words(f"Row: {shortened(point.text)[:80]}")
        return f'<a href="{words(link)}" aria-label="{said}" tabindex="-1">{made}</a>'


def prompt_map(path: Path, seed: int = 0, link: Any = None) -> dict[str, Any] | None:
    """The accepted prompts by meaning: `charts`, `groups` as (mark, name, prompts, share), how many
    were `drawn`, `how`. None where fewer than two have words. `link` makes a row's id a link."""
    ids, texts = list[str](), list[str]()
    for batch in drawn(path, ON_MAP, seed, ["id", "messages", "meta"]):
        asked = last_texts(batch.column("messages")).to_pylist()
        metas, row_ids = (batch.column(name).to_pylist() for name in ("meta", "id"))
        for row, text, meta in zip(row_ids, asked, metas, strict=True):
            if said := (_question(meta) or text or "").strip():
                ids.append(row)
                texts.append(said[:4000])
    vectors_ND = embed(texts) if texts else np.zeros((0, 1), np.float32)
    known = np.flatnonzero(vectors_ND.any(axis=1)) if texts else np.zeros(0, np.int64)
    if len(known) < 2:
        return None
    label_N = group(vectors_ND[known], how_many(len(known)))
    kept = [texts[place] for place in known]
    called = names(kept, label_N)
    places_N2, how = project(vectors_ND[known])
    order = np.random.default_rng(seed).permutation(len(known))
    points = [
        Point(float(places_N2[n, 0]), float(places_N2[n, 1]), int(label_N[n]), kept[n])
        for n in order
    ]
    links = [link(ids[known[n]]) for n in order] if link else []
    size = np.bincount(label_N)
    told = "Clusters: " + "; ".join(f"{n} ({c:,})" for n, c in zip(called, size, strict=True))

    def draw(width: float) -> Map:
        some = points if width == WIDE else points[:MOST_NARROW]
        return Placed(some, called, width, links[: len(some)])

    charts: Pair = pair(
        draw, (WIDE, NARROW), "Map of accepted prompts by meaning", told, "map", linked=bool(link)
    )
    return {
        "charts": charts, "how": how, "drawn": len(points),
        "groups": [
            (mark(n, 8, 8), name, int(count), count / len(points))
            for n, (name, count) in enumerate(zip(called, size, strict=True))
        ],
    }  # fmt: skip


def _question(meta: str) -> str:
    """Of a row about a passage its question alone: measured whole, it would map the documents."""
    return question_in(orjson.loads(meta)) if '"question"' in meta else ""
