"""cross_validate in a recipe: no grader grades its own kind, unless the recipe says so."""

from __future__ import annotations

import pytest

from karat.errors import RecipeError
from karat.recipe import Recipe

STEPS = """
name: x
models:
  teacher: {{model: openai/{teacher}, base_url: "http://127.0.0.1:9/v1"}}
  judge: {{model: openai/{judge}, base_url: "http://127.0.0.1:9/v1"}}
rewards:
  helpsteer2: embedded/helpsteer2
  second: judge/judge
steps:
  - read: {{path: prompts.jsonl}}
  - respond: {{models: [teacher], n: 4}}
  - grade: {{reward: helpsteer2}}
  - grade: {{reward: second}}
  - cross_validate: {{graders: [helpsteer2.reward, second.reward]{more}}}
"""


@pytest.fixture
def load(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Why?"}\n')

    def load(teacher, judge, more=""):
        path = tmp_path / "recipe.yaml"
        path.write_text(STEPS.format(teacher=teacher, judge=judge, more=more))
        return Recipe.load(path)

    return load


def test_a_judge_of_another_family_may_grade(load):
    assert load("Llama-3.3-70B-Instruct", "qwen3-32b")


def test_a_judge_of_the_teachers_family_is_refused_before_anything_is_spent(load):
    with pytest.raises(RecipeError, match=r"second would grade its own kind.*allow: \[llama\]"):
        load("Llama-3.3-70B-Instruct", "Llama-3.1-Nemotron-70B-Instruct")


def test_a_family_may_be_allowed_by_name(load):
    assert load("Llama-3.3-70B", "Llama-3.1-8B", ", allow: [llama]")
    with pytest.raises(RecipeError, match="no family 'lama'; did you mean 'llama'"):
        load("Llama-3.3-70B", "qwen3-32b", ", allow: [lama]")
