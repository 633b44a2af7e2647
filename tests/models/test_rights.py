from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.models.rights import (
    STRICTNESS,
    ModelRule,
    Rights,
    find_rule,
    from_openrouter,
    rights_of,
    stricter,
    table,
)

EXAMPLES = [(rule, name) for rule in table().model for name in rule.examples]
RIGHTS = st.builds(
    Rights, st.just("L"), st.sampled_from(STRICTNESS), st.sampled_from("ab"), st.just("s")
)


@pytest.mark.parametrize(("rule", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
def test_every_example_resolves_to_its_rule(rule: ModelRule, name: str) -> None:
    assert find_rule(name) is rule


def test_every_rule_says_what_to_do_and_where_it_is_written() -> None:
    for rule in (*table().model, *table().service):
        assert rule.note.endswith(".")
        assert rule.training in STRICTNESS
        if rule.training != "unknown" and rule.source != "a machine of your own adds no terms":
            assert re.search(r"20\d\d", rule.source), rule.source
    for model in table().model:
        assert model.examples
        assert model.licence
        assert model.training != "yes" or model.by, "a stranger's fine-tune may carry other terms"


@pytest.mark.parametrize("name", ["", "nonsense", "acme/best-model-9", "x/y/z", "llamas", "gptx"])
def test_nonsense_is_unknown(name: str) -> None:
    assert rights_of("vllm", name).training == "unknown"
    assert rights_of("nobody", name).training == "unknown"
    assert rights_of("nobody", name).licence == "unknown"


@pytest.mark.parametrize(("rule", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
def test_a_strangers_model_is_never_a_plain_yes(rule: ModelRule, name: str) -> None:
    own = name.rpartition("/")[2]
    assert rights_of("vllm", f"stranger/{own}").training != "yes"
    assert rights_of("vllm", f"stranger/our-{own}-dpo").training != "yes"


@pytest.mark.parametrize(
    ("service", "name", "training"),
    [
        ("openai", "gpt-5", "no"),
        ("anthropic", "claude-opus-5", "no"),
        ("google", "gemini-3.5-flash", "no"),
        ("google", "gemma-4-31b-it", "no"),  # Google's terms, not the weights'
        ("vllm", "google/gemma-4-31B-it", "yes"),
        ("xai", "grok-4.7", "no"),
        ("deepseek", "deepseek-chat", "yes"),
        ("deepseek", "deepseek-v4-pro", "yes"),
        ("openrouter", "deepseek/deepseek-v4-pro", "conditions"),
        ("nvidia", "deepseek-ai/deepseek-v4-pro", "no"),
        ("azure", "llama-3.3-70b-instruct", "no"),
        ("mistral", "mistral-large-2411", "conditions"),
        ("groq", "llama-3.3-70b-versatile", "conditions"),
        ("groq", "llama3-70b-8192", "no"),
        ("n1n", "gpt-5", "no"),
        ("n1n", "deepseek-v4-flash", "unknown"),
        ("vllm", "Qwen/Qwen3-8B", "yes"),
        ("ollama", "qwen3:8b", "yes"),
        ("ollama", "stranger/qwen3:8b", "unknown"),
        ("vllm", "unsloth/Qwen3-8B-GGUF", "yes"),
        ("vllm", "mistralai/mistral-nemotron", "unknown"),
        ("embedded", "smollm2-135m", "yes"),
        ("anyllm", "openai/gpt-5", "no"),
        ("anyllm", "vllm/Qwen/Qwen3-8B", "yes"),
        ("anyllm", "qwen3-8b", "unknown"),
    ],
)
def test_the_route_decides(service: str, name: str, training: str) -> None:
    assert rights_of(service, name).training == training


def test_what_to_do_is_said_for_both() -> None:
    found = rights_of("groq", "llama-3.3-70b-versatile")
    assert found.licence == "Llama Community License + Groq terms"
    assert "Built with Llama" in found.note
    assert "keep any mark" in found.note
    assert "2024-07-23" in found.source
    assert "2026-06-22" in found.source


@given(RIGHTS, RIGHTS)
def test_the_stricter_wins(model: Rights, service: Rights) -> None:
    both = stricter(model, service)
    strictest = max(STRICTNESS.index(model.training), STRICTNESS.index(service.training))
    assert STRICTNESS.index(both.training) == strictest


@pytest.mark.parametrize(
    ("entry", "training"),
    [
        ({"id": "a/b"}, None),
        ({"id": "a/b", "is_trainable_text": None}, None),
        ({"id": "a/b", "is_trainable_text": True}, "yes"),
        ({"id": "a/b", "is_trainable_text": False}, "no"),
        ({"endpoint": {"model": {"is_trainable_text": True}}}, "yes"),
        ({"is_trainable_text": True, "endpoint": {"is_trainable_text": False}}, "no"),
        ({"model": "a/b", "endpoint": []}, None),
    ],
)
def test_openrouters_flag(entry: dict[str, Any], training: str | None) -> None:
    found = from_openrouter(entry)
    assert (found and found.training) == training


def test_a_flag_speaks_where_no_rule_does_and_never_softens_one() -> None:
    allowed = from_openrouter({"is_trainable_text": True})
    refused = from_openrouter({"is_trainable_text": False})
    assert rights_of("openrouter", "acme/new-9").training == "unknown"
    assert rights_of("openrouter", "acme/new-9", allowed).training == "conditions"
    assert rights_of("openrouter", "acme/new-9", refused).training == "no"
    assert rights_of("openrouter", "openai/gpt-5", allowed).training == "no"
    assert rights_of("openrouter", "qwen/qwen3-32b", refused).training == "no"
