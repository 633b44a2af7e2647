"""What the five attributes mean, and each of their five levels, for who rates.

Complexity and verbosity are no merits: a reward that should learn taste from them must be told what
is, not what is good.

Source: the attributes of HelpSteer (2311.09528 §2) and HelpSteer2 (2406.08673 §2.2), in our words.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """An attribute, what it asks, and what 0, 1, 2, 3 and 4 mean."""

    name: str
    asks: str
    levels: tuple[str, str, str, str, str]


RUBRIC = (
    Rule(
        "helpfulness",
        "All in all, how much does this answer help the one who asked?",
        (
            "Not at all: it misses what was asked, or does harm",
            "Hardly: little of it is of use",
            "Partly: some of what was asked is there",
            "Mostly: what was asked, with small gaps",
            "Fully: nothing needs to be added or taken away",
        ),
    ),
    Rule(
        "correctness",
        "Is what it says right, and is everything there that the question needs?",
        (
            "Wrong throughout, or made up",
            "Some of it right, most wrong or missing",
            "Right and wrong in about equal parts",
            "Right but for small slips or omissions",
            "Right and complete",
        ),
    ),
    Rule(
        "coherence",
        "Is it clear, in order, and free of contradictions from beginning to end?",
        (
            "It cannot be understood",
            "Hard to follow for the most part",
            "Unclear or contradicting itself in places",
            "Clear, with a stumble or two",
            "Clear throughout",
        ),
    ),
    Rule(
        "complexity",
        "Whom does it take to write this? Neither end is better.",
        (
            "A child: the simplest words and ideas",
            "Somebody with a few years of school",
            "An educated adult, without special knowledge",
            "Somebody who has studied the subject",
            "An expert, for experts",
        ),
    ),
    Rule(
        "verbosity",
        "How long is it for what was asked? Neither end is better.",
        (
            "Not one word more than needed",
            "Rather short",
            "Of ordinary length",
            "Rather long",
            "Wordy, or full of what nobody asked for",
        ),
    ),
)
