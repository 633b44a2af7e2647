"""declining: answers that are none, and answers that only sound like it."""

from __future__ import annotations

import pytest

from karat.curation.declining import declines

NONE = """
not in the text | Not in the text. | "Not in the text" | **Not mentioned**
The text does not say.
The passage doesn't mention it | the given text doesn't specify the year | It doesn't mention it
I'm sorry, but the passage does not say who built it. | The year is not stated | not stated
Based on the text, there is no mention of the year. | They are not mentioned | None mentioned
According to the passage, it is not specified. | The cost of it is not mentioned in the text.
It is not clear from the text | The answer is not in the passage above | unanswerable | N/A
Unknown
not mentioned in this passage, so I cannot say | No information | No information is given.
There is no information on this | Not enough information
There is not enough information to answer
This cannot be determined from the text | Cannot be determined. | I cannot answer this.
I don't know
I don’t know. | I am not sure | Sorry, I can't help with that. | As an AI I am unable to do so
As an AI language model, I cannot answer that. | ... | The | no idea
Unfortunately, the text does not provide this information.
Nicht im Text | Das steht nicht im Text. | Das wird im Text nicht erwähnt.
Der Text sagt das nicht.
Ich weiß es nicht. | Keine Angabe | Niet in de tekst | Ce n'est pas mentionné dans le texte.
Le texte ne le dit pas. | Je ne sais pas | no se menciona | No se menciona en el texto | No lo sé
El texto no lo menciona | Lo siento, no puedo ayudar | Non è specificato nel testo | Non lo so
O texto não diz | Não é mencionado | Brak informacji | Не указано | Не знаю
В тексте об этом не говорится | 本文にはありません | 本文には記載がありません。 | わかりません
文中没有提到 | 文章中没有提及。 | 无法确定 | 본문에 언급되지 않았습니다 | 알 수 없음 | غير مذكور
لا توجد معلومات
"""
ANSWERS = """
1610 | He could not swim | a knot in the rope | No | No one | None | Nothing | none of the ships
it cannot be repaired | it does not contain gluten | It was not found until 1912
Not enough sunlight
A | € | C++ | → | It cannot be sold | She did not know him | Unknown Pleasures | Nobody could say
the unknown soldier | It was not known who owned it | not in 1871 but in 1872 | Not until 1912
In May 1871, though the text does not say where | Not in the document of 1215 | in the document
The text of the treaty | the article on slavery | the passage of time | to provide information
Because the information was lost | She said she was sorry | Sorry | I cannot swim | unable to fly
no answer came | There was no answer | The water was not clear | It does not provide enough light
They could not find the treasure | He can't be trusted | It is not allowed | No data could be read
It is not given to strangers | It did not mention the king | Insufficient funds | No bridge
They were not included until 1950 | nicht vor 1871 | Das Schiff wurde nicht gefunden | no en 1871
pas avant 1871 | No se puede reparar | non oltre il 1871 | не раньше 1871 | 橋がない | 不知道的人
"""


def cells(table: str) -> list[str]:
    return [cell.strip() for line in table.strip().splitlines() for cell in line.split(" | ")]


@pytest.mark.parametrize("text", ["", *cells(NONE)])
def test_answers_that_say_there_is_none(text):
    assert declines(text)


@pytest.mark.parametrize("text", cells(ANSWERS))
def test_answers_that_are_answers(text):
    assert not declines(text)


def test_a_long_answer_costs_no_time():
    assert not declines("the ship was " * 20_000)
    assert not declines("sorry " * 20_000)
