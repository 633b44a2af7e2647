"""What best_of_n.py shows: curves and the meter as tables, reward against calls as SVG and CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from best_of_n_pools import Floats, Row, Table, features_of, graded_by, heads

from karat.intervals import Interval
from karat.report.axes import fit
from karat.report.svg import Panel, figure
from karat.scoring.overoptimisation import Meter, meter


def said(found: Interval, digits: int = 3) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def show_curve(found: Meter, ks: tuple[int, ...]) -> None:
    held = found.rungs[0].held is not None
    print(f"{'k':>4}{'KL':>7}  {'reward':24}{'predicted':>10}", end="")
    print(f"   {'held-out':24}{'predicted':>10}" if held else "")
    for rung in found.rungs:
        if rung.k in ks:
            line = f"{rung.k:4}{rung.kl:7.2f}  {said(rung.grading):24}{rung.predicted:10.3f}"
            if rung.held is not None:
                line += f"   {said(rung.held):24}{rung.held_predicted:10.3f}"
            print(line)


def over_optimisation(table: Table, rows: list[Row]) -> None:
    """One line for each way of picking, a random one among them."""
    counts_P = np.array([len(row.responses) for row in rows])
    x_NF, sizes = features_of(rows), [10, 25, 100, 250]
    characters_R = np.array([len(r.content) for row in rows for r in row.responses], np.float64)
    *proxies, gold = heads(table, sizes)
    ways = {
        "at random": np.random.default_rng(7).random(len(x_NF)),
        "the shortest": -characters_R,
        "the longest": characters_R,
        **{
            f"a head of {n} prompts": graded_by(h, x_NF)
            for n, h in zip(sizes, proxies, strict=True)
        },
    }
    print(
        f"  {'picked':22}{'correlation':>12}  {'held-out at 1':24}{'at the last k':24}predicted",
        end="",
    )
    print("  peak  use n  p of a drop")
    for name, scores_R in ways.items():
        found = meter(counts_P, scores_R, graded_by(gold, x_NF))
        first, last = found.rungs[0], found.rungs[-1]
        print(
            f"  {name:22}{found.correlation:12.2f}  {said(first.held):24}{said(last.held):24}"
            f"{last.held_predicted:9.3f}{found.peak:6}{found.recommended:7}{found.p_drop:13.4f}"
        )


class Study(NamedTuple):
    """Adaptive n on one set of pools: what is drawn and what the headline is."""

    name: str
    curve_K: Floats
    points: list[tuple[float, float]]
    share: Interval


def panel(study: Study) -> Panel:
    """Reward against mean calls: grey for fixed n, gold for adaptive."""
    fixed = [(float(k), float(v)) for k, v in enumerate(study.curve_K, 1)]
    both = [*fixed, *study.points]
    plot = Panel(
        study.name, fit([x for x, _ in both], "calls a prompt", log=False),
        fit([y for _, y in both], "mean reward of the best"), 460, 340,
        [("good", "adaptive n"), ("plain", "fixed n")],
    )  # fmt: skip
    plot.line(fixed, "k-grey-line")
    plot.line(study.points, "k-gold-line")
    for x, y in fixed:
        plot.dot(x, y, "plain", f"fixed {x:g}: {y:.3f}")
    for x, y in study.points:
        plot.dot(x, y, "good", f"adaptive, {x:.2f} calls: {y:.3f}")
    return plot


def write(studies: list[Study], out: Path) -> None:
    told = ". ".join(f"{s.name}: {said(s.share)} of the calls" for s in studies)
    text = figure([panel(s) for s in studies], "Reward against calls", told, columns=2, margin=16)
    (out / "best_of_n.svg").write_text(text, "utf-8")
    with (out / "best_of_n.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["pools", "way", "calls", "reward"])
        for s in studies:
            table.writerows([s.name, "fixed", k, f"{v:.6f}"] for k, v in enumerate(s.curve_K, 1))
            table.writerows([s.name, "adaptive", f"{x:.4f}", f"{y:.6f}"] for x, y in s.points)
