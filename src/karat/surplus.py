"""Which rows of a run in rounds go on, and which are dropped as not needed or too many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.mill import Mill
from karat.row import Row, digest
from karat.stage import Stage, StepStats, read_rows, written
from karat.target import Stratum, Target

LABEL = "exactly"
HELD = "not needed"
NAMED = 5  # strata named in a warning


def thin(mill: Mill, path: Path, stage: Stage, share: float) -> Path:
    """A round's file with this share of its rows, drawn by hash of their ids; the others wait."""
    live = [(digest(name, size=8), name) for name in Table(path).ids()]
    held = {name: HELD for _, name in sorted(live)[math.ceil(share * len(live)) :]}
    name = f"{stage.number:02d}-some{stage.suffix}.parquet"
    with written(mill.folder / name, {}) as writer:
        for batch, _ in apply_decision(path, Decision(drop=held), LABEL):
            writer.add_batch(batch)
    mill.used.add(name)
    stats = mill.monitor.stats[stage.labels[-1]]
    stats.rows_out -= len(held)
    stats.dropped = {**stats.dropped, **({HELD: len(held)} if held else {})}
    return mill.folder / name


def finish(
    mill: Mill, target: Target, last: Path, accepted: Mapping[Stratum, int], rounds: int, why: str
) -> tuple[Path, dict[str, Any]]:
    """The file of the last stage less the rows over the number, and what the report says of it.

    `why` says why rows are missing, if they are.
    """
    stats = StepStats(LABEL)
    name = f"{len(mill.stages) + 1:02d}-{LABEL}.parquet"
    path = mill.folder / name
    with written(path, {}) as writer:
        for batch, reasons in apply_decision(
            last, Decision(drop=_surplus(last, target, _mixed(mill))), LABEL
        ):
            for reason in reasons:
                stats.drop(reason)
            writer.add_batch(batch)
    stats.rows_out = Table(path).count()
    stats.rows_in = stats.rows_out + sum(stats.dropped.values())
    mill.monitor.stats[LABEL] = stats
    if mill.monitor.sealed.issuperset(mill.recipe.labels):
        mill.monitor.sealed.add(LABEL)  # nothing was made anew
    mill.used.add(name)
    short = {s: n for s, n in accepted.items() if n < target.rows}
    result = {
        "rows": target.rows,
        "per": list(target.per),
        "rounds": rounds,
        "accepted": {_name(s): min(n, target.rows) for s, n in accepted.items()},
        "why_short": why,
    }
    if why:
        named = [f"{_name(s)} {n:,}" for s, n in short.items()]
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        mill.services.warn(
            f"exactly {target.rows:,} was not reached ({', '.join(named[:NAMED])}{more}) "
            f"after {rounds} {'round' if rounds == 1 else 'rounds'}: {why}"
        )
    return path, result


def counted(row: Row, target: Target) -> Stratum | None:
    """What a row counts for. Where strata are counted, human rows do not: they are mixed in."""
    return None if target.per and row.source == "human" else target.stratum(row.meta)


def _surplus(last: Path, target: Target, share: float | None) -> dict[str, str]:
    """Of each stratum, the rows that come after enough others, with the reason.

    Human rows stay to the share that `mix` was to reach, and without one in proportion. A made row
    that lacks what rows are counted by goes.
    """
    made: dict[Stratum, list[str]] = {}
    human: list[str] = []
    reasons: dict[str, str] = {}
    for row in read_rows(last, bare=True):
        if row.dropped is None and row.source == "human":
            human.append(row.id)
        elif row.dropped is None and (stratum := target.stratum(row.meta)) is not None:
            made.setdefault(stratum, []).append(row.id)
        elif row.dropped is None:
            reasons[row.id] = f"has no {' / '.join(target.per)} to be counted by"
    total = sum(map(len, made.values()))
    if target.per:
        stay = sum(min(target.rows, len(ids)) for ids in made.values())
        ratio = len(human) / total if total else 0.0
        people = stay * ratio if share is None else share * stay / (1 - share)
        limits = dict.fromkeys(made, target.rows)
    else:
        rows = min(target.rows, total + len(human))
        people = rows * len(human) / max(1, total + len(human)) if share is None else rows * share
        people = max(people, rows - total)
        limits = dict.fromkeys(made, rows - min(len(human), math.ceil(people - 1e-9)))
    surplus = [name for stratum, ids in made.items() for name in ids[limits[stratum] :]]
    surplus += human[math.ceil(people - 1e-9) :]
    return {**reasons, **dict.fromkeys(surplus, "more than asked for")}


def _mixed(mill: Mill) -> float | None:
    """The share of human rows that the recipe's last `mix` is to reach."""
    shares = [call.params["share"] for call in mill.recipe.steps if call.step.path == "mix"]
    return shares[-1] if shares else None


def _name(stratum: Stratum) -> str:
    return " / ".join(stratum) or "rows"
