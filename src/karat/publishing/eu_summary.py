"""What a dataset adds to the public summary of training content that the EU AI Act asks for.

The summary is a model provider's, and about all that a model was trained on; a dataset fills in its
part of it. Sections and questions follow the Commission's template. Whatever only the provider
knows is a blank, marked as one, so that nobody takes a program's silence for a no.

Source: Regulation (EU) 2024/1689, Art. 53(1)(d); European Commission, Explanatory Notice and
Template for the Public Summary of Training Content for general-purpose AI models, 24 July 2025,
adopted as C(2025) 8311 on 5 December 2025.
"""

from __future__ import annotations

from karat.licensing.solved import Source
from karat.licensing.terms import dataset
from karat.publishing.facts import Facts, looked_for_personal_data
from karat.publishing.marks import template

# The template's ranges of text: upper ends in tokens.
BANDS = ((1e9, "less than 1 billion tokens"), (1e13, "1 billion to 10 trillion tokens"))
OWN = ("vllm", "sglang", "ollama", "lmstudio", "llamacpp", "embedded")


def eu_summary(facts: Facts) -> str:
    """eu-summary.md: the template's sections, as far as this dataset is concerned."""
    data = facts.sources("data", "human", "documents", "earlier run")
    tokens = sum(facts.measured.tokens.values())
    return template("eu_summary.md.j2").render(
        f=facts, m=facts.measured, band=band(tokens), tokens=tokens,
        public=[one for one in data if _is_public(one)],
        private=[one for one in data if not _is_public(one)],
        writers=facts.sources("generator"), graders=facts.sources("grader"),
        personal=looked_for_personal_data(facts), filtered=facts.ran("filters"),
        outside=sum(one.rows or 0 for one in data),
    )  # fmt: skip


def band(tokens: int) -> str:
    """The template's range that a number of tokens falls into."""
    return next((name for end, name in BANDS if tokens < end), "more than 10 trillion tokens")


def _is_public(one: Source) -> bool:
    """Whether it is known to be a public dataset: a file's name does not say."""
    return dataset(one.name) is not None
