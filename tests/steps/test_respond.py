"""respond: n answers of each model, beside those a row already has."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest
from conftest import rows_of
from server import Server

import karat
from karat import RecipeError
from karat.errors import ProviderError, RowError, RunError
from karat.step import find
from karat.together import all_of

respond = find("respond")


def responded(make_recipe, tmp_path, server, rows=2, others=None, **params):
    steps = [{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["teacher"], **params}}]
    path = make_recipe(server.model(), rows, steps, models=others or {})
    return rows_of(karat.run(path, tmp_path / "out").accepted_file)


def test_each_model_gives_n_answers_in_order(make_recipe, tmp_path):
    with Server() as server:
        models = {"other": {**server.model(), "model": "openai/other"}}
        rows = responded(make_recipe, tmp_path, server, 2, models, models=["other", "teacher"], n=3)
    for row in rows:
        assert [r.model for r in row.responses] == ["openai/other"] * 3 + ["openai/loop"] * 3
        assert [r.index for r in row.responses] == [0, 1, 2] * 2
        assert len({r.call for r in row.responses}) == 6
        assert {r.finish_reason for r in row.responses} == {"stop"}


def test_variety_gives_each_row_a_voice_and_records_it(make_recipe, tmp_path):
    lists = {"persona": [], "tone": ["warmly", "soberly"], "length": ["in one line"],
             "expertise": [], "format": [], "language": ["German"]}  # fmt: skip
    with Server() as server:
        rows = responded(make_recipe, tmp_path, server, 20, n=2, system="Be right.", variety=lists)
        sent = {r["body"]["messages"][0]["content"] for r in server.requests}
    assert sent == {
        f"Be right.\nYou answer {tone}, in one line. You answer in German."
        for tone in ("warmly", "soberly")
    }
    for row in rows:
        assert row.meta["answer_voice"]["tone"] in row.messages[0].content
        assert set(row.meta["answer_voice"]) == {"tone", "length", "language"}


def test_every_shipped_voice_makes_a_sentence(make_recipe, tmp_path):
    with Server() as server:
        rows = responded(make_recipe, tmp_path, server, 40, variety="default")
        sent = [r["body"]["messages"][0]["content"] for r in server.requests]
    assert len(set(sent)) > 30
    for text in sent:
        assert text.startswith("You are ")
        assert "  " not in text
        assert text.endswith(".")
    assert set(rows[0].meta["answer_voice"]) == {"persona", "tone", "length", "expertise", "format"}


def test_a_system_message_of_the_rows_own_stays_alone(make_recipe, tmp_path):
    (tmp_path / "own.jsonl").write_text(
        json.dumps({"messages": [{"role": "system", "content": "Mine."},
                                 {"role": "user", "content": "Why is it so?"}]})
    )  # fmt: skip
    steps = [
        {"read": {"path": "own.jsonl"}},
        {"respond": {"models": ["teacher"], "variety": "default", "system": "No."}},
    ]
    with Server() as server:
        run = karat.run(make_recipe(server.model(), steps=steps), tmp_path / "out")
    (row,) = rows_of(run.accepted_file)
    assert [m.content for m in row.messages] == ["Mine.", "Why is it so?"]
    assert "answer_voice" not in row.meta


def test_sampling_values_reach_the_model_and_open_ones_do_not(make_recipe, tmp_path):
    with Server() as server:
        responded(
            make_recipe,
            tmp_path,
            server,
            1,
            n=2,
            temperature=0.7,
            top_p=0.9,
            max_tokens=5,
            stop=["END"],
        )
        (sent,) = server.requests
        body = {k: v for k, v in sent["body"].items() if k not in ("messages", "seed")}
        assert body == {
            "model": "loop",
            "n": 2,
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 5,
            "stop": ["END"],
        }
    with Server() as server:
        path = make_recipe(server.model(), 1)
        karat.run(path, tmp_path / "open")
        assert set(server.requests[0]["body"]) == {"model", "messages", "seed"}


def test_system_goes_in_front_where_a_row_brings_none(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(
            server.model(),
            steps=[
                {"read": {"path": "own.jsonl"}},
                {"respond": {"models": ["teacher"], "system": "Be brief."}},
            ],
        )
        own = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Why?"}]
        lines = [{"messages": own}, {"prompt": "How?"}]
        (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    assert [m.content for m in rows[0].messages] == ["Be long.", "Why?"]
    assert [m.content for m in rows[1].messages] == ["Be brief.", "How?"]
    assert sorted(len(r["body"]["messages"]) for r in server.requests) == [2, 2]


def test_given_answers_stay_beside_new_ones(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(
            server.model(),
            steps=[{"read": {"path": "own.jsonl"}}, {"respond": {"models": ["teacher"]}}],
        )
        (tmp_path / "own.jsonl").write_text('{"prompt": "Why?", "response": "Because."}\n')
        ((row),) = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    assert [r.model for r in row.responses] == ["", "openai/loop"]
    assert row.responses[0].content == "Because."


def test_equal_prompts_get_answers_of_their_own(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(
            server.model(),
            steps=[{"read": {"path": "own.jsonl"}}, {"respond": {"models": ["teacher"]}}],
        )
        (tmp_path / "own.jsonl").write_text('{"prompt": "Why?"}\n' * 3)
        rows = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    assert len({row.id for row in rows}) == len({row.responses[0].content for row in rows}) == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"models": []}, "models is empty"),
        ({"models": ["a", "a"]}, "twice"),
        ({"models": ["a"], "n": 2, "temperature": 0}, "raise temperature"),
        ({"models": ["a"], "top_p": 0}, "parameter 'top_p'"),
    ],
)
def test_what_cannot_be_meant_is_refused(params, message):
    with pytest.raises(RecipeError, match=message):
        respond(**params)


def test_a_row_without_messages_buys_nothing(make_recipe, tmp_path):
    with Server(script=lambda number, body: (400, b"{}", {})) as server:
        steps = [{"topics": {"given": ["tides"]}}, {"respond": {"models": ["teacher"]}}]
        try:
            run = karat.run(make_recipe(server.model(), steps=steps), tmp_path / "out")
            told = str(rows_of(run.dropped_file)[0].dropped)
        except RecipeError as error:  # told before anything runs: even better
            told = str(error)
        assert "message" in told
        assert server.requests == []


def test_a_failed_model_does_not_lose_what_another_was_paid_for(make_recipe, tmp_path):
    """Else a second run would pay for the slow one again."""

    def fault(number, body):
        return (400, b"{}", {}) if body["model"] == "broken" else None

    with Server(script=fault, slow=lambda n, body: 0.3 * (body["model"] != "broken")) as server:
        path = make_recipe(
            server.model(),
            1,
            [{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["other", "teacher"]}}],
            models={"other": {**server.model(), "model": "openai/broken"}},
        )
        run = karat.run(path, tmp_path / "out")
    (row,) = rows_of(run.dropped_file)
    assert "HTTP 400" in row.dropped
    base = sqlite3.connect(run.journal)
    try:
        assert base.execute("SELECT count(*) FROM calls").fetchone() == (1,)
    finally:
        base.close()


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([RowError("a"), RowError("b")], "a"),
        ([RowError("a"), ProviderError("b"), RunError("c"), TypeError("d")], "c"),
        ([RowError("a"), TypeError("b")], "b"),
    ],
)
def test_the_gravest_error_is_raised_when_all_have_ended(errors, told):
    ended = []

    async def call(number, error=None):
        await asyncio.sleep(0 if error else 0.02)
        ended.append(number)
        if error:
            raise error

    async def together():
        await all_of([*(call(i, error) for i, error in enumerate(errors)), call(99)])

    with pytest.raises(Exception, match=f"^{told}$"):
        asyncio.run(together())
    assert len(ended) == len(errors) + 1


def test_what_is_asked_together_comes_back_in_order():
    async def call(number):
        await asyncio.sleep(0.01 * (3 - number))
        return number

    async def together():
        return await all_of(call(i) for i in range(3))

    assert asyncio.run(together()) == [0, 1, 2]
