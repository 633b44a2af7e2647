"""Evaluation sets known by name: where each lies, and which columns hold what.

An entry says what is tested with (the split that scores are reported on), never the training part:
training on that is no contamination. Columns are those of the Hub as of 2026; a set that needs code
of its own to be read there is taken as the files it is made of. Licences are those their authors
state; none is given where they do not.
"""

from __future__ import annotations

from typing import NamedTuple

HUB = "hf://datasets/"
LLMBAR = "https://raw.githubusercontent.com/princeton-nlp/LLMBar/main/Dataset/LLMBar/"
BBH = (
    "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa",
    "dyck_languages", "formal_fallacies", "geometric_shapes", "hyperbaton",
    "logical_deduction_five_objects", "logical_deduction_seven_objects",
    "logical_deduction_three_objects", "movie_recommendation", "multistep_arithmetic_two",
    "navigate", "object_counting", "penguins_in_a_table", "reasoning_about_colored_objects",
    "ruin_names", "salient_translation_error_detection", "snarks", "sports_understanding",
    "temporal_sequences", "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects",
    "web_of_lies", "word_sorting",
)  # fmt: skip
MATH = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory",
    "prealgebra", "precalculus",
)  # fmt: skip


class KnownSet(NamedTuple):
    """`place` is its name on the Hub, `files` are read instead where there are any. `key` is the
    column with an item's own name; without one items are numbered from 0, set by set."""

    place: str
    question: tuple[str, ...]
    answer: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    split: str = "test"
    configs: tuple[str | None, ...] = (None,)
    key: str = ""
    licence: str = ""
    files: tuple[str, ...] = ()


KNOWN = {
    # Mathematics
    "gsm8k": KnownSet(
        "openai/gsm8k", ("question",), ("answer",), configs=("main",), licence="MIT"
    ),
    "math": KnownSet(
        "EleutherAI/hendrycks_math", ("problem",), ("solution",), configs=MATH, licence="MIT"
    ),
    "math-500": KnownSet(
        "HuggingFaceH4/MATH-500", ("problem",), ("solution",), key="unique_id", licence="MIT"
    ),
    "aime-2024": KnownSet(
        "HuggingFaceH4/aime_2024", ("problem",), ("solution",), split="train", key="id"
    ),
    # Code
    "humaneval": KnownSet(
        "openai/openai_humaneval", ("prompt",), ("canonical_solution",), key="task_id",
        licence="MIT",
    ),
    "mbpp": KnownSet(
        "google-research-datasets/mbpp", ("text",), ("code",), configs=("full",), key="task_id",
        licence="CC-BY-4.0",
    ),
    "livecodebench": KnownSet(
        "livecodebench/code_generation_lite", ("question_content",), key="question_id",
        files=tuple(
            f"{HUB}livecodebench/code_generation_lite/test{number}.jsonl"
            for number in ("", 2, 3, 4, 5, 6)
        ),
    ),
    # Knowledge and reasoning
    "mmlu": KnownSet("cais/mmlu", ("question",), ("choices",), configs=("all",), licence="MIT"),
    "mmlu-pro": KnownSet(
        "TIGER-Lab/MMLU-Pro", ("question",), ("options",), key="question_id", licence="MIT"
    ),
    "arc-easy": KnownSet(
        "allenai/ai2_arc", ("question",), ("choices",), configs=("ARC-Easy",), key="id",
        licence="CC-BY-SA-4.0",
    ),
    "arc-challenge": KnownSet(
        "allenai/ai2_arc", ("question",), ("choices",), configs=("ARC-Challenge",), key="id",
        licence="CC-BY-SA-4.0",
    ),
    "arc": KnownSet(
        "allenai/ai2_arc", ("question",), ("choices",), configs=("ARC-Easy", "ARC-Challenge"),
        key="id", licence="CC-BY-SA-4.0",
    ),
    "hellaswag": KnownSet(
        "Rowan/hellaswag", ("ctx",), ("endings",), split="validation", licence="MIT"
    ),
    "truthfulqa": KnownSet(
        "truthfulqa/truthful_qa", ("question",), ("best_answer", "correct_answers"),
        split="validation", configs=("generation",), licence="Apache-2.0",
    ),
    "winogrande": KnownSet(
        "allenai/winogrande", ("sentence",), split="validation", configs=("winogrande_xl",)
    ),
    "bbh": KnownSet("SaylorTwift/bbh", ("input",), configs=BBH, licence="MIT"),
    "gpqa": KnownSet(
        "Idavidrein/gpqa", ("Question",), ("Explanation",), split="train",
        configs=("gpqa_main",), key="Record ID", licence="CC-BY-4.0",
    ),
    "openbookqa": KnownSet("allenai/openbookqa", ("question_stem",), configs=("main",), key="id"),
    "commonsenseqa": KnownSet(
        "tau/commonsense_qa", ("question",), split="validation", key="id", licence="MIT"
    ),
    "triviaqa": KnownSet(
        "mandarjoshi/trivia_qa", ("question",), split="validation", configs=("rc.nocontext",),
        key="question_id",
    ),
    "boolq": KnownSet(
        "google/boolq", ("question",), context=("passage",), split="validation",
        licence="CC-BY-SA-3.0",
    ),
    "squad": KnownSet(
        "rajpurkar/squad", ("question",), context=("context",), split="validation", key="id",
        licence="CC-BY-SA-4.0",
    ),
    "drop": KnownSet(
        "ucinlp/drop", ("question",), context=("passage",), split="validation", key="query_id",
        licence="CC-BY-SA-4.0",
    ),
    # Instructions and conversation
    "ifeval": KnownSet(
        "google/IFEval", ("prompt",), split="train", key="key", licence="Apache-2.0"
    ),
    "ifbench": KnownSet(
        "allenai/IFBench_test", ("prompt",), split="train", key="key", licence="ODC-BY"
    ),
    "mt-bench": KnownSet(
        "HuggingFaceH4/mt_bench_prompts", ("prompt",), ("reference",), split="train",
        key="prompt_id", licence="Apache-2.0",
    ),
    "alpaca-eval": KnownSet(
        "tatsu-lab/alpaca_eval", ("instruction",), licence="CC-BY-NC-4.0",
        files=(f"{HUB}tatsu-lab/alpaca_eval/alpaca_eval.json",),
    ),
    "arena-hard": KnownSet(
        "lmarena-ai/arena-hard-auto", ("prompt",), key="uid", licence="Apache-2.0",
        files=(f"{HUB}lmarena-ai/arena-hard-auto/data/arena-hard-v2.0/question.jsonl",),
    ),
    "arena-hard-v0.1": KnownSet(
        "lmarena-ai/arena-hard-auto-v0.1", ("turns",), split="train", key="question_id",
        licence="Apache-2.0",
    ),
    # Reward models and judges
    "rewardbench": KnownSet(
        "allenai/reward-bench", ("prompt",), ("chosen", "rejected"), split="filtered", key="id",
        licence="ODC-BY",
    ),
    "rewardbench-2": KnownSet(
        "allenai/reward-bench-2", ("prompt",), ("chosen", "rejected"), key="id", licence="ODC-BY"
    ),
    "rm-bench": KnownSet(
        "THU-KEG/RM-Bench", ("prompt",), ("chosen", "rejected"), split="train", key="id",
        licence="ODC-BY",
    ),
    "judgebench": KnownSet(
        "ScalerLab/JudgeBench", ("question",), ("response_A", "response_B"), split="gpt+claude",
        key="pair_id",
    ),
    "llmbar": KnownSet(
        "princeton-nlp/LLMBar", ("input",), ("output_1", "output_2"), licence="MIT",
        files=tuple(
            f"{LLMBAR}{part}/dataset.json"
            for part in (
                "Natural", "Adversarial/Neighbor", "Adversarial/GPTInst", "Adversarial/GPTOut",
                "Adversarial/Manual",
            )
        ),
    ),
}  # fmt: skip


def known(name: str) -> KnownSet | None:
    """The set of that name, however it is written: MMLU_Pro is mmlu-pro."""
    return KNOWN.get(name.lower().replace("_", "-").replace(" ", "-"))
