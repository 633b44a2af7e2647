"""debias: a score without its lean to long or decorated answers.

A reward model that was taught on human choices has learnt that longer looks better, and best-of-n
finds exactly what it overrates. The lean is measured on this run's own answers and taken off, with
no training and no second grader; LOWESS of reward on length did so for 33 reward models and gained
3.11 points of RewardBench on average.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.columns import Decision, Table, score_values
from karat.context import Context
from karat.scoring.debias import Bias, dependence, fit_bias, flips, on_grid
from karat.scoring.lowess import SPAN
from karat.step import ScoreKey, step
from karat.steps._by_part import by_part
from karat.steps._style import FEATURES, log_length, style

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMNS = [f"responses.list.element.{name}" for name in ("content", "scores")]
LEAST = 30  # graded answers: a curve through fewer follows their noise


@step
def debias(
    table: Table,
    ctx: Context,
    *,
    by: ScoreKey,
    on: list[Literal["length", "format"]] = ["length"],  # noqa: B006  read only
    unit: Literal["characters", "words"] = "characters",
    span: Annotated[float, msgspec.Meta(gt=0, le=1)] = round(SPAN, 3),
) -> Decision:
    """Gives every graded response a second score, `by` with `_debiased` after its name.

    `on: [length]` takes off the LOWESS curve of the score on the log of its `unit`, each line
    through the nearest `span` of the answers; `on: [length, format]` a linear share of headings,
    list items, bold text and blocks of code beside it. The mean stays, so the new score is on the
    old one's scale; nothing is clipped. Rank by it: `reject: {by: helpsteer2.reward_debiased}`.

    A score that compares within one prompt only is fitted within prompts: each prompt has a level
    of its own, and those with one graded answer say nothing. The new score compares as the old one.

    The notes say how the score goes with length before and after, how many pairs of answers to one
    prompt changed places, and the curve. What is taken off is all that goes with length, deserved
    or not: compare with a second grader where answers ought to be long. With fewer than 30 graded
    answers nothing is taken off.

    Source: Huang et al. (2409.17407); formatting: style control of Chatbot Arena
    (lmsys.org/blog/2024-08-28-style-control).
    """
    parts = list(table.each(_read, by, unit, "format" in on))
    score_R, prompt_R, length_R, style_RF = _joined(parts)
    graded = np.isfinite(score_R)
    score, prompt, length = score_R[graded], prompt_R[graded], length_R[graded]
    within = ctx.within_prompt(by)
    bias = None
    if len(score) >= LEAST:
        bias = fit_bias(
            score, prompt, length if "length" in on else None,
            style_RF[graded] if "format" in on else None, within=within, span=span,
        )  # fmt: skip
    else:
        ctx.warn(
            f"{len(score)} responses have a score '{by}', fewer than {LEAST}: it stays as it is"
        )
    after = score if bias is None else score - bias.bias
    debiased_R = np.full(len(score_R), np.nan)
    debiased_R[graded] = after
    notes: dict[str, Any] = {
        "by": by,
        "score": _key(by),
        "on": on,
        "graded": len(score),
        "before": dependence(score, length, prompt, within=within),
        "after": dependence(after, length, prompt, within=within),
        **flips(score, after, prompt),
        **({"within_prompt": True} if within else {}),
        **(_fitted(bias, style_RF[graded]) if bias else {}),
    }
    ends = np.cumsum([len(part.score_R) for part in parts])
    decisions = [Decision(scores={_key(by): own_R}) for own_R in np.split(debiased_R, ends[:-1])]
    return Decision(each=by_part(decisions), notes=notes)


@debias.rule
def _rule(*, on: list[str], **_: Any) -> str | None:
    if not on or len(set(on)) < len(on):
        return f"on: write [length], [format] or [length, format], not {on}"
    return None


@debias.gives
def _gives(*, by: str, **_: Any) -> dict[str, tuple[float, float]]:
    return {_key(by): (-np.inf, np.inf)}


@debias.derives
def _derives(*, by: str, **_: Any) -> dict[str, list[str]]:
    return {_key(by): [by]}


def _key(by: str) -> str:
    return f"{by}_debiased"


class _Read(NamedTuple):
    """The responses of one part of the table; style of none but where it is wanted. 20 bytes a
    response, and 32 more for style."""

    score_R: Floats
    counts_P: NDArray[np.int32]  # of each row's responses
    length_R: Floats
    style_RF: Floats


def _read(part: Table, by: str, unit: str, styled: bool) -> _Read:
    scores, counts, lengths = [np.zeros(0)], [np.zeros(0, np.int32)], [np.zeros(0)]
    styles = [np.zeros((0, len(FEATURES) if styled else 0))]
    for batch in part.batches(COLUMNS):
        responses = batch.column("responses")
        flat = responses.flatten()
        scores.append(score_values(flat.field("scores"), by))
        counts.append(np.diff(responses.offsets.to_numpy()))
        lengths.append(log_length(flat.field("content"), unit))
        styles.append(style(flat.field("content")) if styled else np.zeros((len(flat), 0)))
    return _Read(
        np.concatenate(scores), np.concatenate(counts),
        np.concatenate(lengths), np.concatenate(styles),
    )  # fmt: skip


def _joined(parts: list[_Read]) -> tuple[Floats, Ints, Floats, Floats]:
    """(score_R, prompt_R, length_R, style_RF) of all responses."""
    score_R, counts_P, length_R, style_RF = map(np.concatenate, zip(*parts, strict=True))
    return score_R, np.repeat(np.arange(len(counts_P)), counts_P), length_R, style_RF


def _fitted(bias: Bias, style_RF: Floats) -> dict[str, Any]:
    """The curve at even steps of log length, and what one σ of each feature is worth; both in units
    of the score."""
    notes: dict[str, Any] = {"turns": bias.turns, "bias_sigma": float(bias.bias.std())}
    if bias.curve is not None and len(bias.curve[0]):
        grid, height = on_grid(bias.curve)
        notes["curve"] = {"length": np.exp(grid).tolist(), "bias": height.tolist()}
    if bias.slopes is not None:
        spreads = zip(FEATURES, bias.slopes * style_RF.std(axis=0), strict=True)
        notes["format"] = {name: float(effect) for name, effect in spreads}
    return notes
