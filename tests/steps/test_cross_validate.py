"""cross_validate on real stage files: what it reports, and what it does with disagreement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from staged import settled

from karat.columns import Decision, Table
from karat.decided import apply_decision
from karat.errors import RecipeError
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps import _graded
from karat.steps.cross_validate import compared, cross_validate
from karat.table import from_batch

RATINGS = Path(__file__).parents[3] / "shared/data/helpsteer2/ratings.jsonl"
GRADERS = ["a.reward", "b.reward", "c.reward"]
SCALE = (0.0, 4.0)


class Ctx:
    """As much of a context as this step touches."""

    def __init__(
        self, scales: dict[str, tuple[float, float]] | None = None, within: tuple[str, ...] = ()
    ) -> None:
        self.warnings: list[str] = []
        self._scales, self._within = scales, within

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def seed(self) -> int:
        return 7

    def scale(self, key: str) -> tuple[float, float] | None:
        return SCALE if self._scales is None else self._scales.get(key)

    def within_prompt(self, key: str) -> bool:
        return key in self._within


def graded(scores: dict[str, Any]) -> list[Row]:
    """Rows of answers with these scores, a matrix of rows × answers each."""
    rows, answers = next(iter(scores.values())).shape
    return [
        Row(
            f"row{p}",
            [Message("user", "?")],
            [
                Response(f"answer {n}", scores={k: float(v[p, n]) for k, v in scores.items()})
                for n in range(answers)
            ],
        )
        for p in range(rows)
    ]


def test_a_grader_that_never_varies_disagrees_with_nobody(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = graded({"a.reward": random.normal(size=(20, 3)), "b.reward": np.ones((20, 3))})
    for by in ("score", "choice"):
        decision, _ = run(tmp_path, rows, by=by)
        assert (decision.drop, decision.meta, decision.notes["disagreements"]) == ({}, {}, 0)


def test_an_infinite_score_is_none_and_spoils_no_other_row(tmp_path: Path) -> None:
    scores = np.random.default_rng(1).normal(size=(40, 3))
    wild = scores.copy()
    wild[0] = np.inf
    decision, _ = run(tmp_path, graded({"a.reward": wild, "b.reward": -scores}))
    assert (decision.notes["checked"], decision.notes["disagreements"] > 20) == (39, True)


def run(
    folder: Path, rows: list[Row], ctx: Ctx | None = None, **params: Any
) -> tuple[Decision, dict[str, Row]]:
    """The decision, and the rows as the next stage would hold them."""
    writer, ctx = StageWriter(folder / "stage.parquet"), ctx or Ctx()
    writer.add(rows)
    writer.close({})
    checked = cross_validate.check({"graders": GRADERS[:2], "resamples": 200, **params})
    table = Table(writer.path)
    decision = settled(cross_validate.function(table, ctx, **checked), table)
    batches = [batch for batch, _ in apply_decision(writer.path, decision, "cross_validate")]
    return decision, {row.id: row for batch in batches for row in from_batch(batch)}


def row(number: int, *scores: tuple[float | None, ...], models: str = "m") -> Row:
    """One response for each tuple of scores, by graders a, b, c; longer ones later."""
    responses = [
        Response(
            "x" * (10 + index), models.split()[index % len(models.split())], index,
            scores={
                key: score for key, score in zip(GRADERS, each, strict=False) if score is not None
            },
        )
        for index, each in enumerate(scores)
    ]  # fmt: skip
    return Row(f"row{number}", [Message("user", f"question {number}")], responses)


def world(prompts: int, each: int = 4, noise: float = 0.7, seed: int = 3) -> list[Row]:
    """Three graders of unlike units that mostly agree; a twentieth of the grades is missing."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(prompts):
        true = 2 + random.normal() / 2 + random.normal(size=each)
        scores = true[:, None] + random.normal(size=(each, 3)) * noise
        scores = scores * [1, 10, 0.1] + [0, -5, 100]
        gone = random.random(scores.shape) < 0.05
        lines = [
            tuple(None if g else float(s) for s, g in zip(*pair, strict=True))
            for pair in zip(scores, gone, strict=True)
        ]
        rows.append(row(number, *lines, models="llama3.1:8b gpt-5"))
    return rows


def arrays(rows: list[Row], key: str) -> np.ndarray:
    return np.array([r.scores.get(key, np.nan) for one in rows for r in one.responses])


def test_figures_are_those_of_reference_libraries(tmp_path: Path) -> None:
    """scikit-learn's κ on quintiles, scipy's τ_b: of graders whose units have nothing in common."""
    rows = world(300)
    decision, _ = run(tmp_path, rows, Ctx({}), graders=GRADERS, disagree="keep")
    found = decision.notes["compared"]["reward"]
    assert (found["levels"], found["levels_by"]) == (5, "rank")
    scores = {key: arrays(rows, key) for key in GRADERS}
    pairs = {tuple(pair["graders"]): pair for pair in found["pairs"]}
    assert list(pairs) == [
        ("a.reward", "b.reward"),
        ("a.reward", "c.reward"),
        ("b.reward", "c.reward"),
    ]
    for (one, other), pair in pairs.items():
        both = ~np.isnan(scores[one]) & ~np.isnan(scores[other])
        tau = stats.kendalltau(scores[one][both], scores[other][both]).statistic
        assert pair["tau_b"][0] == pytest.approx(tau, abs=1e-9)
        fifths = []
        for key in (one, other):
            known = scores[key][~np.isnan(scores[key])]
            cuts = np.quantile(known, [0.2, 0.4, 0.6, 0.8], method="inverted_cdf")
            fifths.append(np.digitize(scores[key][both], cuts))
        kappa = cohen_kappa_score(*fifths, weights="quadratic")
        assert pair["kappa"][0] == pytest.approx(kappa, abs=1e-9)
        for name in ("kappa", "tau_b", "tau_b_within", "pairs_agreed"):
            value, low, high = pair[name]
            assert low < value < high
    assert 0.5 < found["alpha"][1] < found["alpha"][0] < found["alpha"][2] < 0.9
    assert found["fleiss_kappa"][0] < found["alpha"][0]
    for key in GRADERS:
        missing = found["graders"][key]["ungraded"]
        assert missing[0] == pytest.approx(np.isnan(scores[key]).mean())
        assert missing[1] < missing[0] < missing[2]


def test_a_shared_scales_points_are_the_levels(tmp_path: Path) -> None:
    rows = [row(n, (n % 5, n % 5), ((n + 1) % 5, (n + 1) % 5 + 0.4)) for n in range(40)]
    found = run(tmp_path, rows)[0].notes["compared"]["reward"]
    assert (found["levels"], found["levels_by"]) == (5, "scale")
    assert found["alpha"][0] == pytest.approx(1)  # 4.4 lies beyond the scale, and is a 4
    found = run(tmp_path, rows, levels=3)[0].notes["compared"]["reward"]
    assert (found["levels"], found["levels_by"]) == (3, "scale")


def test_scores_of_one_prompt_only_are_compared_within_it_only(tmp_path: Path) -> None:
    """Any constant may be added to all of one prompt's scores: nothing reported may change."""
    rows, moved = world(60), world(60)
    for number, one in enumerate(moved):
        for response in one.responses:
            if "a.reward" in response.scores:
                response.scores["a.reward"] += 50 * (number % 7)
    ctx = Ctx(within=("a.reward",))
    decision, _ = run(tmp_path, rows, ctx, tolerance=0.3)
    again, _ = run(tmp_path, moved, ctx, tolerance=0.3)
    found = decision.notes["compared"]["reward"]
    assert found["levels"] is None
    assert found["alpha"] is found["pairs"][0]["kappa"] is found["pairs"][0]["tau_b"] is None
    assert found["pairs"][0]["tau_b_within"][0] > 0.4
    assert decision.meta.keys() == again.meta.keys()
    assert 0 < len(decision.meta) < 60
    assert json.dumps(_rounded(decision.notes)) == json.dumps(_rounded(again.notes))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 8) if isinstance(value, float) else value


AGREED = [row(n, (1.0, 1.0), (3.0, 3.0), (2.0, 2.0)) for n in range(8)]
OPPOSED = row(8, (3.0, 1.0), (1.0, 3.0), (2.0, 2.0))
MILD = row(9, (3.0, 2.95), (2.9, 3.0), (1.0, 1.0))
ONE_SIDED = row(10, (3.0, 2.9), (1.0, 3.0), (0.0, 0.0))
LONELY = row(11, (3.0, 0.0))
HALF = row(12, (3.0, None), (1.0, None), (2.0, 3.0))
ROWS = [*AGREED, OPPOSED, MILD, ONE_SIDED, LONELY, HALF]


@pytest.mark.parametrize("disagree", ["keep", "flag", "drop", "review"])
def test_what_happens_to_rows_graders_disagree_on(tmp_path: Path, disagree: str) -> None:
    """Only where both would lose; what neither or one of them graded cannot be disagreed on."""
    decision, rows = run(tmp_path, ROWS, disagree=disagree)
    assert (decision.notes["checked"], decision.notes["disagreements"]) == (11, 1)
    gone = {name: row.dropped for name, row in rows.items() if row.dropped}
    marked = {name: row.meta for name, row in rows.items() if row.meta}
    if disagree == "drop":
        assert gone == {"row8": "cross_validate: graders disagree (a.reward and b.reward by 1.83σ)"}
        assert not marked
        return
    assert not gone
    if disagree == "keep":
        assert not marked
        return
    assert list(marked) == ["row8"]
    assert marked["row8"]["disagreement"]["graders"] == ["a.reward", "b.reward"]
    assert marked["row8"]["disagreement"]["sigma"] == pytest.approx(1.83, abs=0.01)
    assert marked["row8"].get("review") == ("graders disagree" if disagree == "review" else None)


def test_a_smaller_tolerance_finds_more(tmp_path: Path) -> None:
    found = {t: set(run(tmp_path, ROWS, tolerance=t)[0].meta) for t in (0.0, 0.07, 5.0)}
    assert found[0.0] == {"row8", "row9", "row10"}
    assert found[0.07] == {"row8", "row10"}
    assert found[5.0] == set()


def test_rows_of_one_response_are_told_by_their_scores(tmp_path: Path) -> None:
    rows = [row(n, (n / 10, n / 10 + 0.01)) for n in range(40)]
    rows.append(row(40, (3.9, 0.1)))
    decision, _ = run(tmp_path, rows, by="score", tolerance=2)
    assert set(decision.meta) == {"row40"}
    ctx = Ctx()
    decision, _ = run(tmp_path, rows, ctx)
    assert decision.meta == {}
    assert ctx.warnings == [
        "no row has two candidates graded by two graders: nothing could be checked"
    ]


def test_units_do_not_matter_and_a_grader_without_opinion_never_disagrees(tmp_path: Path) -> None:
    moved = [
        row(int(one.id[3:]), *[
            tuple(s if k == 0 else 1000 + 50 * s for k, s in enumerate(r.scores.values()))
            for r in one.responses
        ])
        for one in ROWS
        if one not in (HALF,)
    ]  # fmt: skip
    found = run(tmp_path, moved)[0].meta
    assert list(found) == ["row8"]
    assert found["row8"]["disagreement"]["sigma"] == pytest.approx(1.82, abs=0.05)
    flat = [row(n, (n % 3, 2.0), (n % 2, 2.0)) for n in range(9)]
    decision, _ = run(tmp_path, flat, tolerance=0)
    assert decision.meta == {}
    assert decision.notes["compared"]["reward"]["pairs"][0]["tau_b_within"] is None


def test_a_grader_that_favours_a_family_is_told(tmp_path: Path) -> None:
    rows = world(200)
    for one in rows:
        for response in one.responses:
            if response.model == "gpt-5" and "b.reward" in response.scores:
                response.scores["b.reward"] += 6
    found = run(tmp_path, rows, Ctx({}), graders=GRADERS)[0].notes["compared"]["reward"]["graders"]
    preference = {key: found[key]["family_preference"] for key in GRADERS}
    assert list(preference["a.reward"]) == ["gpt", "llama"]
    assert preference["b.reward"]["gpt"][1] > 0.3
    assert preference["b.reward"]["llama"][2] < -0.3
    assert preference["a.reward"]["gpt"][2] < 0


def test_turned_down_and_empty_responses_are_no_candidates(tmp_path: Path) -> None:
    one = row(21, (3.0, 1.0), (1.0, 3.0), (0.0, 0.0))
    one.responses[0].kept = False
    two = row(22, (3.0, 1.0), (1.0, 3.0), (0.0, 0.0))
    two.responses[1].content = " \n"
    gone = row(23, (3.0, 1.0), (1.0, 3.0))
    gone.dropped = "reject: no response"
    decision, _ = run(tmp_path, [*AGREED, one, two, gone])
    assert decision.meta == {}
    assert (decision.notes["rows"], decision.notes["responses"]) == (10, 28)


def test_which_graders_are_compared() -> None:
    assert compared(["a.x", "b.x"]) == {"x": ["a.x", "b.x"]}
    assert compared(["a.reward", "panel.mean"]) == {"all": ["a.reward", "panel.mean"]}
    assert compared(["a.x", "a.y", "b.x", "b.y"]) == {"x": ["a.x", "b.x"], "y": ["a.y", "b.y"]}


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"graders": ["a.x"]}, "graders"),
        ({"graders": ["a.x", "a.x"]}, "a.x is there twice"),
        ({"graders": ["a", "b"]}, "name scores, such as a.reward, not the reward 'a'"),
        ({"graders": ["a.x", "a.y", "b.x"]}, "only a.y is called y"),
        ({"graders": ["a.x", "b.x"], "tolerance": -1}, "tolerance"),
        ({"graders": ["a.x", "b.x"], "levels": 1}, "levels"),
        ({"graders": ["a.x", "b.x"], "disagree": "ignore"}, "disagree"),
    ],
)
def test_what_a_recipe_cannot_say(params: dict[str, Any], problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        cross_validate.check(params)


def test_attributes_are_compared_with_their_namesakes(tmp_path: Path) -> None:
    rows = []
    for n in range(20):
        one = row(n, (), ())
        for place, response in enumerate(one.responses):
            response.scores = {
                "a.x": (n + place) % 5, "b.x": (n + place) % 5, "a.y": n % 3, "b.y": place * 4,
            }  # fmt: skip
        rows.append(one)
    found = run(tmp_path, rows, graders=["a.x", "b.y", "b.x", "a.y"])[0].notes["compared"]
    assert list(found) == ["x", "y"]
    assert found["x"]["pairs"][0]["graders"] == ["a.x", "b.x"]
    assert found["x"]["pairs"][0]["kappa"][0] == 1
    assert found["y"]["pairs"][0]["kappa"][0] < 0.5


@pytest.mark.parametrize("rows", [[], [row(0)], [row(0, (None, None), (None, None))]])
def test_nothing_to_compare_is_told_as_nothing(tmp_path: Path, rows: list[Row]) -> None:
    decision, _ = run(tmp_path, rows, Ctx({}))
    (found,) = decision.notes["compared"].values()
    assert found["alpha"] is found["pairs"][0]["kappa"] is found["pairs"][0]["tau_b"] is None
    json.dumps(decision.notes, allow_nan=False)


def test_a_long_file_is_thinned_where_it_must_be_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = world(2_500, each=2)
    whole, _ = run(tmp_path, rows, Ctx({}))
    monkeypatch.setattr(_graded, "SAMPLE_ROWS", 1_000)
    thin, _ = run(tmp_path, rows, Ctx({}))
    pair, thinned = (d.notes["compared"]["reward"]["pairs"][0] for d in (whole, thin))
    assert thinned["tau_b_within"] == pair["tau_b_within"]
    assert thinned["tau_b"] != pair["tau_b"]
    assert thinned["tau_b"][0] == pytest.approx(pair["tau_b"][0], abs=0.05)
    assert thinned["kappa"][0] == pytest.approx(pair["kappa"][0], abs=0.02)
    assert whole.meta == thin.meta


@pytest.mark.skipif(not RATINGS.exists(), reason="needs ../shared/data/helpsteer2")
def test_peoples_ratings_of_two_attributes(tmp_path: Path) -> None:
    """Helpfulness and correctness of HelpSteer2 correlate at .94, with verbosity they do not."""
    rows: dict[str, Row] = {}
    with RATINGS.open() as file:
        for line in file:
            rating = json.loads(line)
            one = rows.setdefault(rating["prompt"], row(len(rows)))
            scores = {
                f"{name}.rating": rating[name]
                for name in ("helpfulness", "correctness", "verbosity")
            }
            one.responses.append(Response(rating["response"], scores=scores))
    graders = ["helpfulness.rating", "correctness.rating", "verbosity.rating"]
    found = run(tmp_path, list(rows.values()), graders=graders)[0].notes["compared"]["rating"]
    kappas = [pair["kappa"] for pair in found["pairs"]]
    assert kappas[0][1] > 0.7
    assert max(kappa[2] for kappa in kappas[1:]) < 0.4
    slopes = {key: one["length_slope"] for key, one in found["graders"].items()}
    assert slopes["verbosity.rating"][1] > slopes["helpfulness.rating"][2]
