"""Families of models, by the names that services give them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.models.families import (
    Family,
    ModelRule,
    _holds,
    _parts,
    family_of,
    related,
    same_family,
    table,
    unknown,
)

OF_FAMILY = [(rule.name, name) for rule in table().family for name in rule.examples]
OF_MODEL = [(rule, name) for rule in table().model for name in rule.examples]
NAMES = sorted({name for _, name in OF_FAMILY} | {name for _, name in OF_MODEL})


@pytest.mark.parametrize(("family", "name"), OF_FAMILY, ids=[name for _, name in OF_FAMILY])
def test_every_example_is_of_its_family(family: str, name: str) -> None:
    found = family_of(name)
    assert found is not None
    assert found.name == family


@pytest.mark.parametrize(("rule", "name"), OF_MODEL, ids=[name for _, name in OF_MODEL])
def test_every_example_meets_its_own_rule(rule: ModelRule, name: str) -> None:
    first = next(one for one in table().model if _holds(one.match, _parts(name)[1]))
    assert first is rule
    assert family_of(name) is not None


def test_every_rule_is_sound() -> None:
    names = [rule.name for rule in table().family]
    assert len(names) == len(set(names))
    for rule in (*table().family, *table().model):
        re.compile(rule.match)
        assert rule.source
        assert rule.examples
        assert {*rule.base, *rule.taught} <= set(names)
        if isinstance(rule, ModelRule):
            assert rule.family in ("", *names)


@pytest.mark.parametrize(
    ("name", "family", "base", "taught"),
    [
        ("nvidia/Llama-3.1-Nemotron-70B-Instruct-HF", "nemotron", ["llama"], []),
        ("nvidia/Llama-3.1-Nemotron-70B-Reward", "nemotron", ["llama"], []),
        ("nvidia/llama-3.1-nemotron-70b-reward", "nemotron", ["llama"], []),
        ("nvidia/Llama-3.3-Nemotron-Super-49B-GenRM", "nemotron", ["llama"], ["deepseek", "qwen"]),
        ("nvidia/Qwen3-Nemotron-32B-RLBFF", "nemotron", ["qwen"], []),
        ("nvidia/Qwen-2.5-Nemotron-32B-Reward", "nemotron", ["qwen"], []),
        ("nvidia/nemotron-4-340b-reward", "nemotron", [], ["mistral"]),
        ("nvidia/Nemotron-H-8B-Reasoning-128K", "nemotron", [], []),
        ("nvidia/NVIDIA-Nemotron-Nano-12B-v2", "nemotron", [], []),
        ("nvidia/Mistral-NeMo-Minitron-8B-Instruct", "nemotron", ["mistral"], []),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek", ["qwen"], []),
        ("deepseek/deepseek-r1-distill-llama-70b:free", "deepseek", ["llama"], []),
        ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "deepseek", ["qwen"], []),
        ("deepseek-ai/DeepSeek-R1", "deepseek", [], []),
        ("allenai/Llama-3.1-Tulu-3-8B", "llama", [], []),
        ("google/gemma-2-27b-it", "gemma", ["gemini"], []),
        ("google/gemini-2.5-pro", "gemini", [], []),
        ("microsoft/Phi-4", "phi", [], ["gpt"]),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "smollm", [], []),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "llama", [], []),
        ("meta/llama-3.2-11b-vision-instruct", "llama", [], []),
        ("Skywork/Skywork-Reward-V2-Llama-3.1-8B-40M", "llama", [], []),
        ("Skywork/Skywork-Reward-V2-Qwen3-0.6B", "qwen", [], []),
        ("Skywork/Skywork-Reward-Gemma-2-27B-v0.2", "gemma", ["gemini"], []),
        ("RLHFlow/ArmoRM-Llama3-8B-v0.1", "llama", [], []),
        ("LxzGordon/URM-LLaMa-3.1-8B", "llama", [], []),
        ("sfairXC/FsfairX-LLaMA3-RM-v0.1", "llama", [], []),
        ("nicolinho/QRM-Llama3.1-8B-v2", "llama", [], []),
        ("Ray2333/GRM-Llama3.2-3B-rewardmodel-ft", "llama", [], []),
        ("infly/INF-ORM-Llama3.1-70B", "llama", [], []),
        ("ShikaiChen/LDL-Reward-Gemma-2-27B-v0.1", "gemma", ["gemini"], []),
        ("internlm/internlm2-20b-reward", "internlm", [], []),
        ("weqweasdas/RM-Mistral-7B", "mistral", [], []),
        ("AtlaAI/Selene-1-Mini-Llama-3.1-8B", "llama", [], []),
        ("gaotang/RM-R1-DeepSeek-Distilled-Qwen-32B", "deepseek", ["qwen"], []),
        ("Skywork/Skywork-Critic-Llama-3.1-70B", "llama", [], []),
        ("llm-blender/PairRM-hf", "bert", [], []),
        ("embedded/smollm2-135m", "smollm", [], []),
        ("embedded/helpsteer2", "", [], []),
    ],
)
def test_lineages(name: str, family: str, base: list[str], taught: list[str]) -> None:
    assert family_of(name) == Family(family, tuple(base), tuple(taught))


@pytest.mark.parametrize(
    ("family", "spellings"),
    [
        (
            "llama",
            [
                "openrouter/meta-llama/llama-3.3-70b-instruct:free",
                "together/meta-llama/Llama-3.3-70B-Instruct-Turbo",
                "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo-128K",
                "fireworks/accounts/fireworks/models/llama-v3p1-70b-instruct",
                "us.meta.llama3-3-70b-instruct-v1:0", "groq/llama-3.3-70b-versatile",
                "cerebras/llama3.1-8b", "ollama/llama3.2:3b-instruct-q4_K_M",
                "azure/Llama-3.3-70B-Instruct", "databricks-meta-llama-3-3-70b-instruct",
                "@cf/meta/llama-3.1-8b-instruct-fast", "meta/llama3-70b-instruct",
                "unsloth/Llama-3.2-1B-Instruct-bnb-4bit", "/models/Meta-Llama-3-8B/",
                "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "openai/llama-3.3-70b",
                "meta-llama/Llama-3.3-70B-Instruct:together", "Llama-3_1-8B",
            ],
        ),
        (
            "claude",
            [
                "openrouter/anthropic/claude-3.7-sonnet:thinking", "claude-sonnet-4-20250514",
                "us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-3-5-sonnet@20240620",
                "bedrock/anthropic.claude-v2:1", "anthropic/some-new-name-5",
                "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307",
            ],
        ),
        (
            "gpt",
            [
                "azure/gpt-4o-mini", "azure/gpt-35-turbo-16k", "openrouter/openai/gpt-4.1",
                "openai/o1-mini-2024-09-12", "openai/o3-pro", "ft:gpt-3.5-turbo-0613:acme::8abc",
                "accounts/fireworks/models/gpt-oss-20b", "text-davinci-003", "ollama/gpt-oss:120b",
            ],
        ),
        (
            "qwen",
            [
                "Qwen/Qwen2.5-7B-Instruct-Turbo", "accounts/fireworks/models/qwen3-235b-a22b",
                "openrouter/qwen/qwq-32b:free", "groq/qwen-qwq-32b", "alibaba/qwen-plus-latest",
                "qwen2.5vl:7b", "Qwen/QVQ-72B-Preview", "CodeQwen1.5-7B-Chat",
            ],
        ),
        (
            "mistral",
            [
                "mistral.mixtral-8x7b-instruct-v0:1", "mistral/open-mixtral-8x22b",
                "accounts/fireworks/models/mixtral-8x22b-instruct", "mistralai/Ministral-3-14B",
                "azure/mistral-large-2411", "openrouter/mistralai/devstral-small:free",
            ],
        ),
    ],
)  # fmt: skip
def test_spellings_of_services(family: str, spellings: list[str]) -> None:
    found = {name: family_of(name) for name in spellings}
    assert found == dict.fromkeys(spellings, Family(family))


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "teacher", "openrouter/auto", "acme/best-model-9", "accounts/acme/models/my-tune",
        "openai/some-name", "google/learned", "dolomite-7b", "philosophy-1", "groke", "yield-1",
        "our-model-seed-42", "checkpoint-step-2000", "molmoe", "our-o1-like", "tokyo1",
        "llamafile", "llama.cpp", "sapphire-4", "glmnet", "string-lite", "sailing-mini",
    ],
)  # fmt: skip
def test_what_no_rule_knows_is_unknown(name: str) -> None:
    assert family_of(name) is None


@given(st.text(max_size=60))
def test_any_name_is_read(name: str) -> None:
    found = family_of(name)
    assert found is None or found.name not in found.lineage


def test_models_are_kin_by_family_by_weights_and_by_teacher() -> None:
    assert related("gpt-4o", "azure/gpt-35-turbo") == (
        "gpt-4o is of the family gpt and azure/gpt-35-turbo is of the family gpt"
    )
    assert related("llama3.1:8b", "nvidia/Llama-3.1-Nemotron-70B-Reward") == (
        "llama3.1:8b is of the family llama and "
        "nvidia/Llama-3.1-Nemotron-70B-Reward is built on llama"
    )
    assert related("microsoft/phi-4", "gpt-4o") == (
        "microsoft/phi-4 was taught by gpt, and gpt-4o is of the family gpt"
    )
    assert related("gpt-4o", "microsoft/phi-4") == related("microsoft/phi-4", "gpt-4o")


@pytest.mark.parametrize(
    ("a", "b", "kin"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "Qwen/Qwen3-8B", True),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek-chat", True),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek-r1-distill-llama-70b", True),
        ("deepseek-chat", "open-thoughts/OpenThinker-32B", True),
        ("RLHFlow/ArmoRM-Llama3-8B-v0.1", "allenai/tulu-3-405b", True),
        ("google/gemini-2.5-pro", "Skywork/Skywork-Reward-Gemma-2-27B", True),
        ("nvidia/nemotron-4-340b-reward", "mistralai/mixtral-8x7b-instruct", True),
        ("nvidia/nemotron-4-340b-reward", "nvidia/llama-3.1-nemotron-70b-reward", True),
        ("lmsys/vicuna-13b-v1.5", "microsoft/phi-4", False),  # one teacher, no kinship
        ("Skywork/Skywork-Reward-V2-Qwen3-8B", "Skywork/Skywork-Reward-V2-Llama-3.1-8B", False),
        ("anthropic/claude-sonnet-4.5", "gpt-5", False),
        ("embedded/smollm2-135m", "embedded/helpsteer2", False),
        ("embedded/helpsteer2", "embedded/helpsteer2", False),
        ("teacher", "gpt-5", False),
        ("acme/own", "acme/own", True),
        ("acme/own", "other/own", False),
    ],
)
def test_who_is_kin(a: str, b: str, kin: bool) -> None:
    assert (related(a, b) is not None) == kin
    assert (related(b, a) is not None) == kin


def test_kinship_is_mutual_among_all_examples() -> None:
    for a, b in itertools.combinations(NAMES, 2):
        assert (related(a, b) is None) == (related(b, a) is None), (a, b)
    for name in NAMES:
        assert (related(name, name) is None) == (family_of(name) == Family(""))


GRADERS = {
    "judge": ["openai/gpt-4.1"],
    "skywork": ["Skywork/Skywork-Reward-V2-Llama-3.1-8B"],
    "head": ["embedded/helpsteer2"],
}


def test_a_grader_of_a_generators_family_is_a_problem() -> None:
    assert same_family(["qwen3:8b", "claude-opus-4"], GRADERS) == []
    assert same_family(["llama3.1:8b", "qwen3:8b"], GRADERS) == [
        "skywork would grade its own kind: llama3.1:8b is of the family llama and "
        "Skywork/Skywork-Reward-V2-Llama-3.1-8B is of the family llama; take a grader of another "
        "family, or write allow: [llama]"
    ]
    assert len(same_family(["llama3.1:8b", "gpt-5"], GRADERS)) == 2


def test_a_family_may_be_allowed_by_name() -> None:
    assert same_family(["llama3.1:8b"], GRADERS, ["llama"]) == []
    both = same_family(["deepseek-r1-distill-qwen-7b"], {"judge": ["deepseek-r1:7b"]}, ["qwen"])
    assert len(both) == 1
    assert "allow: [deepseek]" in both[0]
    (problem,) = same_family([], GRADERS, ["lama"])
    assert problem == "allow: no family 'lama'; did you mean 'llama'?"


def test_the_same_unknown_model_is_a_problem_and_others_are_named() -> None:
    (problem,) = same_family(["acme/own"], {"judge": ["acme/own"]})
    assert "both are acme/own" in problem
    assert same_family(["acme/own"], {"judge": ["acme/own"]}, ["acme/own"]) == []
    assert same_family(["acme/own"], {"judge": ["teacher"]}) == []
    assert unknown(["gpt-5", "acme/own", "teacher", "acme/own", "embedded/helpsteer2"]) == [
        "acme/own", "teacher",
    ]  # fmt: skip
