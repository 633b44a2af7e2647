"""A cycle of two rounds from end to end: lineage, accumulation, resumption after kills, servers."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import msgspec
import pytest
from conftest import environment, rows_of, slow
from later import later
from tiny_gguf import tiny_gguf

from karat.cycling.lineage import Cycle, Round
from karat.cycling.loop import cycle
from karat.cycling.options import options_of
from karat.cycling.shown import places
from karat.errors import RecipeError, RunError
from karat.models.adapters import Adapter
from karat.models.embedded import available
from karat.recipe import Recipe

later("trl", "peft", "gguf", "datasets")
pytestmark = [
    pytest.mark.skipif(available() is not None, reason=str(available())),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]
HERE = Path(__file__).parent


class Made(NamedTuple):
    folder: Path
    out: Path
    options: dict[str, Any]
    tree: dict[str, Any]


def write(folder: Path, name: str, lines: list[dict[str, Any]]) -> Path:
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A cycle that has run."""
    folder = tmp_path_factory.mktemp("cycle")
    base, _ = tiny_gguf(folder, quantised=True)
    write(folder, "prompts.jsonl", [{"prompt": f"What is {i}, and why?"} for i in range(5)])
    told = {"role": "system", "content": "You are kind and brief, whoever asks you for whatever."}
    write(folder, "held-out.jsonl", [
        *({"prompt": f"Say more about {i}."} for i in range(4)),
        {"messages": [told, {"role": "user", "content": "What is 4, and why?"}]},
    ])  # fmt: skip
    write(folder, "human.jsonl", [
        {"prompt": f"Who wrote book {i}?", "response": f"Author {i} did."} for i in range(9)
    ])  # fmt: skip
    (folder / "recipe.yaml").write_text(
        "name: tiny\nseed: 3\nmodels: {teacher: embedded/./tiny.gguf}\nsteps:\n"
        "  - read: {path: prompts.jsonl}\n"
        "  - respond: {models: [teacher], n: 2, temperature: 1.0, max_tokens: 6}\n"
        "  - verify: {checks: [repetition]}\n"
        "  - reject: {by: verifier.repetition_share}\n"
    )
    options = {
        "rounds": 2, "judge": "embedded/helpsteer2", "base": str(base), "patience": 2,
        "human": folder / "human.jsonl", "held_out": folder / "held-out.jsonl",
        "training": ("epochs=1", "learning_rate=2e-2", "lora_r=4", "batch_size=4"),
    }  # fmt: skip
    cycle(folder / "recipe.yaml", options_of(options), folder / "out")
    tree = json.loads((folder / "out" / "cycle.json").read_text())
    return Made(folder, folder / "out", options, tree)


def journals(out: Path) -> dict[str, set[bytes]]:
    """The keys of all that was paid for, by run."""
    found = {}
    for path in sorted(out.rglob("journal.sqlite")):
        base = sqlite3.connect(path)
        found[str(path.relative_to(out))] = {
            key for (key,) in base.execute("SELECT key FROM calls")
        }
        base.close()
    return found


def untimed(tree: dict[str, Any]) -> dict[str, Any]:
    return {**tree, "rounds": [{**one, "seconds": {}} for one in tree["rounds"]]}


def test_the_student_of_a_round_teaches_the_next(made: Made) -> None:
    base, first, second = made.tree["rounds"]
    student = Adapter(made.out / first["student"]["folder"]).digest
    assert first["teacher"] == second["teacher"].partition("+")[0]
    assert second["teacher"].partition("+")[2] == student[:16]
    assert first["student"]["weights"] == student[:16] != second["student"]["weights"]
    assert base["student"] is None
    assert len({one["seed"] for one in (first, second)}) == 2
    assert first["student"]["base_identity"] == second["student"]["base_identity"]
    written = {
        response.content
        for row in rows_of(made.out / "round-2" / "run" / "accepted.parquet")
        for response in row.responses
    }
    assert written.isdisjoint(
        response.content
        for row in rows_of(made.out / "round-1" / "run" / "accepted.parquet")
        for response in row.responses
    )


def test_rounds_accumulate_and_human_rows_keep_their_share(made: Made) -> None:
    sets = [
        {(row.prompt, row.kept()[0].content): row for row in rows_of(file)}
        for file in (made.out / f"round-{n}" / "data" / "accepted.parquet" for n in (1, 2))
    ]
    own = [{key for key, row in found.items() if row.source != "human"} for found in sets]
    assert own[0] < own[1]
    assert {row.meta["round"] for row in sets[1].values() if row.source != "human"} == {1, 2}
    for one, found in zip(made.tree["rounds"][1:], sets, strict=True):
        assert one["rows"]["set"] == len(found) == one["student"]["lines"]
        assert one["human_share"] == pytest.approx(one["rows"]["human"] / len(found))
        assert one["human_share"] >= 0.2
    # Without the system message it is held out with, the last of the five prompts is one of them.
    held = {*(f"Say more about {i}." for i in range(4)), "What is 4, and why?"}
    assert held.isdisjoint(prompt for prompt, _ in sets[1])
    assert "What is 3, and why?" in {prompt for prompt, _ in sets[1]}


def test_a_student_changed_since_it_wrote_is_not_told_as_the_one_that_did(made: Made) -> None:
    weights = made.out / "round-1" / "student" / "adapter_model.safetensors"
    kept, told = weights.read_bytes(), (made.out / "cycle.json").read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        with pytest.raises(RunError, match="were changed since they were trained"):
            cycle(made.folder / "recipe.yaml", options_of(made.options), made.out)
    finally:
        weights.write_bytes(kept)
    assert (made.out / "cycle.json").read_bytes() == told


def test_the_verdict_is_the_interval_s(made: Made) -> None:
    _, *rounds = made.tree["rounds"]
    for one in rounds:
        assert one["helps"] == (one["gain"]["low"] > 0)
        assert one["reward"]["low"] <= one["reward"]["value"] <= one["reward"]["high"]
    best = max((one["number"] for one in rounds if one["helps"]), default=0)
    assert made.tree["best"] == best
    assert made.tree["held_out_prompts"] == 5
    assert made.tree["stopped"]
    for name in ("cycle.html", "README.md"):
        text = (made.out / name).read_text()
        assert "embedded/helpsteer2" in text
        assert made.tree["stopped"].split(",")[0] in text


def test_the_end_says_where_everything_is(made: Made) -> None:
    found = Cycle(**{**made.tree, "rounds": [msgspec.convert(one, Round) for one in
                                             made.tree["rounds"]]})  # fmt: skip
    for best in (0, 1):
        found.best = best
        told = "\n".join(places(found, made.out))
        assert f"page    {made.out / 'cycle.html'}" in told
        assert str(made.out / f"round-{best or 2}" / "student") in told
    assert f"  models:\n    student: {{model: embedded/{made.folder}/tiny.gguf, adapter: " in told
    use = told.partition("in a recipe:")[2]
    (made.folder / "use.yaml").write_text(
        f"{dedent(use)}\nsteps:\n  - read: {{path: prompts.jsonl}}\n"
        "  - respond: {models: [student]}\n"
    )
    assert Recipe.load(made.folder / "use.yaml").models["student"].adapter is not None
    page = (made.out / "cycle.html").read_text()
    for place in ("round-1/run/", "round-1/student/", "round-0/test/"):
        assert f'<a href="{place}">' in page
        assert (made.out / place).is_dir()
    assert page.count("<svg") > 4
    assert "Held-out reward" in page


def test_run_again_it_pays_nothing_and_says_the_same(made: Made) -> None:
    paid = journals(made.out)
    stamps = {path: path.stat().st_mtime_ns for path in made.out.rglob("*.safetensors")}
    cycle(made.folder / "recipe.yaml", options_of(made.options), made.out)
    assert json.loads((made.out / "cycle.json").read_text()) == made.tree
    assert journals(made.out) == paid
    assert {path: path.stat().st_mtime_ns for path in made.out.rglob("*.safetensors")} == stamps


def test_a_directory_holds_one_cycle(made: Made, tmp_path: Path) -> None:
    for change in ({"patience": 1}, {"rounds": 2}):
        cycle(made.folder / "recipe.yaml", options_of({**made.options, **change}), made.out)
    for change in ({"training": ("epochs=2",)}, {"share": 0.4}, {"human": None}):
        with pytest.raises(RecipeError, match="holds another cycle"):
            cycle(made.folder / "recipe.yaml", options_of({**made.options, **change}), made.out)
    with pytest.raises(RecipeError, match="other recipe"):
        cycle(made.folder / "recipe.yaml", options_of(made.options), made.out, ["respond.n=3"])


@slow
def test_killed_anywhere_it_ends_with_the_same_lineage(made: Made) -> None:
    lots = random.Random()
    delays = [lots.uniform(0.1, 2.5) for _ in range(2)]
    kept = made.folder / "kept"
    shutil.move(made.out, kept)  # paths are part of recipes, so both must lie in one place
    options = {**made.options, **{k: str(made.options[k]) for k in ("human", "held_out")}}
    given = [str(made.folder / "recipe.yaml"), str(made.out), options, delays]
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / "killed.py"), *map(json.dumps, given)],
            env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (delays, done.stderr)
        tree = json.loads((made.out / "cycle.json").read_text())
        assert untimed(tree) == untimed(made.tree), delays
        assert journals(made.out) == journals(kept), delays
    finally:
        shutil.rmtree(made.out, ignore_errors=True)
        shutil.move(kept, made.out)


@slow
def test_students_behind_a_server_of_their_own(made: Made, tmp_path: Path) -> None:
    command = f"{sys.executable} {HERE / 'toy_server.py'} {{model}} {{port}} parent"
    options = options_of({**made.options, "serve": command, "rounds": 1})
    said: list[str] = []
    found = cycle(made.folder / "recipe.yaml", options, tmp_path / "out", say=said.append)
    assert [one.number for one in found.rounds] == [0, 1]
    assert sum("starting" in line for line in said) == 2
    answers = [
        {response.content[:7] for row in rows_of(file) for response in row.responses}
        for file in (tmp_path / "out" / f"round-{n}" / "test" / "accepted.parquet" for n in (0, 1))
    ]
    assert all(len(one) == 1 for one in answers)  # each of one set of weights
    assert answers[0] != answers[1]
    paid = journals(tmp_path / "out")
    said.clear()
    again = cycle(made.folder / "recipe.yaml", options, tmp_path / "out", say=said.append)
    assert not any("starting" in line for line in said)  # what is done needs no server
    assert again.rounds == found.rounds
    assert journals(tmp_path / "out") == paid
    ours = subprocess.run(
        ["ps", "-ewwo", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert str(tmp_path) not in ours
