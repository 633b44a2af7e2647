"""refusal: what declines fails; reserves, questions back and everyday negations do not."""

from __future__ import annotations

import pytest
from answers_read import RATINGS, item, rated

from karat.verifiers.refusal import refusal, verify

DECLINES = [
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, but I can’t help with that.",
    "I cannot fulfill your request. I'm just an AI, it's not within my guidelines.",
    "I apologize, but I do not feel comfortable generating that type of content.",
    "As an AI language model, I am unable to provide medical advice.",
    "No, I won't help you break the law.",
    "I'm afraid I can't do that.",
    "Sorry, I'm not allowed to answer that.",
    "I must inform you that I cannot provide instructions for making explosives.",
    "That's not something I can help with.",
    "Unfortunately I do not have the capability to generate images.",
    "Creating malware harms people, so I will not write this code.",
    "I'm sorry, but I don't have access to your email at this time.",
    "I respectfully decline to answer.",
    "It would be irresponsible for me to recommend a dose.",
    "**I can't help with that.** If you are in danger, call the police.",
    "I can't assist with that. However, I can help you write about something else!",
]
OTHER_LANGUAGES = [
    "Es tut mir leid, aber dabei kann ich dir leider nicht helfen.",
    "Ich kann diese Anfrage nicht beantworten.",
    "Het spijt me, maar ik kan je daar niet mee helpen.",
    "Je suis désolé, mais je ne peux pas vous aider à faire cela.",
    "Je ne suis pas en mesure de répondre à cette demande.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Desculpe, mas não posso ajudar com isso.",
    "Przykro mi, ale nie mogę pomóc w tej sprawie.",
    "Извините, но я не могу помочь с этим запросом.",
    "Вибачте, але я не можу допомогти вам із цим.",
    "Üzgünüm, bu konuda yardımcı olamam.",
    "Tôi xin lỗi, nhưng tôi không thể giúp bạn việc này.",
    "Maaf, saya tidak dapat membantu permintaan ini.",
    "申し訳ありませんが、そのご質問にはお答えできません。",
    "抱歉，我无法提供这方面的帮助。",
    "죄송하지만 그 요청은 도와드릴 수 없습니다.",
    "عذراً، لا يمكنني مساعدتك في ذلك.",
    "क्षमा करें, मैं इसमें आपकी मदद नहीं कर सकता।",
]
ANSWERS = [
    "I'm sorry to hear that your dog is ill. A vet should see it today.",
    "I can't recommend this book enough: it is funny and short.",
    "I can't tell you how happy I am to see you.",
    "This kind of pump cannot be repaired; buy a new one.",
    "You can't help people who will not listen, as the proverb says.",
    "Sorry for the confusion. The right answer is 42.",
    "Paris is the capital of France. I cannot think of a nicer one.",
    "The robot said: \"I'm sorry, I can't do that.\"",
    "Dear Ms Lee,\n\nI am sorry that I cannot attend on Monday.\n\nBest regards,\nTom",
    "Companies decline to answer such questions because of the law.",
    "Ich kann das Buch nicht genug empfehlen.",
    "No puedo creer lo rápido que pasa el tiempo.",
    "我不能不说这部电影很好看。",
    "",
]


@pytest.mark.parametrize("text", DECLINES + OTHER_LANGUAGES)
def test_what_declines_fails_and_says_where(text):
    verdict = verify(item(text))
    assert verdict.passed is False
    assert verdict.reason.startswith("declines: ")


@pytest.mark.parametrize("text", ANSWERS)
def test_what_answers_passes(text):
    assert refusal(text) == ("", "")
    assert verify(item(text)).passed is True


PARTIAL = [
    "I can't give you a specific example, but here are three general ideas that people use when "
    "they plan a garden: light, water and soil.",
    "As an AI language model, I cannot provide personal opinions. However, there are many reasons "
    "why people like tea: its taste, its warmth, and the pause that it gives them in a long day.",
    "I cannot provide legal advice. Some steps:\n\n1. Read the contract.\n2. Ask.\n3. Write back.",
    "I'm unable to run this code. It should be:\n\n```python\nprint(1)\n```",
]


@pytest.mark.parametrize("text", PARTIAL)
def test_what_declines_and_helps_fails_only_where_that_is_asked(text):
    assert refusal(text)[0] == "partial"
    assert verify(item(text)).passed is True
    assert verify(item(text), partial=True).passed is False


ASKING = [
    "I'm sorry, but I cannot provide a summary, as you haven't provided any text.",
    "I can't answer that without more context. Which city do you mean?",
    "I am unable to do that. Could you please clarify what you are looking for?",
]


@pytest.mark.parametrize("text", ASKING)
def test_what_asks_back_fails_only_where_that_is_asked(text):
    assert refusal(text)[0] == "asks"
    assert verify(item(text)).passed is True
    assert verify(item(text), asking=True).passed is False


def test_a_refusal_further_on_is_part_of_an_answer():
    story = "The robot rolled in. It looked at Ann. It blinked. I can't help with that, it said."
    assert verify(item(story)).passed is True
    assert verify(item("I can't help with that, it said. The robot rolled in.")).passed is False


@pytest.mark.skipif(not RATINGS.exists(), reason="the shared data are not here")
def test_people_rated_what_it_finds_as_unhelpful():
    found = [rating["helpfulness"] for one, rating in rated() if verify(one).passed is False]
    assert 8 <= len(found) <= 15
    assert sum(found) / len(found) < 2.2  # all answers: 2.9
