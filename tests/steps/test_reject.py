"""reject against a plain-Python reference, on real stage files."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from staged import settled

from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.errors import RecipeError
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps.reject import reject
from karat.table import from_batch

RATINGS = Path(__file__).parents[3] / "shared/data/helpsteer2/ratings.jsonl"


class Ctx:
    """As much of a context as a table step touches."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def within_prompt(self, key: str) -> bool:
        return key.startswith("bt.")

    def seed(self, index: int = 0) -> int:
        return 7 + index


def write(path: Path, rows: list[Row]) -> Path:
    writer = StageWriter(path)
    writer.add(rows)
    writer.close({})
    return path


def run(path: Path, rows: list[Row], **params: Any) -> tuple[Decision, list[Row], Ctx]:
    """The decision, and the rows as the next stage would hold them."""
    file, ctx = write(path / "stage.parquet", rows), Ctx()
    table, checked = Table(file), reject.check({"by": "r.reward", **params})
    decision = settled(reject.function(table, ctx, **checked), table)
    batches = [batch for batch, _ in apply_decision(file, decision, "reject")]
    return decision, [row for batch in batches for row in from_batch(batch)], ctx


def row(number: int, *scores: float | None, texts: list[str] | None = None) -> Row:
    texts = texts or [f"answer {i}" for i in range(len(scores))]
    responses = [
        Response(text, "m", i, scores={} if score is None else {"r.reward": score})
        for i, (text, score) in enumerate(zip(texts, scores, strict=True))
    ]
    return Row(f"row{number}", [Message("user", f"question {number}")], responses)


def kept(rows: list[Row]) -> list[list[int]]:
    return [[i for i, r in enumerate(row.responses) if r.kept] for row in rows]


def reference(rows: list[Row], p: dict[str, Any]) -> tuple[dict[str, set[int]], dict[str, str]]:
    """What reject must do, one row and one response at a time."""
    live = [row for row in rows if row.dropped is None]
    every = [
        r.scores["r.reward"]
        for row in live
        for r in row.responses
        if r.kept is not False and "r.reward" in r.scores
    ]
    sigma = statistics.pstdev(every) if every else 0.0
    limit = p.get("minimum", -math.inf)
    if p.get("minimum_sigma") is not None and every:
        limit = max(limit, statistics.fmean(every) + p["minimum_sigma"] * sigma)
    kept, dropped = {}, {}
    for row in live:
        kept[row.id], reason = one_row(row.responses, p, limit, sigma)
        if reason:
            dropped[row.id] = reason
    return kept, dropped


def one_row(
    responses: list[Response], p: dict[str, Any], limit: float, sigma: float
) -> tuple[set[int], str]:
    left = [i for i, r in enumerate(responses) if r.kept is not False]
    if not left:
        return set(), "no response"
    left = [i for i in left if responses[i].content.strip()]
    if not left:
        return set(), "empty response"
    score = {i: responses[i].scores.get("r.reward", math.nan) for i in left}
    left = sorted((i for i in left if not math.isnan(score[i])), key=lambda i: (-score[i], i))
    if not left:
        return set(), "not graded"
    seen: dict[str, int] = {}
    for i in left:
        seen.setdefault(" ".join(responses[i].content.split()), i)
    left = list(seen.values())
    middle = statistics.median(score[i] for i in left)
    left = [i for i in left if score[i] >= limit]
    if not left:
        return set(), "below minimum"
    for key, floor in p.get("floors", {}).items():
        left = [i for i in left if responses[i].scores.get(key, -math.inf) >= floor]
        if not left:
            return set(), f"below floor {key}"
    if p.get("margin_sigma") is not None and score[left[0]] - middle < p["margin_sigma"] * sigma:
        return set(), "margin too small"
    k = p["best"]
    if p["ties"] == "shortest":
        left.sort(key=lambda i: (-score[i], len(responses[i].content), i))
    tied = len(left) > k and score[left[k - 1]] == score[left[k]]
    if tied and p["ties"] == "drop":
        return set(), "tie"
    if p["ties"] == "all":
        last = score[left[min(k, len(left)) - 1]]
        return {i for i in left if score[i] >= last}, ""
    return set(left[:k]), ""


def given_scores(reward: float | None, helpful: float | None) -> dict[str, float]:
    pairs = (("r.reward", reward), ("r.help", helpful), ("s.x", 1.0))
    return {key: value for key, value in pairs if value is not None}


SCORES = st.one_of(st.none(), st.integers(-4, 4).map(float))  # few values, hence many ties
RESPONSES = st.builds(
    lambda text, model, reward, helpful, flag: Response(
        text, model, scores=given_scores(reward, helpful), kept=flag
    ),
    st.sampled_from(["", " \n", "a", "a ", "a b", "a  b", "ü", "\u3000", "long answer", "长 答案"]),
    st.sampled_from(["m", "n", ""]),
    SCORES,
    SCORES,
    st.sampled_from([None, None, None, True, False]),
)
ROWS = st.lists(
    st.tuples(st.lists(RESPONSES, max_size=6), st.sampled_from([None] * 3 + ["read: bad line"])),
    max_size=8,
)
PARAMS = st.fixed_dictionaries(
    {"best": st.integers(1, 3), "ties": st.sampled_from(["first", "shortest", "drop", "all"])},
    optional={
        "minimum": st.integers(-3, 3).map(float),
        "minimum_sigma": st.sampled_from([-0.97, 0.31]),
        "margin_sigma": st.sampled_from([0.0, 0.23, 1.13]),
        "floors": st.dictionaries(st.sampled_from(["r.help", "s.x"]), st.just(0.5), max_size=2),
    },
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS, params=PARAMS)
def test_equals_the_reference(
    tmp_path: Path, rows: list[tuple[list[Response], str | None]], params: dict[str, Any]
) -> None:
    made = [
        Row(f"id{i}", [Message("user", "q")], responses, dropped=dropped)
        for i, (responses, dropped) in enumerate(rows)
    ]
    want, reasons = reference(made, params)
    decision, after, _ = run(tmp_path, made, **params)
    assert {i: text.partition(" (")[0] for i, text in decision.drop.items()} == reasons
    for row in after:
        if row.id in want:
            assert {i for i, r in enumerate(row.responses) if r.kept} == want[row.id]
            assert all(r.kept is not None for r in row.responses)
    chosen = [r.scores["r.reward"] for row in after if row.id in want for r in row.kept() if r.kept]
    assert decision.notes["kept"] == len(chosen)
    mean = pytest.approx(statistics.fmean(chosen)) if chosen else None
    assert decision.notes["mean_after"] == mean
    json.dumps(decision.notes)


def test_keeps_the_best_of_each_row(tmp_path: Path) -> None:
    _, after, ctx = run(tmp_path, [row(0, 1.0, 3.0, 2.0), row(1, -5.0, -6.0)])
    assert kept(after) == [[1], [0]]
    assert [r.dropped for r in after] == [None, None]
    assert ctx.warnings == []
    assert kept(run(tmp_path, [row(0, 1.0, 3.0)], best=5)[1]) == [[0, 1]]


def test_reasons_name_the_gate_and_the_value(tmp_path: Path) -> None:
    poor = row(1, 2.13, 1.0)
    unhelpful = row(2, 3.0)
    unhelpful.responses[0].scores["r.help"] = 1.2
    rows = [row(0), poor, unhelpful, row(3, None), row(4, 3.0, texts=[" \n"]), row(5, 3.0)]
    decision, after, _ = run(tmp_path, rows, minimum=2.5, floors={"r.help": 2})
    assert decision.drop == {
        "row0": "no response",
        "row1": "below minimum (best 2.13)",
        "row2": "below floor r.help (best 1.20)",
        "row3": "not graded",
        "row4": "empty response",
        "row5": "below floor r.help (not graded)",
    }
    assert after[1].dropped == "reject: below minimum (best 2.13)"
    assert not any(r.kept for made in after for r in made.responses)


@pytest.mark.parametrize(
    ("ties", "want"), [("first", [0]), ("shortest", [1]), ("drop", []), ("all", [0, 1])]
)
def test_ties(tmp_path: Path, ties: str, want: list[int]) -> None:
    made = row(0, 2.0, 2.0, 1.0, texts=["a longer one", "short", "worse"])
    decision, after, _ = run(tmp_path, [made], ties=ties)
    assert kept(after) == [want]
    assert decision.notes["tied_rows"] == 1
    assert decision.drop == ({"row0": "tie (at 2.00)"} if ties == "drop" else {})
    both, _, _ = run(tmp_path, [made], best=2, ties=ties)  # a tie among the kept ones is none
    assert (both.drop, both.notes["tied_rows"], both.notes["kept"]) == ({}, 0, 2)


def test_equal_texts_count_once(tmp_path: Path) -> None:
    made = row(0, 1.0, 3.0, 3.0, texts=["other", "same  text", " same text\n"])
    decision, after, _ = run(tmp_path, [made], best=2)
    assert kept(after) == [[0, 1]]
    assert decision.notes["duplicate_responses"] == 1


def test_sigma_gates(tmp_path: Path) -> None:
    rows = [row(0, 0.0, 4.0), row(1, 1.0, 1.0)]  # mean 1.5, σ 1.5
    decision, _, _ = run(tmp_path, rows, minimum_sigma=0.5)
    assert decision.drop == {"row1": "below minimum (best 1.00)"}
    assert decision.notes["limit"] == pytest.approx(2.25)
    assert decision.notes["sigma"] == pytest.approx(1.5)
    decision, _, _ = run(tmp_path, rows, margin_sigma=1.0)
    assert decision.drop == {"row1": "margin too small (0.00σ)"}


def test_per_model_figures(tmp_path: Path) -> None:
    made = row(0, 1.0, 3.0, 2.0)
    made.responses[2].model = ""
    notes = run(tmp_path, [made])[0].notes
    assert notes["ranking"] == "r.reward"
    assert (notes["mean_before"], notes["mean_after"]) == (2.0, 3.0)
    assert notes["per_model"] == {
        "given": {"mean": 2.0, "sigma": 0.0, "n": 1, "kept": 0},
        "m": {"mean": 2.0, "sigma": 1.0, "n": 2, "kept": 1},
    }


def test_a_second_reject_chooses_among_the_kept(tmp_path: Path) -> None:
    made = row(0, 3.0, 2.0, 1.0)
    for response, flag in zip(made.responses, (False, True, True), strict=True):
        response.kept = flag
    decision, after, _ = run(tmp_path, [made])
    assert kept(after) == [[1]]
    assert decision.notes["mean_before"] == 1.5


def test_warns_when_nothing_is_graded_or_all_is_equal(tmp_path: Path) -> None:
    assert "no response has a score" in run(tmp_path, [row(0, None)])[2].warnings[0]
    assert "same 'r.reward'" in run(tmp_path, [row(0, 1.0, 1.0)])[2].warnings[0]
    decision, after, ctx = run(tmp_path, [])
    assert (decision.drop, after, ctx.warnings) == ({}, [], [])


def test_more_rows_than_one_batch(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    scores_PN = rng.normal(size=(3000, 4)).round(6)
    rows = [row(i, *line) for i, line in enumerate(scores_PN.tolist())]
    decision, after, _ = run(tmp_path, rows)
    assert kept(after) == [[best] for best in scores_PN.argmax(axis=1)]
    assert decision.notes["mean_before"] == pytest.approx(scores_PN.mean())
    assert decision.notes["sigma"] == pytest.approx(scores_PN.std())


@pytest.mark.skipif(not RATINGS.exists(), reason="shared data is not here")
def test_on_human_ratings(tmp_path: Path) -> None:
    by_prompt: dict[str, Row] = {}
    for line in RATINGS.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        blank = Row(str(len(by_prompt)), [Message("user", item["prompt"])])
        made = by_prompt.setdefault(item["prompt"], blank)
        scores = {"r.reward": float(item["helpfulness"]), "r.coherence": float(item["coherence"])}
        made.responses.append(Response(item["response"], "human", scores=scores))
    decision, after, _ = run(tmp_path, list(by_prompt.values()), floors={"r.coherence": 3.0})
    assert decision.notes["mean_after"] > decision.notes["mean_before"]
    for made in after:
        if made.dropped is None:
            (choice,) = made.kept()
            assert choice.scores["r.reward"] >= max(
                r.scores["r.reward"] for r in made.responses if r.scores["r.coherence"] >= 3
            )


def test_parameters_are_checked() -> None:
    for wrong in ({"best": 0}, {"ties": "random"}, {"margin_sigma": -1.0}, {"minimum": "high"}):
        with pytest.raises(RecipeError):
            reject(by="r.reward", **wrong)
