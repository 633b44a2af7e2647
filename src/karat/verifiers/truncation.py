"""truncation: whether a response stops before its end.

A model that runs into its token limit says so in `finish_reason`; texts from files say nothing, and
a server may be wrong. Then the text itself is read: a code block or JSON value left open, a comma
or an article at the end. A list, a verse, a name or a formula needs no
full stop, and Thai has none: what ends so is undecided, unless the model said that it was done.
"""

from __future__ import annotations

import re

from karat.curation.turns import words
from karat.verifiers._prose import FENCE, prose
from karat.verifiers._words import word_set
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()
EXTRA = ""

CUT = ("length", "max_tokens")  # what services call the token limit
DONE = ("stop", "end_turn", "eos", "stop_sequence")
LONG = 8  # words from which a line is running text
USUAL = 0.75  # of the other lines of running text: how many must end as sentences do
TAIL = 60  # characters shown in a reason
_ENDS = tuple(".?!…。！？．｡।॥۔؟։።။។;\"'”’»」』)]）】}`*_~>|#")
_LEADS = (",", "，", "、", "(", "（", "[", "{", "“", "«", "「", "-", "–", "—", ":", "：", "=", "+")
_WORD = re.compile(r"[^\W\d_]+$")
_INSIDE = re.compile(r"[.?!…][\"'”’)]*\s+[\"'“‘(]*[^\W\d_]|[。！？]")
_ITEM = re.compile(r"[-*•+]\s|\(?\w{1,3}[.)]\s")
_NO_FULL_STOP = re.compile("[\u0e00-\u0eff\u0f00-\u0fff]")  # Thai, Lao, Tibetan
# Words that no sentence ends with, in six languages of Europe.
_NEVER_LAST = word_set(
    "the a an and or but nor because although whereas their your our my its which whose into onto "
    "upon than und oder aber der den dem ein eine einen einem einer weil dass sowie le les une et "
    "ou mais des du aux leur ses el los las y pero porque con para por il gli di che è dei della "
    "delle os uma com ao dos das"
)


def verify(item: Item, *, full_stops: bool = False) -> Verdict:
    """Passes a response that comes to its end; undecided where an end cannot be told from a cut.

    Without a `finish_reason` a last sentence that has no full stop may be cut, or careless. With
    `full_stops` it fails, where the sentences before it end properly.
    """
    if item.finish_reason in CUT:
        return Verdict(passed=False, reason="stopped at the token limit")
    text = item.response.rstrip()
    if not text:
        return Verdict(passed=None)
    if _open_fence(text):
        return Verdict(passed=False, reason="a code block is left open")
    if text.lstrip()[0] in "{[" and _open_json(text.lstrip()):
        return Verdict(passed=False, reason="JSON is left open")
    done = item.finish_reason in DONE
    ends = _ends(text, full_stops=full_stops and not done)
    if ends is False:
        return Verdict(passed=False, reason=f"ends in mid-sentence: … {text[-TAIL:].strip()}")
    return Verdict(passed=True if done else ends)


def _open_fence(text: str) -> bool:
    opened = ""
    for fence in FENCE.finditer(text):
        mark, word = fence["mark"], fence["word"].strip()
        if not opened:
            opened = mark
        elif mark.startswith(opened) and not word:
            opened = ""
    return bool(opened)


def _open_json(text: str) -> bool:
    """Whether what looks like a JSON value ends inside a string, an object or an array."""
    depth, inside, skip = 0, False, False
    for character in text:
        if skip:
            skip = False
        elif inside:
            skip, inside = character == "\\", character != '"'
        elif character == '"':
            inside = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return False
    return text[0] == "{" and '"' in text


def _ends(text: str, *, full_stops: bool) -> bool | None:
    """Whether the last line ends as a sentence; None where it need not."""
    lines = [line.strip() for line in prose(text).split("\n")]
    lines = [line for line in lines if line]
    if not lines or FENCE.match(text.rsplit("\n", 1)[-1]) or not text.endswith(lines[-1][-1]):
        return True  # it ends in code, a formula or an address
    last = lines[-1]
    size = len(words(last))
    if size < LONG:  # a list of short items, a name, "Regards,"
        ended = last.endswith(_ENDS) or not last[-1].isalnum()
        return True if ended and not last.endswith(_LEADS) else _cut_word(last, size)
    if last.endswith(_LEADS):
        return False
    if last.endswith(_ENDS) or not (last[-1].isalpha() or last[-1].isdigit()):
        return True
    if _NO_FULL_STOP.search(last[-TAIL:]):
        return None
    if _cut_word(last, size) is False:
        return False
    if not full_stops or last.rsplit(" ", 1)[-1].startswith(("#", "@")):
        return None
    listed = bool(_ITEM.match(last))
    others = [line for line in lines[:-1] if len(words(line)) >= LONG]
    others = [line for line in others if bool(_ITEM.match(line)) == listed]
    if others:
        usual = sum(line.endswith((*_ENDS, ":", "：")) for line in others) >= USUAL * len(others)
        return False if usual else None
    return False if _INSIDE.search(last) and not listed else None


def _cut_word(line: str, size: int) -> bool | None:
    word = _WORD.search(line)
    cut = size > 2 and word is not None and word.group() in _NEVER_LAST
    return False if cut else None
