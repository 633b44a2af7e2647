"""Which of the responses that passed a row keeps: its best ones, or a draw by their reward."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.row import digest
from karat.scoring.rso import statistical_rejection
from karat.steps._pool import Candidates, starts

Flags = NDArray[np.bool_]


def best_of(rows: Candidates, best: int, ties: str) -> tuple[Flags, int]:
    """(keep_R, tied): the `best` of each row among what passed, and in how many rows the last place
    kept was tied with the first one left out. With `ties: drop` the reasons go to `rows`."""
    at = np.flatnonzero(rows.passing)
    second = at
    if ties == "shortest":
        second = pc.utf8_length(rows.content.take(pa.array(at))).to_numpy()
    at = at[np.lexsort((at, second, -rows.scores_R[at], rows.owner_R[at]))]
    owner, score = rows.owner_R[at], rows.scores_R[at]
    head = np.flatnonzero(starts(owner))
    counts = np.diff(np.append(head, len(at)))
    keep = np.arange(len(at)) - np.repeat(head, counts) < best
    last = head[counts > best] + best - 1  # the last place kept, where others are left out
    last = last[score[last] == score[last + 1]]
    if ties == "all":
        least_P = np.full(rows.rows, np.inf)
        least_P[owner[last]] = score[last]
        keep |= score >= least_P[owner]
    elif ties == "drop":
        keep &= ~np.isin(owner, owner[last])
        for place in last:
            rows.reasons[rows.ids[owner[place]].as_py()] = f"tie (at {score[place]:.2f})"
    keep_R = np.zeros_like(rows.passing)
    keep_R[at[keep]] = True
    return keep_R, len(last)


def drawn_by_reward(rows: Candidates, accept: int, beta: float, seed: int) -> Flags:
    """keep_R: up to `accept` of what passed in each row, by statistical rejection sampling.

    A draw hangs on the run's seed, the row's id and the response's place in it, and on no other
    row.
    """
    at = np.flatnonzero(rows.passing)
    own = (digest(str(seed), i, size=8) for i in rows.ids.to_pylist())
    seed_P = np.fromiter((int.from_bytes(d, "little") for d in own), np.uint64, rows.rows)
    counts_P = np.bincount(rows.owner_R, minlength=rows.rows)
    place_R = np.arange(len(rows.owner_R)) - np.repeat(np.cumsum(counts_P) - counts_P, counts_P)
    owner = rows.owner_R[at]
    # Spread far apart: neighbours of one row must not be neighbours of another's draws.
    seed_R = seed_P[owner] + place_R[at].astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    keep_R = np.zeros_like(rows.passing)
    keep_R[at] = statistical_rejection(rows.scores_R[at], owner, seed_R, accept, beta)
    return keep_R
