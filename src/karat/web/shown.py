"""Others' text made safe to look at: what hides, moves or turns text becomes a mark.

A model can write characters that no reader sees and the next model obeys, or that turn the order of
a line. A page that passes over them shows another text than the one in the file, so they stand as
their number. Line ends and tabs stay; joiners stay where a script or an emoji needs them.
"""

from __future__ import annotations

import json
import re
import unicodedata

from markupsafe import Markup, escape

from karat.visible import UNSEEN

MOST = 20_000  # characters of one text on a page
# A joiner after Latin text, or at the beginning, joins nothing.
_MARKED = re.compile(rf"({UNSEEN})\1*|(?:(?<=[\x00-\u02ff])|^)([\u200c\u200d])\2*", re.MULTILINE)


def shown(text: object, most: int = MOST) -> Markup:
    """A text for a page, escaped, at most so many characters of it; hidden ones are marked."""
    whole = _text(text)
    cut = whole[:most]
    parts, end = [], 0
    for hit in _MARKED.finditer(cut):
        parts += [escape(cut[end : hit.start()]), _mark(hit.group())]
        end = hit.end()
    parts.append(escape(cut[end:]))
    if len(whole) > most:
        parts.append(Markup(" …"))
    return Markup("").join(parts)


def said(text: object, most: int = 200) -> str:
    """The same in one plain line, for titles, labels and values of a form's fields."""
    whole = " ".join(_text(text)[: most * 4].split(" "))
    cut = _MARKED.sub(lambda hit: f"⟨{_number(hit.group()[0])}⟩", whole.replace("\r\n", "\n"))
    line = " ".join(cut.split())
    return line if len(line) <= most and len(_text(text)) <= most * 4 else f"{line[:most]} …"


def _text(value: object) -> str:
    """A value as a recipe would write it: text as it is, what is nested as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _mark(run: str) -> Markup:
    sign, times = run[0], f" ×{len(run):,}" if len(run) > 1 else ""
    name = unicodedata.name(sign, "").lower() or "a control character"
    return Markup('<span class="unseen" title="{}">{}{}</span>').format(name, _number(sign), times)


def _number(sign: str) -> str:
    return f"U+{ord(sign):04X}"
