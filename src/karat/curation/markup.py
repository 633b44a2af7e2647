"""Damage to a text's encoding and markup: what a reader sees as garbage.

Text that was decoded with the wrong table ("Ã©" for "é") is told by undoing it: a run of such
characters that becomes valid UTF-8 when it is encoded again was never meant. Only leads that no
language puts before those marks count. Tags and entities are faults in prose, not in code: fenced
blocks, code in backticks and answers to a prompt that speaks of markup are left alone.
"""

from __future__ import annotations

import re

# --- encoding ------------------------------------------------------------------------------------

# What UTF-8's second and third bytes look like where each byte was taken for a character.
_CP1252 = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_BACK = {character: character.encode("cp1252")[0] for character in _CP1252}
_TAIL = f"[\x80-\xbf{_CP1252}]"
_TYPED = "[‘’“”»«…–—\xa0]"  # what may stand behind a letter for itself: "CAFÉ»", "5 Å”"
# é and its like, Central European and Vietnamese, quotes and dashes, Greek, Cyrillic, Hebrew and
# Arabic, whatever takes three bytes, emoji.
_WRONG = re.compile(
    rf"(?:[ÃÂ]{_TAIL}|[ÄÅÆ](?!{_TYPED}){_TAIL}|â[€‚ƒ„†‡ˆ‰Š‹ŒŽ•˜™š›œžŸ\x80-\xbf]{_TAIL}"
    rf"|[ÎÏÐÑ×-Û](?!{_TYPED}){_TAIL}|[à-ï](?!{_TYPED}{{2}}){_TAIL}{{2}}"
    rf"|ð[\x90-\xbfŸ˜]{_TAIL}{{2}})+"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def mojibake(text: str) -> list[str]:
    """The runs of a text that were decoded with the wrong table."""
    if text.isascii():
        return []
    return [match.group() for match in _WRONG.finditer(text) if _undone(match.group())]


def _undone(run: str) -> str:
    """What a run was before, or nothing where it was not UTF-8."""
    try:
        data = bytes(_BACK.get(character, ord(character)) for character in run)
        return data.decode()
    except ValueError:
        return ""


def control_characters(text: str) -> list[str]:
    """Control characters but tabs and line ends; those of the range 80 … 9F too."""
    if text.isprintable():
        return []
    return [*_CONTROL.findall(text), *(() if text.isascii() else re.findall("[\x80-\x9f]", text))]


def replacement_characters(text: str) -> list[str]:
    """Characters that stand for what could not be decoded."""
    return ["\ufffd"] * text.count("\ufffd")


# --- markup --------------------------------------------------------------------------------------

_FENCE = re.compile(r"^[ \t]{0,8}(?:>[ \t]?)?(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)
_INLINE = re.compile(r"``[^\n]{1,400}?``|`[^`\n]{1,400}`")
_TAG = re.compile(
    r"</?(?:p|div|span|br|hr|a|b|i|u|em|strong|font|center|table|tr|td|th|tbody|thead|ul|ol|li"
    r"|h[1-6]|img|script|style|iframe|section|article|nav|blockquote|pre|body|html|head|meta|link|sup|sub)"
    r"(?:\s[^<>\n]{0,300})?/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(
    r"&(?:[lg]t|amp|nbsp|quot|apos|#\d{2,5}|#x[0-9a-f]{2,5}|[lr][sd]quo|[mn]dash);"
)
_SPEAKS_OF_MARKUP = re.compile(
    r"</?[a-z][^<>\n]{0,80}>|\b(?:html|xml|svg|css|markup|web ?(?:page|site)|tags?|vue|react"
    r"|angular|jsx|php|javascript|django|wordpress|entit(?:y|ies)|blog|code|email template)\b"
    r"|&\w{2,6};",
    re.IGNORECASE,
)
# What a chat template writes between turns, left in a turn.
_TEMPLATE = re.compile(
    r"<\|(?:im_start|im_end|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|user"
    r"|assistant|system|end|pad)\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?s>"
    r"|<extra_id_\d>|<\|?(?:prompter|endofprompt)\|?>|^(?:###? ?(?:Instruction|Response|Human|"
    r"Assistant|User|Input):)|\n\n(?:Human|Assistant|USER|ASSISTANT): ",
    re.MULTILINE,
)
_PAIRED = (  # opened and never closed, or the other way round
    (re.compile(r"<think>"), re.compile(r"</think>")),
    (re.compile(r"(?<!\\)\\\["), re.compile(r"(?<!\\)\\\]")),
    (re.compile(r"(?<!\\)\\\("), re.compile(r"(?<!\\)\\\)")),
    (re.compile(r"\\begin\{"), re.compile(r"\\end\{")),
)


def without_code(text: str) -> str:
    """A text without fenced blocks and code in backticks; an open block goes on to the end."""
    if "`" not in text and "~~~" not in text:
        return text
    kept, opened, at = [], "", 0
    for fence in _FENCE.finditer(text):
        mark, word = fence.group(1), fence.group(2).strip()
        if not opened:
            kept.append(text[at : fence.start()])
            opened = mark
        elif mark.startswith(opened) and not word:
            opened, at = "", fence.end()
    return _INLINE.sub(" ", "".join(kept) + ("" if opened else text[at:]))


def open_fences(text: str) -> int:
    """Fenced blocks that are never closed: 0 or 1."""
    opened = ""
    for fence in _FENCE.finditer(text) if "```" in text or "~~~" in text else ():
        mark, word = fence.group(1), fence.group(2).strip()
        if not opened:
            opened = mark
        elif mark.startswith(opened) and not word:
            opened = ""
    return int(bool(opened))


def unbalanced(text: str) -> int:
    """Blocks of code, formulas and thoughts that are opened and not closed, or closed only."""
    found = open_fences(text)
    if "\\" in text or "think>" in text:
        bare = without_code(text)
        for opening, closing in _PAIRED:
            found += abs(len(opening.findall(bare)) - len(closing.findall(bare)))
    return found


def speaks_of_markup(prompt: str) -> bool:
    """Whether a prompt asks for or shows markup, so that an answer may have some."""
    return _SPEAKS_OF_MARKUP.search(prompt) is not None


def tags(text: str) -> list[str]:
    """HTML tags outside code."""
    return _TAG.findall(without_code(text)) if "<" in text else []


def entities(text: str) -> list[str]:
    """HTML entities outside code."""
    return _ENTITY.findall(without_code(text)) if "&" in text else []


def template_marks(text: str) -> list[str]:
    """What chat templates put between turns, outside code."""
    return [match.group().strip() for match in _TEMPLATE.finditer(without_code(text))]
