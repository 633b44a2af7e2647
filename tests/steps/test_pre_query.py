"""Pre-query templates: each begins a conversation as the models of its family were trained to."""

from __future__ import annotations

from importlib.resources import files

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import RecipeError
from karat.models.spec import ModelSpec
from karat.steps._pre_query import SYSTEM, Family, families, family_of, harmless, has_marks

QUERY, ORDER = "What is rain?", "Answer in verse."


def told(template, *models):
    return family_of(template, [ModelSpec(f"vllm/{model}") for model in models])


def rendered(name, messages):
    """What trl's copy of a model's own chat template makes of a conversation."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["strftime_now"] = lambda form: "26 Jul 2024"
    source = (files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        messages=messages, bos_token="", eos_token="", add_generation_prompt=True, tools=None
    )


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("deepseek", "deepseekv3"), ("deepseek", "deepseek_r1_distill"), ("gemma", "gemma"),
        ("llama-3", "llama3"), ("phi-3", "phi3"), ("phi-3", "phi3_5"), ("qwen2.5", "qwen2_5"),
        ("qwen3", "qwen3"), ("qwen3", "qwen3_instruct_2507"),
    ],
)  # fmt: skip
def test_a_conversation_begins_as_in_the_models_own_template(family, name):
    one = families()[family]
    whole = rendered(name, [{"role": "user", "content": QUERY}])
    assert whole.startswith(f"{one.prompt('')}{QUERY}{one.stop}")


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("deepseek", "deepseekv3"), ("gemma", "gemma3"), ("llama-3", "llama3"), ("phi-3", "phi3"),
        ("qwen2.5", "qwen2_5"), ("qwen3", "qwen3"),
    ],
)  # fmt: skip
def test_a_system_message_stands_where_the_models_own_template_puts_it(family, name):
    one = families()[family]
    talk = [{"role": "system", "content": ORDER}, {"role": "user", "content": QUERY}]
    assert rendered(name, talk).startswith(f"{one.prompt(ORDER)}{QUERY}{one.stop}")


@pytest.mark.parametrize("name", families())
def test_every_template_is_whole(name):
    one = families()[name]
    assert one.steered.count(SYSTEM) == 1
    assert SYSTEM not in one.bare
    assert one.stop
    assert one.bare in one.steered or name in ("gemma", "mistral", "mistral-nemo", "llama-2")
    assert not one.bare.startswith(("<s>", "<bos>", "<|begin_of_text|>", "<｜begin"))
    assert not one.steered.startswith(("<s>", "<bos>", "<|begin_of_text|>", "<｜begin"))
    assert has_marks(one.stop)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("smollm2-135m", "smollm2"), ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "smollm2"),
        ("Qwen/Qwen2.5-72B-Instruct", "qwen2.5"), ("qwen2.5:7b", "qwen2.5"),
        ("accounts/fireworks/models/qwen2p5-72b-instruct", "qwen2.5"),
        ("Qwen/Qwen2-7B-Instruct", "qwen2"), ("Qwen/Qwen3-32B", "qwen3"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3"), ("llama3.1:8b", "llama-3"),
        ("accounts/fireworks/models/llama-v3p3-70b-instruct", "llama-3"),
        ("nvidia/Llama-3.1-Nemotron-70B-Instruct-HF", "llama-3"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "chatml"), ("allenai/Llama-3.1-Tulu-3-8B", "tulu"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "deepseek"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "deepseek"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2"), ("google/gemma-2-9b-it", "gemma"),
        ("google/gemma-7b-it", "gemma"), ("gemma3:27b", "gemma"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral"),
        ("mistralai/Mistral-Nemo-Instruct-2407", "mistral-nemo"),
        ("mistralai/Mistral-Small-24B-Instruct-2501", "mistral-small"),
        ("microsoft/phi-4", "phi-4"), ("microsoft/Phi-3.5-mini-instruct", "phi-3"),
        ("ibm-granite/granite-3.1-8b-instruct", "granite-3"),
    ],
)  # fmt: skip
def test_a_family_is_told_by_a_models_name(model, family):
    assert told("auto", model) == families()[family]


@pytest.mark.parametrize(
    "model",
    ["teacher", "gpt-4.1", "microsoft/Phi-4-mini-instruct", "gemma-4-26b", "meta-llama/Llama-2-7b"],
)
def test_a_name_that_says_nothing_is_a_mistake_with_the_choices_named(model):
    with pytest.raises(RecipeError) as caught:
        told("auto", model)
    assert f"auto does not know '{model}'; say one of smollm2, " in str(caught.value)
    assert "llama-3" in str(caught.value)


def test_fallbacks_of_another_family_are_a_mistake():
    assert told("auto", "Qwen3-8B", "Qwen3-32B") == families()["qwen3"]
    with pytest.raises(RecipeError, match=r"different ways \(qwen3, llama-3\)"):
        told("auto", "Qwen3-8B", "Llama-3.1-8B-Instruct")
    assert told("chatml", "Qwen3-8B", "Llama-3.1-8B-Instruct") == families()["chatml"]


def test_a_template_is_named_or_written_out():
    assert told("llama-3", "teacher") == families()["llama-3"]
    with pytest.raises(RecipeError, match="no 'lama-3'; did you mean 'llama-3'"):
        told("lama-3", "teacher")
    assert told("### User:\n", "teacher").prompt("") == "### User:\n"
    own = told(f"### {SYSTEM}\n### User:\n", "teacher")
    assert own.prompt("Be brief.") == "### Be brief.\n### User:\n"


def test_a_place_nobody_fills_and_a_text_without_a_place_are_mistakes():
    with pytest.raises(RecipeError, match="say system, or put topics before"):
        Family(f"{SYSTEM} go", f"{SYSTEM} go").prompt("")
    with pytest.raises(RecipeError, match=r"template has no \{system\}"):
        Family("go", "go").prompt("Be brief.")


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("What is rain?<|im_end|>", True), ("<|eot_id|>", True), ("a <｜Assistant｜> b", True),
        ("Rain</s>", True), ("x [INST] y", True), ("<start_of_turn>model", True),
        ("<think>\nrain", True), ("What is rain?\nassistant\nIt is water.", True),
        ("User: what is rain?", True), ("**Assistant**\nHello", True), ("AI: hello", True),
        ("What does a user's assistant do?", False), ("Is the system: a, b or c?", False),
        ("a <| b |> c in F#", False), ("<b>rain</b> [x] 3 < 4", False), ("AI is what?", False),
    ],
)  # fmt: skip
def test_marks_and_role_names_are_seen(text, marked):
    assert has_marks(text) is marked


MARKS = [one.stop for one in families().values()] + ["<|im_start|>", "<s>", "\n", " ", "ab"]


@given(st.lists(st.one_of(st.sampled_from(MARKS), st.text(alphabet="<|im_end>[/INST] a"))))
def test_nothing_from_data_can_end_a_turn(parts):
    text = harmless("".join(parts))
    assert not any(one.stop in text for one in families().values())
    assert "\n" not in text
    assert harmless("tides") == "tides"
