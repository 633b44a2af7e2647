"""Pleasantries: what a simulated user says around the question goes, the question stays."""

from __future__ import annotations

import time

import pytest
from conftest import mostly_slow
from hypothesis import given
from hypothesis import strategies as st

from karat.curation.pleasantries import strip_pleasantries

Q = "How long should it steep?"

AROUND = [
    # thanks and praise before the question
    f"Thanks, that's great! {Q}",
    f"Thank you so much for the explanation! {Q}",
    f"Thanks for clarifying that. {Q}",
    f"That's a really helpful and detailed explanation. {Q}",
    f"Great answer! {Q}",
    f"Wow, that's really interesting! 😊 {Q}",
    f"Okay, got it. {Q}",
    f"I see. {Q}",
    f"This is great!\n\n{Q}",
    f"I appreciate your help. {Q}",
    f"You're right, {Q}",
    f"That makes sense, but {Q}",
    f"Great, and {Q}",
    f"Hello! {Q}",
    f"Sure! {Q}",
    # and after it
    f"{Q} Thanks!",
    f"{Q} Thanks in advance. Have a great day!",
    f"{Q}\nThank you.",
    f"{Q} Thank you for your time.",
    # the question announced
    f"Sure, here is a follow-up question: {Q}",
    f"Here's a possible question the user could ask:\n{Q}",
    f"As a user, I would ask: {Q}",
    f"As a curious user, I might ask: {Q}",
    f"The user might ask: {Q}",
    f"I would ask: {Q}",
    f"A good follow-up question would be: {Q}",
    f"If I were the user, I would say: {Q}",
    # labels
    f"User: {Q}",
    f"**User:** {Q}",
    f"Human: {Q}",
    f"User (curious): {Q}",
    f"User's next question: {Q}",
    f"Follow-up question: {Q}",
    f"Question: {Q}",
    f"Q: {Q}",
    # quotes and emphasis
    f'"{Q}"',
    f"“{Q}”",
    f"**{Q}**",
    f'User: "{Q}"',
    f'Sure, here is the next question: "{Q}"',
    # stage directions
    f"*smiles* {Q}",
    f"(pauses) {Q}",
    f"[The user looks confused] {Q}",
    f"{Q} *nods thoughtfully*",
    # the other side's part as well
    f"{Q}\nAssistant: Two minutes.",
    f"User: {Q}\n\n**Assistant:** Two minutes.\n\nUser: Thanks!",
    f"{Q}\n\nUser: {Q}",
    f"Human: {Q}\nHuman: And how much of it?",
    f"User:\n{Q}\n\nAssistant:\nTwo minutes.",
]


@pytest.mark.parametrize("turn", AROUND)
def test_what_stands_around_a_question_goes(turn):
    assert strip_pleasantries(turn) == Q


DONE = [
    "Thanks!",
    "Thank you so much for your help! Have a great day!",
    "Thanks for all the information, you've been very helpful. Goodbye!",
    "No, that's all I needed. Goodbye!",
    "That is all, thank you.",
    "I have no further questions. Thanks again.",
    "Great, that makes sense. I'll try that.",
    "That's very helpful, I'll give it a try!",
    "Ok!",
    "You're welcome! Have a great day!",
    "I'm here to help, and I'm ready to assist. How can I assist you today?",
    "Wow, amazing! I can't wait to cook it.",
    "*nods* Thank you! 😊",
    "User: Thanks, that's perfect.",
    "Let me know if you have any other questions!",
    "...",
    "",
    "  \n",
]


@pytest.mark.parametrize("turn", DONE)
def test_a_turn_of_pleasantries_alone_is_empty(turn):
    assert strip_pleasantries(turn) == ""


KEPT = [
    # words that thank or praise, but as what is asked
    "Write a thank-you note to my neighbour.",
    "Great Britain has had how many kings?",
    "Nice is a city in France. How big is it?",
    "Right angles: how are they measured?",
    "perfect numbers: which are known?",
    "I see a red door. What colour should the wall be?",
    "That's great for beginners, but what about experts?",
    "Translate to French: I am sorry. Thank you.",
    "Thank you notes are out of fashion, aren't they?",
    "Interesting question: why do we dream?",
    "I'll try that. What if it fails?",
    "I like that poem's rhythm. Can you keep it?",
    "Bye bye birdie is a film. Who made it?",
    # marks that belong to it
    "*Romeo and Juliet* is long. Why?",
    '"Why" or "how": which is asked more often?',
    "What does (smile) mean in sheet music?",
    "Here is my code:\n```python\nprint(1)\n```\nWhy does it fail?",
    "1. Boil the water\n2. ???\n\nWhat is the second step?",
    "**Bold** and *italic*: how are they written?",
    "Make it four lines and mention the sea.",
    # what happens or is hoped for, not said for politeness
    "I'm going to try the oven.",
    "I will use three eggs instead of two.",
    "i hope it will rain.",
    "I'm happy with my job. Should I quit?",
    "Thanks for the invitation to the wedding. Should I go?",
    "Sure.",
    "Right!",
    "That's it?",
    # a comma that belongs to the sentence
    "Right, left, or centre: which one?",
    "Right, is it a right turn?",
    "Nice, France, has what weather?",
    "Nice, is it in France?",
    "Perfect, what is the opposite of it?",
    "Hello, world is printed, why?",
    # thanks as the words that are asked about
    "Thank you very much! How do I say that in French?",
    "Translate these lines.\nHello.\nThank you.",
    "Is this good grammar? Thank you for your help.",
    "I wrote: how are you? Thank you!",
    "Is this enough?\n```\nprint(1).\nThanks!",
    # fields, and other words with a colon
    "message: hello. What does this log line mean?",
    "Response: 404, what is it?",
    "Prompt: a cat. What would you draw?",
    "Model: gpt\nUser: what?",
    "user: why is it so?",
    "User: root",
    "User: root of all evil\nPassword: x",
    "Human: {x}",
    "Client: why?",
    "As a user, how do I log in: by mail?",
    "Here is a question from my exam: what is tea?",
    "I would ask: where is the bus? Is that good French?",
    "Q: 2+2?\nA: 4\nQ: 3+3?\nA:",
    "Question: what is tea?\nAnswer: a drink.\nIs that right?",
    "(thinking of 3) what is it?",
    "*waves* are what?",
    "What does this mean: he left. *nods*",
    # code and configuration
    "Why does this fail?\n```yaml\nversion: 3\nuser: root\nmodel: x\n```\nIt says denied.",
    "What is wrong with this YAML?\nuser: root\nrole: admin",
    "What is wrong with this YAML?\nUser: root\nRole: admin",
    "What is wrong with this YAML?\n\nAssistant: root\nRole: admin",
    "What prints it?\n```\nUser: What is it?\nAssistant: It is a test.\n```\nAnd why?",
    "What prints it?\n```\nx\n```\nAssistant: It is a test.",
    "What prints it?\n~~~\nAssistant: It is a test.\n~~~",
    "```\nUser: What is it?\n```",
    # a chat that the user shows
    "Summarise it.\nUser: I cannot log in.\nAssistant: Reset your password.",
    "What is wrong here:\n\nAssistant: It is late now.",
    "Shorten this chat.\n\nAssistant: It is late now.",
    # other languages
    "Ok, wie lange muss der Tee ziehen?",
    "Super, danke! Und wie lange?",
    "Danke für die Erklärung. Wie lange muss er ziehen?",
    "Merci beaucoup ! Combien de temps faut-il l'infuser ?",
    "Perfect, dank je wel. Hoe lang moet hij trekken?",
    "Gracias, eso es genial. ¿Cuánto tiempo?",
    "Hi, kan du forklare mere?",
    "谢谢！那要泡多久？",
    "ありがとうございます。何分ですか？",
    "Спасибо! А сколько минут?",
    "شكرا! كم دقيقة؟",
    "감사합니다! 몇 분인가요?",
]


@pytest.mark.parametrize("turn", KEPT)
def test_what_a_user_really_says_stays_as_it_is(turn):
    assert strip_pleasantries(turn) == turn


def test_a_sentence_that_lost_its_head_begins_in_upper_case():
    assert strip_pleasantries("Thanks, how long?") == "How long?"
    assert strip_pleasantries("Thanks! iPhone or Android?") == "iPhone or Android?"


def test_a_question_keeps_its_own_first_word():
    assert strip_pleasantries("That's great! And the second?") == "And the second?"
    assert strip_pleasantries("That's great, and the second?") == "The second?"


def test_lines_and_code_of_a_turn_are_kept():
    text = "Can you fix this?\n\n```python\nx = [1,\n     2]\n```"
    assert strip_pleasantries(f"Thanks!\n\n{text}") == text


@given(st.text(alphabet=" \n.,!?:*\"'()[]aOokThanks你", max_size=60))
def test_stripping_twice_is_stripping_once(text):
    once = strip_pleasantries(text)
    assert strip_pleasantries(once) == once or len(once) < len(text)
    assert once == once.strip()


def test_a_question_mark_behind_an_agreement_asks():
    assert strip_pleasantries("That's it? That's not much.") == "That's it? That's not much."
    assert strip_pleasantries("How can I help you? " + Q) == Q


def test_a_turn_without_letters_says_nothing():
    assert strip_pleasantries("Great!\\") == ""
    assert strip_pleasantries("Sure.\\") == "Sure.\\"


SIZE = 100_000


@pytest.mark.parametrize(
    "atom",
    mostly_slow([
        "\n", " ", "\t", " \n", "thank you for the ", "thanks, ", "thanks\n", "*smiles ",
        "*smiles* ",
        "great, and ", "here is ", "here is a question ", "user (a", "User: ", "User:\n",
        "User: a b c.\n", "\nUser: a b c.", "\nAssistant:\n", "\nAssistant: a\nB: c\n",
        "as a user ", "as a user, i would ask ", "why? ", "(smile", "(smiles) ", "_", "*", "#", ":",
        "```\n", "i'm here to help, ", "i will try it ", ". ", ".\nthanks", "☀️ ", " - ", ";-)",
        "very great, ", "q: ", "Q: what? ", "你",
    ], 4),
)  # fmt: skip
def test_a_hundred_kilobytes_of_anything_take_no_time(atom):
    many = atom * (SIZE // len(atom))
    around = (many, f"What?{many}x", f"Thanks!{many}x", f"x{many}? thanks", f"{many}\n```")
    for text in around:
        started = time.process_time()
        strip_pleasantries(text)
        assert time.process_time() - started < 2
