"""What each measure of variety is called, what it means, and which direction is good.

One list for the terminal, the page and the report, so that no figure is shown without its meaning.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Measure(NamedTuple):
    """`key` is its name in report.json; `good` says whether more or less of it is more variety."""

    key: str
    label: str
    good: str
    meaning: str
    share: bool = False  # shown in percent


MEASURES = (
    Measure("vendi_embedding", "effective number, by meaning", "more",
            "so many texts of wholly different meaning would be as varied; at most 256 (Vendi)"),
    Measure("vendi", "effective number, by words", "more",
            "the same of words: it does not see that two wordings mean one thing (Vendi)"),
    Measure("novelsum", "distance in meaning", "more",
            "from a text to the others, near ones counting most; 0 all alike, 1 unrelated "
            "(NovelSum without its density term)"),
    Measure("self_bleu", "self-BLEU", "less",
            "how much of a text can be put together from pieces of the others; 1 all of it"),
    Measure("near_duplicates", "near-duplicates", "less",
            "texts that repeat an earlier one in all but a few words", share=True),
    Measure("nearest_similarity", "similarity of words with the nearest", "less",
            "cosine with the most similar text; 1 when each has a twin"),
    Measure("distinct_1", "distinct words", "more",
            "different words among all words; falls as texts are added", share=True),
    Measure("distinct_2", "distinct word pairs", "more",
            "different pairs of neighbouring words among all pairs", share=True),
    Measure("compression_ratio", "compression ratio", "less",
            "how many times smaller the texts become when packed; rises with their length"),
)  # fmt: skip

# How the two measures with names of their own are made, in one line each.
SOURCES = (
    "Vendi score: e to the entropy of the eigenvalues of the texts' cosine similarities over their "
    "number: 1 where all texts are alike, N where N are wholly different. Friedman and Dieng 2023 "
    "(arXiv 2210.02410).",
    "NovelSum: the mean over texts of their distance from all others, the k-th nearest counting "
    "1/k; here without the density of a reference corpus. Yang et al. 2025 (arXiv 2502.17184).",
)


def shown(measure: Measure, value: float) -> str:
    """A value with as many digits as matter."""
    return f"{value:.1%}" if measure.share else f"{value:.3g}"


def ends(measure: Measure, measured: dict[str, Any]) -> str:
    """The 95% interval in words; empty where none was taken."""
    found = measured.get("intervals", {}).get(measure.key)
    return f"{shown(measure, found[0])} to {shown(measure, found[1])}" if found else ""
