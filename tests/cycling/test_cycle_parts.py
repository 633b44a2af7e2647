"""The parts of a cycle: what is refused before anything is spent, servers, the collapse guard."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import environment, rows_of, wait_for

import karat
from karat.cycling import measures
from karat.cycling.asked import FIXED, Asked
from karat.cycling.held_out import reading, too_few
from karat.cycling.lineage import Cycle, Round, verdict
from karat.cycling.loop import cycle
from karat.cycling.measures import Graded
from karat.cycling.options import options_of
from karat.cycling.serving import Server, _arguments
from karat.errors import RecipeError, RunError
from karat.intervals import Interval
from karat.models.embedded import available
from karat.row import Message, Response, Row
from karat.rundir import REPORT_KEYS, Run
from karat.steps.read import read
from karat.table import SCHEMA, to_batch
from karat.training import torch_side

TOY = Path(__file__).with_name("toy_server.py")
RECIPE = """
seed: 1
models:
  teacher: embedded/smollm2-135m
  other: vllm/other
  third: vllm/third
  third-warm: {model: vllm/third, temperature: 0.9}
rewards:
  mine: embedded/helpsteer2
  copy: embedded/./copy.npz
  asked: {reward: judge/third}
  warmer: {reward: judge/third-warm, ask: pairwise}
  both: {reward: panel/mean, of: [mine.reward, theirs.reward]}
  ours: {reward: judge/teacher}
  theirs: {reward: judge/other}
steps:
  - read: {path: prompts.jsonl}
  - respond: {models: [teacher], n: 2}
  - grade: {reward: mine}
  - grade: {reward: asked}
  - reject: {by: mine.reward}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name in ("prompts", "held", "human"):
        (tmp_path / f"{name}.jsonl").write_text('{"prompt": "why", "response": "so"}\n')
    head = resources.files("karat.rewards.assets") / "helpsteer2.npz"
    (tmp_path / "copy.npz").write_bytes(head.read_bytes())
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path / "r.yaml"


@pytest.mark.skipif(available() is not None, reason=str(available()))
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"judge": "mine"}, "is what 'mine' selects by"),
        ({"judge": "embedded/helpsteer2"}, "is what 'mine' selects by"),
        ({"judge": "copy"}, "is what 'mine' selects by"),
        ({"judge": "warmer"}, "is what 'asked' selects by"),
        ({"judge": "both"}, "is what 'mine' selects by"),
        ({"judge": ""}, "does not select"),
        ({"judge": "ours"}, "asks the model 'teacher', which every round replaces"),
        ({"judge": "thiers"}, "did you mean 'theirs'"),
        ({"held_out": None}, "--held-out FILE, or put the step split"),
        ({"held_out": "none.jsonl"}, "names prompts"),
        ({"human": "none.jsonl"}, "names people's rows"),
        ({"share": 0.2}, "name it in --human"),
        ({"share": 2.0}, "between 0 and 1"),
        ({"rounds": 0}, "from 1"),
        ({"teacher": "techer"}, "did you mean 'teacher'"),
        ({"serve": "vllm serve {model}"}, r"no \{port\}"),
        ({"base": "some/folder", "serve": None}, None),
        ({"training": ("full=true",)}, "not whole weights"),
        ({"training": ("epoch=1",)}, "epoch"),
        ({"training": ("epochs",)}, "key=value"),
    ],
)
def test_what_is_refused(recipe: Path, change: dict[str, Any], says: str | None) -> None:
    given = {"judge": "theirs", "held_out": "held.jsonl", **change}
    for key in ("held_out", "human"):
        if given.get(key):
            given[key] = recipe.parent / given[key]
    if says is None:
        Asked(recipe, options_of(given))
        return
    with pytest.raises(RecipeError, match=says):
        Asked(recipe, options_of(given))


def test_a_recipe_s_own_mix_is_lifted_over_all_rounds(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    text = recipe.read_text() + "  - mix: {human: human.jsonl, share: 0.3}\n"
    recipe.write_text(text)
    options = {"judge": "theirs", "held_out": tmp_path / "held.jsonl"}
    asked = Asked(recipe, options_of(options))
    (tmp_path / "out").mkdir()
    first = asked.round(1, None, tmp_path / "out" / "1.yaml")
    second = asked.round(2, {"model": "embedded/smollm2-135m"}, tmp_path / "out" / "2.yaml")
    assert "mix" not in first.labels
    assert (first.seed, first.name) == (1, asked.recipe.name)
    assert second.seed != 1
    joined = asked.join([recipe], "mine.reward", tmp_path / "held.jsonl", tmp_path / "out" / "d")
    assert joined.labels == ["rounds", "dedupe", "ranked", "mix", "decontaminate"]
    mixed = next(call for call in joined.steps if call.step.name == "mix")
    assert mixed.params["share"] == 0.3
    tested = asked.test(tmp_path / "held.jsonl", {"model": "vllm/x"}, tmp_path / "out" / "t.yaml")
    assert [c.params.get("reward") for c in tested.steps][-1] == "theirs"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([{"category": "writing", "turns": ["Why?", "And then?"]}], {"prompt": "turns.0"}),
        ([{"turns": [{"role": "user", "content": "Why?"}]}], {"messages": "turns"}),
        ([{"messages": [{"role": "user", "content": "Why?"}]}], {}),
        ([{"question": "Why?"}], {}),
        ([{"id": 1, "request": "Why?"}], {"prompt": "request"}),
        ([{"category": "x", "text": "Why?"}], {"prompt": "text"}),
        ([{"one": "Why?", "two": "How?"}], "which column holds the prompts is not clear"),
    ],
)
def test_held_out_prompts_are_found_whatever_they_are_called(
    tmp_path: Path, lines: list[dict[str, Any]], wanted: dict[str, str] | str
) -> None:
    path = tmp_path / "held.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if isinstance(wanted, str):
        with pytest.raises(RecipeError, match=wanted):
            reading(path)
        return
    assert reading(path) == wanted
    run = karat.run(karat.Recipe([read(path=str(path), **wanted)], name="x"), tmp_path / "run")
    assert [row.prompt for row in rows_of(run.accepted_file)] == ["Why?"]


def test_held_out_prompts_may_be_named_anew_until_some_are_fixed(
    recipe: Path, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    recipe.write_text(recipe.read_text() + "  - split: {}\n")
    given = {"judge": "theirs", "held_out": None}
    asked = [Asked(recipe, options_of(given))]
    for name in ("held.jsonl", "more.jsonl"):
        (tmp_path / name).write_text('{"prompt": "why"}\n')
        asked.append(Asked(recipe, options_of({**given, "held_out": tmp_path / name})))
    out = tmp_path / "out"
    out.mkdir()
    for one in asked:
        one.hold(out)
    kept = json.loads((out / "asked.json").read_text())
    assert kept["held_out"] == str(tmp_path / "more.jsonl")
    assert str(tmp_path / "more.jsonl") in kept["files"]
    with pytest.raises(RecipeError, match="other objective"):
        Asked(recipe, options_of({**given, "objective": "dpo"})).hold(out)
    (out / FIXED).write_text("")
    asked[-1].hold(out)
    with pytest.raises(RecipeError, match="holds another cycle: other files, held_out"):
        asked[1].hold(out)


def test_too_few_held_out_prompts_are_told_with_the_reason(tmp_path: Path) -> None:
    funnel = [{"label": "verify", "dropped": {"truncation": 9, "empty": 2}}]
    told = dict.fromkeys(REPORT_KEYS) | {"funnel": funnel, "rows": {"accepted": 1, "dropped": 11}}
    (tmp_path / "report.json").write_text(json.dumps(told))
    assert (
        "1 held-out prompt is too few to compare rounds by, which are the test part of round 1: "
        "round 1 accepted 1 row, 11 dropped, most by verify: truncation; `karat show "
    ) in str(too_few(1, Run(tmp_path)))
    assert "0 held-out prompts are too few" in str(too_few(0, None))


def test_nothing_is_spent_where_training_could_not_begin(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    options = options_of({"judge": "theirs", "held_out": tmp_path / "held.jsonl"})
    monkeypatch.setattr(torch_side, "NEEDED", ("torch", "no_such_module"))
    with pytest.raises(RecipeError, match=r"training needs .*no_such_module: pip install"):
        cycle(recipe, options, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(torch_side, "NEEDED", ())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "accepted.parquet").write_text("a run's")
    with pytest.raises(RecipeError, match="is not empty: name a folder of its own"):
        cycle(recipe, options, tmp_path / "out")
    (tmp_path / "out" / "asked.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"it is a cycle; open .*cycle\.html"):
        Run.open(tmp_path / "out")


def test_a_server_is_waited_for_and_ended_with_all_it_started(tmp_path: Path) -> None:
    said: list[str] = []
    command = f"{sys.executable} {TOY} {{model}} {{port}} parent"
    server = Server(command, {"model": str(tmp_path)}, tmp_path / "log", said.append, 30)
    assert server.model == str(tmp_path)
    assert str(server.port) in said[0]
    server.stop()
    server.stop()
    assert str(TOY) not in _running(str(tmp_path))


@pytest.mark.parametrize(
    ("how", "says", "wait_s"),
    [("broken", "status 3: loading weights … / ValueError: no GPU", 30), ("silent", "within 1", 1)],
)
def test_a_server_that_does_not_come_is_told(
    tmp_path: Path, how: str, says: str, wait_s: float
) -> None:
    command = f"{sys.executable} {TOY} {{model}} {{port}} {how}"
    with pytest.raises(RunError, match=says):
        Server(command, {"model": str(tmp_path)}, tmp_path / "log", lambda _: None, wait_s)
    assert str(TOY) not in _running(str(tmp_path))
    with pytest.raises(RecipeError, match="cannot start no-such-program"):
        Server("no-such-program {model}", {"model": "m"}, tmp_path / "log", lambda _: None)


def test_no_proxy_stands_before_this_machine_and_no_answer_is_too_odd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    command = f"{sys.executable} {TOY} {{model}} {{port}} "
    for how in ("odd", "cut"):
        with pytest.raises(RunError, match="no answer within"):
            Server(command + how, {"model": "m"}, tmp_path / "log", lambda _: None, 1.5)
    server = Server(command, {"model": "served"}, tmp_path / "log", lambda _: None, 30)
    server.stop()
    assert server.model == "served"


def test_a_path_is_put_in_as_it_is() -> None:
    words = _arguments("a {model} --port={port}", {"model": "/x {port}/$(y) {model}", "port": "5"})
    assert words == ["a", "/x {port}/$(y) {model}", "--port=5"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child")
def test_ctrl_c_while_it_ends_leaves_no_server(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, threading; from pathlib import Path\n"
        "from karat.cycling.serving import Server\n"
        f"s = Server('{sys.executable} {TOY} {{model}} {{port}} stubborn',"
        " {'model': sys.argv[1]}, Path(sys.argv[1]) / 'log', print)\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\ns.stop()"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert "KeyboardInterrupt" in found.stderr
    assert str(TOY) not in _running(str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child")
def test_a_server_ends_with_karat_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from karat.cycling.serving import Server\n"
        f"Server('{sys.executable} {TOY} {{model}} {{port}}', {{'model': sys.argv[1]}},"
        " Path(sys.argv[1]) / 'log', print)\nprint('there', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment(), stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        while "there" not in child.stdout.readline():
            assert child.poll() is None
        assert str(TOY) in _running(str(tmp_path))
        os.kill(child.pid, signal.SIGKILL)
    wait_for(lambda: str(TOY) not in _running(str(tmp_path)))


def _running(mark: str) -> str:
    """The commands that run here with these words in them; `ww`: all of their words."""
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    return "\n".join(one for one in listed.stdout.splitlines() if mark in one and "-c" not in one)


# --- measures ------------------------------------------------------------------------------------


def test_a_gain_is_of_the_same_prompts() -> None:
    best = Graded({f"r{i}": float(i) for i in range(40)}, [])
    better = Graded({f"r{i}": i + 0.2 + 0.01 * (i % 3) for i in range(5, 60)}, [])
    found = measures.gain(better, best, seed=1)
    assert found.value == pytest.approx(0.21, abs=0.005)  # of 35 prompts, not of 15 more
    assert 0.2 <= found.low <= found.value <= found.high <= 0.22
    assert measures.mean(better, 1).low < measures.mean(better, 1).high
    nothing = measures.gain(Graded({"a": 1.0}, []), best, seed=1)
    assert not nothing.low > 0


def test_the_guard_trips_where_a_round_says_less_and_not_for_its_subject(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(600)]
    rng = np.random.default_rng(5)
    zipf = 1 / np.arange(1, 601)

    def texts(known: int, count: int = 150) -> list[str]:
        p = zipf[:known] / zipf[:known].sum()
        return [" ".join(rng.choice(words[:known], 40, p=p)) for _ in range(count)]

    human = texts(600, 300)
    for known, trips in ((600, False), (60, True)):
        rows = [row(text, "human", 0) for text in human[:20]]
        rows += [row(text, "made", 1) for text in texts(600)]
        rows += [row(text, "made", 2) for text in texts(known)]
        stored(tmp_path / "data.parquet", rows)
        stored(tmp_path / "human.parquet", [row(text, "human", 0) for text in human])
        found = measures.guard(tmp_path / "data.parquet", [tmp_path / "human.parquet"], 2, seed=1)
        assert found.trips is trips
        assert bool(found.says) is trips
        assert list(found.figures) == ["set beside human text", "round 2 beside round 1"]
    assert "round 2" in found.says
    silent = measures.guard(tmp_path / "data.parquet", [], 2, seed=1)
    assert not silent.trips


def test_many_rounds_are_many_chances_and_two_prompts_no_interval_of_percentiles() -> None:
    found = Cycle(name="x", recipe_hash="", base="b", objective="sft", judge="j", selected_by=[])
    found.rounds = [Round(number=n, reward=Interval(n, n, n)) for n in range(3)]
    found.held_out_prompts = 99
    assert verdict(found).startswith("No round was shown to be better than the base")
    found.best = 2
    assert "2 rounds were tried, each with one chance in forty" in verdict(found)
    few = measures.gain(Graded({"a": 1.0, "b": 1.1}, []), Graded({"a": 0.0, "b": 0.0}, []), seed=1)
    assert few.low > 0  # 1.05 ± 12.7 · 0.05
    assert (
        not measures.gain(Graded({"a": 1.0, "b": 1.4}, []), Graded({"a": 0, "b": 0}, []), 1).low > 0
    )


def row(text: str, source: str, number: int) -> Row:
    made = Row(f"{abs(hash((text, number))):x}", [Message("user", "q")], [Response(text, "m", 0)])
    made.responses[0].kept = True
    made.source = source
    made.meta = {"round": number} if number else {}
    return made


def stored(path: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_batches([to_batch(rows)], SCHEMA), path)


def test_time_is_no_part_of_a_port() -> None:
    from karat.cycling.serving import free_port

    started = time.monotonic()
    assert free_port(Path("a")) == free_port(Path("a"))
    assert free_port(Path("a")) != free_port(Path("b"))
    assert time.monotonic() - started < 5
