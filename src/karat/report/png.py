"""SVG as PNG, where the small renderer of `karat[plots]` is installed; a picture is never needed.

Source: resvg, which knows no @media, hence draws the light colours.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

SCALE = 2.0  # pixels of the picture for one of the SVG: sharp in print and on dense screens
_BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'


def as_png(svg: str) -> bytes | None:
    """The picture; None without resvg-py, or on a machine with no font to write labels with."""
    try:
        resvg = importlib.import_module("resvg_py")
    except ImportError:
        return None
    if not _writes(resvg):
        return None
    return bytes(resvg.svg_to_bytes(svg_string=svg, zoom=SCALE))


@cache
def _writes(resvg: Any) -> bool:
    letter = '<text x="2" y="16" font-size="16" font-family="sans-serif">M</text>'
    drawn = [resvg.svg_to_bytes(svg_string=_BLANK.format(part)) for part in (letter, "")]
    return bytes(drawn[0]) != bytes(drawn[1])
