"""From a reviewer's words to `human` grades, to rows of `mix`, and to a trained reward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import rows_of, run_karat
from reviewed import FIVE, compare, how, rate
from server import Server

import karat
from karat.errors import RecipeError, RunError
from karat.report.build import LEAST_HUMAN_SHARE
from karat.reviewing import lines
from karat.reviewing.bench import Bench
from karat.reviewing.export import export, table, written
from karat.reviewing.store import withdrawal
from karat.rewards.load import load_reward
from karat.rundir import Run
from karat.training.ratings import read_human
from karat.training.reward_head import main_train
from karat.training.reward_plan import Plan

ROWS = 24
OWN = "Ebb and flow follow the moon, which pulls harder on the near side of our planet."


def recipe(folder: Path, name: str, steps: list[Any], **more: Any) -> Path:
    tree = {"name": "test", "seed": 7, **more, "steps": steps}
    path = folder / name
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of 24 people's prompts, of which ann rated 21 rows and compared 2; bob
    rated two of hers. She edited three answers, one of them but for a word."""
    folder = tmp_path_factory.mktemp("reviewed")
    prompts = [json.dumps({"prompt": f"What is number {i}, and why?"}) for i in range(ROWS)]
    (folder / "prompts.jsonl").write_text("\n".join(prompts))
    steps: list[Any] = [
        {"read": {"path": "prompts.jsonl", "source": "human"}},
        {"respond": {"models": ["teacher"], "n": 2}},
    ]
    with Server() as server:
        models = {"teacher": server.model(price={"input": 1.0, "output": 2.0})}
        made = karat.run(recipe(folder, "recipe.yaml", steps, models=models), folder / "run")
    bench = Bench(made)
    queue = bench.queue("random", "rate")
    for number in range(21):
        item = queue.next("ann", bench.reviews.all())
        assert item is not None
        rate(bench, item, "ann", number % 5, (number + 2) % 5)
        answer = item.row.responses[item.shown[0]]
        if number < 2:
            rate(bench, item, "bob", 4, 0)
        if number in (3, 4):
            text = OWN if number == 3 else f"{OWN} Twice."
            bench.reviews.append([lines.edit(item.row, answer, text, ["MIT"], how(item, "ann"))])
        if number == 5:
            little = answer.content.replace(" ", " well ", 1)
            bench.reviews.append([lines.edit(item.row, answer, little, [], how(item, "ann"))])
    for strength in (-2, 0):
        pair = bench.queue("random", "compare").next("ann", bench.reviews.all())
        assert pair is not None
        compare(bench, pair, "ann", strength)
    last = bench.queue("random", "rate").next("ann", bench.reviews.all())
    assert last is not None
    bench.reviews.append([lines.skip(last.row, lines.How("ann"))])
    return folder


def test_ratings_become_human_grades_of_the_same_answers(reviewed: Path) -> None:
    run = Run(reviewed / "run")
    steps: list[Any] = [{"read": {"path": "run/accepted.parquet"}}, {"grade": {"reward": "people"}}]
    for name in ("human/run", "human/run/ratings.jsonl"):
        path = recipe(reviewed, "grade.yaml", steps, rewards={"people": name})
        graded = karat.run(path, reviewed / "graded")
        scores = {
            lines.key_of(row, response): response.scores
            for row in rows_of(graded.accepted_file)
            for response in row.responses
        }
        said = Bench(run).reviews
        said.refresh()
        rated = [one for one in said.all() if one.kind == "rating"]
        assert len(rated) == 46
        by_key: dict[str, list[float]] = {}
        for one in rated:
            by_key.setdefault(one.keys[0], []).append(one.values["helpfulness"])
        for key, values in by_key.items():
            assert scores[key]["people.helpfulness"] == sum(values) / len(values)
            assert scores[key]["people.raters"] == len(values)
        assert sum("people.helpfulness" in one for one in scores.values()) == len(by_key) == 42


def test_comparisons_are_grades_where_they_are_asked_for(reviewed: Path) -> None:
    asked: dict[str, Any] = {"reward": "human/run", "attributes": {"preference": (-3, 3)}}
    found = load_reward(asked, reviewed)
    assert sorted(one["preference"] for one in found.scores.values()) == [-2, 0, 0, 2]  # type: ignore[attr-defined]
    assert set(load_reward("human/run", reviewed).attributes) == {*FIVE, "raters", "spread"}


def test_only_what_people_wrote_becomes_a_human_row(reviewed: Path) -> None:
    (reviewed / "other.jsonl").write_text(
        "\n".join(
            json.dumps({"prompt": f"Name thing {i}.", "response": f"It is {i}."}) for i in range(8)
        )
    )
    for name in ("run", "run/ratings.jsonl"):
        steps = [
            {"read": {"path": "other.jsonl", "source": "synthetic"}},
            {"mix": {"human": name, "share": 0.2, "guard": "off"}},
        ]
        done = karat.run(recipe(reviewed, "mix.yaml", steps), reviewed / f"mixed-{len(name)}")
        added = [row for row in rows_of(done.accepted_file) if row.source == "human"]
        assert sorted(row.responses[0].content for row in added) == [OWN, f"{OWN} Twice."]
        assert {row.responses[0].model for row in added} == {""}
        assert {row.meta["edited"]["by"] for row in added} == {"ann"}
        assert {row.meta["edited"]["of"] for row in added} == {"openai/loop"}
        assert min(row.meta["edited"]["share"] for row in added) > 0.9
        assert {row.meta["licence"] for row in added} == {"MIT"}
        assert done.report["human_share"] == 0.2
        assert done.report["human_share"] > LEAST_HUMAN_SHARE
        (mixed,) = [step for step in done.report["funnel"] if step["label"] == "mix"]
        assert mixed["notes"]["skipped"]["unusable"] == 1  # the edit of one word


def test_an_edit_of_one_word_is_still_its_models(reviewed: Path) -> None:
    steps = [
        {"read": {"path": "other.jsonl", "source": "synthetic"}},
        {"mix": {"given": {"run/ratings.jsonl": 0.25}, "guard": "off"}},
    ]
    done = karat.run(recipe(reviewed, "given.yaml", steps), reviewed / "given")
    added = [row for row in rows_of(done.accepted_file) if "edited" in row.meta]
    assert len(added) == 3
    assert {row.responses[0].model for row in added} == {"openai/loop"}
    assert done.report["human_share"] == 0.0


def test_ratings_alone_make_no_human_rows(reviewed: Path, tmp_path: Path) -> None:
    source = reviewed / "run"
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("name: test\nsteps: []\n")
    (tmp_path / "other.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    steps = [{"read": {"path": "other.jsonl"}}, {"mix": {"human": "run", "guard": "off"}}]
    path = recipe(tmp_path, "mix.yaml", steps)
    with pytest.raises((RecipeError, RunError), match=r"nobody has reviewed\s+them yet"):
        karat.run(path, tmp_path / "one")
    every = (source / "ratings.jsonl").read_bytes().splitlines(keepends=True)
    (run / "ratings.jsonl").write_bytes(b"".join(line for line in every if b'"edited"' not in line))
    with pytest.raises((RecipeError, RunError), match="ratings alone make no human rows"):
        karat.run(path, tmp_path / "two")
    synthetic = [line.replace(b'"source":"human"', b'"source":"synthetic"') for line in every]
    (run / "ratings.jsonl").write_bytes(b"".join(synthetic))
    with pytest.raises((RecipeError, RunError), match="3: a model wrote the prompt"):
        karat.run(path, tmp_path / "three")


def test_a_reward_is_trained_on_what_reviewers_said(reviewed: Path) -> None:
    data = read_human([reviewed / "run"])
    assert len(data.rated) == 42
    assert data.left_out == {"tie": 1}
    assert len(data.pairs) == 4  # one compared, three edited: the edited answer is the better one
    assert sum(pair.chosen in (OWN, f"{OWN} Twice.") for pair in data.pairs) == 2
    plan = Plan("regression", "surface", members=1, folds=2, repeats=1, jobs=1)
    out = reviewed / "head.npz"
    result = main_train([reviewed / "run"], out, plan=plan)
    assert out.is_file()
    assert result.data == {"run/ratings.jsonl": 46}


def test_exports_need_no_run_beside_them(reviewed: Path, tmp_path: Path) -> None:
    run = reviewed / "run"
    out = tmp_path / "human.jsonl"
    status, said, err = run_karat("review", "export", run, "-o", out)
    assert (status, err) == (0, "")
    assert said == f"{out}: 48 lines\n  left out: 3 edit\n  left out: 1 skip\n"
    assert len(out.read_text().splitlines()) == 48
    assert "51 lines" in written(run, "reward", tmp_path / "reward.jsonl")
    said = written(run, "mix", tmp_path / "mix.jsonl")
    assert "2 lines" in said
    assert "left out: 1 most of the answer is the model's" in said
    alone, together = (
        load_reward(f"human/{tmp_path}/human.jsonl", tmp_path),
        load_reward("human/run", reviewed),
    )
    assert alone.scores == together.scores  # type: ignore[attr-defined]
    files = read_human([tmp_path / "reward.jsonl"])
    whole = read_human([run])
    assert sorted(map(str, files.rated)) == sorted(map(str, whole.rated))
    assert sorted(map(str, files.pairs)) == sorted(map(str, whole.pairs))
    (tmp_path / "other.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    steps = [
        {"read": {"path": "other.jsonl"}},
        {"mix": {"human": "mix.jsonl", "guard": "off", "share": 0.5}},
    ]
    done = karat.run(recipe(tmp_path, "mix.yaml", steps), tmp_path / "mixed")
    (added,) = [row for row in rows_of(done.accepted_file) if row.source == "human"]
    assert added.responses[0].content.startswith(OWN)


def test_a_mistake_is_one_line(reviewed: Path, tmp_path: Path) -> None:
    run = reviewed / "run"
    status, out, err = run_karat("review", "export", run, "-o", "a.csv", cwd=tmp_path)
    assert (status, out) == (2, "")
    assert err == "error: a.csv: the name of a file of reviews ends in .jsonl\n"
    with pytest.raises(RecipeError, match="is not a run"):
        written(reviewed / "none", "human", tmp_path / "a.jsonl")
    with pytest.raises(RunError, match="cannot write"):
        written(run, "human", tmp_path / "none" / "a.jsonl")
    with pytest.raises(RecipeError, match="has no reviews yet"):
        written(reviewed / "graded", "human", tmp_path / "a.jsonl")


def test_a_table_says_everything_that_stands(reviewed: Path) -> None:
    found = table(Bench(Run(reviewed / "run")))
    assert [
        sum(one["what"] == kind for one in found)
        for kind in ("rating", "comparison", "edit", "skip")
    ] == [46, 2, 3, 1]
    rating = next(one for one in found if one["what"] == "rating")
    assert rating["model_1"] == "openai/loop"
    assert rating["queue"] == "random"
    assert {name: rating[name] for name in FIVE} == dict.fromkeys(FIVE, rating["helpfulness"])
    skip = next(one for one in found if one["what"] == "skip")
    assert (skip["answer_1"], skip["counts"]) == (None, False)


def test_what_was_taken_back_is_in_no_file(reviewed: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.path.mkdir()
    for name in ("recipe.yaml", "accepted.parquet", "dropped.parquet", "ratings.jsonl"):
        (run.path / name).write_bytes((reviewed / "run" / name).read_bytes())
    bench = Bench(run)
    bench.reviews.refresh()
    for one in bench.reviews.all():
        if one.kind != "rating" or one.rater == "bob":
            bench.reviews.append([withdrawal(one)])
    assert len(export(run, "human").records) == 42
    assert read_human([run.path]).pairs == []
    with pytest.raises(RecipeError, match="nobody has edited an answer"):
        written(run.path, "mix", tmp_path / "a.jsonl")
