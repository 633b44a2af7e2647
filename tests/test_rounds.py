"""`exactly: N`: rounds with fresh seeds until so many rows are accepted, or a reason why not."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter

import pytest
from conftest import rows_of, run_karat
from listing import listed
from server import Server

import karat
from karat.errors import RecipeError
from karat.target import Round, parse_target

SOURCE = """
@step
async def ask(row: Row, ctx: Context, *, model: str, n: int = 5) -> list[Row]:
    made = []
    for kind in ("odd", "even"):
        if not ctx.wants({"kind": kind}):
            continue
        for answer in await ctx.chat(model, f"Ask something {kind}.", n=n, temperature=1.0):
            meta = {"kind": kind, "text": answer.content}
            messages = [Message("user", answer.content)]
            made.append(Row(f"{row.id}-{kind}{answer.index}", messages, meta=meta, calls=[answer.call]))
    return made

@step
async def pick(row: Row, ctx: Context) -> Row:
    if row.meta["text"][-2] in "abc":
        row.dropped = "ends badly"
    return row
"""  # noqa: E501


def said(body, place, words=1000):
    key = repr((body["messages"], body.get("seed"), place)).encode()
    number = int.from_bytes(hashlib.sha256(key).digest()[:4], "little")
    return f"What is thing {number % words} of kind {hashlib.sha256(key).hexdigest()[:6]}?"


@pytest.fixture
def steps(user_module, request):
    name = user_module(f"asking_{zlib.crc32(request.node.name.encode())}", SOURCE)
    return [
        {f"{name}:ask": {"model": "teacher"}}, {"dedupe": {"threshold": 1.0}}, f"{name}:pick"
    ]  # fmt: skip


def made(make_recipe, out, server, steps, *overrides, **top):
    path = make_recipe(server.model(**top.pop("model", {})), steps=steps, **top)
    return karat.run(karat.Recipe.load(path, overrides), out)


def test_so_many_rows_are_accepted_and_no_more(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=57)
        calls = len(server.requests)
    rows = rows_of(run.accepted_file)
    assert len(rows) == 57
    assert len({row.prompt for row in rows}) == len({row.id for row in rows}) == 57
    told = run.report["exactly"]
    assert told["rows"] == told["accepted"]["rows"] == 57
    assert told["why_short"] == ""
    assert calls == 2 * told["rounds"]  # no round is asked for twice
    funnel = {step["label"]: step for step in run.report["funnel"]}
    assert funnel["exactly"]["rows_out"] == 57
    ask = funnel["ask"]
    assert ask["rows_out"] + sum(ask["dropped"].values()) == 10 * told["rounds"]
    surplus = funnel["exactly"]["dropped"].get("more than asked for", 0)
    assert funnel["pick"]["rows_out"] == 57 + surplus
    assert len(rows_of(run.dropped_file)) == 10 * told["rounds"] - 57
    assert not run.report["warnings"][1:]  # only the word on human rows


def test_one_round_that_is_enough_stays_one(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=3)
        assert len(server.requests) == 2
    assert run.report["exactly"]["rounds"] == 1
    assert len(rows_of(run.accepted_file)) == 3


def test_the_same_bytes_at_any_concurrency_and_again_from_the_journal(make_recipe, tmp_path, steps):
    with Server(answer=said, latency_s=0.01) as server:
        runs = [
            made(make_recipe, tmp_path / str(width), server, steps, exactly=40,
                 model={"concurrency": width})
            for width in (1, 32)
        ]  # fmt: skip
        before = len(server.requests)
        first = runs[0].accepted_file.read_bytes()
        assert first == runs[1].accepted_file.read_bytes()
        again = made(make_recipe, tmp_path / "1", server, steps, exactly=40)
        assert again.report["this_run"]["replayed"] == 0  # every stage was there
        for stage in again.stages.iterdir():
            stage.unlink()
        again = made(make_recipe, tmp_path / "1", server, steps, exactly=40)
        assert again.accepted_file.read_bytes() == first
        assert len(server.requests) == before


def test_a_larger_number_buys_only_the_difference(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        small = made(make_recipe, tmp_path / "out", server, steps, exactly=20)
        before, rounds = len(server.requests), small.report["exactly"]["rounds"]
        ids = {row.id for row in rows_of(small.accepted_file)}
        large = made(make_recipe, tmp_path / "out", server, steps, exactly=60)
        more = large.report["exactly"]["rounds"] - rounds
        assert len(server.requests) - before == 2 * more
    assert ids <= {row.id for row in rows_of(large.accepted_file)}


def test_each_stratum_gets_its_number(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        run = made(
            make_recipe, tmp_path / "out", server, steps, exactly={"rows": 12, "per": "kind"}
        )
    assert Counter(row.meta["kind"] for row in rows_of(run.accepted_file)) == {
        "odd": 12,
        "even": 12,
    }
    assert run.report["exactly"]["accepted"] == {"odd": 12, "even": 12}


def test_a_stratum_that_has_enough_is_not_asked_for(make_recipe, tmp_path, steps):
    def odd_is_poor(body, place):
        text = said(body, place)
        poor = "odd" in body["messages"][-1]["content"] and int(text.split()[3]) % 4
        return f"{text[:-2]}a?" if poor else f"{text[:-2]}z?"

    with Server(answer=odd_is_poor) as server:
        run = made(
            make_recipe, tmp_path / "out", server, steps, exactly={"rows": 10, "per": "kind"}
        )
        asked = Counter(r["body"]["messages"][-1]["content"] for r in server.requests)
    assert Counter(row.meta["kind"] for row in rows_of(run.accepted_file)) == {
        "odd": 10,
        "even": 10,
    }
    assert asked["Ask something odd."] > asked["Ask something even."]


def test_what_runs_dry_is_said_with_the_reason(make_recipe, tmp_path, steps):
    with Server(answer=lambda body, place: said(body, place, 3)[:17] + "z?") as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=50)
        calls = len(server.requests)
    assert len(rows_of(run.accepted_file)) <= 3
    assert "run dry" in run.report["exactly"]["why_short"]
    (warning,) = [w for w in run.report["warnings"] if "exactly" in w]
    assert warning.startswith("exactly 50 was not reached (rows 3) after")
    assert calls < 40
    funnel = {step["label"]: step for step in run.report["funnel"]}
    assert funnel["ask"]["dropped"]["repeats an earlier round"] > 0


def test_a_budget_ends_it_with_what_there_is(make_recipe, tmp_path, steps):
    # 10 tokens in and 35 out a call at $1,000 per million: $0.045 a call, two calls a round.
    price = {"price": {"input": 1000, "output": 1000}, "max_tokens": 7}
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=500, budget_usd=1.0,
                   model=price)  # fmt: skip
        bought = len(server.requests)
        report = run.report
        assert 0 < report["rows"]["accepted"] < 500
        assert "budget" in report["exactly"]["why_short"]
        assert report["cost_usd"] <= 1.0
        more = made(make_recipe, tmp_path / "out", server, steps, exactly=500, budget_usd=2.0,
                    model=price)  # fmt: skip
        assert more.report["rows"]["accepted"] > report["rows"]["accepted"]
        assert more.report["cost_usd"] == pytest.approx(0.045 * len(server.requests))
        assert len(server.requests) > bought


def test_the_most_rounds_are_kept_to(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps,
                   exactly={"rows": 1000, "rounds": 3})  # fmt: skip
        assert len(server.requests) == 6
    assert "3 rounds" in run.report["exactly"]["why_short"]


def test_the_share_of_human_rows_stays(make_recipe, tmp_path, steps):
    lines = [{"prompt": f"Human asks {i}?", "response": "So."} for i in range(50)]
    (tmp_path / "human.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Server(answer=said) as server:
        mixed = [*steps, {"mix": {"human": "human.jsonl", "share": 0.25}}]
        run = made(make_recipe, tmp_path / "out", server, mixed, exactly=40)
    sources = Counter(row.source for row in rows_of(run.accepted_file))
    assert sources == {"synthetic": 30, "human": 10}


def test_failed_calls_are_no_reason_for_more_rounds(make_recipe, tmp_path, steps, monkeypatch):
    monkeypatch.setattr("karat.models.call.BACKOFF_S", (0.001, 0.002))

    def broken(number, body):
        return (500, b'{"error": {"message": "no"}}', {}) if "odd" in str(body) else None

    with Server(answer=said, script=broken) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=40)
    assert run.report["exactly"]["rounds"] == 1
    assert "run again" in run.report["exactly"]["why_short"]


@pytest.mark.parametrize("refused", range(3))
def test_what_is_refused_for_good_holds_nobody_up(make_recipe, tmp_path, user_module, refused):
    """One call in a later round is refused, then answered on the next run: the rows are those of a
    run that was never disturbed."""
    name = user_module(f"asking_refused{refused}", SOURCE)
    steps = [{f"{name}:ask": {"model": "teacher"}}, f"{name}:pick"]
    again = False

    def refuse(number, body):
        if number == 3 + refused and not again:
            return (400, b'{"error": {"message": "no"}}', {})
        return None

    with Server(answer=said, script=refuse) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=50)
        assert run.report["rows"]["accepted"] == 50
        again = True
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=50)
        whole = made(make_recipe, tmp_path / "whole", server, steps, exactly=50)
    assert run.accepted_file.read_bytes() == whole.accepted_file.read_bytes()


def test_a_preview_walks_one_round(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        path = make_recipe(server.model(), steps=steps, exactly=500)
        assert len(karat.preview(path, 3, tmp_path / "out")) == 3
        assert len(server.requests) == 2


def test_rows_of_a_file_alone_cannot_grow(make_recipe):
    with pytest.raises(RecipeError, match="exactly needs a step that writes rows"):
        karat.Recipe.load(make_recipe({"model": "vllm/x"}, exactly=5))


@pytest.mark.parametrize(
    "value", [0, -3, "many", 1.5, {"rows": 0}, {"per": "task"}, [3], {"row": 3}]
)
def test_what_cannot_be_meant_is_refused(value):
    with pytest.raises(RecipeError, match="exactly"):
        parse_target(value)


def test_it_loads_back_from_the_runs_own_recipe(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly={"rows": 5, "per": "kind"})
    again = karat.Recipe.load(run.recipe)
    assert again.exactly == parse_target({"rows": 5, "per": ["kind"]})


def test_a_round_knows_what_is_wanted_of_fields_known_so_far():
    standing = {("tea", "odd"): True, ("tea", "even"): False, ("sea", "odd"): False}
    round_ = Round(2, {}, standing, ("topic", "kind"))
    assert round_.wants({"topic": "tea"})
    assert not round_.wants({"topic": "tea", "kind": "even"})
    assert not round_.wants({"topic": "sea"})
    assert round_.wants({"topic": "new"})
    assert round_.values("topic") == ["tea"]
    assert round_.values("task") is None
    assert Round().wants({"topic": "sea"})
    assert Round().values("topic") is None


def test_running_again_finds_everything_done(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        made(make_recipe, tmp_path / "out", server, steps, exactly=40)
        again = made(make_recipe, tmp_path / "out", server, steps, exactly=40)
    this = again.report["this_run"]
    assert this["stages_reused"] == len(again.report["funnel"])
    assert (this["calls"], this["replayed"]) == (0, 0)


def test_a_plan_counts_the_rounds_it_takes_at_least(make_recipe):
    topics = {"topics": {"given": ["tea", "sea"]}}
    steps = [topics, {"prompts": {"model": "teacher", "per_topic": 5}}, "dedupe"]
    path = make_recipe({"model": "vllm/x"}, steps=steps, exactly=45)
    lines = {line.label: line for line in karat.plan(path)}
    assert lines["prompts"].rounds == 5
    assert (lines["prompts"].samples, lines["prompts"].rows_out) == (10, 50)


def test_nothing_is_paid_for_rows_that_are_not_needed(make_recipe, tmp_path, steps):
    """A round writes ten rows; of three wanted, four may go on to the answers."""
    with Server(answer=said) as server:
        answered = [*steps, {"respond": {"models": ["teacher"]}}]
        run = made(make_recipe, tmp_path / "out", server, answered, exactly=3)
        answers = [r for r in server.requests if "Ask" not in r["body"]["messages"][-1]["content"]]
    assert run.report["rows"]["accepted"] == 3
    assert len(answers) <= 4
    assert run.report["funnel"][0]["dropped"]["not needed"] == 6


def test_rows_held_back_are_used_before_new_ones_are_written(make_recipe, tmp_path, user_module):
    name = user_module("asking_half", SOURCE)
    steps = [{f"{name}:ask": {"model": "teacher", "n": 20}}, f"{name}:pick"]
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=26)
        assert len(server.requests) == 2
    assert run.report["exactly"]["rounds"] == 1
    assert run.report["rows"]["accepted"] == 26


def test_a_budget_is_not_spent_on_half_a_round(make_recipe, tmp_path, steps):
    """$0.09 a round: of $0.40, three rounds are bought, and the rest is left."""
    price = {"price": {"input": 1000, "output": 1000}, "max_tokens": 7}
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=500, budget_usd=0.40,
                   model=price)  # fmt: skip
        calls = len(server.requests)
        rounds, rows = run.report["exactly"]["rounds"], run.report["rows"]["accepted"]
        assert calls == 2 * rounds == 6
        assert "a round costs about $0.0900" in run.report["exactly"]["why_short"]
        again = made(make_recipe, tmp_path / "out", server, steps, exactly=500, budget_usd=0.40,
                     model=price)  # fmt: skip
        assert again.report["rows"]["accepted"] == rows
        for stage in again.stages.iterdir():
            stage.unlink()
        fresh = made(make_recipe, tmp_path / "out", server, steps, exactly=500, budget_usd=0.40,
                     model=price)  # fmt: skip
        assert len(server.requests) == calls
    assert fresh.report["rows"]["accepted"] == rows


def test_a_number_out_of_reach_is_refused_before_anything_is_spent(make_recipe, tmp_path):
    steps = [{"topics": {"given": ["tea"]}}, {"prompts": {"model": "teacher", "per_topic": 5}}]
    with Server(answer=said) as server:
        path = make_recipe(server.model(), steps=steps, exactly={"rows": 100, "rounds": 3})
        for call in (karat.run, karat.plan):
            with pytest.raises(RecipeError, match="3 rounds of at most 5 rows"):
                call(path, tmp_path / "out")
        assert server.requests == []


@pytest.mark.parametrize(
    ("per", "near"), [("tasks", "task"), (["topic", "dificulty"], "difficulty")]
)
def test_a_field_that_no_step_writes_is_refused(make_recipe, per, near):
    steps = [{"topics": {"given": ["tea"]}}, {"prompts": {"model": "teacher"}}]
    path = make_recipe({"model": "vllm/x"}, steps=steps, exactly={"rows": 3, "per": per})
    with pytest.raises(RecipeError, match=f"did you mean '{near}'"):
        karat.Recipe.load(path)


def test_a_field_that_no_row_has_is_said_to_be_missing(make_recipe, tmp_path, steps):
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly={"rows": 3, "per": "kin"})
        assert len(server.requests) == 2
    assert "no row has the meta fields ['kin']" in run.report["exactly"]["why_short"]


def test_strata_that_change_on_the_way_are_filled_too(make_recipe, tmp_path, user_module):
    """A later step moves rows into a stratum that the writer does not know."""
    more = """
@step
async def move(row: Row, ctx: Context) -> Row:
    if row.meta["text"][-3] in "0123":
        row.meta["kind"] = "moved"
    return row
"""
    name = user_module("asking_moved", SOURCE + more)
    steps = [{f"{name}:ask": {"model": "teacher"}}, f"{name}:move"]
    with Server(answer=said) as server:
        run = made(
            make_recipe, tmp_path / "out", server, steps, exactly={"rows": 10, "per": "kind"}
        )
    assert Counter(row.meta["kind"] for row in rows_of(run.accepted_file)) == dict.fromkeys(
        ("odd", "even", "moved"), 10
    )


def test_a_plan_says_what_it_cannot_foresee(make_recipe, tmp_path):
    steps = [{"topics": {"given": ["tea"]}}, {"prompts": {"model": "teacher", "per_topic": 5}}]
    path = make_recipe({"model": "vllm/x"}, steps=steps, exactly={"rows": 40, "per": "task"})
    code, out, _ = run_karat("plan", path, "--out", tmp_path / "out")
    assert code == 0
    assert "exactly 40 of each task" in out


def test_the_command_ends_with_a_status_of_its_own(make_recipe, tmp_path):
    steps = [{"topics": {"given": ["tea"]}}, {"prompts": {"model": "teacher", "per_topic": 5}}]
    with Server(answer=lambda body, place: "1. Why does the sea rise?") as server:
        path = make_recipe(server.model(), steps=steps, exactly=30)
        code, out, _ = run_karat("run", path, "--out", tmp_path / "out")
    assert code == 3
    assert "NOT reached" in out


def test_human_rows_stay_to_the_share_that_mix_was_to_reach(make_recipe, tmp_path, steps):
    lines = [{"prompt": f"Human asks {i}?", "response": "So."} for i in range(11)]
    (tmp_path / "human.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Server(answer=said) as server:
        mixed = [*steps, {"mix": {"human": "human.jsonl", "share": 0.25}}]
        run = made(make_recipe, tmp_path / "out", server, mixed, exactly=50)
    sources = Counter(row.source for row in rows_of(run.accepted_file))
    assert sources == {"synthetic": 39, "human": 11}  # all there are: 12.5 were wanted


def test_where_strata_are_counted_human_rows_come_on_top(make_recipe, tmp_path, steps):
    lines = [
        {"prompt": f"Human asks {i}?", "response": "So.", "kind": "brainstorm"} for i in range(50)
    ]
    (tmp_path / "human.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Server(answer=said) as server:
        mixed = [*steps, {"mix": {"human": "human.jsonl", "share": 0.2}}]
        target = {"rows": 8, "per": "kind"}
        run = made(make_recipe, tmp_path / "out", server, mixed, exactly=target)
    rows = rows_of(run.accepted_file)
    assert Counter(row.meta["kind"] for row in rows) == {"odd": 8, "even": 8, "brainstorm": 4}
    assert "why_short" in run.report["exactly"]
    assert run.report["exactly"]["why_short"] == ""


def test_a_stratum_that_nothing_is_written_for_is_missed(make_recipe, tmp_path):
    def no_math(body, place):
        return "no" if "math problems" in body["messages"][-1]["content"] else listed(body)

    steps = [
        {"topics": {"given": ["tea", "sea"]}},
        {"prompts": {"model": "teacher", "per_topic": 6, "tasks": {"open_qa": 30, "math": 1}}},
    ]
    with Server(answer=no_math) as server:
        target = {"rows": 5, "per": "task"}
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=target)
    assert run.report["exactly"]["accepted"] == {"open_qa": 5, "math": 0}
    assert "run dry" in run.report["exactly"]["why_short"]


def test_made_rows_without_the_field_are_not_accepted(make_recipe, tmp_path, user_module):
    more = """
@step
async def lose(row: Row, ctx: Context) -> Row:
    if row.meta["text"][-2] in "01234567":
        del row.meta["kind"]
    return row
"""
    name = user_module("asking_lost", SOURCE + more)
    steps = [{f"{name}:ask": {"model": "teacher"}}, f"{name}:lose"]
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly={"rows": 6, "per": "kind"})
    assert len(rows_of(run.accepted_file)) == 12
    assert run.report["funnel"][-1]["dropped"]["has no kind to be counted by"] > 0


def test_rows_that_mix_adds_in_a_round_have_ids_of_their_own(make_recipe, tmp_path, user_module):
    (tmp_path / "human.jsonl").write_text('{"prompt": "Human asks?", "response": "So."}\n')
    name = user_module("asking_mixed", SOURCE)
    again = f"{name}:ask"
    steps = [{again: {"model": "teacher"}}, {"mix": {"human": "human.jsonl", "share": 0.1}},
             {again: {"model": "teacher"}}]  # fmt: skip
    with Server(answer=said) as server:
        run = made(make_recipe, tmp_path / "out", server, steps, exactly=150)
    ids = [row.id for path in (run.accepted_file, run.dropped_file) for row in rows_of(path)]
    assert len(ids) == len(set(ids))


def test_a_small_gap_is_filled_with_part_of_a_round(make_recipe, tmp_path):
    """Of twenty topics a few are dry at first; the second round goes to a few topics only."""
    things = ("sea", "tea", "hat", "art", "sun")
    topics = [f"{kind} {thing}" for kind in ("old", "new", "big", "red") for thing in things]

    def few(body, place):
        text = body["messages"][-1]["content"]
        words = text.split()
        dry = any(f"about {t}." in text for t in topics[:3]) and not int(body["seed"]) % 3
        return "1. no" if dry else listed(body) if words[0] == "Write" else "x"

    steps = [
        {"topics": {"given": topics}},
        {"prompts": {"model": "teacher", "per_topic": 5, "tries": 1}},
    ]
    with Server(answer=few) as server:
        run = karat.run(make_recipe(server.model(), steps=steps, exactly=104), tmp_path / "out")
        assert run.report["rows"]["accepted"] == 104
        assert len(server.requests) <= 20 + 6
    funnel = {step["label"]: step for step in run.report["funnel"]}
    assert funnel["topics"]["dropped"]["not needed"] >= 14
    for before, after in zip(run.report["funnel"], run.report["funnel"][1:], strict=False):
        assert after["rows_in"] == before["rows_out"]
        assert (
            before["label"] != "topics"
            or before["rows_out"] + before["dropped"]["not needed"] == 40
        )
