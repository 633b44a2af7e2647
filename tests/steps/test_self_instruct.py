"""self_instruct: what a call shows, what is taken of its answer, and where it is written down."""

from __future__ import annotations

import json
import random
import sqlite3
import zlib
from collections import Counter
from pathlib import Path

import pytest
from conftest import rows_of, slow
from server import Server

import karat
from karat import RecipeError
from karat.curation.lists import parse_list
from karat.curation.rouge import rouge_l
from karat.step import find

DATA = Path(__file__).parents[3] / "shared/data/prompts/self-instruct-seeds.jsonl"
VERBS = ["Describe", "Compare", "Rank", "Translate", "Explain", "Rewrite", "Sort", "Praise"]
NOUNS = ["tides", "lentils", "bridges", "sonnets", "budgets", "comets", "vowels", "treaties"]


def seeds(count):
    """Instructions of which no two are alike."""
    return [f"{VERBS[i % 8]} {NOUNS[i // 8 % 8]} s{i} s{i}a s{i}b s{i}c" for i in range(count)]


def listed(body, place, count=None):
    """As many new instructions as were asked for, each of words of its own."""
    text = body["messages"][-1]["content"]
    key = zlib.crc32(f"{body['messages']} {body['seed']}".encode())
    rng = random.Random(key)
    items = range(1, (count or int(text.split()[1])) + 1)
    return "".join(
        f"{i}. {rng.choice(VERBS)} {' '.join(f'w{rng.randrange(10**6)}' for _ in range(5))}\n"
        for i in items
    )


def shown(request):
    """The examples of a request."""
    return parse_list(request["body"]["messages"][1]["content"])


def made(make_recipe, tmp_path, server, records, out="out", model=None, **params):
    lines = [{"instruction": r} if isinstance(r, str) else r for r in records]
    steps = [
        {"read": {"path": "seeds.jsonl", "prompt": "instruction", "source": "human"}},
        {"self_instruct": {"model": "teacher", "novelty": "off", **params}},
    ]
    path = make_recipe(server.model(**(model or {})), steps=steps)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "seeds.jsonl").write_text(text, encoding="utf-8")
    run = karat.run(path, tmp_path / out)
    return rows_of(run.accepted_file), run


def counts(run):
    return run.report["funnel"][1]["notes"]["counts"]


# --- what is written ------------------------------------------------------------------------------


def test_each_seed_brings_new_instructions(make_recipe, tmp_path):
    with Server(answer=listed) as server:
        rows, run = made(make_recipe, tmp_path, server, seeds(12), n=4)
        assert len(server.requests) == 12
    assert len({row.id for row in rows}) == len(rows) == 48
    assert counts(run) == {"taken": 48}
    before = {row.id for row in rows_of(run.stages / "01-read.parquet")}
    for row in rows:
        assert [m.role for m in row.messages] == ["user"]
        assert row.source == "synthetic"
        assert row.responses == []
        assert set(row.meta) == {"writer", "examples"}
        assert row.meta["writer"] == "self_instruct"
        assert len(set(row.meta["examples"])) == 8
        assert set(row.meta["examples"]) <= before


def test_every_instruction_knows_its_call_and_its_examples(make_recipe, tmp_path):
    with Server(answer=listed) as server:
        rows, run = made(make_recipe, tmp_path, server, seeds(10), n=3, examples=4)
        sets = {frozenset(shown(request)) for request in server.requests}
    before = {row.id: row.prompt for row in rows_of(run.stages / "01-read.parquet")}
    base = sqlite3.connect(run.journal)
    try:
        texts = dict(base.execute("SELECT lower(hex(key)), content FROM calls"))
    finally:
        base.close()
    for row in rows:
        assert row.prompt in texts[row.calls[-1]]
        assert frozenset(before[one] for one in row.meta["examples"]) in sets


def test_the_examples_are_an_answer_the_model_has_given(make_recipe, tmp_path):
    with Server(answer=listed) as server:
        made(make_recipe, tmp_path, server, seeds(5), n=2, examples=3)
        messages = server.requests[0]["body"]["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"].replace("3", "2") == messages[2]["content"]
    assert [line[:3] for line in messages[1]["content"].splitlines()] == ["1. ", "2. ", "3. "]


def test_a_seed_that_is_alone_shows_itself(make_recipe, tmp_path):
    with Server(answer=listed) as server:
        rows, _ = made(make_recipe, tmp_path, server, ["Name three rivers of Asia:"], n=2)
        assert shown(server.requests[0]) == ["Name three rivers of Asia"]
    assert len(rows) == 2


def test_a_seed_cannot_add_turns_and_takes_one_line(make_recipe, tmp_path):
    with Server(answer=listed) as server:
        made(make_recipe, tmp_path, server, ["Name three rivers\n--- user\nNo", *seeds(1)], n=1)
        for request in server.requests:
            messages = request["body"]["messages"]
            assert [m["role"] for m in messages] == ["user", "assistant", "user"]
            assert "Name three rivers --- user No" in messages[1]["content"]


def test_long_peers_are_not_shown(make_recipe, tmp_path):
    with Server(answer=listed) as server:
        made(make_recipe, tmp_path, server, [*seeds(3), "word " * 151], n=1)
        lengths = Counter(len(shown(request)) for request in server.requests)
    assert lengths == {3: 3, 4: 1}  # only the long one's own call shows it


def test_people_are_shown_before_machines(make_recipe, tmp_path):
    """Of eight examples six are people's and two a model's, as in Self-Instruct."""
    with Server(answer=listed) as server:
        steps = [
            {"read": {"path": "prompts.jsonl", "source": "human"}},
            {"self_instruct": {"model": "teacher", "n": 1, "keep_seeds": True, "novelty": "off"}},
            {"self_instruct": {"model": "teacher", "n": 1, "novelty": "off"}},
        ]
        run = karat.run(make_recipe(server.model(), rows=40, steps=steps), tmp_path / "out")
        second = server.requests[40:]
        people = Counter(sum("What is number" in e for e in shown(r)) for r in second)
    assert run.report["funnel"][-1]["rows_in"] == len(second) == 80
    # Each row shows itself, a person's half of the time, five people's or six, and two models'.
    assert people[5] + people[6] > 70
    assert max(people) == 6


# --- what is refused ------------------------------------------------------------------------------


def test_what_is_near_a_seed_or_an_earlier_one_is_refused(make_recipe, tmp_path):
    seed = "Describe how tides change with the moon"
    answer = (
        "1. Describe how tides change with the full moon\n"
        "2. Name three rivers that flow through Asia\n"
        "3. Name four rivers that flow through Asia\n"
        "4. Rank these sports by their danger\n"
    )
    with Server(answer=lambda body, place: answer) as server:
        rows, run = made(make_recipe, tmp_path, server, [seed], n=4, tries=1)
        loose, _ = made(make_recipe, tmp_path, server, [seed], "loose", n=4, tries=1, rouge=1.0)
    assert [row.prompt for row in rows] == [
        "Name three rivers that flow through Asia", "Rank these sports by their danger"
    ]  # fmt: skip
    assert counts(run) == {"taken": 2, "too near": 2}
    assert len(loose) == 4


def test_nothing_that_was_drawn_is_written_again(make_recipe, tmp_path):
    """Not even what was drawn and not shown."""
    pool = seeds(12)

    def parrot(body, place):
        return "".join(f"{i}. {text}\n" for i, text in enumerate(pool, 1))

    with Server(answer=parrot) as server:
        rows, run = made(make_recipe, tmp_path, server, pool, n=5, examples=4, tries=1)
    assert counts(run)["too near"] >= 10 * 12
    for row in rows:
        assert row.meta["examples"]
        assert max(rouge_l(row.prompt, text) for text in pool) == 1  # of those not drawn


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("Describe yourself thoroughly", "too short or too long"),
        ("Name " + "and so on " * 50, "too short or too long"),
        ("Look at the image and say what it shows", "not for a model of text"),
        ("Draw a house with two windows", "not for a model of text"),
        ("Write a program that adds two numbers", "not for a model of text"),
        ("Summarise the following text for a child", "no usable prompt"),
        ("Describe the map-like structure of memory", "not for a model of text"),
        ("Describe what photography means to you", ""),
        ("Explique pourquoi la mer est salée", ""),
        ("¿Por qué el mar es salado?", ""),
        ("为什么海水是咸的，而河水不是？", ""),
    ],
)
def test_what_does_not_fit_is_refused(make_recipe, tmp_path, item, why):
    with Server(answer=lambda body, place: f"1. {item}\n2. Praise w1 w2 w3 w4") as server:
        rows, run = made(make_recipe, tmp_path, server, seeds(1), n=2, tries=1)
    assert len(rows) == (1 if why else 2)
    assert counts(run) == ({"taken": 1, why: 1} if why else {"taken": 2})


def test_code_may_speak_of_files_and_graphs(make_recipe, tmp_path):
    answer = "1. Write a program that reads a file\n2. Write a function that walks a graph\n"
    records = [{"instruction": text, "task": "coding"} for text in seeds(4)]
    with Server(answer=lambda body, place: answer) as server:
        rows, _ = made(make_recipe, tmp_path, server, records, n=2, tries=1)
        assert len(rows) == 8
        assert {row.meta["task"] for row in rows} == {"coding"}
        mixed = [*records[:3], {"instruction": "Praise the sea", "task": "writing"}]
        rows, run = made(make_recipe, tmp_path, server, mixed, "mixed", n=2, tries=1)
    assert rows == []
    assert counts(run) == {"not for a model of text": 8}


def test_the_licences_of_what_was_shown_are_named(make_recipe, tmp_path):
    records = [
        {"instruction": text, "licence": licence}
        for text, licence in zip(seeds(3), ["MIT", "CC0-1.0", "MIT"], strict=True)
    ]
    with Server(answer=listed) as server:
        rows, _ = made(make_recipe, tmp_path, server, records, n=1)
    assert {frozenset(row.meta["licence"].split(" + ")) for row in rows} == {
        frozenset({"MIT", "CC0-1.0"})
    }


# --- how often it asks ----------------------------------------------------------------------------


def test_a_short_list_is_asked_for_again_with_other_examples(make_recipe, tmp_path):
    with Server(answer=lambda body, place: listed(body, place, count=2)) as server:
        rows, _ = made(make_recipe, tmp_path, server, seeds(30), n=5, examples=3)
        first = [r for r in server.requests if r["body"]["messages"][-1]["content"][6] == "5"]
        asked = Counter(r["body"]["messages"][-1]["content"].split()[1] for r in server.requests)
    assert len(rows) == 150
    assert asked == {"5": 30, "3": 30, "1": 30}
    assert len(first) == 30
    by_row = Counter(tuple(sorted(row.meta["examples"])) for row in rows)
    assert len(by_row) > 80  # a set of its own for each call


def test_more_than_five_take_several_calls(make_recipe, tmp_path):
    with Server(answer=listed) as server:
        rows, _ = made(make_recipe, tmp_path, server, seeds(1), n=12)
        asked = [r["body"]["messages"][-1]["content"].split()[1] for r in server.requests]
    assert len(rows) == 12
    assert asked == ["5", "5", "2"]


def test_what_never_comes_is_missing(make_recipe, tmp_path):
    with Server(answer=lambda body, place: "no") as server:
        rows, run = made(make_recipe, tmp_path, server, seeds(1), n=6, tries=2)
        assert len(server.requests) == 3
    assert rows == []
    (row,) = rows_of(run.dropped_file)
    assert row.dropped == "self_instruct: nothing usable was written"


def test_an_item_cut_off_is_left_out(make_recipe, tmp_path):
    text = "1. Name three rivers that flow through Asia\n2. Name four mountains that"
    with Server(answer=lambda body, place: text, finish_reason="length") as server:
        rows, _ = made(make_recipe, tmp_path, server, seeds(1), n=2, tries=1)
    assert [row.prompt for row in rows] == ["Name three rivers that flow through Asia"]


def test_seeds_go_on_where_they_are_kept(make_recipe, tmp_path):
    with Server(answer=listed) as server:
        rows, run = made(make_recipe, tmp_path, server, seeds(3), n=2, keep_seeds=True)
        nothing, _ = made(
            make_recipe, tmp_path, server, seeds(3), "none", n=2, keep_seeds=True, rouge=0.01
        )
    assert len({row.id for row in rows}) == len(rows) == 9
    human = [row for row in rows if row.source == "human"]
    assert sorted(row.prompt for row in human) == sorted(seeds(3))
    assert not any("writer" in row.meta for row in human)
    assert len(nothing) >= 3
    assert run.report["funnel"][1]["rows_out"] == 9


def test_a_row_without_a_prompt_buys_nothing(make_recipe, tmp_path):
    steps = [{"topics": {"given": ["tides"]}}, {"self_instruct": {"model": "teacher"}}]
    with Server(answer=listed) as server:
        run = karat.run(make_recipe(server.model(), steps=steps), tmp_path / "out")
        assert server.requests == []
    assert "no prompt to show" in str(rows_of(run.dropped_file)[0].dropped)


# --- the same at any concurrency, and the rest ----------------------------------------------------


def test_the_same_rows_at_any_concurrency(make_recipe, tmp_path, monkeypatch):
    def answer(body, place):
        return listed(body, place, count=2)

    files = []
    with Server(answer=answer, slow=lambda number, body: number % 3 / 100) as server:
        for width in (1, 16):
            monkeypatch.setattr("karat.executors.rows.LEAST_WIDTH", width)
            rows, run = made(
                make_recipe, tmp_path, server, seeds(24), out=f"out{width}",
                model={"concurrency": width}, n=4, keep_seeds=True,
            )  # fmt: skip
            files.append(run.accepted_file.read_bytes())
        assert server.peak > 4
    assert files[0] == files[1]
    assert len(rows) == 24 * 5


def test_what_different_seeds_write_alike_is_found_by_dedupe(make_recipe, tmp_path):
    def answer(body, place):
        return "1. Name three rivers that flow through Asia\n2. Praise w1 w2 w3 w4 w5\n"

    with Server(answer=answer) as server:
        steps = [
            {"read": {"path": "prompts.jsonl"}},
            {"self_instruct": {"model": "teacher", "n": 2, "novelty": "off"}},
            {"dedupe": {"measure": "rouge_l", "threshold": 0.7}},
        ]
        run = karat.run(make_recipe(server.model(), rows=5, steps=steps), tmp_path / "out")
    assert len(rows_of(run.accepted_file)) == 2


@pytest.mark.parametrize("params", [{"n": 0}, {"examples": 0}, {"rouge": 0}, {"rouge": 1.1}])
def test_what_cannot_be_meant_is_refused(params):
    with pytest.raises(RecipeError, match=next(iter(params))):
        find("self_instruct")(model="m", **params)


@pytest.mark.parametrize(("keep", "rows"), [(False, 70), (True, 80)])
def test_a_forecast_counts_rows_and_calls(make_recipe, keep, rows):
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"self_instruct": {"model": "teacher", "n": 7, "keep_seeds": keep}},
    ]
    path = make_recipe({"model": "openai/x", "base_url": "http://127.0.0.1:1/v1"}, steps=steps)
    line = karat.plan(path)[-1]
    assert (line.rows_out, line.calls) == (rows, 20)


@pytest.mark.skipif(not DATA.exists(), reason="shared data is not here")
@pytest.mark.timeout(170)
@slow
def test_a_small_model_writes_after_human_seeds(make_recipe, tmp_path):
    pytest.importorskip("xllamacpp")
    steps = [
        {"read": {"path": str(DATA), "prompt": "instruction", "limit": 1}},
        {"self_instruct": {"model": "small", "n": 1, "max_tokens": 40}},
    ]
    models = {"small": "embedded/smollm2-135m"}
    run = karat.run(make_recipe(models=models, steps=steps), tmp_path / "out")
    assert len(rows_of(run.accepted_file)) == 1


def test_what_means_the_same_is_refused_and_what_earlier_rounds_wrote(make_recipe, tmp_path):
    """ROUGE-L sees words in order; the gate sees the same request in another order."""
    answer = (
        "1. Explain to a child how vaccines work.\n"
        "2. How do vaccines work? Explain it to a child.\n"
        "3. Name three rivers of Africa."
    )
    records = [{"instruction": "Write a short poem about the harbour."}]
    with Server(answer=lambda body, place: answer) as server:
        rows, run = made(
            make_recipe, tmp_path, server, records, n=3, tries=1, novelty={"meaning": 0.9}
        )
    prompts = [row.prompt for row in rows]
    assert prompts == ["Explain to a child how vaccines work.", "Name three rivers of Africa."]
    assert counts(run)["too close"] == 1
