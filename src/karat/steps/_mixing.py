"""What `mix` shares out: amounts by share, weight and cap, and the order in which rows are taken.

A row's turn hangs on the seed and on what it says, not on its place in its file nor on how many are
wanted: a greater share keeps what a smaller one took, and the rows that come last are in no mix, so
that a guard can compare with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Table, best_texts, joined_texts
from karat.curation.selection import quotas
from karat.curation.shingles import Hashes, Ints, digests, mix, normalise
from karat.row import Row
from karat.steps._guarding import COLUMNS as WATCHED
from karat.steps._guarding import Watched
from karat.steps._strata import Strata
from karat.steps.dedupe import turns
from karat.table import plain

Floats = NDArray[np.float64]
Weigh = Literal["rows", "tokens"]

READ_AT_ONCE = 1024
TOKEN_BYTES = 4  # of UTF-8: English has about 4 characters a token, Chinese 3 bytes a character
FINE = 1_000  # parts of a row or token, in which shares are rounded


class Rows(msgspec.Struct):
    """Some rows as arrays. digest: 64 bits of what their turns say; size: what each weighs; code:
    its stratum; human: whether people wrote the prompt."""

    digest: Hashes
    size: Ints
    code: Ints
    human: NDArray[np.bool_]

    def at(self, places: Ints) -> Rows:
        return Rows(
            self.digest[places], self.size[places], self.code[places], self.human[places]
        )  # fmt: skip


class Held(NamedTuple):
    """What a mix must know of the live rows of a table, or of a part of it.

    digest: of the rows asked for, those that say what a live row says; size_2S: rows or tokens of
    each stratum, of others and of people. Nothing in it grows with the rows.
    """

    digest: Hashes
    size_2S: Ints
    strata: Strata
    watched: Watched


def held(table: Table, asked: Hashes, weigh: Weigh, per: Sequence[str], *, watch: bool) -> Held:
    """Of a table; `asked` are sorted, each once."""
    total = Held(asked[:0], np.zeros((2, 0), np.int64), Strata(per), Watched())
    for part in table.each(_held, asked, weigh, per, watch):
        places = total.strata.merge(part.strata)
        size_2S = grown(total.size_2S, len(total.strata.names))
        size_2S[:, places] += part.size_2S
        total.watched.merge(part.watched)
        total = total._replace(digest=np.union1d(total.digest, part.digest), size_2S=size_2S)
    return total


def _held(part: Table, asked: Hashes, weigh: Weigh, per: Sequence[str], watch: bool) -> Held:
    strata, watched = Strata(per), Watched()
    size_2S, met = np.zeros((2, 0), np.int64), np.zeros(len(asked), np.bool_)
    columns = {"messages", "source", *strata.columns, *(WATCHED if watch else ())}
    if weigh == "tokens":
        columns |= {f"responses.list.element.{name}" for name in ("content", "kept")}
    for batch in part.batches(sorted(columns)):
        said = batch.column("messages")
        size_P = np.ones(batch.num_rows, np.int64)
        if weigh == "tokens":
            size_P = _tokens(joined_texts(said)) + _tokens(best_texts(batch.column("responses")))
        human_P = pc.equal(batch.column("source"), "human").to_numpy(zero_copy_only=False)
        size_2S = sized(size_2S, strata.of(batch), size_P, human_P.astype(bool), strata)
        if len(asked):
            digest_P = digests(normalise(turns(said)))
            at = np.minimum(np.searchsorted(asked, digest_P), len(asked) - 1)
            met[at[asked[at] == digest_P]] = True
        if watch:
            watched.take(batch)
    return Held(asked[met], size_2S, strata, watched)


def sized(
    size_2S: Ints, code_P: Ints, size_P: Ints, human_P: NDArray[np.bool_], strata: Strata
) -> Ints:
    """The sizes with those of further rows, of others and of people."""
    found = grown(size_2S, len(strata.names))
    for side, among in enumerate((~human_P, human_P)):
        more = np.bincount(code_P[among], size_P[among], len(strata.names))
        found[side] += more.astype(np.int64)
    return found


def grown(size_2S: Ints, strata: int) -> Ints:
    """The sizes with room for more strata."""
    return np.pad(size_2S, ((0, 0), (0, strata - size_2S.shape[1])))


def file_rows(rows: Iterable[Row], weigh: Weigh, strata: Strata) -> Rows:
    """Rows that come one by one, about 20 bytes each."""
    parts, rows = [_none()], iter(rows)
    while part := list(islice(rows, READ_AT_ONCE)):
        spoken = ["\n".join(m.content for m in row.messages if m.role != "system") for row in part]
        digest_P = digests(normalise(pa.array(map(plain, spoken), pa.string())))
        size_P = np.ones(len(part), np.int64)
        if weigh == "tokens":
            size_P = np.array([row_tokens(row) for row in part], np.int64)
        metas = pa.array([orjson.dumps(plain(row.meta)).decode() for row in part], pa.string())
        code_P = strata.of(pa.record_batch([metas], ["meta"]))
        human_P = np.array([row.source == "human" for row in part], np.bool_)
        parts.append(Rows(digest_P, size_P, code_P, human_P))
    return _joined(parts)


def row_tokens(row: Row) -> int:
    """About how many tokens a row has: all messages and the first kept response."""
    texts = [message.content for message in row.messages]
    texts += [response.content for response in row.kept()[:1]]
    return max(1, sum(len(text.encode("utf-8", "replace")) for text in texts) // TOKEN_BYTES)


def _tokens(texts: pa.Array) -> Ints:
    size = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    tokens: Ints = np.maximum(1, size.astype(np.int64) // TOKEN_BYTES)
    return tokens


def _none() -> Rows:
    none = np.zeros(0, np.int64)
    return Rows(none.astype(np.uint64), none, none, none.astype(np.bool_))


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([part.digest for part in parts]),
        np.concatenate([part.size for part in parts]),
        np.concatenate([part.code for part in parts]),
        np.concatenate([part.human for part in parts]),
    )


def fresh(rows: Rows, taken: Hashes) -> Ints:
    """The places of rows that say what no taken one and no earlier one says, in order."""
    _, first = np.unique(rows.digest, return_index=True)
    found: Ints = np.sort(first[~np.isin(rows.digest[first], taken)])
    return found


def in_turn(rows: Rows, places: Ints, seed: int) -> Ints:
    """The places in the order in which they are taken."""
    turn = mix(rows.digest[places] ^ np.uint64(seed % 2**64))
    return places[np.argsort(turn, kind="stable")]


def whole(base: float, shares: Floats, limits: Floats) -> float:
    """The size of a mix of `base` and parts that are each `shares` of it, or all of `limits`.

    Parts run dry in the order of how large a mix they are enough for.
    """
    order = np.argsort(limits / shares, kind="stable")
    for dry in range(len(shares) + 1):
        rest = order[dry:]
        size = (base + limits[order[:dry]].sum()) / (1 - shares[rest].sum())
        if not len(rest) or size <= limits[rest[0]] / shares[rest[0]]:
            break
    return float(size)


def shared_out(total: int, weights: Floats, limits: Ints) -> Ints:
    """`total` shared out by weight, none above its limit; what one lacks goes to the others."""
    found = np.zeros(len(weights), np.int64)
    while (left := min(total, int(limits.sum())) - int(found.sum())) > 0:
        open_ = np.flatnonzero(found < limits)
        sizes = np.maximum(1, np.rint(weights[open_] * FINE)).astype(np.int64)
        found[open_] = np.minimum(found[open_] + quotas(sizes, left), limits[open_])
    return found


def reaching(order: Ints, size_N: Ints, wanted: int, most: int | None = None) -> Ints:
    """The fewest first places whose sizes reach `wanted`, or all, and never exceed `most`."""
    reach = np.cumsum(size_N[order])
    count = int(np.searchsorted(reach, wanted)) + 1 if wanted > 0 else 0
    if most is not None:
        count = min(count, int(np.searchsorted(reach, most, "right")))
    return order[:count]


def by_stratum(
    order: Ints, rows: Rows, wanted: int, need_S: Floats, most: int | None = None
) -> Ints:
    """As `reaching`, but each stratum first gets its part of `wanted` by its need, as far as it has
    rows; what is missing then comes from whatever is next in turn."""
    if need_S.sum() <= 0 or len(need_S) < 2:
        return reaching(order, rows.size, wanted, most)
    part_S = quotas(np.rint(need_S * FINE).astype(np.int64), wanted)
    chosen = np.zeros(len(order), np.bool_)
    for code in np.flatnonzero(part_S):
        own = np.flatnonzero(rows.code[order] == code)
        reach = np.cumsum(rows.size[order[own]])
        chosen[own[: np.searchsorted(reach, part_S[code], "right")]] = True
    first, rest = order[chosen], order[~chosen]
    return reaching(np.concatenate([first, rest]), rows.size, wanted, most)


def at_places(rows: Iterable[Row], places: Ints) -> Iterator[Row]:
    """The rows at some places, read no further than the last."""
    if not len(places):
        return
    wanted, last = set(places.tolist()), int(places.max())
    for place, row in enumerate(rows):
        if place in wanted:
            yield row
        if place >= last:
            return
