"""Lines of an export as rows of tokens, and how many are left out, for what reason.

What a trainer takes without a word and learns nonsense from is left out here and counted: an answer
that is empty, two that are equal, a pair whose better one scored lower, what the chat template does
not take, and what is longer than the student reads. Nothing is cut: a cut answer teaches a student
to stop in the middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import pstdev
from typing import Any

import msgspec
import orjson

from karat.errors import RecipeError, RowError
from karat.row import digest
from karat.training.chat_tokens import ChatTokens
from karat.training.rpo import GAP
from karat.training.student_settings import Objective
from karat.training.student_source import SHAPES

Line = Mapping[str, Any]


class Rows(msgspec.Struct):
    """Rows of token ids for the trainer, their tokens in all, and what was left out by reason."""

    rows: list[dict[str, Any]] = []
    tokens: int = 0
    left_out: dict[str, int] = {}

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def reasons(self) -> str:
        """ "12 longer than 1024 tokens, 1 with an empty answer"."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())


def sft_rows(lines: Iterable[Line], chat: ChatTokens, max_length: int) -> Rows:
    """Rows of `input_ids` and `completion_mask`. Raises: RecipeError for another shape of line."""
    made = Rows()
    for place, line in enumerate(lines):
        prompt, answer = _turns(line, "prompt", place), _answer(line, "completion", place)
        if not answer.strip():
            made.leave_out("with an empty answer")
            continue
        try:
            found = chat.pair(prompt, answer)
        except RowError as error:
            made.leave_out(str(error))
            continue
        if len(found) > max_length:
            made.leave_out(f"longer than {max_length} tokens")
            continue
        mask = [0] * len(found.prompt) + [1] * len(found.answer)
        made.rows.append({"input_ids": found.prompt + found.answer, "completion_mask": mask})
        made.tokens += len(found)
    return made


def preference_rows(
    lines: Iterable[Line], chat: ChatTokens, max_length: int, spread: float | None = None
) -> Rows:
    """Rows of `prompt_ids`, `chosen_ids`, `rejected_ids`; with `spread`, the standard deviation of
    the rewards, also the difference of rewards in its units.

    Raises: RecipeError for a line of another shape, or without rewards where they are needed.
    """
    made = Rows()
    for place, line in enumerate(lines):
        prompt = _turns(line, "prompt", place)
        answers = [_answer(line, side, place) for side in ("chosen", "rejected")]
        gap = _gap(line)
        if spread is not None and gap is None:
            made.leave_out("without both rewards")
        elif not all(answer.strip() for answer in answers):
            made.leave_out("with an empty answer")
        elif answers[0].split() == answers[1].split():
            made.leave_out("with the same text chosen and rejected")
        elif gap is not None and gap <= 0:
            made.leave_out("with the rejected answer not below the chosen")
        else:
            try:
                both = [chat.pair(prompt, answer) for answer in answers]
            except RowError as error:
                made.leave_out(str(error))
                continue
            _add(made, both, gap, spread, max_length)
    return made


def _add(made: Rows, pair: list[Any], gap: float | None, spread: float | None, most: int) -> None:
    chosen, rejected = pair
    if max(len(chosen), len(rejected)) > most:
        made.leave_out(f"longer than {most} tokens")
        return
    shared = min(len(chosen.prompt), len(rejected.prompt))
    row: dict[str, Any] = {
        "prompt_ids": chosen.prompt[:shared],
        "chosen_ids": [*chosen.prompt[shared:], *chosen.answer],
        "rejected_ids": [*rejected.prompt[shared:], *rejected.answer],
    }
    if spread is not None and gap is not None:
        row[GAP] = gap / spread
    made.rows.append(row)
    made.tokens += len(chosen) + len(rejected)


def reward_spread(lines: Sequence[Line]) -> float:
    """The standard deviation of the rewards of all answers. Raises: RecipeError where there are
    none, or all are equal."""
    scores = [
        float(line[side])
        for line in lines
        if _gap(line) is not None
        for side in ("score_chosen", "score_rejected")
    ]
    if not scores:
        raise RecipeError(
            "RPO learns from rewards and no pair has score_chosen and score_rejected; `karat train "
            "dpo` does without"
        )
    if not (spread := pstdev(scores)) > 0:
        raise RecipeError("all answers have the same reward: there is nothing to prefer")
    return spread


def _gap(line: Line) -> float | None:
    """The chosen reward less the rejected one, where both are numbers."""
    scores = [line.get("score_chosen"), line.get("score_rejected")]
    numbers = [s for s in scores if isinstance(s, int | float) and isfinite(s)]
    return float(numbers[0] - numbers[1]) if len(numbers) == 2 else None


def sha_of(lines: Sequence[Line]) -> str:
    """A digest of the lines. Raises: RecipeError for a line that cannot be written as JSON."""
    texts = []
    for place, line in enumerate(lines):
        try:
            texts.append(orjson.dumps(line, option=orjson.OPT_SORT_KEYS))
        except orjson.JSONEncodeError as error:
            raise RecipeError(f"line {place + 1} cannot be written as JSON: {error}") from None
    return digest(*texts).hex()


def check_shape(lines: Sequence[Line], objective: Objective) -> None:
    """Raises: RecipeError for a line of the other export, or of none, before anything is loaded."""
    field, other = ("completion", "chosen") if objective == "sft" else ("chosen", "completion")
    for place, line in enumerate(lines):
        if field in line:
            continue
        wanted = f"`karat train {objective}` takes {SHAPES[objective]}"
        if other in line:
            theirs = "trl-preference" if objective == "sft" else "trl-sft"
            raise RecipeError(f"line {place + 1} is of the export {theirs}; {wanted}")
        raise RecipeError(f"line {place + 1} has no '{field}'; {wanted}")


def _turns(line: Line, field: str, place: int) -> list[dict[str, str]]:
    """A list of messages. Raises: RecipeError."""
    found = line.get(field)
    if isinstance(found, str):
        return [{"role": "user", "content": found}]
    good = isinstance(found, list) and found and all(_is_turn(turn) for turn in found)
    if not good:
        raise RecipeError(
            f"line {place + 1}: '{field}' is no list of messages (role, content), nor a text"
        )
    return [{"role": turn["role"], "content": turn["content"]} for turn in found or ()]


def _answer(line: Line, field: str, place: int) -> str:
    """The assistant's text. Raises: RecipeError where it is not one turn."""
    if isinstance(found := line.get(field), str):
        return found
    turns = _turns(line, field, place)
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise RecipeError(f"line {place + 1}: '{field}' is not one message of the assistant")
    return turns[0]["content"]


def _is_turn(turn: object) -> bool:
    return isinstance(turn, Mapping) and all(
        isinstance(turn.get(k), str) for k in ("role", "content")
    )
