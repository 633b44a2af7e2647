"""trl-preference: chosen and rejected answers for TRL's DPOTrainer and RewardTrainer.

Rows that `pairs` has paired give a line for each pair. Of another row it is the best kept answer
against the worst one turned down, by the score that chose. What TRL takes without a word and learns
nonsense from (equal texts, an empty answer, a margin of 0 or below) is left out here and counted.

Source: trl 1.16.0, trl/trainer/{dpo,reward}_trainer.py; `margin` is what
RewardTrainer subtracts inside its Bradley-Terry loss, as in Llama 2 (2307.09288 §3.2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from karat.exporters.base import (
    Exported,
    Paired,
    answer,
    files_of,
    paired,
    ranking,
    turns,
    write_parts,
)
from karat.row import Response, Row
from karat.rundir import Run

Graded = tuple[float, Response]

FILES = files_of("trl-preference.jsonl")  # what this export writes; an older run's go first


def export(run: Run, folder: Path) -> Exported:
    """Writes `trl-preference.jsonl`, or `trl-preference.train.jsonl` and so on where rows have a
    `meta.split`: prompt, chosen, rejected, both scores, their difference.

    Scores and `margin` are on the scale of the score that `pairs` or `reject` ranked by, or of the
    only reward there is. Left out and counted by reason: rows that make no pair, or all of them
    where no score ranks their answers.
    """
    lines = preferences(run.accepted_file)
    return write_parts(run.accepted_file, folder / FILES[0], "train", lines)


def preferences(accepted: Path) -> Callable[[Row, Exported], Iterator[dict[str, Any]]]:
    """What makes the lines of a row: for every export of pairs the same ones."""
    key, problem = ranking(accepted)

    def lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
        pairs = paired(row)
        found = [_line(row, pair) for pair in pairs]
        if not pairs:
            found = [problem if key is None else _pair(row, key)]
        for line in found:
            if isinstance(line, str):
                made.leave_out(line)
            else:
                yield line

    return lines


def _pair(row: Row, key: str) -> dict[str, Any] | str:
    """The row's pair, or why it has none. Of equal scores the first in the row stands."""
    if not row.messages:
        return "no prompt"
    if len(row.responses) < 2:
        return "fewer than two responses"
    chosen = max(_usable(row, key, kept=True), key=lambda pair: pair[0], default=None)
    if chosen is None:
        return _why_none(row, key, kept=True)
    text = _folded(chosen[1])
    others = [pair for pair in _usable(row, key, kept=False) if _folded(pair[1]) != text]
    rejected = min(others, key=lambda pair: pair[0], default=None)
    if rejected is None:
        return _why_none(row, key, kept=False)
    return _written(row, chosen, rejected)


def _line(row: Row, pair: Paired) -> dict[str, Any] | str:
    """A pair that `pairs` made, or why it is none: a later step may have edited its texts, or
    turned down what it chose."""
    if not row.messages:
        return "no prompt"
    chosen, rejected = row.responses[pair.chosen], row.responses[pair.rejected]
    if chosen.kept is False:
        return "chosen response turned down by a later step"
    if not chosen.content.strip() or not rejected.content.strip():
        return f"{'rejected' if chosen.content.strip() else 'chosen'} response empty"
    if _folded(chosen) == _folded(rejected):
        return "same text chosen and rejected"
    return _written(row, (pair.chosen_reward, chosen), (pair.rejected_reward, rejected))


def _written(row: Row, chosen: Graded, rejected: Graded) -> dict[str, Any] | str:
    margin = chosen[0] - rejected[0]
    if not margin > 0:
        return "equal scores" if margin == 0 else "rejected scored above chosen"
    return {
        "prompt": turns(row.messages),
        "chosen": answer(chosen[1].content),
        "rejected": answer(rejected[1].content),
        "score_chosen": chosen[0],
        "score_rejected": rejected[0],
        "margin": margin,
    }


def _side(row: Row, *, kept: bool) -> list[Response]:
    """The kept answers, or those a step turned down; where none has chosen, none is turned down."""
    if kept:
        return row.kept()
    return [response for response in row.responses if response.kept is False]


def _usable(row: Row, key: str, *, kept: bool) -> Iterable[Graded]:
    for response in _side(row, kept=kept):
        score = _score(response, key)
        if score is not None and response.content.strip():
            yield score, response


def _score(response: Response, key: str) -> float | None:
    score = response.scores.get(key)
    return score if score is not None and isfinite(score) else None


def _why_none(row: Row, key: str, *, kept: bool) -> str:
    side = _side(row, kept=kept)
    word = "kept" if kept else "rejected"
    if not side:
        return f"no {word} response"
    graded = [response for response in side if _score(response, key) is not None]
    if not graded:
        return f"{word} response not graded"
    if not any(response.content.strip() for response in graded):
        return f"{word} response empty"
    return "same text chosen and rejected"


def _folded(response: Response) -> str:
    return " ".join(response.content.split())
