"""Recipe: YAML and Python make the same thing, and what a run writes down loads back as it was."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources

import pytest
import yaml
from conftest import environment

from karat import Recipe, RecipeError
from karat.models.spec import ModelSpec
from karat.recipe import recipe_hash
from karat.stage import cut
from karat.step import find

TEACHER = {"model": "openai/loop", "base_url": "http://127.0.0.1:1/v1", "concurrency": 8}
STEPS = [
    {"read": {"path": "prompts.jsonl"}},
    {"dedupe": {"on": "prompt"}},
    {"respond": {"models": ["teacher"], "n": 4, "temperature": 1.0}},
    {"respond": {"models": ["teacher"], "n": 2, "stop": ["\n"]}},
]


def addresses(recipe):
    return [stage.address for stage in cut(recipe)]


def test_yaml_and_python_make_equal_recipes(make_recipe, tmp_path):
    loaded = Recipe.load(make_recipe(TEACHER, steps=STEPS))
    made = Recipe(
        [find(name)(**params) for item in STEPS for name, params in item.items()],
        name="test", seed=7, models={"teacher": TEACHER}, folder=tmp_path,
    )  # fmt: skip
    assert made.resolved() == loaded.resolved()
    assert made.steps == loaded.steps
    assert addresses(made) == addresses(loaded)


def test_python_meets_the_same_checks():
    with pytest.raises(
        RecipeError, match="recipe 'run', step 1 'respond': models: no model 'techer'"
    ):
        Recipe([find("respond")(models=["techer"])], models={"teacher": TEACHER})
    with pytest.raises(RecipeError, match="recipe 'run': steps is empty"):
        Recipe([])


def resolved_again(recipe, folder):
    folder.mkdir()
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True))
    return Recipe.load(path)


def test_a_resolved_recipe_loads_back_the_same_from_another_folder(make_recipe, tmp_path):
    first = Recipe.load(make_recipe(TEACHER, steps=STEPS, export=["jsonl", "trl-sft"]))
    again = resolved_again(first, tmp_path / "run")
    assert again.resolved() == first.resolved()
    assert addresses(again) == addresses(first)
    assert again.steps[0].params["path"] == str(tmp_path / "prompts.jsonl")


def test_a_resolved_recipe_without_exports_stays_without(make_recipe, tmp_path):
    first = Recipe.load(make_recipe(TEACHER, export=[]))
    assert first.export == []
    assert resolved_again(first, tmp_path / "run").export == []


def test_a_resolved_recipe_finds_what_lay_beside_it(make_recipe, tmp_path, user_module):
    # In a process of its own: here the module is already loaded.
    user_module("mine_beside", "@step\nasync def f(row, ctx): return row\n")
    steps = [{"read": {"path": "prompts.jsonl"}}, {"mine_beside:f": {}}]
    resolved_again(Recipe.load(make_recipe(steps=steps)), tmp_path / "run")
    code = "import sys; from karat import Recipe; Recipe.load(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run" / "recipe.yaml")],
        env=environment(), cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_resolved_recipe_finds_a_reward_that_lay_beside_it(make_recipe, tmp_path):
    shipped = resources.files("karat.rewards").joinpath("assets/helpsteer2.npz")
    (tmp_path / "mine.npz").write_bytes(shipped.read_bytes())
    steps = [*STEPS[:3], {"grade": {"reward": "mine"}}]
    path = make_recipe(TEACHER, steps=steps, rewards={"mine": "head/mine.npz"})
    first = Recipe.load(path)
    again = resolved_again(first, tmp_path / "run")
    assert again.folder == first.folder == tmp_path
    assert addresses(again) == addresses(first)


def test_a_folder_is_beside_the_file_that_names_it(make_recipe, tmp_path):
    (tmp_path / "data").mkdir()
    path = make_recipe(TEACHER, folder="data")
    (tmp_path / "prompts.jsonl").rename(tmp_path / "data" / "prompts.jsonl")
    assert Recipe.load(path).path("prompts.jsonl") == tmp_path / "data" / "prompts.jsonl"


def test_where_a_recipe_lies_is_no_part_of_its_hash(tmp_path):
    steps = [find("topics")(given=["a"])]
    trees = [Recipe(steps, folder=tmp_path / name).resolved() for name in "ab"]
    assert trees[0] != trees[1]
    assert recipe_hash(trees[0]) == recipe_hash(trees[1])


@pytest.mark.parametrize(
    ("steps", "top", "message"),
    [
        ([find("respond")], {}, "step 1: call a step with its parameters"),
        (None, {"models": {"m": ModelSpec("openai/x", timeout_s=float("inf"))}}, "model 'm'"),
        (None, {"models": {"m": ModelSpec("openai/x", concurrency=0)}}, "model 'm'"),
        (None, {"export": "json"}, "no export 'json'; did you mean 'jsonl'"),
        (None, {"budget_usd": 10**400}, "budget_usd must be a number above 0"),
        (None, {"rewards": {"r": 5}}, "reward 'r' must be text, got 5"),
    ],
)
def test_a_mistake_in_python_is_told_in_words(steps, top, message):
    with pytest.raises(RecipeError) as caught:
        Recipe(steps or [find("topics")(given=["a"])], **top)
    assert message in str(caught.value)


def test_a_model_may_be_named_where_it_is_used(make_recipe, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    steps = [{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["openai/gpt-x"]}}]
    recipe = Recipe.load(make_recipe(steps=steps))
    assert recipe.models["openai/gpt-x"].name == "gpt-x"


def test_a_repeated_step_is_numbered(make_recipe):
    recipe = Recipe.load(make_recipe(TEACHER, steps=STEPS))
    assert recipe.labels == ["read", "dedupe", "respond", "respond_2"]
    assert recipe.where(3).endswith("recipe.yaml, step 4 'respond_2'")


def test_the_resolved_recipe_never_holds_a_key(make_recipe, monkeypatch):
    monkeypatch.setenv("MY_TEACHER_KEY", "sk-very-secret")
    recipe = Recipe.load(make_recipe({**TEACHER, "key_env": "MY_TEACHER_KEY"}))
    assert "sk-very-secret" not in yaml.safe_dump(recipe.resolved())
    assert recipe.resolved()["models"]["teacher"]["key_env"] == "MY_TEACHER_KEY"


def test_a_file_is_looked_for_beside_the_recipe_first(make_recipe, tmp_path, monkeypatch):
    elsewhere = tmp_path / "cwd"
    elsewhere.mkdir()
    (elsewhere / "prompts.jsonl").write_text("{}")
    monkeypatch.chdir(elsewhere)
    recipe = Recipe.load(make_recipe(TEACHER))
    assert recipe.path("prompts.jsonl") == tmp_path / "prompts.jsonl"
    (tmp_path / "prompts.jsonl").unlink()
    assert recipe.path("prompts.jsonl") == elsewhere / "prompts.jsonl"


def test_recipes_karat_ships_are_right(monkeypatch):
    monkeypatch.setattr("karat.models.providers.embedded.available", lambda: None)
    assert Recipe.load("quickstart").labels[0] == "topics"
