"""Texts near the limits of the published filters, the same wherever they are written."""

from __future__ import annotations

import random

WORDS = [
    "the",
    "be",
    "to",
    "of",
    "and",
    "that",
    "have",
    "with",
    "cat",
    "dog",
    "house",
    "running",
    "interesting",
    "a",
    "I",
    "12",
    "3.5",
    "--",
    "-",
    "•",
    "…",
    "...",
    "#",
    "##",
    "=",
    "café",
    "naïve",
    "Straße",
    "ends.",
    "asks?",
    "shouts!",
    '"quoted."',
    "(closed.)",
    "etc...",
    "javascript",
    "{x}",
    "lorem",
    "ipsum",
    "cookies",
    "[1]",
    "[edit]",
    "internationalisation",
    "antidisestablishmentarianism",
    "x",
    "y",
    "z",
]
LINES = (
    "The cat sat with the dog.", "- a point", "• another point", "and so on...", "and so on…",
    "We use cookies to improve the site.", "Please enable JavaScript to continue.",
    "Lorem ipsum dolor sit amet is filler.", "def f(x): { return x }.", "See the terms of use.",
    "It ends here.[1]", "", "", "x", "Yes.", "This is a longer line that nobody ever ends",
)  # fmt: skip


def written(count: int, seed: int = 7) -> list[str]:
    """`count` texts: few words, many words, lines that repeat, runs that repeat."""
    draw = random.Random(seed)
    return [_one(draw) for _ in range(count)]


def _one(draw: random.Random) -> str:
    some = draw.sample(WORDS, draw.choice((2, 4, 8, 30)))
    lines = []
    for _ in range(draw.choice((1, 2, 3, 6, 12))):
        kind = draw.random()
        if kind < 0.35:
            lines.append(draw.choice(LINES))
        elif kind < 0.5 and lines:
            lines.append(draw.choice(lines))
        else:
            size = draw.choice((1, 3, 8, 15, 60))
            lines.append(" ".join(draw.choice(some) for _ in range(size)))
    if draw.random() < 0.3:
        run = " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 14)))
        lines += [run, " ".join(draw.choice(WORDS) for _ in range(30)), f"{run} {run}"]
    if draw.random() < 0.08:
        words = [word for word in WORDS if word.isalpha()]
        lines = [f"- {' '.join(draw.choice(words) for _ in range(9))}" for _ in range(12)]
    return draw.choice(("\n", "\n", "\n\n", "\n\n\n")).join(lines) + draw.choice(("", "", "\n"))
