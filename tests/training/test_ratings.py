"""Ratings and preferences: every shape people publish, masks, ties, implied pairs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.errors import RecipeError
from karat.row import Message
from karat.training.objectives import bradley_terry
from karat.training.ratings import HumanData, Pair, Rated, pairs_of, read_human

FIVE = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ASKED = [{"role": "user", "content": "Q"}]
NAN = float("nan")


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    return path


def read(folder: Path, *records: object) -> HumanData:
    return read_human([write(folder / "some.jsonl", *records)])


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def rated(response: str, *ratings: float, prompt: str = "Q") -> Rated:
    return Rated((Message("user", prompt),), response, ratings, prompt.lower())


def same(found: HumanData, *ratings: float) -> None:
    """The one rating there is; NaN equals NaN."""
    (row,) = found.rated
    assert [round(r, 9) if r == r else None for r in row.ratings] == [
        round(r, 9) if r == r else None for r in ratings
    ]


# --- ratings -------------------------------------------------------------------------------------


def test_an_attribute_that_is_not_rated_is_masked(tmp_path: Path) -> None:
    record = {"prompt": "Q", "response": "A", "helpfulness": 3, "coherence": None, "verbosity": NAN}
    same(read(tmp_path, record), 3, NAN, NAN, NAN, NAN)


def test_a_response_that_nobody_rated_is_counted(tmp_path: Path) -> None:
    found = read(tmp_path, {"prompt": "Q", "response": "A", **dict.fromkeys(FIVE, NAN)})
    assert (found.rated, found.left_out, found.skipped) == ([], {"not rated": 1}, 1)


def test_raters_that_are_kept_apart_are_averaged(tmp_path: Path) -> None:
    """HelpSteer2's folder `disagreements` holds a list of numbers for each attribute."""
    record = {"prompt": "Q", "response": "A", **{name: [1, 2, 4] for name in FIVE}}
    same(read(tmp_path, record), *[7 / 3] * 5)


# --- preferences ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "wanted"),
    [
        (-3, ("one", "two", 3)),
        (-1, ("one", "two", 1)),
        (2, ("two", "one", 2)),
        (0.4, ("two", "one", 1)),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_strength_says_which_is_better_and_by_how_much(
    tmp_path: Path, strength: float, wanted: tuple[str, str, float], version: int
) -> None:
    two: dict[str, Any] = {
        "prompt": "Q", "response_1": "one", "response_2": "two", "preference_strength": strength,
        "preference_statement": "So.", "split": "train",
    }  # fmt: skip
    three = {
        "context": ASKED, "response1": "one", "response2": "two", "overall_preference": strength,
        "domain": "general", "language": "english",
        "individual_preference": [{"score": strength, "feedback1": "Good."}],
    }  # fmt: skip
    (pair,) = read(tmp_path, two if version == 2 else three).pairs
    assert (pair.chosen, pair.rejected, pair.strength) == wanted
    assert pair.prompt == (Message("user", "Q"),)
    assert pair.group == "q"


def test_ties_are_no_pairs_and_are_counted(tmp_path: Path) -> None:
    """A published loader of HelpSteer3 makes a pair of one text out of a preference of 0."""
    of = {"context": ASKED, "response1": "one", "response2": "two"}
    found = read(
        tmp_path,
        of | {"overall_preference": 0},
        of | {"overall_preference": None},
        of | {"overall_preference": 1, "response2": " one\n"},
        of | {"overall_preference": 1, "response2": ""},
        {"prompt": "Q", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 2.0},
    )
    assert found.pairs == []
    assert found.left_out == {
        "tie": 2, "not compared": 1, "same text twice": 1, "empty answer": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        {"context": ASKED, "response1": "a", "response2": "b", "feedback1": ["x"], "feedback2": []},
        {"context": ASKED, "original_response": "a", "edited_response": "b", "feedback": ["x"]},
        {"context": ASKED, "good_edited_response": "a", "bad_edited_response": "b"},
    ],
)
def test_sets_without_ratings_say_so(tmp_path: Path, record: object) -> None:
    with pytest.raises(RecipeError, match=r"line 1: .* no ratings; take nvidia/HelpSteer3:pref"):
        read(tmp_path, record)


def test_pairs_as_trl_has_them(tmp_path: Path) -> None:
    longer = [*ASKED, *said("Well?"), {"role": "user", "content": "More"}]
    found = read(
        tmp_path,
        {"prompt": ASKED, "chosen": said("a"), "rejected": said("b"),
         "score_chosen": 3.0, "score_rejected": 1.0, "margin": 2.0},
        {"prompt": "Q", "chosen": said("a"), "rejected": said("b"), "strength": 2},
        {"chosen": [*longer, *said("a")], "rejected": [*longer, *said("b")]},
        {"prompt": "Q", "chosen": [*ASKED, *said("a")], "rejected": [*ASKED, *said("b")]},
        {"prompt": "Q", "chosen": ["a"], "rejected": ["b", "c"]},
    )  # fmt: skip
    texts = [(p.chosen, p.rejected) for p in found.pairs]
    assert texts == [*[("a", "b")] * 5, ("a", "c")]
    assert [len(p.prompt) for p in found.pairs] == [1, 1, 3, 1, 1, 1]
    # A margin is in units of a reward and says nothing about how sure people were.
    assert [p.strength if p.strength == p.strength else None for p in found.pairs] == [
        None, 2, None, None, None, None,
    ]  # fmt: skip
    assert found.groups == {"q"}


def test_answers_to_two_conversations_are_no_pair(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "\n\nHuman: R\n\nAssistant: b"},
        {"chosen": "\n\nHuman: Q\n\nAssistant: a\n\nHuman: Q", "rejected": "\n\nHuman: Q"},
        {"chosen": [*ASKED, *said("a"), *ASKED, *said("b")], "rejected": [*ASKED, *said("b")]},
    )
    assert found.pairs == []
    assert found.left_out == {
        "the conversations part before the last turn": 2, "no answer at the end": 1,
    }  # fmt: skip


@pytest.mark.parametrize("winner", ["model_a", "model_b", "tie", "tie (bothbad)"])
@pytest.mark.parametrize("shape", ["lists", "texts", "conversations"])
def test_votes_of_an_arena(tmp_path: Path, winner: str, shape: str) -> None:
    def vote(a: list[str | None], b: list[str | None]) -> dict[str, Any]:
        asked = [f"Q{i}" for i in range(len(a))]
        if shape == "lists":
            return {"prompts": asked, "responses_a": a, "responses_b": b, "winner": winner}
        if shape == "texts":
            of = {"prompt": asked, "response_a": a, "response_b": b}
            won = {f"winner_model_{side}": int(winner == f"model_{side}") for side in "ab"}
            return {name: json.dumps(value) for name, value in of.items()} | won
        turns = [[m for q, t in zip(asked, side, strict=True)
                  for m in ({"role": "user", "content": q}, *said(t or ""))]
                 for side in (a, b)]  # fmt: skip
        return {"conversation_a": turns[0], "conversation_b": turns[1], "winner": winner}

    # A vote on three turns says nothing about the last alone, unless all before it are the same.
    found = read(tmp_path, vote(["x"], ["y"]), vote(["x", "y"], ["x", "z"]),
                 vote(["x", "y"], ["z", "y"]), vote([None], ["y"]))  # fmt: skip
    if winner.startswith("tie"):
        assert (found.pairs, found.left_out) == ([], {"tie": 4})
        return
    texts = [(p.chosen, p.rejected) for p in found.pairs]
    assert texts == [("x", "y") if winner == "model_a" else ("y", "x"),
                     ("y", "z") if winner == "model_a" else ("z", "y")]  # fmt: skip
    assert [len(p.prompt) for p in found.pairs] == [1, 3]
    assert found.left_out == {
        "the conversations part before the last turn": 1, "empty answer": 1,
    }  # fmt: skip


# --- pairs that ratings imply --------------------------------------------------------------------


def test_ratings_imply_pairs() -> None:
    rows = [rated("a", 4, 0, 0, 0, 0), rated("b", 1, 4, 0, 0, 0), rated("c", 1, 4, 0, 4, 4),
            rated("d", NAN, 4, 4, 4, 4), rated("e", 0, 0, 0, 0, 0, prompt="R")]  # fmt: skip
    found = pairs_of(HumanData(rows))
    assert [(p.chosen, p.rejected, p.strength) for p in found.pairs] == [
        ("a", "b", 3),
        ("a", "c", 3),
    ]
    assert found.left_out == {"not rated": 3, "tie": 1}
    by_goodness = pairs_of(HumanData(rows), "goodness")  # (.65·4 − .65·1 − .8·4) / 1.9 = −.66
    assert [(p.chosen, p.rejected, p.strength) for p in by_goodness.pairs] == [
        ("b", "a", 1), ("c", "a", 1),
    ]  # fmt: skip


marks = st.lists(st.sampled_from([0, 1, 2, 3, 4, 1 / 3, NAN]), min_size=5, max_size=5)


@given(st.lists(st.tuples(st.sampled_from("QR"), st.sampled_from("abc"), marks), max_size=8),
       st.sampled_from(["helpfulness", "goodness"]))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_pairs_agree_with_looking_at_every_two(rows: list[Any], by: Any) -> None:
    items = [rated(text, *values, prompt=prompt) for prompt, text, values in rows]
    weights = (1, 0, 0) if by == "helpfulness" else (0.65 / 1.9, 0.8 / 1.9, 0.45 / 1.9)

    def worth(row: Rated) -> float:
        return sum(w * r for w, r in zip(weights, row.ratings[:3], strict=True) if w)

    wanted = sorted(
        (a.group, a.response, b.response)
        for a in items for b in items
        if a.group == b.group and a.response != b.response and worth(a) - worth(b) > 1e-9
    )  # fmt: skip
    found = pairs_of(HumanData(items), by)
    assert sorted((p.group, p.chosen, p.rejected) for p in found.pairs) == wanted
    assert all(p.strength in (1, 2, 3) for p in found.pairs)
    counts = [sum(row.group == q for row in items) for q in "qr"]
    together = sum(n * (n - 1) // 2 for n in counts)
    assert len(found.pairs) + sum(found.left_out.values()) == together
    if found.pairs:
        gaps = pairs_strengths(found.pairs)
        assert math.isfinite(bradley_terry(gaps, gaps, "margin").value)


def pairs_strengths(pairs: list[Pair]) -> Any:
    import numpy as np

    return np.array([pair.strength for pair in pairs])
