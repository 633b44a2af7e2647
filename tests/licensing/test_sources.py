"""What a recipe would be made of: models, graders, files, datasets, earlier runs."""

from __future__ import annotations

import json

import msgspec
import orjson
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from conftest import LengthReward
from licensed_runs import LLAMA, QWEN, run, write_recipe
from server import Server

from karat.cli import main
from karat.licensing import solve_recipe
from karat.licensing.solved import Source
from karat.licensing.sources import of_recipe
from karat.recipe import Recipe

READ = {"read": {"path": "given.jsonl"}}


@pytest.fixture
def recipe(tmp_path, length_reward, monkeypatch):
    """A recipe of these steps, whose server is never asked."""
    monkeypatch.chdir(tmp_path)

    def make(*steps, **top):
        path = write_recipe(tmp_path, "http://127.0.0.1:9/v1", steps=list(steps), **top)
        return Recipe.load(path)

    return make


def told(recipe) -> list[tuple[str, str, str]]:
    return sorted((one.role, one.name, one.licence) for one in of_recipe(recipe))


def test_models_with_their_fallbacks_graders_and_files_are_named(recipe):
    found = told(
        recipe(
            {"read": {"path": "given.jsonl", "licence": "CC-BY-4.0"}},
            {"respond": {"models": ["both"]}},
            {"grade": {"reward": "mine"}},
            {"mix": {"human": "people.jsonl", "share": 0.2}},
            models={"both": [
                {"model": QWEN, "base_url": "http://127.0.0.1:9/v1"},
                {"model": LLAMA, "base_url": "http://127.0.0.1:9/v1"},
            ]},
        )
    )  # fmt: skip
    assert found == [
        ("data", "given.jsonl", "CC-BY-4.0"),
        ("generator", LLAMA, "Llama Community License"),
        ("generator", QWEN, "Apache-2.0"),
        ("grader", "length", "CC0-1.0"),
        ("human", "people.jsonl", "cc-by-sa-4.0"),  # as its rows say
    ]


def test_a_known_dataset_has_the_licence_of_its_card_and_its_author(recipe):
    (one,) = of_recipe(recipe({"read": {"dataset": "nvidia/HelpSteer2"}}))
    assert one == Source(role="data", name="nvidia/HelpSteer2", by="NVIDIA", licence="CC-BY-4.0")
    (one,) = of_recipe(recipe({"read": {"dataset": "a/b"}}))
    assert (one.name, one.licence) == ("a/b", "")
    (one,) = of_recipe(recipe({"read": {"dataset": "nvidia/HelpSteer2", "licence": "own"}}))
    assert one.licence == "own"


def test_rows_that_state_no_licence_are_unknown_and_mixed_ones_are_all_told(recipe, tmp_path):
    (one,) = of_recipe(recipe(READ))
    assert (one.role, one.licence) == ("data", "")
    lines = [
        {"prompt": "a", "licence": "MIT"}, {"prompt": "b", "license": ["cc0-1.0", "mit"]},
        {"prompt": "c"}, {"prompt": "d", "meta": '{"licence": "own"}'},
        {"prompt": "e", "meta": "{"},
    ]  # fmt: skip
    (tmp_path / "several.jsonl").write_text("\n".join(map(json.dumps, lines)))
    made = recipe({"read": {"path": "several.jsonl", "source": "human"}})
    assert told(made) == [("human", "several.jsonl", one)
                          for one in ("", "MIT", "cc0-1.0 AND mit", "own")]  # fmt: skip
    # What the step states is for rows that state nothing.
    made = recipe({"read": {"path": "several.jsonl", "licence": "own"}})
    assert {licence for _, _, licence in told(made)} == {"MIT", "cc0-1.0 AND mit", "own"}


def test_documents_are_a_source_of_their_own(recipe, tmp_path):
    (tmp_path / "manual.md").write_text("# Pumps\n\n" + "A pump moves water. " * 30)
    made = recipe({"documents": {"path": "manual.md", "licence": "cc-by-nc-4.0"}})
    assert told(made) == [("documents", "manual.md", "cc-by-nc-4.0")]
    assert not solve_recipe(made).trains.commercial


def test_folders_of_a_machine_stay_on_it(recipe, tmp_path):
    (one,) = of_recipe(recipe({"read": {"path": str(tmp_path / "given.jsonl")}}))
    assert one.name == "given.jsonl"


def test_a_judge_is_its_model_and_peoples_ratings_are_the_users(recipe, tmp_path, monkeypatch):
    monkeypatch.undo()
    rated = {"prompt": "What is number 0?", "response": "It.", "helpfulness": 3}
    (tmp_path / "rated.jsonl").write_text(json.dumps(rated))
    made = recipe(
        READ, {"respond": {"models": ["qwen"]}}, {"grade": {"reward": "judge"}},
        {"grade": {"reward": "human"}},
        rewards={"judge": "judge/llama", "human": {
            "reward": f"human/{tmp_path / 'rated.jsonl'}", "attributes": {"helpfulness": [0, 4]},
        }},
    )  # fmt: skip
    graders = [one for one in told(made) if one[0] == "grader"]
    assert graders == [
        ("grader", "human/rated", "own"), ("grader", LLAMA, "Llama Community License"),
    ]  # fmt: skip
    assert solve_recipe(made).trains.name_prefix == ("Llama",)


def test_a_server_of_scores_has_the_terms_of_its_service(recipe, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("NVIDIA_API_KEY", "k")
    made = recipe(READ, {"respond": {"models": ["qwen"]}}, {"grade": {"reward": "nim"}},
                  rewards={"nim": "nim/nvidia/nemotron-4-340b-reward"})  # fmt: skip
    blocked = [one for one in solve_recipe(made).blockers if one.kind == "forbidden"]
    assert [one.causes[0].role for one in blocked] == ["grader"]
    assert "NVIDIA" in blocked[0].licence


def test_earlier_runs_bring_what_they_were_made_of(recipe, tmp_path):
    before = run()
    reviewed = tmp_path / "reviewed"
    reviewed.mkdir()
    for name in ("accepted.parquet", "report.json", "recipe.yaml"):
        (reviewed / name).write_bytes((before.path / name).read_bytes())
    (reviewed / "ratings.jsonl").write_text('{"rater": "a", "time": 1, "key": "b"}\n')
    held = {one.name for one in msgspec.convert(before.report["licences"]["sources"], list[Source])}
    for steps in (
        [{"read": {"path": str(before.accepted_file)}}],
        [READ, {"mix": {"previous": str(before.path), "share": 0.1}}],
        [READ, {"mix": {"human": str(reviewed / "ratings.jsonl"), "share": 0.1}}],
    ):
        found = of_recipe(recipe(*steps))
        assert held <= {one.name for one in found}
        assert not any(one.rows for one in found)


def test_an_earlier_run_without_such_a_report_speaks_by_its_rows(recipe, tmp_path):
    table = pq.read_table(run().accepted_file)
    old = tmp_path / "old"
    old.mkdir()
    forbidden = ["no"] * table.num_rows
    place = table.schema.get_field_index("training")
    pq.write_table(table.set_column(place, "training", [forbidden]), old / "accepted.parquet")
    found = solve_recipe(recipe(READ, {"mix": {"previous": str(old), "share": 0.1}}))
    assert "forbidden" in {one.kind for one in found.blockers}
    assert found.trains.name_prefix == ("Llama",)


def test_a_users_own_source_says_what_is_not_known(recipe, user_module):
    user_module(
        "own_rows",
        "@step\ndef rows(ctx):\n    yield Row('1', [Message('user', 'Why?')])\n",
    )
    found = solve_recipe(recipe({"own_rows:rows": {}}))
    assert found.notes == ("rows of own_rows:rows: their licences are known when they are there",)


def test_plan_says_it_before_anything_is_spent(tmp_path, monkeypatch):
    monkeypatch.setattr("karat.graders.load_reward", lambda *_: LengthReward())
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with Server() as server:
        path = write_recipe(tmp_path, server.url)
        tree = yaml.safe_load(path.read_text())
        tree["steps"][0]["read"].pop("licence")
        tree["models"]["gpt"] = "openai/gpt-5-mini"
        tree["steps"][1]["respond"]["models"].append("gpt")
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        done = CliRunner().invoke(main, ["plan", str(path), "--out", str(tmp_path / "out")])
        assert done.exit_code == 0, done.output
        assert not server.requests
    said = " ".join(done.output.split("licences")[1].split())
    blockers, rest = said.index("BLOCKER OpenAI terms"), said.index("to do")
    assert blockers < said.index("no licence stated: Say under which licence") < rest
    assert "Begin the name of a model" in said
    assert "(generator vllm/llama-3.3-70b-instruct)" in said
    assert "may train none, until the blockers are gone" in said
    assert said.endswith("it is not legal advice.")


def test_a_hostile_licence_is_words_on_the_terminal(recipe, tmp_path):
    line = {"prompt": "a", "licence": "\x1b[2J[bold]evil[/bold]\u202e" + "x" * 5000}
    (tmp_path / "evil.jsonl").write_bytes(orjson.dumps(line))
    write_recipe(tmp_path, "http://127.0.0.1:9/v1", steps=[{"read": {"path": "evil.jsonl"}}])
    done = CliRunner().invoke(main, ["plan", str(tmp_path / "recipe.yaml")])
    assert done.exit_code == 0, done.output
    assert "[bold]evil[/bold]" in done.output
    assert not set("\x1b\u202e") & set(done.output)
    assert len(done.output) < 3000
