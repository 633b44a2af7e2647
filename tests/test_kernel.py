"""The promises of the kernel, each one by its name."""

from __future__ import annotations

import signal
import time
from collections import Counter

import orjson
import pytest
from conftest import journaled, rows_of, run_karat, start_karat, wait_for
from server import Server

import karat
from karat import Recipe
from karat.rundir import Run


def contents(out):
    return [
        (row.prompt, [r.content for r in row.responses])
        for row in rows_of(out / "accepted.parquet")
    ]


def jitter(number, body):
    """Another delay for each request and each run, so that answers arrive in another order."""
    return (number * 7919 % 13) / 1000


def test_the_same_bytes_at_4_and_at_256_in_flight(make_recipe, tmp_path, length_reward):
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"respond": {"models": ["teacher"], "n": 3, "temperature": 1.0}},
        {"grade": {"reward": "length"}},
        {"dedupe": {"on": "prompt"}},
        {"reject": {"by": "length.reward", "best": 1}},
    ]
    with Server(slow=jitter, max_n=2) as server:
        for width in (4, 256):
            path = make_recipe(
                server.model(concurrency=width), 300, steps, rewards={"length": "x/y"}
            )
            karat.run(path, tmp_path / f"out{width}")
        assert server.peak > 4
    files = [tmp_path / f"out{width}" / "accepted.parquet" for width in (4, 256)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(rows_of(files[0])) == 300


def test_kill_9_at_half_pays_again_for_no_more_than_was_in_flight(make_recipe, tmp_path):
    width, rows = 8, 200
    with Server(latency_s=0.03) as server:
        path = make_recipe(server.model(concurrency=width), rows)
        with start_karat("run", path, "--out", tmp_path / "out") as child:
            wait_for(lambda: len(server.requests) >= rows // 2)
            child.send_signal(signal.SIGKILL)
            child.communicate()
        time.sleep(0.1)
        paid, sent = journaled(tmp_path / "out"), len(server.requests)
        assert sent - paid <= width
        karat.run(path, tmp_path / "out")
        again = [
            n
            for n in Counter(r["body"]["messages"][0]["content"] for r in server.requests).values()
            if n > 1
        ]
        assert len(again) <= width
        assert max(again, default=0) <= 2
        assert len(server.requests) == sent + rows - paid
        karat.run(path, tmp_path / "undisturbed")
    one, other = (tmp_path / name / "accepted.parquet" for name in ("out", "undisturbed"))
    assert one.read_bytes() == other.read_bytes()


def test_a_second_run_calls_nothing_and_changes_nothing(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(), 30)
        first = karat.run(path, tmp_path / "out")
        data, sent = first.accepted_file.read_bytes(), len(server.requests)
        again = karat.run(path, tmp_path / "out")
        assert len(server.requests) == sent
    assert again.accepted_file.read_bytes() == data
    assert again.report["this_run"]["calls"] == 0
    assert again.report["models"] == first.report["models"]


def test_a_run_without_its_stages_replays_from_the_journal(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(), 30)
        data = karat.run(path, tmp_path / "out").accepted_file.read_bytes()
        for stage in (tmp_path / "out" / "stages").iterdir():
            stage.unlink()
        again = karat.run(path, tmp_path / "out")
        assert len(server.requests) == 30
    assert again.accepted_file.read_bytes() == data
    assert again.report["this_run"]["replayed"] == 30


def test_editing_the_last_step_calls_nothing_before_it(make_recipe, tmp_path):
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        *({"respond": {"models": ["teacher"], "n": n}} for n in (2, 1)),
    ]
    with Server() as server:
        karat.run(make_recipe(server.model(), 20, steps), tmp_path / "out")
        sent = len(server.requests)
        steps[2] = {"respond": {"models": ["teacher"], "n": 1, "system": "Be brief."}}
        karat.run(make_recipe(server.model(), 20, steps), tmp_path / "out")
        fresh = [r["body"] for r in server.requests[sent:]]
    assert len(fresh) == 20
    assert all(body["messages"][0]["content"] == "Be brief." for body in fresh)


def test_one_in_ten_http_500_delivers_every_row_once(make_recipe, tmp_path):
    def script(number, body):
        return (500, b"oh", {}) if number % 10 == 0 else None

    with Server(script=script) as server:
        karat.run(make_recipe(server.model(), 200), tmp_path / "out")
        assert set(server.served.values()) == {1}
        assert len(server.served) == 200
    prompts = [prompt for prompt, _ in contents(tmp_path / "out")]
    assert prompts == [f"What is number {i}?" for i in range(200)]
    (model,) = Run(tmp_path / "out").report["models"]
    assert (model["calls"], model["retries"], model["errors"]) == (
        200,
        len(server.requests) - 200,
        0,
    )


def test_rows_whose_calls_fail_are_dropped_and_heal_on_the_next_run(make_recipe, tmp_path):
    ill = True

    def script(number, body):
        bad = body["messages"][-1]["content"] in ("What is number 3?", "What is number 7?")
        return (400, b'{"error": {"message": "no such number"}}', {}) if bad and ill else None

    steps = [
        {"read": {"path": "prompts.jsonl"}},
        {"respond": {"models": ["teacher"]}},
        {"dedupe": {"on": "prompt"}},
    ]
    with Server(script=script) as server:
        path = make_recipe(server.model(), 12, steps)
        run = karat.run(path, tmp_path / "out")
        assert run.report["rows"]["accepted"] == 10
        assert {row.dropped for row in rows_of(run.dropped_file)} == {
            "respond: call failed (HTTP 400: no such number)"
        }
        assert run.report["funnel"][1]["dropped"] == {"call failed": 2}
        ill, sent = False, len(server.requests)
        healed = karat.run(path, tmp_path / "out")
        assert len(server.requests) == sent + 2
        karat.run(path, tmp_path / "undisturbed")
    assert healed.report["rows"] == {**healed.report["rows"], "accepted": 12, "dropped": 0}
    assert (
        healed.accepted_file.read_bytes()
        == Run(tmp_path / "undisturbed").accepted_file.read_bytes()
    )
    assert [stage["rows_in"] for stage in healed.report["funnel"]] == [12, 12, 12]


def test_failures_left_are_told_in_the_report(make_recipe, tmp_path):
    with Server(script=lambda number, body: (400, b"{}", {}) if number == 2 else None) as server:
        run = karat.run(make_recipe(server.model(), 5), tmp_path / "out")
    assert any("again" in warning for warning in run.report["warnings"])


def test_when_one_of_two_models_refuses_the_other_ones_answers_are_kept(make_recipe, tmp_path):
    def script(number, body):
        return (400, b"{}", {}) if body["model"] == "bad" else None

    def slow(number, body):
        return 0.2 if body["model"] == "loop" else 0

    with Server(script=script, slow=slow) as server:
        models = {"bad": {**server.model(), "model": "openai/bad"}}
        steps = [{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["bad", "teacher"]}}]
        karat.run(make_recipe(server.model(), 3, steps, models=models), tmp_path / "out")
        assert sum(server.served.values()) == 3
    assert journaled(tmp_path / "out") == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_keeps_every_paid_answer(make_recipe, tmp_path, number):
    with Server(latency_s=0.15) as server:
        path = make_recipe(server.model(concurrency=8), 400)
        with start_karat("run", path, "--out", tmp_path / "out") as child:
            wait_for(lambda: sum(server.served.values()) >= 20)
            child.send_signal(number)
            _, err = child.communicate(timeout=20)
        assert journaled(tmp_path / "out") == sum(server.served.values()) == len(server.requests)
        assert len(server.requests) < 100
    assert (child.returncode, "Traceback" in err) == (130, False)
    assert "Every answer paid for is kept, and" in err
    assert "the same command goes on." in err


def test_what_comes_in_goes_out_or_is_dropped(make_recipe, user_module, tmp_path):
    user_module(
        "mine_funnel",
        """
@step
async def fan(row, ctx) -> list[Row]:
    number = row.meta["number"]
    if number % 5 == 0: return []
    made = [Row(f"{row.id}-{i}", row.messages, meta=dict(row.meta)) for i in range(number % 3 + 1)]
    if number % 4 == 0: made[0].dropped = "not this one (4)"
    return made
@step
async def thin(row, ctx):
    if row.meta["number"] % 7 == 0: row.dropped = f"seventh ({row.id})"
    if row.meta["number"] % 11 == 0: raise RowError("eleventh")
    return row
""",
    )
    steps = [
        {"read": {"path": "prompts.jsonl"}},
        "mine_funnel:thin",
        "mine_funnel:fan",
        {"respond": {"models": ["teacher"]}},
        {"dedupe": {"on": "prompt"}},
    ]
    with Server() as server:
        run = karat.run(make_recipe(server.model(), 60, steps), tmp_path / "out")
    funnel = {step["label"]: step for step in run.report["funnel"]}
    lost = {label: sum(step["dropped"].values()) for label, step in funnel.items()}
    for label in ("read", "thin", "respond", "dedupe"):
        assert funnel[label]["rows_in"] == funnel[label]["rows_out"] + lost[label], label
    for before, after in zip(run.report["funnel"], run.report["funnel"][1:], strict=False):
        assert after["rows_in"] == before["rows_out"]
    assert (
        run.report["rows"]["accepted"]
        == funnel["dedupe"]["rows_out"]
        == len(rows_of(run.accepted_file))
    )
    reasons = Counter(row.dropped.partition(" (")[0] for row in rows_of(run.dropped_file))
    assert reasons == {
        f"{label}: {r}": n for label, s in funnel.items() for r, n in s["dropped"].items()
    }
    assert funnel["thin"]["dropped"] == {"seventh": 8, "cannot go on": 6}


def test_nothing_is_left_open(make_recipe, tmp_path):
    with Server() as server:
        status, _, err = run_karat(
            "run",
            make_recipe(server.model(), 5),
            "--out",
            tmp_path / "out",
            prelude="import gc; gc.set_threshold(50)",
        )
    assert (status, err) == (0, "")


def test_files_of_a_run_are_those_the_readme_names(make_recipe, tmp_path):
    with Server() as server:
        run = karat.run(make_recipe(server.model(), 3), tmp_path / "out")
    names = {p.name for p in run.path.iterdir()} - {".lock"}
    assert names == {
        "recipe.yaml",
        "journal.sqlite",
        "stages",
        "accepted.parquet",
        "dropped.parquet",
        "report.json",
        "live.json",
        "export",
    }
    assert Recipe.load(run.recipe).labels == ["read", "respond"]
    assert orjson.loads(run.report_file.read_bytes()) == run.report


def test_an_edited_template_is_used_by_the_next_run(make_recipe, user_module, tmp_path):
    user_module(
        "mine_says",
        "@step\nasync def f(row, ctx):\n row.meta['said'] = ctx.render('ask')\n return row\n",
    )
    path = make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}, "mine_says:f"], rows=2)
    for text in ("old", "new"):
        (tmp_path / "ask.md").write_text(text)
        run = karat.run(path, tmp_path / "out")
        assert {row.meta["said"] for row in rows_of(run.accepted_file)} == {text}


def test_rows_a_step_makes_by_copying_are_rows_of_their_own(make_recipe, user_module, tmp_path):
    user_module(
        "mine_copies",
        "import copy\n@step\nasync def f(row, ctx) -> list[Row]:\n"
        " return [copy.deepcopy(row) for _ in range(3)]\n",
    )
    path = make_recipe(
        steps=[{"read": {"path": "prompts.jsonl"}}, "mine_copies:f", "dedupe"], rows=4
    )
    run = karat.run(path, tmp_path / "out")
    assert run.report["rows"] == {"in": 4, "accepted": 4, "dropped": 8}
    every = rows_of(run.accepted_file) + rows_of(run.dropped_file)
    assert len({row.id for row in every}) == 12


def test_a_column_added_to_the_input_buys_nothing_again(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(), 6)
        karat.run(path, tmp_path / "out")
        file = tmp_path / "prompts.jsonl"
        file.write_text(file.read_text().replace('{"prompt"', '{"note": "new", "prompt"'))
        karat.run(path, tmp_path / "out")
        assert len(server.requests) == 6


def test_plan_pays_again_for_prompts_that_changed(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(price={"input": 1, "output": 1}), 6)
        karat.run(path, tmp_path / "out")
        file = tmp_path / "prompts.jsonl"
        file.write_text(file.read_text().replace("What is", "Who is"))
        (line,) = [line for line in karat.plan(path, tmp_path / "out") if line.model]
    assert (line.recorded, line.calls) == (0, 6)
    assert line.cost_usd > 0
