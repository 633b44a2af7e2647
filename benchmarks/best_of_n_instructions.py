"""Where best_of_n.py's verified scores come from: IFEval prompts, answered by a small model.

Prompts are chosen by their instructions alone: those that an answer of `TOKENS` tokens can follow
and can break. What instructions take is counted in words (`needed`); a prompt's must come to no
more than `WORDS`, which leaves about as many to say something. An upper limit beyond what such an
answer holds would be kept by the cut and not by the model: such prompts are left out. So are those
for other languages, which take many tokens a word and a detector.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

Kwargs = dict[str, Any]

TOKENS = 80
WORDS = 30
MOST_WORDS, MOST_SENTENCES = 60, 6  # of an answer of so many tokens
SENTENCE, PARAGRAPH, BULLET = 6, 12, 5  # words of a short one


def prompts(data: Path, count: int) -> list[dict[str, Any]]:
    """The first so many of IFEval's, in file order, with their instructions."""
    lines = (data / "prompts/ifeval.jsonl").read_text("utf-8").splitlines()
    return [record for record in map(json.loads, lines) if _fits(record)][:count]


def _fits(record: dict[str, Any]) -> bool:
    asked = zip(record["instruction_id_list"], record["kwargs"], strict=True)
    return sum(needed(kind, kwargs) for kind, kwargs in asked) <= WORDS


def needed(kind: str, kwargs: Kwargs) -> float:
    """How many words an answer needs at least to follow an instruction, infinite where it is left
    out, 0 where any number will do."""
    k = {name: value for name, value in kwargs.items() if value is not None}
    if "less than" in k.values():
        beyond = k.get("num_words", 0) > MOST_WORDS or k.get("num_sentences", 0) > MOST_SENTENCES
        return math.inf if beyond else 0
    match kind.partition(":")[2]:
        case "response_language":
            return math.inf
        case "number_words":
            return k["num_words"]
        case "number_sentences":
            return SENTENCE * k["num_sentences"]
        case "number_paragraphs" | "nth_paragraph_first_word":
            return PARAGRAPH * k["num_paragraphs"]
        case "multiple_sections":
            return PARAGRAPH * k["num_sections"]
        case "two_responses":
            return 2 * PARAGRAPH
        case "number_bullet_lists":
            return BULLET * k["num_bullets"]
        case "number_highlighted_sections":
            return BULLET * k["num_highlights"]
        case "number_placeholders":
            return BULLET * k["num_placeholders"]
        case "postscript":
            return BULLET
        case "repeat_prompt":
            return len(k["prompt_to_repeat"].split())
        case "end_checker":
            return len(k["end_phrase"].split())
        case "existence":
            return len(k["keywords"])
        case "frequency":
            return k["frequency"]
        case "letter_frequency":
            return k["let_frequency"]
        case "capital_word_frequency":
            return k["capital_frequency"]
        case _:
            return 0
