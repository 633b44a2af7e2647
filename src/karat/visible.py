"""Others' text made visible: what would be unseen, or would turn the text around, shown as marks.

A model can write anything. On a page a control code is nothing, an override of direction turns
what follows it around, and a space of no width hides a word in a word: whoever reads must see that
they are there.
"""

from __future__ import annotations

import re

# Controls but line ends and tabs; marks and overrides of direction; spaces of no width; fillers;
# tags; what no text may hold. Joiners are left: Persian, Hindi and emoji are written with them.
UNSEEN = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_UNSEEN = re.compile(UNSEEN)


def visible(text: str, most: int | None = None) -> str:
    """The text with every unseen sign as ⟨U+202E⟩; cut after `most` characters where it is longer,
    and then its length is said."""
    cut = text if most is None or len(text) <= most else text[:most]
    shown = _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", cut.replace("\r\n", "\n"))
    return shown if len(cut) == len(text) else f"{shown} … ({len(text):,} characters)"
