"""select on real stage files: quotas, reasons, arms, and real prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from staged import settled

from karat.columns import Decision, Table
from karat.curation import arms
from karat.curation.arms import Bigrams, Pool, against_random
from karat.curation.embedding import embed
from karat.curation.shingles import normalise, words
from karat.errors import RecipeError, RunError
from karat.row import Message, Response, Row
from karat.stage import StageWriter
from karat.steps.select import select

DATA = Path(__file__).parents[3] / "shared/data/helpsteer2/ratings.jsonl"
METHODS = ("random", "longest", "quality", "deita", "facility_location", "k_center", "novelsum")
TOPICS = ("bread", "tides", "tax forms", "violins", "volcanoes", "chess", "rust", "goats")


class Ctx:
    """As much of a context as the step touches."""

    def __init__(self, seed: int = 0, within: tuple[str, ...] = ()) -> None:
        self._seed, self._within = seed, within
        self.warnings: list[str] = []

    def seed(self) -> int:
        return self._seed

    def within_prompt(self, key: str) -> bool:
        return key in self._within

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def run(
    path: Path, rows: list[Row], ctx: Ctx | None = None, **params: Any
) -> tuple[Decision, list[str], Ctx]:
    """The decision, the ids that stay, and the context."""
    writer = StageWriter(path / "stage.parquet")
    writer.add(rows)
    writer.close({})
    ctx = ctx or Ctx()
    table = Table(writer.path)
    decision = settled(select.function(table, ctx, **select.check(params)), table)
    assert set(decision.drop) <= {row.id for row in rows if row.dropped is None}
    kept = [row.id for row in rows if row.dropped is None and row.id not in decision.drop]
    return decision, kept, ctx


def made(number: int, score: float | None = None, **fields: Any) -> Row:
    topic = TOPICS[number % len(TOPICS)]
    text = f"Tell me {'something ' * (number % 3)}new about {topic} and number {number}"
    scores = {} if score is None else {"r.reward": score}
    answer = Response(f"It is about {topic}. " * (1 + number % 5), scores=scores)
    return Row(
        f"row{number:03}", [Message("user", text)], [answer], meta={"topic": topic, **fields}
    )


def many(count: int = 60) -> list[Row]:
    return [made(i, float(i * 7 % 31)) for i in range(count)]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_n_and_says_why_it_dropped_the_others(tmp_path, method):
    rows = many()
    rows[5].dropped = "earlier: gone"
    params = {"method": method, "by": "r.reward", "most_similar": 1.0}
    decision, kept, ctx = run(tmp_path, rows, n=20, **params)
    assert len(kept) == 20 == decision.notes["kept"]
    assert len(decision.drop) == 39
    reasons = {reason.partition(" (")[0] for reason in decision.drop.values()}
    assert reasons == {"not selected"}
    assert set(decision.notes["arms"]) == {"random", "longest", method}
    again, kept_again, _ = run(tmp_path, rows, share=20 / 59, **params)
    assert (kept_again, again.drop) == (kept, decision.drop)
    assert not any("wanted" in text for text in ctx.warnings)


@pytest.mark.parametrize("method", METHODS)
def test_per_keeps_as_large_a_part_of_each_stratum(tmp_path, method):
    rows = many(60)
    params = {"method": method, "by": "r.reward", "per": ["topic"], "most_similar": 1.0}
    decision, kept, _ = run(tmp_path, rows, share=0.5, **params)
    strata = decision.notes["strata"]
    assert {name: one["rows"] for name, one in strata.items()} == {
        topic: 8 if place < 4 else 7 for place, topic in enumerate(TOPICS)
    }
    assert [strata[topic]["kept"] for topic in TOPICS[:4]] == [4, 4, 4, 4]
    assert sum(one["kept"] for one in strata.values()) == 30 == len(kept)
    assert {strata[topic]["kept"] for topic in TOPICS[4:]} == {3, 4}


def test_longest_and_quality_by_hand(tmp_path):
    rows = many(40)
    longest = sorted(rows, key=lambda row: -len(row.responses[0].content))[:10]
    assert run(tmp_path, rows, n=10, method="longest")[1] == sorted(row.id for row in longest)
    best = sorted(rows, key=lambda row: -row.responses[0].scores["r.reward"])
    decision, kept, _ = run(tmp_path, rows, n=10, method="quality", by="r.reward")
    assert kept == sorted(row.id for row in best[:10])
    assert decision.drop[best[10].id] == "not selected (rank 11 of 40)"


def test_random_hangs_on_seed_and_id_only(tmp_path):
    rows = many(60)
    kept = run(tmp_path, rows, n=30, method="random")[1]
    assert run(tmp_path, rows, Ctx(1), n=30, method="random")[1] != kept
    reverse = run(tmp_path, rows[::-1], n=30, method="random")[1]
    assert sorted(reverse) == kept
    fewer = [row for row in rows if row.id != kept[0]]
    assert set(kept[1:]) < set(run(tmp_path, fewer, n=30, method="random")[1])


def test_deita_leaves_out_what_is_too_near_a_better_row(tmp_path):
    rows = [made(0, 1.0), made(1, 2.0), made(2, 3.0)]
    rows.append(Row("copy", rows[0].messages, [Response("else", scores={"r.reward": 9.0})]))
    decision, kept, ctx = run(tmp_path, rows, n=4, method="deita", by="r.reward")
    assert kept == ["row001", "row002", "copy"]
    assert decision.drop == {"row000": "too similar (to copy, 1.00)"}
    assert "found 3 rows that differ enough where 4" in ctx.warnings[0]


def test_complexity_times_quality(tmp_path):
    rows = [made(i) for i in range(3)]
    for row, pair in zip(rows, ((3, 1), (2, 2), (1, 3.5)), strict=True):
        row.responses[0].scores = {"j.q": pair[0], "j.c": pair[1]}
    params = {"method": "quality", "by": "j.q", "n": 1}
    assert run(tmp_path, rows, **params)[1] == ["row000"]
    assert run(tmp_path, rows, complexity="j.c", **params)[1] == ["row001"]
    rows[0].responses[0].scores["j.c"] = -1.0
    with pytest.raises(RunError, match="negative"):
        run(tmp_path, rows, complexity="j.c", **params)


def test_top_share_lets_only_the_better_rows_take_part(tmp_path):
    rows = many(60)
    rows[0].responses[0].scores = {}
    params = {"method": "k_center", "n": 10, "by": "r.reward", "top_share": 0.5}
    decision, kept, _ = run(tmp_path, rows, **params)
    scores = sorted((r.responses[0].scores.get("r.reward", -1) for r in rows), reverse=True)
    of = {row.id: row.responses[0].scores.get("r.reward", -1) for row in rows}
    assert min(of[one] for one in kept) >= scores[29]
    assert decision.drop["row000"] == "not graded (by r.reward)"
    assert sum("below the top share" in why for why in decision.drop.values()) == 29


def test_density_draws_novelsum_to_where_rows_are_many(tmp_path):
    """In a pool of which most rows are of one kind, its power decides how many of them stay."""
    rows = [made(i) for i in range(0, 480, 8)] + [made(i) for i in range(80)]
    for number, row in enumerate(rows):
        row.id = f"row{number:03}"

    def of_one_kind(density: float) -> int:
        _, kept, _ = run(tmp_path, rows, n=40, method="novelsum", density=density)
        return sum(row.meta["topic"] == "bread" for row in rows if row.id in kept)

    assert of_one_kind(0.0) < of_one_kind(1.0)


def test_rows_that_cannot_be_ranked_or_compared(tmp_path):
    rows = [made(0, 1.0), made(1), made(2, 3.0), Row("blank", [Message("user", " ")])]
    rows[2].responses[0].kept = False  # what was turned down speaks for no row
    decision, kept, ctx = run(tmp_path, rows, n=3, method="quality", by="r.reward")
    assert kept == ["row000"]
    assert set(decision.drop.values()) == {"not graded (by r.reward)"}
    assert "3 rows were wanted and there are 1, 3 more cannot be" in ctx.warnings[0]
    decision, kept, _ = run(tmp_path, rows, n=2)
    assert decision.drop["blank"] == "no words to compare"
    assert len(kept) == 2
    assert run(tmp_path, [], n=2)[0].drop == {}
    assert run(tmp_path, rows, n=9, method="random")[1] == [row.id for row in rows]


def test_what_a_method_is_held_against(tmp_path):
    """Copies of one prompt beside different ones: variety shows, and a useless choice too."""
    rows = many(48)
    rows += [Row(f"same{i:03}", rows[0].messages, rows[0].responses) for i in range(150)]
    decision, kept, ctx = run(tmp_path, rows, n=30, method="k_center", by="r.reward")
    assert sum(one.startswith("same") for one in kept) <= 1
    against = decision.notes["against_random"]["k_center"]
    assert against["vendi"] == against["novelsum"] == against["distinct_2"] == "above"
    low, high = decision.notes["between"]["vendi"]
    figures = decision.notes["arms"]
    assert low < figures["random"]["vendi"] < high < figures["k_center"]["vendi"]
    assert ctx.warnings == []
    _, kept, ctx = run(tmp_path, rows, n=30, method="random")
    assert ctx.warnings == []
    dull = [Row(r.id, r.messages, [Response("x" * (99 if r.id[0] == "s" else 1))]) for r in rows]
    decision, _, ctx = run(tmp_path, dull, n=30, method="longest")
    assert set(decision.notes["against_random"]["longest"].values()) <= {"below", "within"}
    assert "longest keeps rows no better and no more varied" in ctx.warnings[0]


def test_bigrams_by_hand():
    texts = ["a b a b", "b a", "", "one", "A b c"]
    found = Bigrams()
    for text in texts:
        found.add(words(normalise(pa.array([text]))))
    for places in ([0], [0, 1], [0, 1, 4], [2, 3], [4, 0]):
        pairs = [
            pair
            for place in places
            for pair in zip(texts[place].lower().split(), texts[place].lower().split()[1:])  # noqa: B905
        ]
        want = len(set(pairs)) / len(pairs) if pairs else 0.0
        assert found.distinct(np.array(places)) == pytest.approx(want)


def test_random_choices_lie_where_the_interval_says(monkeypatch):
    """95% intervals of 20 draws hold about 95% of further draws."""
    texts = [row.prompt for row in many(200)]
    bigrams = Bigrams()

    bigrams.add(words(normalise(pa.array(texts))))
    score = np.random.default_rng(3).normal(size=200)
    pool = Pool(embed(texts), bigrams, np.ones(200), score, np.arange(200))

    def draw(number: int) -> Any:
        return np.random.default_rng(number).permutation(200)[:50]

    means, between = pool.random(draw)
    assert set(means) == {"quality", "length", "vendi", "distinct_2", "novelsum",
                          "novelsum_density", "facility_location"}  # fmt: skip
    further = [pool.figures(draw(1000 + number)) for number in range(60)]
    for name, (low, high) in between.items():
        inside = sum(low - 1e-9 <= one[name] <= high + 1e-9 for one in further)
        assert inside >= 50
    assert against_random({"vendi": 1e9, "length": 5.0}, between) == {"vendi": "above"}
    assert arms.DRAWS == 20


def test_parameters_are_checked():
    for wrong, said in (
        ({}, "needs either n"),
        ({"n": 5, "share": 0.5}, "needs either n"),
        ({"n": 5, "method": "quality"}, "quality needs by"),
        ({"n": 5, "method": "deita"}, "deita needs by"),
        ({"n": 5, "complexity": "r.c"}, "complexity needs by"),
        ({"n": 5, "top_share": 0.5}, "top_share needs by"),
        ({"n": 0}, "n"),
        ({"share": 1.5}, "share"),
        ({"n": 5, "method": "best"}, "method"),
    ):
        with pytest.raises(RecipeError, match=said):
            select(**wrong)
    call = select(n=5, by="r.reward", complexity="r.c")
    assert list(call.named("score")) == [("by", "r.reward"), ("complexity", "r.c")]


def test_a_score_of_one_prompt_ranks_no_prompts(tmp_path):
    with pytest.raises(RecipeError, match="one prompt only"):
        run(tmp_path, many(4), Ctx(within=("r.reward",)), n=2, by="r.reward", method="quality")


@pytest.mark.skipif(not DATA.exists(), reason="shared data is not here")
def test_on_real_prompts(tmp_path):
    lines = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()][::2]
    rows = [
        Row(f"r{i}", [Message("user", line["prompt"])],
            [Response(line["response"], scores={"h.helpfulness": float(line["helpfulness"])})])
        for i, line in enumerate(lines)
    ]  # fmt: skip
    for method, measure in (
        ("k_center", "novelsum"), ("facility_location", "facility_location"),
        ("novelsum", "novelsum_density"), ("quality", "quality"),
    ):  # fmt: skip
        decision, kept, _ = run(tmp_path, rows, n=100, method=method, by="h.helpfulness")
        assert len(kept) == 100
        assert decision.notes["against_random"][method][measure] == "above"
