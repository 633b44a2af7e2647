"""pairs: what it writes into rows, whom it lets be chosen, and why a row has none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from staged import kept, row, run

from karat.errors import RecipeError
from karat.row import Response, Row
from karat.scoring.pairing import pair_up
from karat.steps.pairs import pairs
from karat.steps.reject import reject


def graded(number: int, *scores: float | None, key: str = "r.reward") -> Row:
    return row(number, *({} if score is None else {key: score} for score in scores))


def test_a_pair_names_places_scores_and_margin(tmp_path: Path) -> None:
    rows = [graded(0, None, 1.0, 4.0, 2.0), graded(1, 3.0, 2.0)]
    decision, after, ctx = run(tmp_path, pairs, rows, by="r.reward", rule="max_min")
    sigma = np.std([1, 4, 2, 3, 2])
    assert after[0].meta["pairs"] == [
        {
            "chosen": 2,
            "rejected": 1,
            "by": "r.reward",
            "chosen_reward": 4.0,
            "rejected_reward": 1.0,
            "margin_sigma": pytest.approx(3 / sigma),
        }
    ]
    assert kept(after) == [[2], [0]]
    assert all(r.kept is not None for made in after for r in made.responses)
    assert (decision.drop, ctx.warnings) == ({}, [])
    notes = decision.notes
    assert (notes["ranking"], notes["rule"], notes["pairs"]) == ("r.reward", "max_min", 2)
    assert notes["sigma"] == pytest.approx(sigma)
    assert notes["margin_sigma"]["median"] == pytest.approx(2 / sigma)
    assert notes["models"] == {"chosen": {"m": 2}, "rejected": {"m": 2}}
    json.dumps(notes)


def test_meta_of_the_user_stays(tmp_path: Path) -> None:
    made = graded(0, 1.0, 2.0)
    made.meta = {"task": "qa"}
    assert run(tmp_path, pairs, [made], by="r.reward")[1][0].meta.keys() == {"task", "pairs"}


def test_several_pairs_share_no_answer(tmp_path: Path) -> None:
    _, after, _ = run(
        tmp_path, pairs, [graded(0, 1, 2, 3, 4, 5)], by="r.reward", rule="max_min", n=9
    )
    places = [(p["chosen"], p["rejected"]) for p in after[0].meta["pairs"]]
    assert places == [(4, 0), (3, 1)]
    assert kept(after) == [[3, 4]]


def test_why_a_row_has_no_pair(tmp_path: Path) -> None:
    equal = graded(3, 1.0, 2.0)
    equal.responses[0].content, equal.responses[1].content = "one  text", " one text\n"
    empty = graded(4, 1.0, 2.0)
    empty.responses[0].content = " \n"
    gone = graded(7, 1.0, 9.0)
    gone.responses[0].kept = gone.responses[1].kept = False
    upside_down = graded(8, 1.0, 9.0)
    upside_down.responses[1].kept = False
    rows = [
        graded(0), graded(1, None, None), graded(2, 2.0, 2.0), equal, empty,
        graded(5, 2.0, 2.1), graded(6, 9.0, 1.0), gone, upside_down, graded(9, -3.0, -9.0),
    ]  # fmt: skip
    decision, after, _ = run(tmp_path, pairs, rows, by="r.reward", minimum=0, margin_sigma=[0.1])
    sigma = decision.notes["sigma"]
    assert decision.drop == {
        "row0": "no response",
        "row1": "not graded",
        "row2": "equal scores (at 2.00)",
        "row3": "only one response",
        "row4": "only one response",
        "row5": f"margin outside the limits (widest {0.1 / sigma:.2f}σ)",
        "row7": "no response to choose",
        "row8": "no response scored below the chosen",
        "row9": "below minimum (best -3.00)",
    }
    assert after[0].dropped == "pairs: no response"
    assert decision.notes["duplicate_responses"] == 1
    assert [bool(made.meta) for made in after] == [i == 6 for i in range(10)]


def test_margins_are_in_sigma_of_this_run(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    scores = random.normal(3, 2, size=(2000, 6))
    rows = [graded(i, *line) for i, line in enumerate(scores.tolist())]
    for rule, limits in (("moderate_margin", None), ("max_min", [1.0, 1.2]), ("max_min", [3.0])):
        given_ = {} if limits is None else {"margin_sigma": limits}
        decision, after, _ = run(tmp_path, pairs, rows, by="r.reward", rule=rule, **given_)
        low, high = (*(limits or (0.5, 1.5)), math.inf)[:2]
        found = [p["margin_sigma"] for made in after for p in made.meta.get("pairs", [])]
        assert low <= min(found) <= max(found) <= high
        assert decision.notes["sigma"] == pytest.approx(scores.std())
        want = [
            pair_up(s, rule, 1, (low * scores.std(), high * scores.std())) for s in scores.tolist()
        ]
        assert len(found) == sum(map(bool, want)) == decision.notes["rows"]
        assert [
            (p["chosen"], p["rejected"]) for made in after for p in made.meta.get("pairs", [])
        ] == [(p.chosen, p.rejected) for one in want for p in one]


def test_after_reject_the_kept_are_chosen_and_any_may_be_rejected(tmp_path: Path) -> None:
    rows = [graded(i, 1.0, 5.0, 3.0, 4.0) for i in range(2)]
    _, chosen, _ = run(tmp_path, reject, rows, by="r.reward", best=2)
    _, after, _ = run(tmp_path, pairs, chosen, by="r.reward", rule="max_min")
    assert [(p["chosen"], p["rejected"]) for p in after[0].meta["pairs"]] == [(1, 0)]
    assert kept(after) == [[1]] * 2


def test_what_is_not_chosen_is_turned_down(tmp_path: Path) -> None:
    """A gate keeps all that pass it; of these the rejected answer must not be taught."""
    made = graded(0, 1.0, 5.0, 3.0)
    for response in made.responses:
        response.kept = True
    _, after, _ = run(tmp_path, pairs, [made], by="r.reward")
    assert [r.kept for r in after[0].responses] == [False, True, False]


def test_scores_apart_by_rounding_alone_have_no_sigma(tmp_path: Path) -> None:
    decision, after, _ = run(
        tmp_path, pairs, [graded(0, 1.0, 1.0 + 4e-16, key="bt.reward")], by="bt.reward"
    )
    assert decision.notes["sigma"] == 0
    assert after[0].meta["pairs"][0]["margin_sigma"] == 0


def test_what_a_gate_turned_down_may_be_rejected_but_not_chosen(tmp_path: Path) -> None:
    """A wrong answer that the reward likes is no choice; the right one is, if it scores higher."""
    made = graded(0, 9.0, 5.0, 1.0)
    made.responses[0].kept = made.responses[2].kept = False
    _, after, _ = run(tmp_path, pairs, [made], by="r.reward")
    assert [(p["chosen"], p["rejected"]) for p in after[0].meta["pairs"]] == [(1, 2)]
    assert kept(after) == [[1]]


def test_of_equal_texts_the_kept_one_stands(tmp_path: Path) -> None:
    made = graded(0, 5.0, 4.9, 1.0)
    made.responses[1].content = made.responses[0].content + " "
    made.responses[0].kept = False
    _, after, _ = run(tmp_path, pairs, [made], by="r.reward")
    assert [(p["chosen"], p["rejected"]) for p in after[0].meta["pairs"]] == [(1, 2)]


def test_goodness_pairs(tmp_path: Path) -> None:
    kinds = ("helpfulness", "correctness", "coherence")
    answers = [
        dict(zip((f"hs.{k}" for k in kinds), v, strict=True)) for v in ((4, 2, 4), (3, 4, 4))
    ]
    decision, after, _ = run(tmp_path, pairs, [row(0, *answers)], by="hs", weights="goodness")
    (pair,) = after[0].meta["pairs"]
    assert (pair["chosen"], pair["by"]) == (1, "hs.goodness")
    assert pair["chosen_reward"] == pytest.approx(0.65 * 3 + 0.8 * 4 + 0.45 * 4)
    assert after[0].responses[1].scores["hs.goodness"] == pair["chosen_reward"]
    assert decision.notes["ranking"] == "hs.goodness"


def test_a_score_within_prompts_has_margins_but_no_minimum(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    inner = random.normal(size=(200, 4))
    rows = [
        graded(i, *line, key="bt.reward")
        for i, line in enumerate((inner + random.normal(0, 99, (200, 1))).tolist())
    ]
    decision, _, _ = run(tmp_path, pairs, rows, by="bt.reward", margin_sigma=[0.5, 2.5])
    gaps = inner - inner.mean(axis=1, keepdims=True)
    assert decision.notes["sigma"] == pytest.approx(math.sqrt((gaps**2).sum() / 600))
    assert decision.notes["rows"] > 150
    with pytest.raises(RecipeError, match=r"^minimum: bt\.reward compares responses to one prompt"):
        run(tmp_path, pairs, rows, by="bt.reward", minimum=1.0)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.lists(
            st.builds(
                lambda text, score, flag: Response(
                    text, "m", scores={} if score is None else {"r.reward": score}, kept=flag
                ),
                st.sampled_from(["", " ", "a", "a ", "b", "c", "d"]),
                st.one_of(st.none(), st.integers(0, 4).map(float)),
                st.sampled_from([None, None, True, False]),
            ),
            max_size=6,
        ),
        max_size=5,
    ),
    st.sampled_from(["max_min", "mu_minus_2sigma", "moderate_margin"]),
    st.integers(1, 2),
)
def test_no_pair_is_identical_empty_or_tied(
    tmp_path: Path, answers: list[list[Response]], rule: str, n: int
) -> None:
    rows = [Row(f"row{i}", [], responses) for i, responses in enumerate(answers)]
    decision, after, _ = run(tmp_path, pairs, rows, by="r.reward", rule=rule, n=n)
    for before, made in zip(answers, after, strict=True):
        found = made.meta.get("pairs", [])
        assert (made.id in decision.drop) == (not found)
        assert len(found) <= n
        for pair in found:
            chosen, rejected = before[pair["chosen"]], before[pair["rejected"]]
            texts = [" ".join(r.content.split()) for r in (chosen, rejected)]
            assert texts[0] != texts[1]
            assert all(texts)
            assert chosen.scores["r.reward"] == pair["chosen_reward"]
            assert pair["chosen_reward"] > rejected.scores["r.reward"] == pair["rejected_reward"]
            assert chosen.kept is not False
            assert made.responses[pair["chosen"]].kept


def test_more_rows_than_one_batch_and_none(tmp_path: Path) -> None:
    rows = [graded(i, 0.0, float(i % 7)) for i in range(2500)]
    decision, after, _ = run(tmp_path, pairs, rows, by="r.reward")
    assert decision.notes["rows"] == sum(i % 7 > 0 for i in range(2500))
    assert [bool(made.meta) for made in after] == [i % 7 > 0 for i in range(2500)]
    decision, after, ctx = run(tmp_path, pairs, [], by="r.reward")
    assert (decision.drop, after, ctx.warnings) == ({}, [], [])
    ctx = run(tmp_path, pairs, [graded(0, None, None)], by="r.reward")[2]
    assert ctx.warnings == ["no response has a score 'r.reward': nothing could be paired"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "needs the parameter 'by'"),
        ({"by": "a.x", "margin_sigma": 0.5}, "got float; write a list: [0.5]"),
        ({"by": "a.x", "margin_sigma": []}, "write the least and the largest margin in σ"),
        ({"by": "a.x", "margin_sigma": [2.0, 1.0]}, "not [2.0, 1.0]"),
        ({"by": "a.x", "margin_sigma": [-1.0, 1.0]}, "not [-1.0, 1.0]"),
        ({"by": "a.x", "margin_sigma": [0.0, 1.0, 2.0]}, "not [0.0, 1.0, 2.0]"),
        ({"by": "a.x", "rule": "max-min"}, "did you mean 'max_min'?"),
        ({"by": "a.x", "n": 0}, "n"),
    ],
)
def test_mistakes_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        pairs.check(params)
    assert message in str(caught.value)
