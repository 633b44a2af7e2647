"""What each Gemini takes: answers at once, efforts, sampling."""

import pytest
from native import GOOGLE
from test_gemini import ask, config, provider, refusal


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("gemini-2.5-pro", 8),
        ("gemini-2.0-flash", 8),
        ("gemini-2.5-flash-image", 1),
        ("gemini-1.5-pro", 1),
        ("gemini-3-flash-preview", 1),
        ("gemini-3.1-pro-preview", 1),
        ("gemini-flash-latest", 1),
        ("gemma-4-31b-it", 1),
    ],
)
def test_how_many_answers_a_request_may_ask_for(model, most):
    assert provider(model).max_n == most
    few = GOOGLE.__class__(wire="gemini", max_n=2)
    assert provider(model, few).max_n == min(most, 2)
    assert provider(model, GOOGLE.__class__(wire="gemini", n=False)).max_n == 1


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "low", {"includeThoughts": True, "thinkingBudget": 1024}),
        ("gemini-2.5-flash", "medium", {"includeThoughts": True, "thinkingBudget": 8192}),
        ("gemini-2.5-flash-lite", "high", {"includeThoughts": True, "thinkingBudget": 24576}),
        ("models/gemini-2.5-flash", "xhigh", {"includeThoughts": True, "thinkingBudget": 24576}),
        ("gemini-3-flash", "minimal", {"includeThoughts": True, "thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-pro-preview", "minimal", {"includeThoughts": True, "thinkingLevel": "LOW"}),
        ("gemini-3.8-flash", "minimal", {"includeThoughts": True, "thinkingLevel": "LOW"}),
        ("gemini-3.8-flash", "xhigh", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-4-argon", "xhigh", {"includeThoughts": True, "thinkingLevel": "XHIGH"}),
        ("gemini-flash-latest", "medium", {"includeThoughts": True, "thinkingLevel": "MEDIUM"}),
        ("gemini-2.0-flash", "none", None),
        ("gemma-4-31b-it", "none", None),
        ("gemini-3.8-flash", None, None),
    ],
)  # fmt: skip
def test_an_effort_is_asked_for_as_the_model_takes_it(model, effort, sent):
    assert config(model, reasoning=effort).get("thinkingConfig") == sent


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        ("gemini-2.5-pro", {"reasoning": "none"}, "always thinks"),
        ("gemini-3.8-flash", {"reasoning": "none"}, "always thinks"),
        ("gemini-2.0-flash", {"reasoning": "low"}, "does not think"),
        ("gemini-3.6-flash", {"temperature": 0.5}, "ignores temperature"),
        ("gemini-3.5-flash-lite", {"top_p": 0.9, "top_k": 3}, "ignores topP and topK"),
        ("gemini-pro-latest", {"temperature": 0.5}, "ignores temperature"),
    ],
)
def test_what_would_be_refused_or_dropped_is_refused_first(model, asked, words):
    assert words in refusal(ask(**asked), model)


def test_a_temperature_that_is_there_anyway_is_not_said():
    assert config("gemini-3.8-flash", temperature=1.0) == {}
    assert config("gemini-3.5-flash", temperature=0.5) == {"temperature": 0.5}
