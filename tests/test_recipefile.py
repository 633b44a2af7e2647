"""Recipe files: every mistake names the file, the step and what was probably meant."""

# ruff: noqa: E501  tables of cases read better on one line each

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from karat import Recipe, RecipeError
from karat.recipefile import parse
from karat.yaml12 import dump

GOOD = """
name: good
seed: 3
models:
  teacher: {model: openai/loop, base_url: "http://127.0.0.1:1/v1", price: {input: 0.2, output: 0.6}}
rewards:
  helpsteer2: embedded/helpsteer2
steps:
  - read: {path: prompts.jsonl}
  - respond: {models: [teacher], n: 4, temperature: 1.0}
  - grade: {reward: helpsteer2}
  - reject: {by: helpsteer2.reward, best: 1}
export: [jsonl]
"""


WORDS = st.text(max_size=4) | st.text("0123456789abexo.:+-_~<=", max_size=5)
TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads GOOD with one text in it replaced by another."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "hi"}\n')

    def loading(old="", new="", text=GOOD, overrides=()):
        assert old in text
        path = tmp_path / "bad.yaml"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return Recipe.load(path, overrides)

    return loading


def test_the_good_one_is_good(load):
    assert [call.step.name for call in load().steps] == ["read", "respond", "grade", "reject"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("respond:", "respnd:", "step 2: no step 'respnd'; did you mean 'respond'"),
        ("temperature", "tempereture", "step 2 'respond': no parameter 'tempereture'; did you mean 'temperature'"),
        ("[teacher]", "[techer]", "step 2 'respond': models: no model 'techer' in models; did you mean 'teacher'"),
        ("openai/loop", "opnai/loop", "no model 'opnai/loop'; did you mean 'openai/…'"),
        ("openai/loop", "openai/", "no model 'openai/'"),
        ("{reward: helpsteer2}", "{reward: helpster2}", "step 3 'grade': reward: no reward 'helpster2' in rewards; did you mean 'helpsteer2'"),
        ("embedded/helpsteer2", "embeded/helpsteer2", "step 3 'grade'"),
        ("helpsteer2.reward", "helpsteer2.helpfulnes", "step 4 'reject': by: no score 'helpsteer2.helpfulnes' at this point; did you mean 'helpsteer2.helpfulness'"),
        ("[jsonl]", "[jsnl]", "no export 'jsnl'; did you mean 'jsonl'"),
        ("[jsonl]", "jsonl", "export must be a list, got 'jsonl'"),
        ("[jsonl]", "[5]", "no export"),
        ("[jsonl]", "[{jsonl: 1}]", "no export"),
        ("name:", "nmae:", "no key 'nmae'; did you mean 'name'"),
        ("seed: 3", "seed: three", "seed must be a whole number, got 'three'"),
        ("seed: 3", "seed: true", "seed must be a whole number"),
        ("seed: 3", "seed: 99999999999999999999", "is beyond 64 bits"),
        ("seed: 3", "folder: [a]", "folder must be text, got ['a']"),
        ("n: 4", "n: 99999999999999999999", "step 2 'respond': Integer exceeds 64-bit range"),
        ("price:", "extra: {a: 99999999999999999999}, price:", "model 'teacher': Integer exceeds"),
        ("teacher: {", "teacher: {5: 6, ", "model 'teacher': no key '5'"),
        ("seed: 3", "seed: 3\nbudget_usd: free", "budget_usd must be a number above 0, got 'free'"),
        ("seed: 3", "seed: 3\nbudget_usd: -1", "budget_usd must be a number above 0"),
        ("seed: 3", "seed: 3\nbudget_usd: .nan", "budget_usd must be a number above 0"),
        ("seed: 3", "seed: 3\nbudget_usd: .inf", "budget_usd must be a number above 0"),
        ("seed: 3", "seed: 3\nbudget_usd: true", "budget_usd must be a number above 0"),
        ("n: 4", "n: 0", "step 2 'respond': parameter 'n': expected int >= 1"),
        ("n: 4", "n: many", "step 2 'respond': parameter 'n': expected int, got str"),
        ("temperature: 1.0", "temperature: 9", "step 2 'respond': parameter 'temperature': expected float <= 2"),
        ("n: 4, temperature: 1.0", "n: 4, n: 5", "line 10: the key 'n' is written twice"),
        ("prompts.jsonl", "promts.jsonl", "step 1 'read': path: no file"),
        ("input: 0.2", "inptu: 0.2", "model 'teacher'"),
        ("price:", "pirce:", "model 'teacher': no key 'pirce'; did you mean 'price'"),
        ("input: 0.2", "input: -1", "model 'teacher'"),
        ("input: 0.2", "input: .inf", "model 'teacher'"),
        ("input: 0.2", "input: .nan", "model 'teacher'"),
        ("price:", "concurrency: 0, price:", "model 'teacher'"),
        ("price:", "timeout_s: .inf, price:", "model 'teacher'"),
        ("http://127", "ftp://127", "base_url 'ftp://127.0.0.1:1/v1' must begin with http:// or https://"),
        ("http://127.0.0.1:1/v1", "http://", "base_url"),
        ("http://127.0.0.1:1/v1", "http://a:port/v1", "base_url"),
        ("price:", "key_env: NO_SUCH_KEY_HERE, price:", "the key variable NO_SUCH_KEY_HERE is not set"),
        ('base_url: "http://127.0.0.1:1/v1", ', "", "needs OPENAI_API_KEY"),
        ("[teacher]", "[]", "step 2 'respond': models is empty"),
        ("prompts.jsonl", "p" * 300, "step 1 'read': path: cannot read"),
        ("prompts.jsonl", "~nobody-of-this-name/x", "step 1 'read': path: no file"),
        ("[teacher]", "teacher", "step 2 'respond': parameter 'models': expected array, got str"),
        ("models: [teacher], ", "", "step 2 'respond': needs the parameter 'models'"),
        ("  - grade: {reward: helpsteer2}\n", "", "step 3 'reject': by: no score 'helpsteer2.reward' at this point; put grade: {reward: helpsteer2} before it"),
        ("- grade", "- read: {path: prompts.jsonl}\n  - grade", "step 3 'read_2': reads rows in and must be the first step"),
        ("- grade: {reward: helpsteer2}", "- [grade]", "step 3: write a step as"),
        ("- grade: {reward: helpsteer2}", "- {}", "step 3: write a step as"),
        ("- grade: {reward: helpsteer2}", "- {grade: {}, reject: {}}", "step 3: write a step as"),
        ("- grade: {reward: helpsteer2}", "- grade: 5", "step 3 'grade': parameters are a mapping, got 5; write grade: {parameter: value}"),
        ("- grade: {reward: helpsteer2}", "-", "step 3: write a step as"),
        ("rewards:\n  helpsteer2: embedded/helpsteer2", "rewards: 3", "rewards must be a mapping"),
        ("embedded/helpsteer2", "{a: b}", "reward 'helpsteer2': write kind/name, such as"),
        ("  teacher: {", "  teacher: 5\n  other: {", "model 'teacher'"),
        ("  teacher: {", "  teacher:\n  other: {", "model 'teacher'"),
        ("  teacher: {", "  teacher: [a]\n  other: {", "model 'teacher'"),
        ("model: openai/loop, ", "", "model 'teacher'"),
        ("openai/loop", "{a: 1}", "model 'teacher'"),
        ("steps:", "steps: 3\nexport:\n", "is written twice"),
        ("name: good", "? [a, b]\n: c", "bad.yaml"),
        ("name: good", "name: [unclosed", "is not YAML"),
        ("name: good", "name: !!python/object:os.system x", "is not YAML"),
        ("name: good", "name: \x00", "is not YAML"),
        ("name: good", "name: ../up", "name must be of letters"),
        ("name: good", "name: 5", "name must be text, got 5"),
        ("best: 1", "minimum: .inf", "step 4 'reject': parameter 'minimum': must be a finite number"),
        ("best: 1", "minimum: 50", "minimum 50 is above the scale of helpsteer2.reward (0 to 4)"),
        ("[teacher]", "teacher", "step 2 'respond': parameter 'models': expected array, got str; write a list: [teacher]"),
        ("price:", "extra: {a: .nan}, price:", "model 'teacher': parameter 'extra.a': must be a finite number"),
        ("input: 0.2", "inptu: 0.2", "model 'teacher': price: no key 'inptu'; did you mean 'input'?"),
        ("[jsonl]", "[jsonl, jsonl]", "export lists 'jsonl' twice"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_file_and_what_was_meant(load, old, new, message):
    with pytest.raises(RecipeError) as caught:
        load(old, new)
    assert message in str(caught.value)
    assert "bad.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "- a\n", "just words", "steps:\n", "steps: []", "name: x", "steps: 3"]
)
def test_a_file_without_steps_says_so(load, text):
    with pytest.raises(RecipeError, match=r"bad\.yaml.*(steps|mapping)"):
        load(text=text)


def test_a_budget_needs_every_price(load):
    with pytest.raises(
        RecipeError, match="step 2 'respond': budget_usd needs the price of model 'teacher'"
    ):
        load(", price: {input: 0.2, output: 0.6}", "", GOOD.replace("seed: 3", "budget_usd: 5"))


def test_bytes_that_are_no_utf8_say_so(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(RecipeError, match=r"latin\.yaml is not YAML"):
        Recipe.load(path)


def test_a_missing_recipe_names_those_karat_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"no recipe file quickstrt.*did you mean 'quickstart'"):
        Recipe.load("quickstrt")


def test_words_stay_words_and_numbers_numbers(load):
    loaded = load("seed: 3", "seed: 0x10\nbudget_usd: 1e-3")
    assert (loaded.seed, loaded.budget_usd) == (16, 1e-3)
    made = load(
        "  - read: {path: prompts.jsonl}",
        "  - topics: {given: [on, off, yes, no, y, 2024-01-02, 12:30, 'true']}",
    )
    words = ["on", "off", "yes", "no", "y", "2024-01-02", "12:30", "true"]
    assert made.steps[0].params["given"] == words


@given(st.dictionaries(WORDS, TREE, max_size=3))
@example({"a": ["1e3", "0o17", "12:30", "017", ".inf", "<<", "on", "=", "1_000", "~", ""]})
@example({"\x85": "a\u2028b\r\n\x85 \ufeff"})
def test_what_is_dumped_is_parsed_as_it_was(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("dump") / "x.yaml"
    path.write_text(dump(tree), encoding="utf-8", newline="")
    assert parse(path) == tree
    assert yaml.safe_load(dump(tree)) == tree


def test_the_key_on_is_a_word(load):
    loaded = load("- respond", "- dedupe: {on: prompt}\n  - respond")
    assert loaded.steps[1].params["on"] == "prompt"


def test_a_step_without_parameters_may_stand_alone(load, tmp_path, user_module):
    user_module("mine_alone", "@step\nasync def f(row, ctx, *, n: int = 3): return row\n")
    for text in ("mine_alone:f", "{'mine_alone:f': }", "{'mine_alone:f': {n: 3}}"):
        loaded = load("- grade", f"- {text}\n  - grade")
        assert loaded.steps[2].params == {"n": 3}


@pytest.mark.parametrize(
    ("text", "read", "value"),
    [
        ("seed=9", lambda r: r.seed, 9),
        ("respond.n=2", lambda r: r.steps[1].params["n"], 2),
        ("respond.system=@home", lambda r: r.steps[1].params["system"], "@home"),
        ("models.teacher.concurrency=8", lambda r: r.models["teacher"].concurrency, 8),
        ("models.teacher.price.input=0.5", lambda r: r.models["teacher"].price.input, 0.5),
        ("models.teacher=openai/m", lambda r: r.models["teacher"].model, "openai/m"),
        ("budget_usd=1e1", lambda r: r.budget_usd, 10.0),
        ("name=a=b", lambda r: r.name, "a=b"),
    ],
)  # fmt: skip
def test_an_override_changes_one_value(load, monkeypatch, text, read, value):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert read(load(overrides=[text])) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "write key=value"),
        ("sed=3", "no key 'sed'; did you mean 'seed'"),
        ("respnd.n=2", "no 'respnd'; did you mean 'respond'"),
        ("respond.m=2", "no parameter 'm'"),
        ("models.teacher.n=2", "no key 'n'"),
        ("seed=x", "seed must be a whole number"),
        ("=3", "no key ''"),
        ("respond.n={a: 1, a: 2}", "written twice"),
        ("respond.n.x=2", "respond.n: n must be a mapping, got 4"),
        ("models.teacher.model.x=2", "model must be a mapping"),
        ("rewards.helpsteer2.x=2", "no key 'x'"),
        ("rewards.helpsteer2.reward.x=2", "reward must be a mapping"),
        ("steps=5", "steps must be a list, got 5"),
        ("models=5", "models must be a mapping, got 5"),
        ("models.techer=openai/gpt-5", "nothing here is called 'techer'; did you mean 'teacher'"),
        ("models.small.concurrency=8", "nothing here is called 'small'; there is: teacher"),
        ("rewards.helpsteer=judge/teacher", "nothing here is called 'helpsteer'; did you mean"),
    ],
)
def test_a_wrong_override_is_named(load, text, message):
    with pytest.raises(RecipeError) as caught:
        load(overrides=[text])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "override"),
    [
        ("steps: 5", "respond.n=2"),
        ("steps: [{}]", "respond.n=2"),
        ("steps: [[a]]", "respond.n=2"),
        ("steps: [{respond: 5}]", "respond.n=2"),
        ("models: [a]\nsteps: [respond]", "models.teacher.n=2"),
        ("rewards: x\nsteps: [respond]", "rewards.teacher=2"),
    ],
)
def test_an_override_of_a_broken_file_is_a_mistake_in_words(load, text, override):
    with pytest.raises(RecipeError):
        load(text=text, overrides=[override])


def test_an_override_gives_an_option_to_a_reward_that_was_only_a_name(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "models: {m: {model: openai/x, base_url: 'http://127.0.0.1:9'}}\n"
        "rewards: {judge: judge/m}\nsteps: [{topics: {given: [a]}}, {grade: {reward: judge}}]\n"
    )
    changed = ["rewards.judge.samples=3", "rewards.judge.temperature=1"]
    loaded = Recipe.load(path, changed)
    assert loaded.rewards == {"judge": {"reward": "judge/m", "samples": 3, "temperature": 1}}


def test_an_override_changes_one_place_of_two_that_share_an_anchor(load):
    text = GOOD.replace("teacher: {", "teacher: &it {").replace(
        "rewards:", "  other: *it\nrewards:", 1
    )
    loaded = load(text=text, overrides=["models.teacher.price.input=9"])
    assert loaded.models["teacher"].price.input == 9
    assert loaded.models["other"].price.input == 0.2


def test_an_empty_export_means_none_and_an_absent_one_jsonl(load):
    assert load("export: [jsonl]", "").export == ["jsonl"]
    assert load("[jsonl]", "[]").export == []
    assert load("[jsonl]", "").export == []


LISTED = """
models:
  teacher:
    - {model: openai/a, base_url: "http://127.0.0.1:1/v1"}
    - embedded/smollm2-135m
steps:
  - read: {path: prompts.jsonl}
"""


def test_an_override_reaches_one_of_the_models_that_stand_in(load):
    wanted = ["0.concurrency=8", "0.price.input=1", "0.price.output=2", "1.max_tokens=9"]
    loaded = load(text=LISTED, overrides=[f"models.teacher.{one}" for one in wanted])
    first, second = loaded.models["teacher"].route()
    assert (first.concurrency, first.price.output, second.max_tokens) == (8, 2, 9)
    assert second.model == "embedded/smollm2-135m"


@pytest.mark.parametrize("key", ["models.teacher.concurrency", "models.teacher.2.concurrency"])
def test_an_override_of_a_list_says_how_to_name_one(load, key):
    with pytest.raises(RecipeError, match=r"models\.teacher\.0\.concurrency=8"):
        load(text=LISTED, overrides=[f"{key}=8"])


@pytest.mark.parametrize("start", ["a0: &a0 [x, x, x, x]\n", "a0: &a0 {x: 1, y: 2, z: 3, w: 4}\n"])
def test_aliases_of_aliases_are_refused_at_once(tmp_path, start):
    lines = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)]
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD + start + "".join(lines))
    with pytest.raises(RecipeError, match="aliases"):
        parse(path)
    path.write_text(GOOD + "loop: &loop [*loop]\n")
    with pytest.raises(RecipeError, match="aliases"):
        parse(path)
    path.write_text(GOOD + "one: &one [1, 2]\ntwo: *one\n")
    assert parse(path)["two"] == [1, 2]


def test_an_override_gives_a_model_that_only_a_step_names(load):
    text = GOOD.replace("[teacher], n: 4", "[teacher, other], n: 4")
    loaded = load(text=text, overrides=["models.other=embedded/smollm2-135m"])
    assert loaded.models["other"].model == "embedded/smollm2-135m"


def test_a_recipe_that_ships_is_called_by_its_name():
    with pytest.raises(RecipeError, match=r"^recipe 'quickstart', step 1 'topics': "):
        Recipe.load("quickstart", ["topics.nn=3"])
