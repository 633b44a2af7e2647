"""IFEval's checks, each a function of the response and of the kwargs IFEval's data names.

A verdict here is the verdict of the reference, odd ones included (a rule of dashes is a bullet, "2"
is JSON, two stars in a row are an empty highlight), so that a share followed can be set beside a
published one. The keyword-only parameters are the kwargs: their names and types are what is
accepted. Each works in time linear in the response, whose author may be any model.

Where the reference cannot be followed, because it draws at random or breaks: a letter that is not
one of a to z is counted as it stands; keywords and section marks are text, not patterns; English
is told by its common words (`is_english`), other languages by another detector (`language_of`).

Source: google-research/instruction_following_eval/instructions.py; arXiv 2311.07911, table 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from karat.verifiers._language import language_of
from karat.verifiers._sentences import count_sentences
from karat.verifiers._words import count_capital_words, count_words, is_english

Relation = Literal["less than", "at least"]
Count = Annotated[int, msgspec.Meta(ge=0)]
Ordinal = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Texts = Annotated[list[Text], msgspec.Meta(min_length=1)]
Letter = Annotated[str, msgspec.Meta(min_length=1, max_length=1)]

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FIRST_WORD = re.compile(r"""'*"*([^.,?!'"\s]*)""")
_FENCES = ("```json", "```Json", "```JSON", "```")


def _reaches(count: int, relation: str, threshold: int) -> bool:
    return count < threshold if relation == "less than" else count >= threshold


# --- keywords -------------------------------------------------------------------------------------


def existence(response: str, *, keywords: Texts) -> bool:
    """Every keyword stands somewhere, inside a longer word too, in any case."""
    return all(re.search(re.escape(word), response, re.IGNORECASE) for word in keywords)


def frequency(response: str, *, keyword: Text, frequency: Count, relation: Relation) -> bool:
    found = re.findall(re.escape(keyword.strip()), response, re.IGNORECASE)
    return _reaches(len(found), relation, frequency)


def forbidden_words(response: str, *, forbidden_words: Texts) -> bool:
    """None of them stands as a whole word, in any case."""
    patterns = (rf"\b{re.escape(word)}\b" for word in forbidden_words)
    return not any(re.search(pattern, response, re.IGNORECASE) for pattern in patterns)


def letter_frequency(
    response: str, *, letter: Letter, let_frequency: Count, let_relation: Relation
) -> bool:
    return _reaches(response.lower().count(letter.lower()), let_relation, let_frequency)


# --- lengths --------------------------------------------------------------------------------------


def response_language(response: str, *, language: Text) -> bool:
    """The whole is taken to be in that language; what has no letters passes."""
    return language_of(response) in (language, None)


def number_words(response: str, *, num_words: Count, relation: Relation) -> bool:
    return _reaches(count_words(response), relation, num_words)


def number_sentences(response: str, *, num_sentences: Count, relation: Relation) -> bool:
    return _reaches(count_sentences(response), relation, num_sentences)


def number_paragraphs(response: str, *, num_paragraphs: Count) -> bool:
    """Exactly that many between dividers ***, none of them empty but a first or last."""
    parts = [bool(part.strip()) for part in response.split("***")]
    return all(parts[1:-1]) and sum(parts) == num_paragraphs


def nth_paragraph_first_word(
    response: str, *, num_paragraphs: Count, nth_paragraph: Ordinal, first_word: Text
) -> bool:
    """Exactly that many parted by blank lines, and the nth begins with the word, in any case.

    Empty paragraphs do not count, but the nth is found with them counted, as in the reference.
    """
    parts = [part.strip() for part in response.split("\n\n")]
    full = sum(map(bool, parts))
    if nth_paragraph > full or not parts[nth_paragraph - 1]:
        return False
    word = _FIRST_WORD.match(parts[nth_paragraph - 1])
    assert word is not None  # it matches nothing at all, too
    return full == num_paragraphs and word.group(1).lower() == first_word.lower()


# --- content and format ---------------------------------------------------------------------------


def number_placeholders(response: str, *, num_placeholders: Count) -> bool:
    """At least that many pairs of square brackets that open and close on one line."""
    count = 0
    for line in response.split("\n"):
        at = 0
        while (at := line.find("[", at)) >= 0 and (at := line.find("]", at)) >= 0:
            count += 1
    return count >= num_placeholders


def postscript(response: str, *, postscript_marker: Text) -> bool:
    """The marker stands anywhere, in any case; P.S. and P.P.S may have blanks in them."""
    text, marker = response.lower(), postscript_marker.strip()
    if marker == "P.P.S":
        return re.search(r"p\.\s?p\.\s?s", text) is not None
    if marker == "P.S.":
        return re.search(r"p\.\s?s\.", text) is not None
    return marker.lower() in text


def number_bullet_lists(response: str, *, num_bullets: Count) -> bool:
    """Exactly that many lines that begin with one star or a dash."""
    # A star alone on its line takes the next line with it, which the reference's pattern does too.
    stars = re.findall(r"^[^\S\n]*\*[^*].*$", response, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*-", response, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def constrained_response(response: str) -> bool:
    return any(option in response for option in OPTIONS)


def number_highlighted_sections(response: str, *, num_highlights: Count) -> bool:
    """At least that many texts between *stars* or **pairs of them**, each on one line."""
    once = re.findall(r"\*([^\n*]*)\*", response)
    twice = re.findall(r"\*\*([^\n*]*)\*\*", response)
    return sum(bool(inside.strip()) for inside in (*once, *twice)) >= num_highlights


def multiple_sections(response: str, *, section_spliter: Text, num_sections: Count) -> bool:
    """At least that many marks: the word in this very case, then a number."""
    marks = re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", response)
    return len(marks) >= num_sections


def json_format(response: str) -> bool:
    """Nothing but JSON, or JSON in a fence. Any JSON value will do."""
    text = response.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(response: str) -> bool:
    """A line has something between << and >>."""
    for line in response.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start <= end - 3 and line[start:end].lstrip("<").rstrip(">").strip():
            return True
    return False


# --- combinations, beginnings and ends, case, punctuation -----------------------------------------


def two_responses(response: str) -> bool:
    """Two different texts with ****** between them."""
    parts = [part.strip() for part in response.split("******")]
    full = [part for part in parts if part]
    return all(parts[1:-1]) and len(full) == 2 and full[0] != full[1]


def repeat_prompt(response: str, *, prompt_to_repeat: Text) -> bool:
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(response: str, *, end_phrase: Text) -> bool:
    """The phrase comes last, in any case; quotation marks around the response do not count."""
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(response: str) -> bool:
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def english_capital(response: str) -> bool:
    return response.isupper() and is_english(response)


def english_lowercase(response: str) -> bool:
    return response.islower() and is_english(response)


def capital_word_frequency(
    response: str, *, capital_frequency: Count, capital_relation: Relation
) -> bool:
    return _reaches(count_capital_words(response), capital_relation, capital_frequency)


def no_comma(response: str) -> bool:
    return "," not in response


CHECKS: dict[str, Callable[..., bool]] = {
    "keywords:existence": existence,
    "keywords:frequency": frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:number_words": number_words,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "change_case:capital_word_frequency": capital_word_frequency,
    "punctuation:no_comma": no_comma,
}
