"""debias on real stage files: the score it writes, what it says, and whom it leaves alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from staged import kept, run

from karat.errors import RecipeError
from karat.row import Message, Response, Row
from karat.steps._style import FEATURES, log_length, style
from karat.steps.debias import debias
from karat.steps.reject import reject

RATINGS = Path(__file__).parents[3] / "shared/data/helpsteer2/ratings.jsonl"


def biased(rows: int, n: int = 4, key: str = "r.reward", seed: int = 0) -> tuple[list[Row], Any]:
    """Rows whose reward is quality plus a taste for length, and the quality."""
    random = np.random.default_rng(seed)
    quality = random.normal(size=(rows, n))
    words = np.exp(random.normal(4, 0.8, size=(rows, n))).astype(int) + 1
    made = [
        Row(f"row{i}", [Message("user", "q")], [
            Response("abc " * int(w) + str(j), "m", j, scores={key: q + 1.5 * math.log(4 * w)})
            for j, (q, w) in enumerate(zip(*lines, strict=True))
        ])
        for i, lines in enumerate(zip(quality.tolist(), words.tolist(), strict=True))
    ]  # fmt: skip
    return made, quality


def scores(rows: list[Row], key: str) -> Any:
    return np.array([[r.scores[key] for r in row.responses] for row in rows])


@pytest.mark.parametrize("key", ["r.reward", "bt.reward"])
def test_the_best_by_the_new_score_are_the_good_and_not_the_long(tmp_path: Path, key: str) -> None:
    rows, quality = biased(800, key=key)
    decision, after, ctx = run(tmp_path, debias, rows, by=key)
    new, old = scores(after, f"{key}_debiased"), scores(rows, key)
    assert new.mean() == pytest.approx(old.mean())
    assert np.corrcoef(new.ravel(), quality.ravel())[0, 1] > 0.98
    notes = decision.notes
    assert notes["before"]["spearman"] > 0.6
    assert abs(notes["after"]["spearman"]) < 0.05
    assert notes["before"]["sigma_per_doubling"] > 0.4 > abs(notes["after"]["sigma_per_doubling"])
    assert 0.1 < notes["flipped"] < 0.5
    assert notes.get("within_prompt", False) == (key == "bt.reward")
    grid, bias = notes["curve"]["length"], notes["curve"]["bias"]
    assert len(grid) == len(bias) == 50
    assert bias[-1] - bias[0] == pytest.approx(1.5 * math.log(grid[-1] / grid[0]), rel=0.1)
    assert ctx.warnings == []
    json.dumps(notes)
    for by, more in ((f"{key}_debiased", 0.9), (key, 0.2)):
        best = kept(run(tmp_path, reject, after, by=by)[1])
        right = np.mean(
            [one == [want] for one, want in zip(best, quality.argmax(axis=1), strict=True)]
        )
        assert right > more if "_" in by else right < 0.7


def test_the_step_names_its_score() -> None:
    assert debias.given is not None
    given = debias.given(**debias.check({"by": "r.reward"}))
    assert given == {"r.reward_debiased": (-math.inf, math.inf)}


def test_ungraded_and_turned_down_responses(tmp_path: Path) -> None:
    rows, _ = biased(20)
    del rows[0].responses[1].scores["r.reward"]
    rows[1].responses[2].kept = False
    rows[2].dropped = "read: bad line"
    _, after, _ = run(tmp_path, debias, rows, by="r.reward")
    has = [["r.reward_debiased" in r.scores for r in row.responses] for row in after]
    assert has[0] == [True, False, True, True]
    assert has[1] == [True] * 4  # it may still be a rejected answer of a pair
    assert has[2] == [False] * 4
    assert after[1].responses[2].kept is False


def test_formatting_is_taken_off_beside_length(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = []
    for i in range(600):
        answers = []
        for j in range(3):
            items, words = int(random.integers(0, 8)), int(random.integers(5, 80))
            text = "word " * words + "\n" + "- item\n" * items
            score = random.normal() * 0.3 + math.log1p(items)
            answers.append(Response(text + str(j), "m", j, scores={"r.reward": score}))
        rows.append(Row(f"row{i}", [Message("user", "q")], answers))
    both, after, _ = run(tmp_path, debias, rows, by="r.reward", on=["length", "format"])
    items = style(pa.array([r.content for row in after for r in row.responses]))[:, 1]
    length = run(tmp_path, debias, rows, by="r.reward")[1]
    left = [stats.spearmanr(items, scores(made, "r.reward_debiased").ravel()).statistic
            for made in (after, length)]  # fmt: skip
    assert abs(left[0]) < 0.05 < 0.4 < left[1]
    assert both.notes["format"]["list_items"] == pytest.approx(items.std(), rel=0.1)
    assert both.notes["format"]["bold"] == 0.0
    alone = run(tmp_path, debias, rows, by="r.reward", on=["format"])[0].notes
    assert "curve" not in alone
    assert list(alone["format"]) == list(FEATURES)


def test_too_few_stay_as_they_are(tmp_path: Path) -> None:
    rows, _ = biased(7)
    decision, after, ctx = run(tmp_path, debias, rows, by="r.reward")
    assert (scores(after, "r.reward_debiased") == scores(rows, "r.reward")).all()
    assert ctx.warnings == [
        "28 responses have a score 'r.reward', fewer than 30: it stays as it is"
    ]
    assert decision.notes["flipped"] == 0.0
    decision, after, _ = run(tmp_path, debias, [], by="r.reward")
    assert (after, decision.notes["graded"], decision.notes["flipped"]) == ([], 0, None)


def test_more_rows_than_one_batch(tmp_path: Path) -> None:
    rows, quality = biased(2500, n=2)
    decision, after, _ = run(tmp_path, debias, rows, by="r.reward")
    new = scores(after, "r.reward_debiased")
    assert np.corrcoef(new.ravel(), quality.ravel())[0, 1] > 0.98
    assert decision.notes["graded"] == 5000
    assert decision.notes["pairs"] == 2500


def test_lengths_and_styles_are_counted_as_a_reader_would() -> None:
    texts = pa.array(
        [
            "", " \n", "five words are in here", "Größe 長い",
            "# Title\n\n## Part\ntext # no heading\n#tag\n",
            "- one\n* two\n  + three\n1. four\n12) five\n-six\n2024. was long ago",
            "**bold** and __bold__, not * a * b * nor snake__case",
            "```python\n# no heading\n- no item\n**no bold**\n```\nand `code`\n```\nopen\n# too",
        ]
    )  # fmt: skip
    characters = [0, 0, 22, 8]
    assert np.exp(log_length(texts, "characters"))[:4] == pytest.approx(np.maximum(characters, 1))
    assert np.exp(log_length(texts, "words"))[:4] == pytest.approx([1, 1, 5, 2])
    counts = np.expm1(style(texts)).round(9)
    assert counts.tolist() == [
        [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0],
        [2, 0, 0, 0], [0, 5, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2],
    ]  # fmt: skip


def test_mistakes_are_refused() -> None:
    for wrong in ({"on": []}, {"on": ["length", "length"]}, {"on": ["tone"]}, {"span": 0.0}):
        with pytest.raises(RecipeError):
            debias.check({"by": "r.reward", **wrong})


@pytest.mark.skipif(not RATINGS.exists(), reason="shared data is not here")
def test_on_human_ratings_of_verbosity(tmp_path: Path) -> None:
    """Verbosity is what length is about: debiased, it is not about length any more."""
    by_prompt: dict[str, Row] = {}
    for line in RATINGS.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        blank = Row(str(len(by_prompt)), [Message("user", item["prompt"])])
        made = by_prompt.setdefault(item["prompt"], blank)
        scores_ = {"h.verbosity": float(item["verbosity"]), "h.help": float(item["helpfulness"])}
        made.responses.append(Response(item["response"], "human", scores=scores_))
    rows = list(by_prompt.values())
    notes = run(tmp_path, debias, rows, by="h.verbosity")[0].notes
    assert notes["before"]["spearman"] > 0.5
    assert abs(notes["after"]["spearman"]) < 0.1
    helpful = run(tmp_path, debias, rows, by="h.help")[0].notes
    assert abs(helpful["before"]["pearson"]) < 0.2
    assert helpful["flipped"] < notes["flipped"]
