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


def test_what_is_not_there_is_told_with_the_way_to_name_another(make_recipe, tmp_path):
    own = {"human": str(tmp_path / "prompts.jsonl")}
    missing = f"no file or folder {tmp_path / 'people.jsonl'}; make it, or"
    for mixes, said in (
        ([{"human": str(tmp_path / "people.jsonl")}], rf"human: {missing} --set mix\.human=…$"),
        # --set reaches the first of a name only.
        (
            [own, {"human": str(tmp_path / "people.jsonl")}],
            f"'mix_2': human: {missing} name another$",
        ),
    ):
        steps = [{"read": {"path": "prompts.jsonl"}}, *({"mix": one} for one in mixes)]
        with pytest.raises(RecipeError, match=said):
            Recipe.load(make_recipe(TEACHER, steps=steps))


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
        (None, {"rewards": {"r": 5}}, "reward 'r': write kind/name, such as"),
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


@pytest.mark.parametrize("name", ["", "a/b", "../up", "a..b", ".", "..", "a b", "a\n", 5, None])
def test_a_name_is_a_folders_name(name):
    with pytest.raises(RecipeError, match="name must be"):
        Recipe([find("topics")(given=["a"])], name=name)


def test_a_file_without_a_name_is_called_as_the_file_is(make_recipe):
    path = make_recipe(TEACHER, file="my first..one.yaml")
    path.write_text(path.read_text().replace("name: test\n", ""))
    assert Recipe.load(path).name == "my-first-one"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_url": "https://me:secret@host/v1"}, "base_url must have no query"),
        ({"base_url": "https://secret@host/v1"}, "base_url must have no query"),
        ({"base_url": "https://host/v1?key=secret"}, "base_url must have no query"),
        ({"base_url": "https://host/v1#secret"}, "base_url must have no query"),
        ({"extra": {"a": [float("inf")]}}, "parameter 'extra.a': must be a finite number"),
        ({"price": {"inptu": 1}}, "price: no key 'inptu'; did you mean 'input'?"),
        *(
            ({"extra": {key: 1}}, f"extra must not hold '{key}'; say it as the model's or the step")
            for key in ("model", "messages", "n", "stream", "seed", "stop", "temperature", "top_p",
                        "max_tokens")
        ),
    ],
)  # fmt: skip
def test_what_a_model_may_not_say(change, message):
    with pytest.raises(RecipeError) as caught:
        Recipe([find("respond")(models=["m"])], models={"m": TEACHER | change})
    assert "model 'm': " + message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_models_and_rewards_that_no_step_names_are_checked_but_for_their_keys(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    steps = [find("topics")(given=["a"])]
    Recipe(steps, models={"m": "openai/gpt-x", "k": {"model": "openai/x", "key_env": "NO_KEY"}})
    with pytest.raises(RecipeError, match=r"model 'm': no model 'opnai/x'; did you mean 'openai/…"):
        Recipe(steps, models={"m": "opnai/x"})
    with pytest.raises(RecipeError, match="reward 'r': no reward 'embeded/helpsteer2'"):
        Recipe(steps, rewards={"r": "embeded/helpsteer2"})


def test_an_export_listed_twice_is_a_mistake():
    with pytest.raises(RecipeError, match="export lists 'jsonl' twice"):
        Recipe([find("topics")(given=["a"])], export=["jsonl", "jsonl"])


def test_two_names_of_one_model_in_a_step_are_a_mistake():
    first = find("topics")(given=["tea"])
    steps = [first, find("respond")(models=["a", "b"])]
    with pytest.raises(RecipeError, match="models: 'a' and 'b' are the same model"):
        Recipe(steps, models={"a": TEACHER, "b": TEACHER | {"concurrency": 2}})
    Recipe(steps, models={"a": TEACHER, "b": TEACHER | {"temperature": 0.5}})
    alone = [first, *(find("respond")(models=[name]) for name in "ab")]
    Recipe(alone, models={"a": TEACHER, "b": TEACHER})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"minimum": 50}, "minimum 50 is above the scale of h.reward (0 to 4): nothing would pass"),
        ({"floors": {"h.verbosity": 4.5}}, "floors 4.5 is above the scale of h.verbosity (0 to 4)"),
        ({"minimum": 4, "floors": {"h.verbosity": -9}}, None),
        ({"minimum": -50}, None),
        ({"by": "human.stars", "minimum": 50}, None),
    ],
)
def test_a_minimum_that_nothing_can_reach_is_a_mistake(make_recipe, params, message):
    steps = [
        STEPS[0],
        {"grade": {"reward": "h"}},
        {"reject": {"by": "h.reward", **params}},
    ]
    path = make_recipe(steps=steps, rewards={"h": "embedded/helpsteer2"})
    if message is None:
        Recipe.load(path)
        return
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert "step 3 'reject': " + message in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([find("prompts")(model="vllm/x")], "works on rows; put a step before it"),
        ([find("respond")(models=["vllm/x"])], "works on rows; put a step before it"),
        (
            [find("magpie")(model="vllm/qwen3", n=2), find("prompts")(model="vllm/x")],
            "needs rows with a topic; put topics before it",
        ),
        (
            [find("topics")(given=["a"]), find("closed_qa")(model="vllm/x")],
            "needs rows with a passage; put documents before it",
        ),
    ],
)
def test_a_step_without_what_it_works_on_is_a_mistake(steps, said):
    with pytest.raises(RecipeError, match=said):
        Recipe(steps)


THINKER = {"teacher": {"model": "openai/gpt-5"}}  # takes no temperature


def test_a_default_that_a_model_does_not_take_is_left_out(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    steps = [find("topics")(given=["tides"]), find("prompts")(model="teacher", per_topic=2)]
    assert steps[1].params["temperature"] == 1.0
    made = Recipe(steps, name="mine", models=THINKER)
    assert made.steps[1].params == {**steps[1].params, "temperature": None}
    assert made.resolved()["steps"][1]["prompts"]["temperature"] is None
    assert steps[1].params["temperature"] == 1.0  # whose call it is
    other = {"teacher": {"model": "openai/gpt-4.1-mini"}}
    assert Recipe(steps, name="mine", models=other).steps[1] == steps[1]


def test_a_value_somebody_wrote_that_a_model_does_not_take_is_a_mistake(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    steps = [
        find("topics")(given=["tides"]),
        find("prompts")(model="teacher", per_topic=2, temperature=0.7),
    ]
    with pytest.raises(RecipeError, match=r"step 2 'prompts': openai/gpt-5 takes no temperature"):
        Recipe(steps, name="mine", models=THINKER)


def test_a_users_step_that_wants_a_number_gets_no_none(user_module, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    user_module(
        "mine_hot",
        "@step\nasync def f(row, ctx, *, model: str, temperature: float = 1.0): return row",
    )
    steps = [find("topics")(given=["tides"]), find("mine_hot:f", tmp_path)(model="teacher")]
    with pytest.raises(RecipeError, match=r"step 2 'f': openai/gpt-5 takes no temperature"):
        Recipe(steps, name="mine", models=THINKER)
