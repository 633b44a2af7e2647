"""questions: what asks, and what points at something that a question does not say."""

from __future__ import annotations

import pytest

from karat.curation.questions import is_question, points_outside


def lines(table: str) -> list[str]:
    return table.strip().splitlines()


@pytest.mark.parametrize(
    "text",
    ["When was it?", "**Who built it?**", "橋はどのくらい長いですか？", "橋はいつ開通しましたか。",
     "桥是什么时候开的吗。", "다리는 언제 열렸습니까.", "متى افتتح الجسر؟", "Πότε άνοιξε η γέφυρα;",
     "Πότε άνοιξε η γέφυρα\u037e", "Ե՞րբ բացվեց կամուրջը։", "Name the month it was opened in.",
     "List three uses of salt.", "Name Weyland's teacher.", "Explain photosynthesis.",
     "State how long it is", "Nennen Sie den Monat.", "Citez deux ponts.", "Nombre el mes."],
)  # fmt: skip
def test_what_asks(text):
    assert is_question(text)


@pytest.mark.parametrize(
    "text",
    ["It is long.", "The bridge; it is long;", "List of questions:", "Name: Arden", "橋は長い。",
     "State of the art", "I would rather not.", "Here are three questions about it:",
     "I'm sorry, I cannot write questions about this text.", "Given the text, it is long.",
     "Write 3 different questions that the text above answers."],
)  # fmt: skip
def test_what_does_not(text):
    assert not is_question(text)


POINTING = """
What does the passage say of Weyland?
What is the passage about?
According to the text, who built the bridge?
What does the author claim?
In this article, who is Weyland?
What is mentioned above?
Which of the following is true?
What is described in the given text?
In the above passage, who is named?
Who is quoted in the text?
Which tool is mentioned in the document?
What does the text's title say?
What is the text provided about?
Which of the above is a river?
In which year was it opened?
When was it opened?
Was it opened in May?
Who built it?
Who first discovered it?
How long is it?
How long did it take?
What is it made of?
What happened to it?
Why did she leave?
What did he say?
Where was he born?
Who killed him?
What keeps them green?
How were they made?
How many people did it kill?
How much did they cost in 1871?
Which engineer did they hire?
Which company bought it in 1998?
Where did they bury him?
What is its purpose?
What was his name?
Who was her husband?
Why is this important?
What does this mean?
Who wrote these?
Name the month in which it was opened.
Explain how it works.
Describe it.
"""
ALONE = """
Where did King John seal the document called Magna Carta in 1215?
Which article of the constitution is about the author of the Arden text?
Who wrote the Arden text?
Who wrote the text known as Beowulf?
Who is the author of Emma?
Which document freed the serfs?
Who signed the document abolishing slavery?
What is the document King John sealed?
When did the passage of the bill happen?
What is the passage between two seas called?
In the context of chemistry, what is a base?
What is the meaning of a word in a given context?
How is a text encoded?
In which year was the Arden bridge opened?
Name the month in which the Arden bridge was opened.
How long does it take to cross the Arden bridge?
How long does it take for iron to rust?
Is it true that iron rusts?
Is it possible to see the moon by day?
Why is it important to wash rice?
What is it called when water freezes?
How far is it from Rome to Paris?
Explain why it rains.
Why do bees die after they sting?
Why do cats purr when they sleep?
What do plants need so that they grow?
What does ice do when it melts?
What colour is copper when it oxidises?
What happens to water when it boils?
What makes green tea stay fresh when it is dried?
When the bridge was built, why did it collapse?
How does salt melt ice, and when does it fail?
Which metal is used because it resists rust?
Which planet has rings around it?
Which tree sheds its leaves first?
Which birds lay their eggs on sand?
What gives salt its taste?
Who was the king that lost his head?
Who believed that he was king?
Who washes dishes before they dry?
When did he marry Anne?
Where did she meet Lancelot?
Who said "it is finished"?
"""


@pytest.mark.parametrize("question", lines(POINTING))
def test_a_question_that_points_outside(question):
    said = points_outside(question)
    assert said
    assert said in question


@pytest.mark.parametrize("question", lines(ALONE))
def test_a_question_that_stands_alone(question):
    assert points_outside(question) == ""
