"""What a fine-tuned reward model said wrongly or not at all, each once found by attack."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
from marked import quick, write_rated
from tiny_model import tiny_model

from karat.errors import RecipeError, RunError
from karat.rundir import Lock, Run
from karat.training.finetune.record import identity
from karat.training.finetune.train import train_reward_model
from karat.training.ratings import read_human


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rm")
    tiny_model(folder / "base")
    write_rated(folder / "ratings.jsonl")
    return folder


def rows(place: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (place / "ratings.jsonl").read_text().splitlines()]


def write(file: Path, lines: list[dict[str, object]]) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.parametrize("objective", ["regression", "regression+scaled"])
def test_an_attribute_that_nobody_rated_is_no_part_of_the_reward(
    place: Path, tmp_path: Path, objective: str
) -> None:
    kept = ("prompt", "response", "helpfulness")
    file = write(tmp_path / "d.jsonl", [{k: row[k] for k in kept} for row in rows(place)])
    with pytest.raises(RecipeError, match="goodness weighs correctness, coherence, which nobody"):
        train_reward_model([file], str(place / "base"), tmp_path / "o", quick(objective=objective))
    assert not (tmp_path / "o").exists()


def test_two_tests_of_one_name_are_both_measured_and_a_new_one_is_named(
    place: Path, tmp_path: Path
) -> None:
    tests = [
        write(tmp_path / part / "test.jsonl",
              [{**row, "prompt": f"{part} {row['prompt']}"} for row in rows(place)[: 4 * size]])
        for size, part in enumerate(("a", "b"), 1)
    ]  # fmt: skip
    data, base, out = [place / "ratings.jsonl"], str(place / "base"), tmp_path / "o"
    settings = quick(objective="bt", epochs=0.2)
    made = train_reward_model(data, base, out, settings, tests=tests)
    assert [(figure.name, figure.n) for figure in made.tests] == [("test", 2), ("test 2", 4)]
    said: list[str] = []
    third = write(tmp_path / "third.jsonl", rows(place))
    train_reward_model(data, base, out, settings, tests=[*tests, third], say=said.append)
    assert said[1].startswith("not measured on third")


def test_another_text_of_the_template_is_another_training(place: Path, tmp_path: Path) -> None:
    data, file = read_human([place / "ratings.jsonl"]), tmp_path / "t.jinja"
    settings = quick(template=str(file))
    marks = set()
    for text in ("{{ messages }}", "{{ messages[0] }}"):
        file.write_text(text)
        marks.add(identity(data, "base", settings))
    assert len(marks) == 2


def test_a_folder_is_one_trainings_and_a_full_disk_is_told(place: Path, tmp_path: Path) -> None:
    data, base, out = [place / "ratings.jsonl"], str(place / "base"), tmp_path / "o"
    settings = quick(objective="bt", epochs=0.2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
        with pytest.raises(RunError, match=r"cannot be written.*make room"):
            train_reward_model(data, base, out, settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with Lock(Run(out)), pytest.raises(RunError, match="in use by another karat"):
        train_reward_model(data, base, out, settings)
    assert train_reward_model(data, base, out, settings).steps > 0
