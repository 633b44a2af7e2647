"""karat.grade: one line, the scores a run would give, and nothing that was paid is lost."""

from __future__ import annotations

import json
import sqlite3

import pyarrow as pa
import pytest
from cells import one_line, safe
from seen_run import EVIL
from server import Server

import karat
from karat import Message, Recipe, RecipeError
from karat.costs import costs
from karat.step import find

TEXTS = ["Air scatters blue light more than red light.", "sky sky sky sky sky sky", "No."]
PRICE = {"input": 1, "output": 1}


def score_of(body, place=0):
    """A judge's answer to `ask: score`: the more often a text says good, the better."""
    text = body["messages"][1]["content"]
    return json.dumps({"reasoning": "So.", "score": 1 + min(9, text.count("good"))})


@pytest.fixture
def judged(make_recipe):
    """A recipe's file with a judge that asks the server."""

    def make(server, **top):
        rewards = {"judge": {"reward": "judge/teacher", "ask": "score"}}
        return make_recipe(server.model(price=PRICE), rewards=rewards, **top)

    return make


def test_grade_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grades = karat.grade("Why is the sky blue?", TEXTS)
    assert grades.best == TEXTS[0]
    assert grades.order[0] == 0
    assert set(grades.scores[0]) == set(grades.scales)
    assert all(
        low <= line[name] <= high
        for name, (low, high) in grades.scales.items() if name != "uncertainty"
        for line in grades.scores
    )  # fmt: skip
    assert (grades.cost_usd, grades.calls, grades.journal) == (0, 0, None)
    assert list(tmp_path.iterdir()) == []
    frame = grades.to_pandas()
    assert list(frame["response"]) == TEXTS
    assert list(frame.sort_values("rank").index) == grades.order
    assert len(grades) == 3
    assert grades[1] == grades.scores[1]
    assert grades.best in safe(grades._repr_html_())
    assert "best reward" in one_line(grades)


def test_a_score_is_the_one_a_run_gives(make_recipe, tmp_path):
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"prompt": "Why?", "response": text}) + "\n" for text in TEXTS)
    )
    steps = [find("read")(path=str(tmp_path / "a.jsonl"))]
    steps += [find("grade")(reward="embedded/helpsteer2")]
    run = karat.run(Recipe(steps), tmp_path / "out")
    want = {one.content: one.scores for row in run.accepted for one in row.responses}
    grades = karat.grade("Why?", TEXTS)
    for text, scores in zip(TEXTS, grades.scores, strict=True):
        assert want[text] == {f"embedded/helpsteer2.{k}": v for k, v in scores.items()}


def test_one_text_a_conversation_and_another_order():
    talk = [{"role": "user", "content": "Why?"}]
    same = karat.grade("Why?", "Because.")
    assert karat.grade(talk, ["Because."]).scores == same.scores
    assert karat.grade([Message("user", "Why?")], ("Because.",)).scores == same.scores
    by = karat.grade("Why?", TEXTS, by="verbosity")
    values = [by.scores[place]["verbosity"] for place in by.order]
    assert values == sorted(values, reverse=True)


def test_many_prompts_are_graded_as_one_by_one():
    prompts = [f"What is number {i}?" for i in range(300)]  # more than are under way at once
    answers = [[f"It is {i}.", "No."] for i in range(300)]
    graded = karat.grade(prompts, answers)
    assert [list(one.responses) for one in graded] == answers
    assert graded[299].scores == karat.grade(prompts[299], answers[299]).scores
    assert graded.best == [one.best for one in graded]
    frame = graded.to_pandas()
    assert len(frame) == 600
    assert list(frame.columns[:4]) == ["prompt", "text", "response", "rank"]
    assert "300 prompts, 600 responses" in one_line(graded)
    assert "and 280 more" in safe(graded._repr_html_())
    paired = karat.grade(["Why?", talk_of("How?")], ["Because.", "So."])
    assert [one.responses for one in paired] == [("Because.",), ("So.",)]
    assert karat.grade([], []) == []
    assert karat.grade([], []).to_pandas().empty
    safe(karat.grade([], [])._repr_html_())


def talk_of(text):
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((3, ["a"]), "prompt: give text, a list of messages, or a list of prompts, not int"),
        (({"role": "user"}, ["a"]), "prompt: give text, a list of messages"),
        ((karat.Row("p"), ["a"]), "prompt: a row has both: give row.messages and"),
        ((pa.table({"prompt": ["p"]}), ["a"]), "prompt: give a column of the table, such as"),
        (("", ["a"]), "prompt: is empty"),
        (("a", []), "responses: is empty"),
        (("a", 3), "responses: give a list of texts, not int"),
        (("a", ["b", None]), r"responses\[1\]: must be text, not NoneType"),
        ((["a", "b"], [["c"]]), "2 prompts and 1 lists of responses"),
        ((["a", "b"], "c"), "2 prompts; give a list"),
        ((["a", 3], ["b", "c"]), r"prompt \[1\]: give text"),
        (([{"rol": "user", "content": "a"}], ["b"]), "no 'rol'; did you mean 'role'"),
        (([{"role": "user"}], ["b"]), 'a message is {"role": "user", "content"'),
        (("a", ["b"], "helpsteer2"), "did you mean 'embedded/helpsteer2'"),
        (("a", ["b"], "embeded/helpsteer2"), "did you mean 'embedded/helpsteer2'"),
        (("a", ["b"], 3), "reward: give kind/name"),
    ],
)
def test_what_cannot_be_graded_is_told_before_anything_is_asked(arguments, said):
    with pytest.raises(RecipeError, match=said):
        karat.grade(*arguments)


def test_what_is_paid_is_recorded_and_not_paid_again(judged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Server(answer=score_of) as server:
        path = judged(server)
        first = karat.grade("Why?", ["good good", "bad"], "judge", recipe=path)
        assert first.best == "good good"
        assert (first.calls, len(server.requests)) == (2, 2)
        assert first.cost_usd == pytest.approx(2 * 17e-6)
        assert first.journal == "runs/grades/journal.sqlite"
        assert "recorded in runs/grades/journal.sqlite" in repr(first)
        again = karat.grade("Why?", ["good good", "bad", "good"], "judge", recipe=Recipe.load(path))
        assert len(server.requests) == 3
        assert (again.calls, again.order) == (1, [0, 2, 1])
        assert again.cost_usd == pytest.approx(17e-6)
    base = sqlite3.connect(first.journal)
    try:
        ((step, count, nano),) = base.execute("SELECT step, count(*), sum(cost_nano) FROM calls")
    finally:
        base.close()
    assert (step, count, nano) == ("grade", 3, 3 * 17_000)
    assert sum(line.cost_nano for line in costs([tmp_path / "runs"], "model").lines) == 3 * 17_000


def test_a_budget_holds_and_a_journal_is_where_it_is_said(judged, tmp_path):
    with Server(answer=score_of) as server:
        path, folder = judged(server), tmp_path / "kept"
        one = karat.grade("Why?", ["good"], "judge", recipe=path, journal=folder)
        assert one.journal == str(folder / "journal.sqlite")
        with pytest.raises(karat.RunError, match="budget"):
            karat.grade("Why?", ["bad"], "judge", recipe=path, journal=folder, budget_usd=1e-6)
        assert len(server.requests) == 1
        free = karat.grade("Why?", ["good"], journal=tmp_path / "mine.sqlite")
        assert (free.calls, free.journal) == (0, str(tmp_path / "mine.sqlite"))


def test_what_one_prompt_is_refused_does_not_take_the_others_scores(judged, tmp_path):
    def refuse(number, body):
        if "number 1" in body["messages"][1]["content"]:
            return 400, b'{"error": {"message": "flagged"}}', {"content-type": "application/json"}
        return None

    prompts = [f"What is number {i}?" for i in range(3)]
    with Server(answer=score_of, script=refuse) as server:
        path = judged(server)
        many = karat.grade(prompts, [["good"]] * 3, "judge", recipe=path, journal=tmp_path / "kept")
        assert [bool(one.error) for one in many] == [False, True, False]
        assert "flagged" in many[1].error
        assert many.best == ["good", None, "good"]
        assert "1 not graded" in repr(many)
        assert "flagged" in safe(many._repr_html_())
        assert "flagged" in safe(many[1]._repr_html_())
        assert list(many.to_pandas()["rank"].isna()) == [False, True, False]
        with pytest.raises(karat.RowError, match="flagged"):
            karat.grade(prompts[1], ["good"], "judge", recipe=path, journal=tmp_path / "kept")


def test_a_grade_shows_hostile_text_as_text():
    grades = karat.grade(EVIL, [EVIL, f"{EVIL} and more", "\ud800 alone"])
    safe(grades._repr_html_())
    one_line(grades)
    assert grades.to_pandas()["response"][2] == "? alone"
    assert grades.to_arrow().num_rows == 3
