"""What the layers of a frozen model are worth to a reward head: which of them, and how much.

Every line is cross-validated by prompt on the same folds of HelpSteer2's rows and compared, pair by
pair, with the same head without the model; so is the correlation of its reward with people's
"goodness". `read` is the share of the model's layers that must be computed. Layers, share and
penalty of `karat reward train --frozen` were settled by this table, so the line it settled on leans
to the bright side.

    python benchmarks/reward_hidden.py [--data ../shared/data] [--model embedded/smollm2-135m]
        [--repeats 2] [--only TEXT]

Needs `karat[train,reward]`; about twenty minutes on 2 cores, half of them for reading. With
`--only frozen` no more is read than that line needs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.rewards._states import FrozenModel, reading_of
from karat.rewards.columns import RAW
from karat.rewards.head_model import goodness
from karat.rewards.hidden import PER_LAYER, Reading
from karat.training.ratings import read_human
from karat.training.reward_cross import Held, cross_validate
from karat.training.reward_figures import (
    figures_of,
    interval,
    pearson,
    rated_outcomes,
    resampled,
)
from karat.training.reward_settings import FROZEN, Settings
from karat.training.reward_states import Kept
from karat.training.reward_table import Table, table_of

PARTS = ("last", "before", "mean")
HEADER = """\
| what | read | rated pairs (95%) | gap ≥ 2 | against without (95%) | r helpfulness correctness \
coherence complexity verbosity | r of the reward against without (95%) | above spoiled |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Line:
    """One way of reading and fitting; `layers` () is the head without a model."""

    name: str
    layers: tuple[int, ...]
    settings: Settings
    parts: tuple[str, ...] = PARTS


def lines(every: Sequence[int], usual: tuple[int, ...]) -> Iterator[Line]:
    """What is compared; the second is what `--frozen` does."""
    own = replace(Settings(), representation=FROZEN)
    yield Line("without a model", (), Settings())
    yield Line("**frozen**", usual, own)
    yield Line("its lower three layers", usual[:3], own)
    yield Line("its lower two layers", usual[:2], own)
    yield Line("its highest layer alone", usual[-1:], own)
    for layer in every:
        if layer > usual[-1]:
            yield Line(f"layer {layer} alone", (layer,), own)
    yield Line("all layers here", tuple(every), own)
    for part in PARTS:
        yield Line(f"{part} alone", usual, own, (part,))
    for share in (0.3, 0.4, 0.6, 1.0):
        yield Line(f"share {share}", usual, replace(own, hidden_share=share))
    for ridge in (0.25, 1.0, 2.0):
        yield Line(f"penalty {ridge}", usual, replace(own, hidden_ridge=ridge))
    yield Line("regression alone", usual, replace(own, objective="regression"))


def part_of(table: Table, whole: Reading, line: Line) -> Table:
    """The table with the states of these layers and parts alone."""
    places = [
        RAW + (whole.layers.index(layer) * PER_LAYER + PARTS.index(part)) * whole.size
        for layer in line.layers
        for part in line.parts
    ]
    kept = np.concatenate(
        [np.arange(RAW), *(np.arange(place, place + whole.size) for place in places)]
    )
    return replace(
        table,
        raw_RW=table.raw_RW[:, kept],
        tested_KNW=table.tested_KNW[:, :, kept],
        chosen_PW=table.chosen_PW[:, kept],
        rejected_PW=table.rejected_PW[:, kept],
        reading=msgspec.structs.replace(whole, layers=line.layers) if line.layers else None,
    )


def shown(line: Line, depth: int, table: Table, held: Held, without: Held) -> str:
    """One row of the printed table."""
    figures = figures_of(table, held)
    pairs, wide = figures.pairs[:2]
    gain_P = rated_outcomes(table, held).win_P - rated_outcomes(table, without).win_P
    low, high = interval(gain_P, table.group_R[table.better_Q])
    r = " ".join(f"{f.value:.3f}" for f in figures.attributes[:5])
    spoiled = float(np.mean([f.value for f in figures.spoiled]))
    human_R, rewards = goodness(table.y_RA), [h.reward_VRM.mean(axis=2) for h in (held, without)]

    def more(rows: NDArray[np.int64]) -> float:
        own, other = (
            np.mean([pearson(human_R[rows], said_R[rows]) for said_R in said_VR])
            for said_VR in rewards
        )
        return float(own - other)

    least, most = resampled(more, table.group_R, draws=1000)
    return (
        f"| {line.name} | {max(line.layers, default=0) / depth:.0%} "
        f"| {pairs.value:.3f} ({pairs.low:.3f} to {pairs.high:.3f}) | {wide.value:.3f} "
        f"| {gain_P.mean():+.3f} ({low:+.3f} to {high:+.3f}) | {r} "
        f"| {more(np.arange(len(human_R))):+.3f} ({least:+.3f} to {most:+.3f}) | {spoiled:.1%} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--model", default="embedded/smollm2-135m")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", default="", help="lines whose name has this in it")
    args = parser.parse_args()
    data = read_human([args.data / "helpsteer2" / "ratings.jsonl"])
    usual = reading_of(args.model)
    step = usual.layers[0]
    depth = round(usual.layers[-1] * 30 / 16)
    asked = [
        line
        for line in lines(range(step, depth + 1, step), usual.layers)
        if args.only in line.name or not line.layers
    ]
    needed = {layer for line in asked for layer in line.layers}
    whole = msgspec.structs.replace(usual, layers=tuple(sorted(needed)))
    start = time.monotonic()
    reader = Kept(FrozenModel(whole, args.model))
    reader.learn(data, lambda text: print(text, flush=True))
    table = table_of(data, 7, reader=reader)
    print(f"\nread in {time.monotonic() - start:.0f} s\n\n{HEADER}")
    without = None
    for line in asked:
        own = part_of(table, whole, line)
        objective = line.settings.objective
        held = cross_validate(own, line.settings, [objective], repeats=args.repeats)[objective]
        without = without or held
        print(shown(line, depth, own, held, without), flush=True)


if __name__ == "__main__":
    main()
