"""Several graders' scores of the same responses, read from a stage batch by batch.

What must be known of the whole table before anything can be compared, each grader's σ and where its
scores lie, is gathered in one pass; the pass keeps no more than a thinned-out sample of the rows.

The parts of a table are read where they are, and what is compared comes together in one place, some
40 bytes a response, in the order of the rows: sums of agreement are then the same however the table
is cut. No more than a few parts are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Table, score_values
from karat.curation.exact import Exact
from karat.models.families import family_of
from karat.scoring.tallies import within

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FIELDS = ("content", "model", "scores", "kept")
COLUMNS = ["id", *(f"responses.list.element.{name}" for name in FIELDS)]
SAMPLE_ROWS = 8_192


class Graded:
    """One batch: its candidates, flat. R: response, G: grader; `prompt_R` counts from 0. `first` is
    the number of the batch's first row in the table, `part` that of its part.

    Candidates are responses with text that no earlier step turned down. A score is NaN where a
    grader gave none.
    """

    def __init__(self, batch: pa.RecordBatch, graders: Sequence[str], part: int) -> None:
        responses = batch.column("responses")
        flat = responses.flatten()
        lengths_R = pc.utf8_length(pc.utf8_trim_whitespace(flat.field("content")))
        lengths_R = lengths_R.to_numpy(zero_copy_only=False)
        turned_down = pc.equal(flat.field("kept"), False).fill_null(False)
        candidates = (lengths_R > 0) & ~turned_down.to_numpy(zero_copy_only=False)
        owner_R = np.repeat(np.arange(batch.num_rows), np.diff(responses.offsets.to_numpy()))
        scores = [score_values(flat.field("scores"), key) for key in graders]
        self.ids = batch.column("id")
        self.part, self.first, self.prompts = part, 0, batch.num_rows
        self.prompt_R: Ints = owner_R[candidates]
        self.lengths_R = lengths_R[candidates].astype(np.float64)
        self.scores_RG: Floats = np.stack(scores, axis=1)[candidates]
        self.scores_RG[~np.isfinite(self.scores_RG)] = np.nan  # as reject has it: none at all
        self._models = flat.field("model").filter(pa.array(candidates)).dictionary_encode()

    def families(self) -> dict[str, Flags]:
        """Which responses are by models of each family that is known."""
        index_R = self._models.indices.to_numpy(zero_copy_only=False)
        found: dict[str, Flags] = {}
        for place, model in enumerate(self._models.dictionary.to_pylist()):
            family = family_of(model or "")
            if family is not None and family.name:
                of_it = found.setdefault(family.name, np.zeros(len(index_R), np.bool_))
                of_it |= index_R == place
        return found


def read_graded(table: Table, graders: Sequence[str]) -> Iterator[Graded]:
    """The batches of a table, in the order of its rows."""
    first, parts = 0, table.parts()
    # One file is read batch by batch: to hand over a whole part takes memory for it.
    found = [_batches(parts[0], graders)] if len(parts) == 1 else table.each(_part, graders)
    for batches in found:
        for batch in batches:
            batch.first = first
            first += batch.prompts
            yield batch


def _part(part: Table, graders: Sequence[str]) -> list[Graded]:
    return list(_batches(part, graders))


def _batches(part: Table, graders: Sequence[str]) -> Iterator[Graded]:
    return (Graded(batch, graders, part.number) for batch in part.batches(COLUMNS))


class Survey:
    """The graders' scores over the whole table.

    `moments` are those of all candidates, `sigma_G` the standard deviations within prompts (0 for
    a grader that never tells two responses apart), `scores_RG` and `prompt_R` a sample: all rows,
    or every 2nd, 4th, … where they are more than SAMPLE_ROWS.
    """

    def __init__(self, table: Table, graders: Sequence[str]) -> None:
        self.rows = self.responses = 0
        self.moments = [Exact() for _ in graders]
        self.families: set[str] = set()
        squares = [Exact() for _ in graders]
        self.freedom_G = np.zeros(len(graders), np.int64)
        sample, stride = list[tuple[int, Floats]](), 1
        for batch in read_graded(table, graders):
            self.rows += batch.prompts
            self.responses += len(batch.prompt_R)
            self.families.update(batch.families())
            for place, moments in enumerate(self.moments):
                scores, prompt = batch.scores_RG[:, place], batch.prompt_R
                known = ~np.isnan(scores)
                if known.any():
                    moments.take(scores[known])
                    found_P2 = within(scores[known], prompt[known], batch.prompts)
                    squares[place].take(found_P2[:, 0])
                    self.freedom_G[place] += int(found_P2[:, 1].sum())
            ends = np.searchsorted(batch.prompt_R, np.arange(batch.prompts + 1))
            for row in range(-batch.first % stride, batch.prompts, stride):
                sample.append((batch.first + row, batch.scores_RG[ends[row] : ends[row + 1]]))
            while len(sample) > SAMPLE_ROWS:
                stride *= 2
                sample = [one for one in sample if one[0] % stride == 0]
        total_G = np.array([one.total for one in squares])
        self.sigma_G = np.sqrt(total_G / np.maximum(self.freedom_G, 1))
        self.sampled = len(sample)
        self.scores_RG = np.concatenate(
            [np.zeros((0, len(graders))), *(scores for _, scores in sample)]
        )
        counts = [len(scores) for _, scores in sample]
        self.prompt_R: Ints = np.repeat(np.arange(len(sample)), counts)
