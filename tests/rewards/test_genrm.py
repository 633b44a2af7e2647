"""genrm: the roles on the wire, answers as these models write them, and what is read in them."""

from __future__ import annotations

import json
import re

import pytest
from conftest import rows_of
from judging import PROMPT, quality, run, score
from server import Server

from karat import RecipeError, RowError
from karat.rewards.base import Candidates
from karat.rewards.genrm import Compared, read_judgement, read_pair
from karat.rewards.load import load_reward
from karat.row import Message

PRINCIPLE = {"reward": "genrm/m", "form": "principle", "principle": "The answer is good."}
TEXTS = ("good good good", "good", "bad")


def scores_of(body):
    """(score 1, score 2, ranking) of a fair model."""
    roles = {message["role"]: message["content"] for message in body["messages"]}
    one, two = quality(roles["response_1"]), quality(roles["response_2"])
    ranking = 3.5 - (0.5 if one > two else -0.5 if two > one else 0) - (one - two) / 2
    return 1 + one, 1 + two, min(6, max(1, int(ranking)))


def as_json(one, two, ranking):
    return json.dumps({"score_1": one, "score_2": two, "ranking": ranking})


def as_boxes(one, two, ranking):
    return (
        "[The Begin of Analysis on Response 1]\nFine.\n[The End of Analysis on Response 1]\n"
        f"[The Begin of Individual Scores]\n\\boxed{{{one}, {two}}} \n"
        "[The End of Individual Scores]\n\n"
        f"[The Begin of Ranking Score]\n\\boxed{{{ranking}}}\n[The End of Ranking Score]"
    )


def swapped(one, two, ranking):
    return json.dumps({"ranking": ranking, "score_2": two, "score_1": one})


FORMS = {
    "JSON": as_json,
    "boxes": as_boxes,
    "keys in another order": swapped,
    "thoughts before": lambda *s: f'<think>\n{{"score_1": 9}} or 5?\n</think>\n\n{as_json(*s)}',
    "thoughts begun in the prompt": lambda *s: f"Perhaps {as_json(1, 1, 3)}\n</think>{as_json(*s)}",
    "thoughts before boxes": lambda *s: f"{as_boxes(1, 1, 3)} No.</think>{as_boxes(*s)}",
    "a fence": lambda *s: f"Here it is:\n\n```json\n{as_json(*s)}\n```\nThat is all.",
    "words around it": lambda *s: f"My verdict: {as_json(*s)} - thank you.",
    "numbers in quotes": lambda a, b, r: as_json(str(a), str(b), str(r)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_each_form_of_answer_is_read_the_same(tmp_path, form):
    with Server(answer=lambda body, place: form(*scores_of(body))) as server:
        (found,) = score(tmp_path, server.model(), "genrm/m", TEXTS)
        assert len(server.requests) == 3 * 2
    assert [scores["helpfulness"] for scores in found] == [4, 2, 1]
    assert [scores["wins"] for scores in found] == [1, 0.5, 0]
    assert all(scores["consistency"] == 1 for scores in found)


def test_the_roles_reach_the_wire_after_the_whole_conversation(tmp_path):
    turns = (
        Message("user", "What is a tide?"),
        Message("assistant", "Water."),
        Message("user", "Why?"),
    )
    written = {"reward": "genrm/m", "principle": "Be brief."}
    with Server(answer=lambda body, place: as_json(3, 3, 3)) as server:
        score(tmp_path, server.model(top_p=0.95), written, Candidates(turns, ("a", "b")))
        bodies = [request["body"] for request in server.requests]
    said = [[(m["role"], m["content"]) for m in body["messages"]] for body in bodies]
    head = [*((m.role, m.content) for m in turns), ("principle", "Be brief.")]
    assert sorted(said) == [
        [*head, ("response_1", "a"), ("response_2", "b")],
        [*head, ("response_1", "b"), ("response_2", "a")],
    ]
    for body in bodies:
        assert (body["temperature"], body["top_p"]) == (0.6, 0.95)
        assert "response_format" not in body  # it would forbid the thoughts
        assert 16384 in (body.get("max_tokens"), body.get("max_completion_tokens"))


def test_both_orders_are_averaged(tmp_path):
    def answer(body, place):  # whatever comes first is a point better, and ranked so
        one, two, _ = scores_of(body)
        return as_json(one + 1, two, 1)

    with Server(answer=answer) as server:
        (found,) = score(tmp_path, server.model(), "genrm/m", ["good", "bad"])
    assert [scores["helpfulness"] for scores in found] == [2.5, 1.5]
    assert all(
        (scores["wins"], scores["consistency"], scores["first"]) == (0.5, 0, 1) for scores in found
    )


def test_a_strong_preference_in_one_order_outweighs_a_weak_one_in_the_other(tmp_path):
    def answer(body, place):
        good = quality(body["messages"][-2]["content"])
        return as_json(3, 3, 1 if good else 3)

    with Server(answer=answer) as server:
        (found,) = score(tmp_path, server.model(), "genrm/m", ["good", "bad"])
    assert [scores["wins"] for scores in found] == [1, 0]
    assert found[0]["consistency"] == 0


def test_what_cannot_be_compared_has_no_score_and_costs_nothing(tmp_path):
    jobs = (["good"], ["good", "good"], ["", "good"], [" "], [])
    with Server(answer=lambda body, place: as_json(3, 3, 3)) as server:
        found = score(tmp_path, server.model(), "genrm/m", *jobs)
        assert not server.requests
    assert found == [[None] * len(job) for job in jobs]


def test_an_empty_response_among_others_has_no_score(tmp_path):
    with Server(answer=lambda body, place: as_json(*scores_of(body))) as server:
        (found,) = score(tmp_path, server.model(), "genrm/m", ["good", "", "bad", "good"])
        assert len(server.requests) == 2
    assert found[1] is None
    assert found[0] == found[3] != found[2]


@pytest.mark.parametrize(
    "bad",
    [
        "Response 1 is better.", as_json(3, 3, 7), as_json(0, 3, 3), as_json(3, 5.5, 3),
        '{"score_1": NaN, "score_2": 3, "ranking": 3}', '{"score_1": 3, "ranking": 3}',
        f"{as_json(3, 3, 3)} or {as_json(4, 3, 3)}", "<think> and so on, and so on", "",
        as_boxes(3, "?", 3), as_boxes(3, 3, 0), as_boxes(3, 3, "3, 4"), as_boxes("nan", 3, 3),
        '[3, 3, 3]',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_drawn_again_and_then_fails_the_row(tmp_path, bad):
    with pytest.raises(ValueError, match=r"\w"):
        read_pair(bad)
    with Server(answer=lambda body, place: bad) as server:
        (found,) = score(tmp_path, server.model(), "genrm/m", ["good", "bad"])
        assert len(server.requests) == 2 * 3  # both orders may end, as they are paid for
    assert isinstance(found, RowError)
    assert "0 of 3 answers can be read" in str(found)


def test_one_bad_draw_costs_one_more(tmp_path):
    def answer(body, place):
        return answers.pop(0)

    answers = ["no", as_json(4, 2, 2), as_json(2, 4, 5)]
    written = {"reward": "genrm/m", "tries": 2}
    with Server(answer=answer) as server:
        model = server.model(concurrency=1)
        (found,) = score(tmp_path, model, written, ["good", "bad"])
        asked = len(server.requests)
        assert asked == 3
        assert score(tmp_path, model, written, ["good", "bad"]) == [found]
        assert len(server.requests) == asked
    assert {scores["helpfulness"] for scores in found} <= {2.0, 3.0, 4.0}


def test_cut_off_and_filtered_answers_are_no_scores(tmp_path):
    with pytest.raises(ValueError, match="cut off at max_tokens"):
        read_pair(as_json(3, 3, 3), "length")
    answer = lambda body, place: as_json(3, 3, 3)  # noqa: E731
    with Server(answer=answer, finish_reason="content_filter") as server:
        (found,) = score(tmp_path, server.model(), "genrm/m", ["good", "bad"])
    assert "declined to answer" in str(found)


def test_numbers_are_read_as_they_stand():
    assert read_pair(as_json(4, 2.5, 2)) == Compared(4.0, 2.5, 2.0)
    assert read_pair(as_boxes(4, 2, 1)) == Compared(4.0, 2.0, 1.0)


# --- principles ---------------------------------------------------------------------------------


def judged(body, place):
    good = quality(body["messages"][-2]["content"]) > place
    verdict = "Yes" if good else "No"
    return f"<think>Final Judgement: Yes?</think>It is so.\n\nFinal Judgement: {verdict}"


def test_a_principle_is_judged_response_by_response(tmp_path):
    with Server(answer=judged) as server:
        (found,) = score(tmp_path, server.model(), PRINCIPLE, [*TEXTS, ""])
        said = [request["body"]["messages"] for request in server.requests]
    assert found == [{"fulfils": 1}, {"fulfils": 1}, {"fulfils": 0}, None]
    roles = [[message["role"] for message in messages] for messages in said]
    assert roles == [["user", "assistant", "principle"]] * 3
    assert {messages[-1]["content"] for messages in said} == {"The answer is good."}


def test_samples_of_a_principle_vote(tmp_path):
    with Server(answer=judged) as server:
        (found,) = score(tmp_path, server.model(), {**PRINCIPLE, "samples": 4}, TEXTS)
    assert [scores["fulfils"] for scores in found] == [0.75, 0.25, 0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Final Judgement: Yes", 1.0), ("**Final Judgement:** No", 0.0),
        ("final judgment: no.", 0.0), ("Yes, because it is so.", None), ("", None),
        ("Final Judgement: Yes\nFinal Judgement: No", None), ("Final Judgement: Nothing", None),
        ("<think>Final Judgement: Yes", None),
    ],
)  # fmt: skip
def test_judgements_are_read_or_refused(text, value):
    if value is None:
        with pytest.raises(ValueError, match=r"\w"):
            read_judgement(text)
    else:
        assert read_judgement(text) == value


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"form": "principle"}, "needs a principle"),
        ({"samples": 2, "temperature": 0}, "samples: 2 at temperature 0"),
        ({"form": "principles"}, "did you mean 'principle'"),
    ],
)
def test_mistakes_are_said_before_anything_is_asked(tmp_path, written, words):
    with pytest.raises(RecipeError, match=re.escape(words)):
        load_reward({"reward": "genrm/m", **written}, tmp_path)


def test_a_run_pays_once(tmp_path):
    rows = [{"prompt": PROMPT[0].content, "responses": list(TEXTS)}]
    with Server(answer=lambda body, place: as_json(*scores_of(body))) as server:
        for _ in range(2):
            (row,) = rows_of(run(tmp_path, server.model(), {"it": "genrm/m"}, rows).accepted_file)
        assert len(server.requests) == 6
    assert [response.scores["it.helpfulness"] for response in row.responses] == [4, 2, 1]
