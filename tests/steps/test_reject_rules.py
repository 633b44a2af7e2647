"""reject's keep rules beyond the best of each prompt: weights, strata, unions, RSO."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from staged import kept, row, run

from karat.errors import RecipeError
from karat.row import Message, Response, Row
from karat.steps.reject import absolute_uses, reject

ONCE = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
RATINGS = Path(__file__).parents[3] / "shared/data/helpsteer2/ratings.jsonl"


def graded(number: int, *scores: float, key: str = "r.reward", **meta: Any) -> Row:
    return row(number, *({key: score} for score in scores), meta=meta)


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["hs", "hs.helpfulness", "hs.reward"])
def test_published_weights_rank_by_a_score_of_their_own(tmp_path: Path, by: str) -> None:
    wordy = dict(zip((f"hs.{a}" for a in HS), (4, 3, 4, 2, 4), strict=True))
    right = dict(zip((f"hs.{a}" for a in HS), (3, 4, 4, 2, 1), strict=True))
    partly = {"hs.helpfulness": 4.0, "hs.correctness": 4.0}
    decision, after, _ = run(
        tmp_path, reject, [row(0, wordy, right, partly)], by=by, weights="nemotron-4-340b"
    )
    assert kept(after) == [[1]]
    name = "hs.nemotron-4-340b"
    assert decision.notes["ranking"] == name
    values = [r.scores.get(name) for r in after[0].responses]
    want = 3 * 0.30 + 4 * 0.74 + 4 * 0.46 + 2 * 0.47 - 1 * 0.33
    assert values[1] == pytest.approx(want)
    assert values[0] == pytest.approx(4 * 0.30 + 3 * 0.74 + 4 * 0.46 + 2 * 0.47 - 4 * 0.33)
    assert values[2] is None  # a sum without all of its parts is none, and no candidate
    assert decision.notes["candidates"] == 2
    assert decision.notes["sigmas"]["hs.helpfulness"] == 0.5
    assert reject.given is not None
    assert reject.given(**reject.check({"by": by, "weights": "nemotron-4-340b"})) == {
        name: (-math.inf, math.inf)
    }


def test_own_weights_of_one_reward_are_of_raw_scores(tmp_path: Path) -> None:
    rows = [row(0, {"a.x": 1.0, "a.y": 9.0}, {"a.x": 2.0, "a.y": 1.0}, {"a.x": 0.0, "a.y": 0.0})]
    decision, after, _ = run(tmp_path, reject, rows, weights={"a.x": 1, "a.y": -0.1})
    assert [r.scores["weighted.reward"] for r in after[0].responses] == pytest.approx([0.1, 1.9, 0])
    assert kept(after) == [[1]]
    assert decision.notes["ranking"] == "weighted.reward"


def test_own_weights_of_two_rewards_are_of_standard_scores(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    small, large = random.normal(size=(6, 4)), random.normal(1e4, 500, size=(6, 4))
    rows = [
        row(i, *({"a.x": s, "b.y": w} for s, w in zip(*lines, strict=True)))
        for i, lines in enumerate(zip(small.tolist(), large.tolist(), strict=True))
    ]
    rows[0].responses[0].kept = False  # no candidate, and no part of mean and σ
    _, after, _ = run(tmp_path, reject, rows, weights={"a.x": 2.0, "b.y": 1.0})
    among = np.ones((6, 4), bool)
    among[0, 0] = False
    z = [(v - v[among].mean()) / v[among].std() for v in (small, large)]
    total = np.where(among, 2 * z[0] + z[1], -np.inf)
    assert kept(after) == [[best] for best in total.argmax(axis=1)]
    found = [[r.scores["weighted.reward"] for r in made.responses] for made in after]
    np.testing.assert_allclose(found, 2 * z[0] + z[1], rtol=1e-9)


def test_a_part_that_compares_within_prompts_is_scaled_within_them(tmp_path: Path) -> None:
    """Levels of prompts far apart must not drown the reward: its σ is the one within them."""
    random = np.random.default_rng(1)
    inner = random.normal(size=(50, 4))
    level = random.normal(0, 1000, size=(50, 1))
    other = random.normal(size=(50, 4))
    rows = [
        row(i, *({"bt.reward": s, "a.x": w} for s, w in zip(*lines, strict=True)))
        for i, lines in enumerate(zip((inner + level).tolist(), other.tolist(), strict=True))
    ]
    decision, after, _ = run(tmp_path, reject, rows, weights={"bt.reward": 1.0, "a.x": 1.0})
    gaps = inner - inner.mean(axis=1, keepdims=True)
    sigma = math.sqrt((gaps**2).sum() / (200 - 50))
    assert decision.notes["sigmas"] == pytest.approx({"bt.reward": sigma, "a.x": other.std()})
    assert decision.notes["within_prompt"] is True
    total = gaps / sigma + other / other.std()
    assert kept(after) == [[best] for best in total.argmax(axis=1)]


# --- strata and unions ---------------------------------------------------------------------------

ANSWERS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(-4, 4).map(float)), st.integers(0, 3).map(float)),
    max_size=4,
)
STRATA = st.sampled_from([{"task": "qa"}, {"task": "code"}, {"task": None}, {}])


def by_hand(
    rows: list[Row], share: float | None, per: bool, also: float | None, p: dict[str, Any]
) -> dict[str, list[int]]:
    """Which responses stay, with top shares and unions done one row at a time."""
    candidates: dict[str, list[int]] = {}
    for one in rows:
        candidates[one.id] = [
            i for i, r in enumerate(one.responses)
            if "r.reward" in r.scores and r.scores["j.score"] >= p.get("floor", -math.inf)
        ]  # fmt: skip
    cut = dict.fromkeys((one.id for one in rows), -math.inf)
    strata: dict[str, list[Row]] = {}
    for one in rows:
        strata.setdefault(str(one.meta.get("task")) if per else "", []).append(one)
    for alike in strata.values() if share is not None else ():
        tops = sorted(
            (max(one.responses[i].scores["r.reward"] for i in candidates[one.id])
             for one in alike if candidates[one.id]), reverse=True,
        )  # fmt: skip
        for one in alike:
            assert share is not None
            cut[one.id] = tops[math.ceil(share * len(tops)) - 1] if tops else math.inf
    found = {}
    for one in rows:
        bar = max(cut[one.id], p.get("minimum", -math.inf))
        left = [
            i for i in candidates[one.id]
            if one.responses[i].scores["r.reward"] >= bar
            or (also is not None and one.responses[i].scores["j.score"] >= also)
        ]  # fmt: skip
        left.sort(key=lambda i: (-one.responses[i].scores["r.reward"], i))
        found[one.id] = sorted(left[: p["best"]])
    return found


@ONCE
@given(
    st.lists(st.tuples(ANSWERS, STRATA), max_size=9),
    st.sampled_from([None, 0.25, 0.5, 0.9]),
    st.booleans(),
    st.sampled_from([None, 2.0, 3.0]),
    st.fixed_dictionaries(
        {"best": st.integers(1, 2)},
        optional={"minimum": st.sampled_from([-1.0, 2.0]), "floor": st.just(1.0)},
    ),
)
def test_top_shares_and_unions_by_hand(
    tmp_path: Path, drawn: list[Any], share: float | None, per: bool, also: float | None,
    p: dict[str, Any],
) -> None:  # fmt: skip
    rows = [
        row(
            i,
            *({"j.score": j, **({} if r is None else {"r.reward": r})} for r, j in answers),
            meta=meta,
        )
        for i, (answers, meta) in enumerate(drawn)
    ]
    params: dict[str, Any] = {"by": "r.reward", "best": p["best"], "per": "task" if per else []}
    params |= {"minimum": p["minimum"]} if "minimum" in p else {}
    params |= {"floors": {"j.score": p["floor"]}} if "floor" in p else {}
    params |= {"top_share": share} if share is not None else {}
    if also is not None and (share is not None or "minimum" in p):
        params["also"] = {"j.score": also}
    else:
        also = None
    decision, after, _ = run(tmp_path, reject, rows, **params)
    want = by_hand(rows, share, per, also, p)
    assert {r.id: k for r, k in zip(after, kept(after), strict=True)} == want
    assert set(decision.drop) == {identity for identity, places in want.items() if not places}
    json.dumps(decision.notes)


def test_a_quarter_of_each_stratum(tmp_path: Path) -> None:
    easy = [graded(i, 3.0 + i / 10, 1.0, task="chat") for i in range(8)]
    hard = [graded(8 + i, i / 10, -1.0, task="math") for i in range(4)]
    decision, after, _ = run(
        tmp_path, reject, [*easy, *hard], by="r.reward", top_share=0.25, per=["task"]
    )
    assert [r.id for r in after if r.dropped is None] == ["row6", "row7", "row11"]
    assert decision.drop["row0"] == "not in the top 25% of its task (best 3.00)"
    assert decision.notes["strata"] == {
        "chat": {"rows": 8, "kept": 2, "share": 0.25, "cut": 3.6},
        "math": {"rows": 4, "kept": 1, "share": 0.25, "cut": pytest.approx(0.3)},
    }
    # One cut over all of them leaves no math at all.
    decision, after, _ = run(tmp_path, reject, [*easy, *hard], by="r.reward", top_share=0.25)
    assert [r.id for r in after if r.dropped is None] == ["row5", "row6", "row7"]
    assert decision.notes["cut"] == 3.5
    assert "strata" not in decision.notes


def test_per_without_a_share_reports_who_loses_rows(tmp_path: Path) -> None:
    rows = [graded(i, float(i), task="qa" if i < 4 else "code") for i in range(6)]
    decision, _, ctx = run(tmp_path, reject, rows, by="r.reward", minimum=2.5, per=["task"])
    assert decision.notes["strata"] == {
        "qa": {"rows": 4, "kept": 1, "share": 0.25},
        "code": {"rows": 2, "kept": 2, "share": 1.0},
    }
    assert ctx.warnings == []
    ctx = run(tmp_path, reject, rows, by="r.reward", minimum=2.5, per=["tsk"])[2]
    assert ctx.warnings == ["per: no row has the meta field 'tsk', so it tells no strata apart"]


def test_reward_or_judge(tmp_path: Path) -> None:
    """Llama 3: the top quarter by the reward, or a top score by the judge."""
    rows = [
        row(i, {"r.reward": float(i), "j.score": 3.0 if i == 1 else 1.0}, {"r.reward": -9.0})
        for i in range(8)
    ]
    decision, after, _ = run(
        tmp_path, reject, rows, by="r.reward", top_share=0.25, also={"j.score": 3}
    )
    assert [r.id for r in after if r.dropped is None] == ["row1", "row6", "row7"]
    assert decision.drop["row0"] == "not in the top 25%, nor j.score (best 0.00)"


def test_strata_that_read_alike_stay_apart(tmp_path: Path) -> None:
    rows = [
        graded(0, 9.0, task="a, b", kind="c"), graded(1, 1.0, task="a", kind="b, c"),
        graded(2, 8.0, task="1"), graded(3, 2.0, task=1),
        graded(4, 7.0, task="none"), graded(5, 3.0), graded(6, 2.0, task=None),
    ]  # fmt: skip
    decision, after, _ = run(
        tmp_path, reject, rows, by="r.reward", top_share=0.5, per=["task", "kind"]
    )
    assert set(decision.drop) == {"row6"}  # null is no task, as a field that is not there
    assert len(decision.notes["strata"]) == 6
    assert [bool(places) for places in kept(after)] == [True] * 6 + [False]


def test_more_rows_than_one_batch_in_strata(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(3000, 4)).round(6)
    task = random.integers(0, 3, 3000)
    rows = [graded(i, *line, task=f"t{task[i]}") for i, line in enumerate(scores.tolist())]
    decision, after, _ = run(tmp_path, reject, rows, by="r.reward", top_share=0.1, per=["task"])
    top = scores.max(axis=1)
    for number in range(3):
        mine = top[task == number]
        cut = np.sort(mine)[::-1][math.ceil(0.1 * len(mine)) - 1]
        assert decision.notes["strata"][f"t{number}"]["cut"] == cut
        stay = [i for i, r in enumerate(after) if r.dropped is None and task[i] == number]
        assert stay == np.flatnonzero((task == number) & (top >= cut)).tolist()


# --- statistical rejection -----------------------------------------------------------------------


def test_rso_draws_by_the_score(tmp_path: Path) -> None:
    rows = [graded(i, 0.0, 0.5, 1.0) for i in range(4000)]
    decision, after, _ = run(tmp_path, reject, rows, by="r.reward", rule="rso", beta=1.0)
    places = [one for (one,) in kept(after)]
    # One candidate of each kind in a random order: walked through by hand.
    p = np.exp([-1.0, -0.5, 0.0])
    want = np.zeros(3)
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        missed = 1.0
        for which in order:
            want[which] += missed * p[which] / 6
            missed *= 1 - p[which]
    assert want.sum() == pytest.approx(1)
    assert stats.chisquare(np.bincount(places, minlength=3), 4000 * want).pvalue > 1e-3
    assert decision.notes["kept"] == 4000
    assert (decision.notes["rule"], decision.notes["beta"]) == ("rso", 1.0)


def test_rso_is_the_same_for_a_row_wherever_it_stands(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [graded(i, *random.normal(size=6).tolist()) for i in range(200)]
    params: dict[str, Any] = {"by": "r.reward", "rule": "rso", "best": 2}
    first = by_id(run(tmp_path, reject, rows, **params)[1])
    again = by_id(run(tmp_path, reject, [graded(999, 1.0), *rows[::-1]], **params)[1])
    assert {i: again[i] for i in first} == first
    assert by_id(run(tmp_path, reject, rows, seed=8, **params)[1]) != first
    assert all(len(places) == 2 for places in first.values())


def by_id(after: list[Row]) -> dict[str, list[int]]:
    return {r.id: places for r, places in zip(after, kept(after), strict=True)}


def test_rso_draws_only_from_what_passes(tmp_path: Path) -> None:
    rows = [graded(i, 0.0, 1.0, 2.0, 0.5) for i in range(100)]
    _, after, _ = run(tmp_path, reject, rows, by="r.reward", rule="rso", best=3, minimum=0.9)
    assert kept(after) == [[1, 2]] * 100


# --- scores that compare within one prompt -------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"minimum": 1.0}, "minimum"),
        ({"minimum_sigma": 1.0}, "minimum_sigma"),
        ({"top_share": 0.25}, "top_share"),
        ({"top_share": 0.25, "per": ["task"]}, "top_share"),
        ({"floors": {"bt.reward": 1.0}}, "floors"),
        ({"by": "r.reward", "minimum": 1.0, "also": {"bt.reward": 1.0}}, "also"),
        ({"by": None, "weights": {"bt.reward": 1.0, "r.reward": 1.0}, "minimum": 1.0}, "minimum"),
    ],
)
def test_absolute_uses_are_refused(tmp_path: Path, params: dict[str, Any], parameter: str) -> None:
    with pytest.raises(RecipeError, match=f"^{parameter}: bt.reward compares responses to one"):
        run(tmp_path, reject, [graded(0, 1.0)], **{"by": "bt.reward", **params})


def test_absolute_uses_are_named() -> None:
    params = {
        "by": "a.x",
        "minimum": 1.0,
        "top_share": 0.5,
        "also": {"j.s": 1},
        "floors": {"f.y": 1},
    }
    assert absolute_uses(**reject.check(params)) == [
        ("minimum", "a.x"), ("top_share", "a.x"), ("also", "j.s"), ("floors", "f.y"),
    ]  # fmt: skip
    assert reject.absolutes is not None
    assert list(reject.absolutes(**reject.check({"by": "a.x", "margin_sigma": 1.0}))) == []
    weighted = reject.check({"by": "h.reward", "weights": "goodness", "minimum_sigma": 0.0})
    assert [key for _, key in absolute_uses(**weighted)] == [
        "h.helpfulness", "h.correctness", "h.coherence",
    ]  # fmt: skip


def test_within_prompts_a_level_of_each_prompt_changes_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    scores = random.normal(size=(60, 5))
    levels = random.normal(0, 300, size=(60, 1))
    notes = []
    for shift in (0 * levels, levels):
        rows = [graded(i, *one, key="bt.reward") for i, one in enumerate((scores + shift).tolist())]
        decision, after, _ = run(tmp_path, reject, rows, by="bt.reward", margin_sigma=1.0)
        middle = np.median(scores, axis=1)
        gaps = scores - scores.mean(axis=1, keepdims=True)
        sigma = math.sqrt((gaps**2).sum() / (300 - 60))
        want = (scores.max(axis=1) - middle) / sigma >= 1
        assert [r.dropped is None for r in after] == want.tolist()
        notes.append(decision.notes)
        assert decision.notes["sigma"] == pytest.approx(sigma)
        assert decision.notes["mean_before"] == pytest.approx(0, abs=1e-9)
        assert decision.notes["mean_after"] == pytest.approx(gaps.max(axis=1)[want].mean())
    assert notes[0]["per_model"]["m"] == pytest.approx(notes[1]["per_model"]["m"], abs=1e-9)


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "needs the parameter 'by', the score to rank by"),
        ({"weights": "llama3-70b"}, "llama3-70b weighs the attributes of one reward; name it"),
        ({"by": "h.reward", "weights": "lama3-70b"}, "did you mean 'llama3-70b'?"),
        (
            {"by": "h.reward", "weights": {"h.helpfulness": 1.0}},
            "by has no use with weights of your",
        ),
        ({"weights": {}}, "needs a score with a weight that is not 0"),
        ({"weights": {"h.helpfulness": 0.0}}, "needs a score with a weight that is not 0"),
        ({"by": "h.reward", "beta": 0.5}, "beta has no use with rule: best; write rule: rso"),
        ({"by": "h.reward", "rule": "rso", "ties": "all"}, "ties: all has no use with rule: rso"),
        ({"by": "h.reward", "also": {"j.s": 9}}, "and none of them is set; write one"),
        ({"by": "h.reward", "top_share": 1.0}, "top_share"),
        ({"by": "h.reward", "rule": "rso", "beta": 0.0}, "beta"),
    ],
)
def test_contradictions_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        reject.check(params)
    assert message in str(caught.value)


# --- on human ratings ----------------------------------------------------------------------------


@pytest.mark.skipif(not RATINGS.exists(), reason="shared data is not here")
def test_published_weights_on_human_ratings(tmp_path: Path) -> None:
    by_prompt: dict[str, Row] = {}
    for line in RATINGS.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        blank = Row(str(len(by_prompt)), [Message("user", item["prompt"])])
        made = by_prompt.setdefault(item["prompt"], blank)
        scores = {f"hs.{a}": float(item[a]) for a in HS}
        made.responses.append(Response(item["response"], "human", scores=scores))
    rows = list(by_prompt.values())
    decision, after, _ = run(tmp_path, reject, rows, by="hs.helpfulness", weights="llama3-70b")
    assert decision.notes["mean_after"] > decision.notes["mean_before"]
    plain = run(tmp_path, reject, rows, by="hs.helpfulness")[1]
    differ = sum(a != b for a, b in zip(kept(after), kept(plain), strict=True))
    assert 0 < differ < len(rows) / 2
