"""How each instruction is said: several ways, written for karat, in whole sentences.

IFEval says each one in a single fixed way; a model trained on that learns the phrase instead of the
meaning. Each wording states what the check tests, marks and all, since what is not said cannot be
followed. Words in braces are filled in from the kwargs.
"""

from __future__ import annotations

from typing import Any

from karat.verifiers._checks import OPTIONS
from karat.verifiers._language import LANGUAGES

_ORDINALS = ("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_AT_LEAST, _LESS = ":at least", ":less than"

WORDINGS: dict[str, tuple[str, ...]] = {
    "keywords:existence": (
        "Include {keywords} in your answer.",
        "Work in {keywords}.",
        "{keywords} must appear in what you write.",
        "Make sure that your answer uses {keywords}.",
    ),
    "keywords:frequency" + _AT_LEAST: (
        'Use the word "{keyword}" at least {frequency} times.',
        'Mention "{keyword}" {frequency} times or more.',
        'The word "{keyword}" should come up at least {frequency} times.',
    ),
    "keywords:frequency" + _LESS: (
        'Use the word "{keyword}" fewer than {frequency} times.',
        'Keep "{keyword}" to less than {frequency} mentions.',
        'The word "{keyword}" should come up less than {frequency} times.',
    ),
    "keywords:forbidden_words": (
        "Do not use {forbidden_words}.",
        "Avoid {forbidden_words} altogether.",
        "Leave out {forbidden_words}.",
        "Your answer must not contain {forbidden_words}.",
    ),
    "keywords:letter_frequency" + _AT_LEAST: (
        "The letter {letter} has to appear at least {let_frequency} times.",
        "Use the letter {letter} {let_frequency} times or more.",
        "Make sure there are at least {let_frequency} occurrences of the letter {letter}.",
    ),
    "keywords:letter_frequency" + _LESS: (
        "The letter {letter} may appear less than {let_frequency} times.",
        "Use the letter {letter} fewer than {let_frequency} times.",
        "Keep the number of times the letter {letter} appears below {let_frequency}.",
    ),
    "language:response_language": (
        "Answer in {language} only.",
        "Write the whole answer in {language}, without a word of another language.",
        "Your entire reply must be in {language}.",
    ),
    "length_constraints:number_words" + _AT_LEAST: (
        "Write at least {num_words} words.",
        "Your answer should be {num_words} words or longer.",
        "Use no less than {num_words} words.",
    ),
    "length_constraints:number_words" + _LESS: (
        "Keep it under {num_words} words.",
        "Write less than {num_words} words.",
        "Your answer must stay below {num_words} words.",
    ),
    "length_constraints:number_sentences" + _AT_LEAST: (
        "Write at least {num_sentences} sentences.",
        "Your answer should have {num_sentences} or more sentences.",
        "Use no fewer than {num_sentences} sentences.",
    ),
    "length_constraints:number_sentences" + _LESS: (
        "Write fewer than {num_sentences} sentences.",
        "Keep your answer to less than {num_sentences} sentences.",
        "Stay below {num_sentences} sentences.",
    ),
    "length_constraints:number_paragraphs": (
        "Write exactly {num_paragraphs} paragraphs and put a line with *** between them.",
        "Divide your answer into {num_paragraphs} paragraphs, separated by ***.",
        "There should be {num_paragraphs} paragraphs, with the markdown divider *** between each "
        "and the next.",
    ),
    "length_constraints:nth_paragraph_first_word": (
        "Write exactly {num_paragraphs} paragraphs, separated by a blank line, and begin the "
        '{nth_paragraph} one with the word "{first_word}".',
        "Use {num_paragraphs} paragraphs with an empty line between them. The first word of the "
        '{nth_paragraph} paragraph must be "{first_word}".',
        "Your answer has {num_paragraphs} paragraphs, parted by blank lines and nothing else; "
        'paragraph {nth_number} starts with "{first_word}".',
    ),
    "detectable_content:number_placeholders": (
        "Leave at least {num_placeholders} blanks to fill in, written in square brackets like "
        "[name].",
        "Use at least {num_placeholders} placeholders in square brackets, such as [date].",
        "Put {num_placeholders} or more details in square brackets, for example [city], so that "
        "they can be filled in later.",
    ),
    "detectable_content:postscript": (
        'Add a postscript at the end that starts with "{postscript_marker}".',
        'Close with a postscript, marked "{postscript_marker}".',
        'After the main text, put a postscript beginning with "{postscript_marker}".',
    ),
    "detectable_format:number_bullet_lists": (
        "Include exactly {num_bullets} bullet points, each on a line that starts with * or -.",
        "Use {num_bullets} markdown bullets (* like this), no more and no fewer.",
        "Your answer must have exactly {num_bullets} bullet points on lines that begin with *.",
    ),
    "detectable_format:constrained_response": (
        "Answer with one of these sentences: {options}.",
        "Choose one of the following as your answer: {options}.",
        "Your reply must contain one of these sentences: {options}.",
    ),
    "detectable_format:number_highlighted_sections": (
        "Highlight at least {num_highlights} phrases in markdown, *like this*.",
        "Emphasise {num_highlights} or more parts of the text with *single asterisks*.",
        "Put at least {num_highlights} passages between asterisks, such as *this one*.",
    ),
    "detectable_format:multiple_sections": (
        'Write {num_sections} sections and begin each with "{section_spliter}" and its number, as '
        "in {section_spliter} 1.",
        "Divide your answer into {num_sections} parts headed {section_spliter} 1, "
        "{section_spliter} 2 and so on.",
        "There must be {num_sections} sections. Mark each one with {section_spliter} X, where X is "
        "its number.",
    ),
    "detectable_format:json_format": (
        "Give the whole answer as JSON.",
        "Reply with valid JSON and nothing else; a markdown code block around it is fine.",
        "Your entire output must be valid JSON.",
    ),
    "detectable_format:title": (
        "Give it a title in double angular brackets, such as <<a quiet day>>.",
        "Put a title wrapped in << and >> above your answer.",
        "Your answer needs a title, written <<like this>>.",
    ),
    "combination:two_responses": (
        "Give two different answers and separate them with six asterisks (******).",
        "Write two versions that differ, with ****** between them and nowhere else.",
        "I want two distinct responses, divided by a line of six asterisks (******).",
    ),
    "combination:repeat_prompt": (
        "First repeat the request itself word for word, without these extra rules, then answer it.",
        "Begin by copying my request exactly as it stands, leaving out the added instructions, and "
        "only then give your answer.",
        "Before anything else, write out the request again without any change (not the rules that "
        "were added to it). Your answer comes after that.",
    ),
    "startend:end_checker": (
        'End with exactly this sentence: "{end_phrase}"',
        'The last words of your answer must be "{end_phrase}" and nothing may follow them.',
        'Finish with the phrase "{end_phrase}" and stop there.',
    ),
    "startend:quotation": (
        "Put the whole answer in double quotation marks.",
        'Wrap everything you write in double quotes (").',
        "Your entire reply should stand between double quotation marks.",
    ),
    "change_case:english_capital": (
        "Write in English and in capital letters only.",
        "Use nothing but capital letters, in English.",
        "Your entire answer must be in English with every letter capitalised.",
    ),
    "change_case:english_lowercase": (
        "Write in English and in lowercase letters only.",
        "Use no capital letters at all, and answer in English.",
        "Your entire answer must be in English and in lower case.",
    ),
    "change_case:capital_word_frequency" + _AT_LEAST: (
        "Write at least {capital_frequency} words in ALL CAPITALS.",
        "Use words in all capital letters {capital_frequency} times or more.",
        "At least {capital_frequency} words must be fully capitalised.",
    ),
    "punctuation:no_comma": (
        "Do not use any commas.",
        "Write without a single comma.",
        "Your answer must not contain commas.",
    ),
}


def wordings(kind: str, kwargs: dict[str, Any]) -> list[str]:
    """Every way to say one instruction with these kwargs."""
    relation = next((value for name, value in kwargs.items() if name.endswith("relation")), None)
    key = kind if relation is None else f"{kind}:{relation}"
    said = {name: _said(name, value) for name, value in kwargs.items()}
    said["options"] = " or ".join(f'"{option}"' for option in OPTIONS)
    said["nth_number"] = str(kwargs.get("nth_paragraph", ""))
    texts = (wording.format(**said) for wording in WORDINGS[key])
    return [text[:1].upper() + text[1:] for text in texts]


def _said(name: str, value: Any) -> str:
    if name in ("keywords", "forbidden_words"):
        return _listed(value, "and" if name == "keywords" else "or")
    if name == "language":
        return LANGUAGES[value]
    if name == "nth_paragraph":
        return _ORDINALS[value] if value < len(_ORDINALS) else f"{value}th"
    return str(value)


def _listed(words: list[str], last: str) -> str:
    """the word "a"; the words "a" and "b"; the words "a", "b" and "c"."""
    quoted = [f'"{word}"' for word in words]
    if len(quoted) == 1:
        return f"the word {quoted[0]}"
    return f"the words {', '.join(quoted[:-1])} {last} {quoted[-1]}"
