"""`karat train` on a run: its export, made if need be; parts that are only measured; errors."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_model import tiny_model

from karat.cli import main
from karat.errors import RecipeError
from karat.row import Row
from karat.rundir import Run
from karat.training.student_source import lessons


def _kept() -> Any:
    """What the tests of exporters share, which is not on the path of these."""
    place = Path(__file__).parents[1] / "exporters/kept.py"
    spec = importlib.util.spec_from_file_location("kept", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kept = _kept()


def rows(*splits: str | None) -> list[Row]:
    return [
        kept.row(
            i, kept.response(f"yes {i}", 2.0, True), kept.response("no", 1.0, False),
            meta={} if split is None else {"split": split},
        )
        for i, split in enumerate(splits)
    ]  # fmt: skip


def run_of(folder: Path, made: list[Row]) -> Run:
    run: Run = kept.run_of(folder, made)
    run.recipe.write_text("name: test\n")
    return run


def karat(*args: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, args)])


def test_an_export_the_run_did_not_ask_for_is_made(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", rows(None, None))
    found = lessons(run.path, "rpo")
    assert len(found.lines) == 2
    assert found.lines[0]["score_chosen"] == 2.0
    assert found.held_out == {}
    assert (run.export / "trl-preference.jsonl").is_file()
    assert found.source.name == "run"
    assert found.source.training == "unknown"


def test_validation_and_test_parts_are_only_measured(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", rows("train", "test", "train", "validation"))
    found = lessons(run.path, "sft")
    assert len(found.lines) == 2
    assert {name: len(part) for name, part in found.held_out.items()} == {
        "test": 1, "validation": 1,
    }  # fmt: skip
    file = lessons(run.export / "trl-sft.train.jsonl", "sft")
    assert (file.lines, file.held_out) == (found.lines, found.held_out)
    only = run_of(tmp_path / "other", rows("test"))
    with pytest.raises(RecipeError, match="no row of the train part"):
        lessons(only.path, "sft")


def test_an_empty_export_says_why(tmp_path: Path) -> None:
    made = [
        kept.row(0, kept.response("no", 1.0, False)),
        kept.row(1, kept.response(" ", 1.0, True)),
    ]
    run = run_of(tmp_path / "run", made)
    with pytest.raises(RecipeError, match="1 × no kept response, 1 × empty response"):
        lessons(run.path, "sft")
    with pytest.raises(RecipeError, match="no row was accepted"):
        lessons(run_of(tmp_path / "none", []).path, "sft")


def test_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"prompt": []}\n{')
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/recipe.yaml").write_text("name: x\n")
    for name, said in [
        ("nowhere", "no run and no file"), ("", "is not a run"), ("begun", "run it to the end"),
        ("broken.jsonl", "line 2: not JSON"), ("empty.jsonl", "is empty"),
    ]:  # fmt: skip
        with pytest.raises(RecipeError, match=said):
            lessons(tmp_path / name, "sft")


def test_the_command_from_a_run_to_an_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_model(tmp_path / "tiny")
    run = run_of(tmp_path / "run", rows("train", "train", "test"))
    args = ["rpo", run.path, "--model", base, "--device", "cpu", "--set", "weight_decay=0.1"]
    monkeypatch.setattr(sys, "argv", ["karat", "train", *map(str, args)])
    done = karat(*args)
    assert done.exit_code == 0, done.output
    out = run.path / "students/rpo-tiny"
    assert "2 steps" in done.stdout
    assert "loss on test" in done.stdout
    assert f"vllm serve {base} --enable-lora --lora-modules student={out}" in done.stdout
    facts = json.loads((out / "karat.json").read_bytes())
    assert facts["command"].startswith(f"karat train rpo {run.path} --model {base}")
    assert facts["settings"]["more"] == {"weight_decay": 0.1}
    assert facts["data"] == "run"
    assert "is finished" in karat(*args).stderr


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "tiny")
    run = run_of(tmp_path / "run", rows(None))
    for more, said in [
        (["--set", "wieght_decay=1"], "did you mean 'weight_decay'"),
        (["--set", "foo=1"], "nearest are"),
        (["--lora-r", "0"], "--lora-r 0: a whole number from 1"),
        (["--lr", "-1"], "--lr -1.0: a number above 0"),
        (["--device", "gpu"], "no device 'gpu': auto, cpu, cuda, cuda:1, mps"),
        (["--max-length", "3"], "--max-length reads longer ones"),
        (["--set", "report_to=wandb", "--device", "cpu"], "refuses these settings: Wandb"),
    ]:
        done = karat("sft", run.path, "--model", base, *more)
        assert done.exit_code in (1, 2)
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert said in done.stderr
        assert len(done.stderr.splitlines()[-1]) < 300
        assert not (run.path / "students").exists()  # refused: nothing is left of it
    assert "Traceback" not in done.output


def test_a_file_of_the_wrong_kind_is_told_which_one_is_wanted(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "tiny")
    turn = [{"role": "user", "content": "x"}]
    (tmp_path / "sft.jsonl").write_text(json.dumps({"prompt": turn, "completion": "y"}))
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": turn, "chosen": "y"}))
    (tmp_path / "other.jsonl").write_text(json.dumps({"prompt": turn}))
    (tmp_path / "tiny.yaml").write_text("name: tiny\n")
    for objective, name, said in [
        ("dpo", "sft.jsonl", "is of the export trl-sft; `karat train dpo` takes trl-preference"),
        ("sft", "pairs.jsonl", "is of the export trl-preference; `karat train sft` takes trl-sft"),
        ("rpo", "other.jsonl", "line 1 has no 'chosen'; `karat train rpo` takes trl-preference"),
        ("sft", "tiny.yaml", "neither a run's directory nor a JSONL file"),
    ]:
        done = karat(objective, tmp_path / name, "--model", base, "--device", "cpu")
        assert said in done.stderr
        assert not list(tmp_path.glob(f"*-{objective}-*"))


def test_parts_of_ones_own_that_share_prompts_are_told(tmp_path: Path) -> None:
    for part, texts in [("train", ["a", "b", "c"]), ("validation", [" A", "d"])]:
        made = [{"prompt": [{"role": "user", "content": t}], "completion": "y"} for t in texts]
        file = tmp_path / f"x.{part}.jsonl"
        file.write_text("\n".join(map(json.dumps, made)), encoding="utf-8")
    (warning,) = lessons(tmp_path / "x.train.jsonl", "sft").warnings
    assert warning.startswith("1 of 2 lines of the validation part")
