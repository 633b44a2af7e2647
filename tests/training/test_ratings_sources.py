"""Ratings out of runs and out of sets that have a name: the real export, the real `datasets`."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from karat.columns import Table
from karat.errors import RecipeError
from karat.finish import write_results
from karat.licensing.rows import Licences
from karat.rewards.human import rating_line
from karat.row import Message, Response, Row
from karat.rundir import Run
from karat.stage import StageWriter
from karat.training.ratings import read_human

FIVE = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
NOW = "2026-11-30T09:30:00Z"
NAN = float("nan")
ASKED = [Message("system", "Be brief."), Message("user", "What is rain?")]


def asked(number: int) -> list[Message]:
    return [*ASKED[:1], Message("user", f"What is rain {number}?")]


def run_of(folder: Path, *splits: str) -> Run:
    """A run of a row for each split; the last row was dropped."""
    rows = [
        Row(f"{i:016x}", asked(i),
            [Response(text, "small", j, "stop", "", {"rm.reward": float(j)}, kept)
             for j, (text, kept) in enumerate((("Wet.", False), ("Water that falls.", True)))],
            meta={"split": split} if split else {},
            dropped="reject: too low" if i and i + 1 == len(splits) else None)
        for i, split in enumerate(splits)
    ]  # fmt: skip
    run, last = Run(folder), folder / "stages/01-last.parquet"
    writer = StageWriter(last)
    writer.add(rows)
    writer.close({})
    write_results(Table(last), run, "rm.reward", Licences({}, {}, run.journal))
    return run


def rate(folder: Path, *lines: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "ratings.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def line(rater: str, messages: list[Message], response: str, **values: float) -> bytes:
    return rating_line(messages, response, values, rater=rater, time=NOW)


# --- runs ----------------------------------------------------------------------------------------


def test_ratings_of_a_run_are_the_mean_of_its_raters(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "", "")
    rate(
        run.path,
        line("ann", asked(0), "Wet.", helpfulness=0, verbosity=1),
        line("bob", asked(0), "Wet.", helpfulness=3),
        line("ann", asked(1), "Wet.", helpfulness=4),  # of a row that was dropped
        line("ann", asked(0), "Wet.", helpfulness=2),  # the later line counts
        line("ann", asked(0), "Wet.", style=2),
        line("ann", asked(7), "Wet.", helpfulness=2),
    )
    found = read_human([run.path])
    assert [(row.prompt, row.response) for row in found.rated] == [
        (tuple(asked(0)), "Wet."), (tuple(asked(1)), "Wet."),
    ]  # fmt: skip
    first, second = found.rated
    assert (first.ratings[0], first.ratings[4]) == (2.5, 1)
    assert str(first.ratings) == str((2.5, NAN, NAN, NAN, 1.0))
    assert second.ratings[0] == 4
    assert second.group == "what is rain 1?"
    assert found.left_out == {
        "not rated on the five attributes": 1, "rated response not in the run": 1,
    }  # fmt: skip
    assert found.files == {"run/ratings.jsonl": 2}
    assert str(read_human([run.path / "ratings.jsonl"])) == str(found)


def test_lines_that_hold_their_texts_need_no_run(tmp_path: Path) -> None:
    of = {"messages": [{"role": "user", "content": "Q"}], "response": "A"}
    records = [of | {"rater": "ann", "values": {"helpfulness": [1, 2]}},
               of | {"rater": "bob", "helpfulness": 3}]  # fmt: skip
    path = rate(tmp_path, *(json.dumps(record).encode() + b"\n" for record in records))
    (row,) = read_human([path]).rated
    assert (row.response, row.ratings[0]) == ("A", 2)


def test_ratings_whose_run_is_not_there_are_named(tmp_path: Path) -> None:
    alone = rate(tmp_path / "alone", line("ann", asked(0), "Wet.", helpfulness=0))
    with pytest.raises(RecipeError, match="their texts are in the run that was rated"):
        read_human([alone])
    other = run_of(tmp_path / "other", "")
    shutil.copy(alone, other.path)
    rate(other.path, line("ann", asked(9), "Wet.", helpfulness=0))
    with pytest.raises(RecipeError, match="none of the 1 responses it names by key is in"):
        read_human([other.path])
    other.accepted_file.write_bytes(b"PAR1")
    with pytest.raises(RecipeError, match=r"accepted\.parquet cannot be read"):
        read_human([other.path])


def test_a_run_without_ratings_gives_the_pairs_of_its_export(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "", "", "")
    found = read_human([run.path])
    assert [(p.chosen, p.rejected) for p in found.pairs] == [("Water that falls.", "Wet.")] * 2
    assert found.pairs[0].prompt == tuple(asked(0))
    assert found.files == {"run/trl-preference": 2}
    from karat.exporters import trl_preference

    made = trl_preference.export(run, run.export)
    assert read_human([made.files["train"]]).pairs == found.pairs


def test_a_run_is_read_by_its_parts(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "train", "test", "train", "test")
    assert [p.group for p in read_human([run.path]).pairs] == ["what is rain 0?", "what is rain 2?"]
    assert [p.group for p in read_human([f"{run.path}@test"]).pairs] == ["what is rain 1?"]
    with pytest.raises(RecipeError, match="no pair in its part 'validation'"):
        read_human([f"{run.path}@validation"])


def test_a_run_with_no_pair_says_why(tmp_path: Path) -> None:
    run, last = Run(tmp_path), tmp_path / "stages/01-last.parquet"
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(RecipeError, match=r"has no accepted\.parquet: run it to the end"):
        read_human([tmp_path])
    writer = StageWriter(last)
    writer.add([Row("0" * 16, ASKED, [Response("Wet.", scores={"rm.reward": 1.0})])])
    writer.close({})
    write_results(Table(last), run, "rm.reward", Licences({}, {}, run.journal))
    with pytest.raises(RecipeError, match=r"no pair of answers \(1 fewer than two responses"):
        read_human([tmp_path])


# --- sets with a name ----------------------------------------------------------------------------


@pytest.fixture
def helpsteer2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the repository nvidia/HelpSteer2 is laid out."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "HelpSteer2"

    def put(name: str, *records: dict[str, Any]) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))

    row = {"prompt": "Q", "response": "A"}
    put("train.jsonl.gz", *(row | dict.fromkeys(FIVE, i % 5) for i in range(7)))
    put("validation.jsonl.gz", *(row | dict.fromkeys(FIVE, 4) for _ in range(2)))
    pair = {"prompt": "Q", "response_1": "a", "response_2": "b", "preference_statement": None}
    put(
        "preference/preference.jsonl.gz",
        *({"split": part} | pair | {"preference_strength": strength}
          for part, strength in (("train", -2), ("val", 1), ("train", 0), ("train", 3))),
    )  # fmt: skip
    put("disagreements/disagreements.jsonl.gz", row | {name: [1, 2, 3] for name in FIVE})
    return folder


def test_a_set_is_read_by_name_subset_and_split(helpsteer2: Path) -> None:
    def count(name: str) -> tuple[int, list[float], dict[str, int]]:
        found = read_human([f"{helpsteer2}{name}"])
        assert found.files == {f"{helpsteer2.name}{name}": len(found.rated) + len(found.pairs)}
        return len(found.rated), [p.strength for p in found.pairs], found.left_out

    assert count("@train") == (7, [], {})
    assert count("@validation") == (2, [], {})
    assert count(":preference@train") == (0, [2, 3], {"tie": 1})
    assert count(":preference@validation") == (0, [1], {})
    assert count(":disagreements@train") == (1, [], {})
    assert len(read_human([f"{helpsteer2}:preference"]).pairs) == 2  # train where none is named
    with pytest.raises(RecipeError, match="has no split 'tset'; "):
        read_human([f"{helpsteer2}@tset"])
    with pytest.raises(RecipeError, match=r":feedback@train' cannot be had \(.*; look at the name"):
        read_human([f"{helpsteer2}:feedback"])
    with pytest.raises(RecipeError, match=r"name one of them, or .*HelpSteer2@train"):
        read_human([helpsteer2])


def test_a_saved_set_is_read(helpsteer2: Path, tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list([{"prompt": "Q", "response": "A", "helpfulness": 2.0}])
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(tmp_path / "two")
    for source in (tmp_path / "one", f"{tmp_path / 'two'}@test"):
        assert len(read_human([source]).rated) == 1
    with pytest.raises(RecipeError, match="no split 'validation'"):
        read_human([f"{tmp_path / 'two'}@validation"])


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for source in ("nvidia/HelpSteer2:preference", Path("nvidia/HelpSteer3")):
        with pytest.raises(RecipeError, match=r"preference@train' cannot be had \(.*copy the data"):
            read_human([source])
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RecipeError, match=r"pip install 'karat\[hf\]'"):
        read_human(["nvidia/HelpSteer2"])


@pytest.mark.parametrize("source", ["absent.jsonl", "some/absent.jsonl.gz", "absent", "/no/such/x"])
def test_a_file_that_is_not_there_is_no_name_of_a_set(source: str) -> None:
    with pytest.raises(RecipeError, match=r"cannot be read \(no such file or folder\)"):
        read_human([source])
