"""Human data as numbers: rated rows, pairs, and copies spoiled on purpose, each read once.

Representations are computed before any split and everything that is learned (axes, percentiles,
weights) after it, so that a fold sees its own prompts' texts and never their ratings.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karat.rewards.columns import RAW, read_raw
from karat.rewards.head_parts import Floats
from karat.rewards.hidden import Reader, Reading
from karat.row import Message
from karat.training.corruptions import KINDS, TRAINED, ratings_of, spoil
from karat.training.ratings import HumanData, Pair, Rated, pairs_of

Ints = NDArray[np.int64]
Raw = NDArray[np.float32]
Mask = NDArray[np.bool_]
Names = NDArray[np.str_]

PER_ROW = 2  # spoiled copies to train on
TESTED_ROWS = 250  # rows whose every spoiled copy is tested on
TESTED_READ = 20  # as many where a model reads each copy
SOUND = 3.0  # helpfulness from which a spoiled copy must score lower


@dataclass(frozen=True, slots=True)
class Table:
    """R rated rows, S spoiled copies of them to train on, P pairs, and Q pairs the ratings imply.

    Representations are raw: `columns.RAW` wide, and where a frozen model is read (`reading`) its
    states follow, but for the copies to train on, which it does not read. Rows of one `group`
    begin with the same user turn, and never straddle a split. `source_R` is the file of a row.
    `better_Q` and `worse_Q` are rows. `tested_KNW` has the K = `KINDS`
    spoiled copies of the rows `tested_N`, which people rated `SOUND` or more. A strength is 1–3: 1
    where it is unknown.
    """

    raw_RW: Raw
    y_RA: Floats
    group_R: Names
    source_R: Names
    spoiled_SW: Raw
    spoiled_y_SA: Floats
    row_S: Ints
    tested_KNW: Raw
    tested_N: Ints
    chosen_PW: Raw
    rejected_PW: Raw
    strength_P: Floats
    group_P: Names
    better_Q: Ints
    worse_Q: Ints
    strength_Q: Floats
    reading: Reading | None = None


def table_of(
    data: HumanData, seed: int, spoiled: bool = True, sources: Sequence[str] | None = None,
    reader: Reader | None = None,
) -> Table:  # fmt: skip
    """Read everything once; about two milliseconds per response, and what `reader` takes.
    `sources`: each row's file. Raises: RecipeError, RunError where the reader does."""
    better_Q, worse_Q, strength_Q = _implied(data)
    pairs_P2W = [_read(pair.prompt, [pair.chosen, pair.rejected], reader) for pair in data.pairs]
    pairs = np.array(pairs_P2W, np.float32).reshape(-1, 2, _width(reader))
    return Table(
        **_rows(data.rated, seed, spoiled, reader),
        reading=reader.reading if reader is not None else None,
        y_RA=np.array([row.ratings for row in data.rated], dtype=np.float64).reshape(-1, 5),
        group_R=np.array([row.group for row in data.rated], dtype=np.str_),
        source_R=np.array(sources or [""] * len(data.rated), dtype=np.str_),
        chosen_PW=pairs[:, 0],
        rejected_PW=pairs[:, 1],
        strength_P=np.nan_to_num(np.array([pair.strength for pair in data.pairs]), nan=1.0),
        group_P=np.array([pair.group for pair in data.pairs], dtype=np.str_),
        better_Q=better_Q,
        worse_Q=worse_Q,
        strength_Q=strength_Q,
    )


def _width(reader: Reader | None) -> int:
    return RAW + (reader.reading.width if reader is not None else 0)


def _read(prompt: Sequence[Message], texts: Sequence[str], reader: Reader | None) -> Floats:
    raw_NR = read_raw(prompt, texts)
    return raw_NR if reader is None else np.hstack([raw_NR, reader.read(prompt, texts)])


def _rows(rows: Sequence[Rated], seed: int, spoiled: bool, reader: Reader | None) -> dict[str, Any]:
    """Each row with its spoiled copies: a few to train on, all kinds of some rows to test on."""
    sound = [row for row, item in enumerate(rows) if item.ratings[0] >= SOUND and spoiled]
    most = TESTED_ROWS if reader is None else TESTED_READ
    tested = sorted(random.Random(seed).sample(sound, min(most, len(sound))))
    wanted = set(tested)
    raw_RW, copies_SW, y_SA, tests_NKW = [], [], [], []
    for row, item in enumerate(rows):
        rng = random.Random(f"{seed}:{row}")
        copies = _copies(item, rows, rng) if spoiled else {}
        trained = rng.sample(TRAINED, PER_ROW) if spoiled else []
        kinds = [*trained, *(KINDS if row in wanted else ())]
        texts = [item.response, *(copies[kind] for kind in kinds)]
        raw = read_raw(item.prompt, texts)
        copies_SW.append(raw[1 : 1 + len(trained)].astype(np.float32))
        read = [0, *range(1 + len(trained), len(texts))]
        raw = raw[read]
        if reader is not None:
            raw = np.hstack([raw, reader.read(item.prompt, [texts[i] for i in read])])
        raw_RW.append(raw[0].astype(np.float32))
        y_SA += [ratings_of(kind, np.array(item.ratings)) for kind in trained]
        if row in wanted:
            tests_NKW.append(raw[1:].astype(np.float32))
    width = _width(reader)
    tested_NKW = np.array(tests_NKW, dtype=np.float32).reshape(-1, len(KINDS), width)
    return {
        "raw_RW": np.array(raw_RW, dtype=np.float32).reshape(-1, width),
        "spoiled_SW": np.array(copies_SW, dtype=np.float32).reshape(-1, RAW),
        "spoiled_y_SA": np.array(y_SA).reshape(-1, 5),
        "row_S": np.repeat(np.arange(len(rows)), PER_ROW if spoiled else 0),
        "tested_KNW": tested_NKW.transpose(1, 0, 2).copy(),
        "tested_N": np.array(tested, dtype=np.int64),
    }


def _copies(item: Rated, rows: Sequence[Rated], rng: random.Random) -> dict[str, str]:
    drawn = rng.sample(rows, min(20, len(rows)))
    other = next((o.response for o in drawn if o.group != item.group), "")
    prompt = item.prompt[-1].content if item.prompt else ""
    return spoil(item.response, prompt, other, rng)


def _implied(data: HumanData) -> tuple[Ints, Ints, Floats]:
    place: dict[tuple[tuple[Message, ...], str], int] = {}
    for row, item in enumerate(data.rated):
        place.setdefault((item.prompt, item.response), row)

    def of(pair: Pair, text: str) -> int:
        return place[pair.prompt, text]

    pairs = pairs_of(data).pairs
    return (
        np.array([of(pair, pair.chosen) for pair in pairs], dtype=np.int64),
        np.array([of(pair, pair.rejected) for pair in pairs], dtype=np.int64),
        np.array([pair.strength for pair in pairs], dtype=np.float64),
    )
