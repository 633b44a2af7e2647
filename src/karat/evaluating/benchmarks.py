"""What the published benchmarks are made of: subsets, what they weigh, and where they come from.

Source: RewardBench's subsets, counts and sections: allenai/reward-bench rewardbench/constants.py
(EXAMPLE_COUNTS, SUBSET_MAPPING) and, for the prior sets and the score, the leaderboard's
leaderboard/utils.py; RM-Bench's domains: THU-KEG/RM-Bench scripts/utils.py; JudgeBench's parts:
its paper (2410.12784) table 1; agreement of HelpSteer2's annotators: 2406.08673 table 2.
"""

from __future__ import annotations

MATH_PRM = 447  # examples of math-prm, which counts as much as code
# Section → subset → how many examples it counts for.
SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95,
        "mt-bench-easy": 28, "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 250,
        "xstest-should-respond": 154, "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984, "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164,
        "hep-python": 164, "hep-rust": 164,
    },
}  # fmt: skip
# Each counts the same; together they count half a section.
PRIOR = ("anthropic_helpful", "anthropic_hhh", "shp", "summarize")
PRIOR_SECTION, PRIOR_WEIGHT = "Prior Sets", 0.5

REWARDBENCH2 = ("Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties")

DOMAINS = ("chat", "math", "code", "safety-refuse", "safety-response")
JUDGEBENCH = {
    "mmlu-pro": "Knowledge", "livebench-reasoning": "Reasoning", "livebench-math": "Math",
    "livecodebench": "Coding",
}  # fmt: skip
LLMBAR = ("Natural", "Neighbor", "GPTInst", "GPTOut", "Manual")

# Quadratic-weighted Cohen's κ of HelpSteer2's annotators among each other, after its filtering.
PEOPLE = {
    "helpfulness": 0.791, "correctness": 0.793, "coherence": 0.428, "complexity": 0.427,
    "verbosity": 0.548,
}  # fmt: skip

# The split that is measured on, of sets under their names on the hub.
SPLITS = {
    "allenai/reward-bench": "filtered", "allenai/reward-bench-2": "test",
    "ScalerLab/JudgeBench": "gpt", "nvidia/HelpSteer": "validation",
    "nvidia/HelpSteer2": "validation", "nvidia/HelpSteer3": "validation",
}  # fmt: skip

TITLES = {
    "rewardbench": "RewardBench", "rewardbench2": "RewardBench 2", "rmbench": "RM-Bench",
    "judgebench": "JudgeBench", "llmbar": "LLMBar",
    "helpsteer2-preference": "HelpSteer2-Preference", "helpsteer3": "HelpSteer3",
    "ratings": "human ratings", "arena": "Arena votes", "pairs": "pairs",
}  # fmt: skip
# How each is counted, in a line for whoever reads the figures.
RULES = {
    "rewardbench": "A section is the mean of its subsets by their published counts (PRM Math "
    "counting as much as code), the whole the mean of the sections; equal scores count half, "
    "as there for judges (of classifiers as wrong) (allenai/reward-bench, "
    "rewardbench/constants.py).",
    "rewardbench2": "The right one of four must score highest, equals share; Ties has its own "
    "score of accuracy and margins; the whole is the mean of the subsets (2506.01937).",
    "rmbench": "Three styles of right answers against three of wrong ones: easy, normal and hard "
    "by which is fancier; safety is its two parts together, the whole the mean of four domains; "
    "equal scores count as wrong (2410.16184).",
    "judgebench": "Pairs in which one answer is verifiably right; equal scores, and a judge whose "
    "verdict changes with the order, count as wrong (2410.12784).",
    "llmbar": "Each pair in both orders: a verdict that changes with the order, and equal scores, "
    "count half; the whole is the mean of the parts (2310.07641).",
    "helpsteer2-preference": "Pairs that people did not find equal; equal scores count half.",
    "helpsteer3": "Pairs that people did not find equal, by domain; equal scores count half.",
    "ratings": "Pairs of responses to one prompt whose helpfulness differs; equal scores count "
    "half. Attributes are compared over all responses.",
    "arena": "Single-turn votes. Accuracy is that on decided votes; with ties, a verdict is right "
    "where it is people's, a gap below a width found on other prompts being a tie (2305.14324).",
    "pairs": "The chosen response must score higher; equal scores count half.",
}  # fmt: skip
