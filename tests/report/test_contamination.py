"""`karat contamination`: what it says of a run, a file, documents; as text, JSON and CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from conftest import MakeRecipe

import karat
from karat.cli import main
from karat.errors import RecipeError
from karat.report.contamination import contamination
from karat.steps._contamination import Rules

ITEM = "How many legs have seven spiders and four beetles together if one beetle has lost two legs"
OTHER = "Which of these nine famous painters was born in a small town in the north of Spain"


@pytest.fixture
def evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"question": text, "answer": "82"}) for text in (ITEM, OTHER)]
    Path("eval.jsonl").write_text("\n".join(lines))
    return "eval.jsonl"


def jsonl(name: str, *records: dict[str, Any]) -> str:
    Path(name).write_text("".join(json.dumps(one) + "\n" for one in records))
    return name


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["contamination", *map(str, arguments)])


def test_a_table_and_examples(evaluation: str) -> None:
    half = " ".join(OTHER.split()[:13])
    data = jsonl("data.jsonl", {"prompt": "Hi"}, {"prompt": f"Tell me: {ITEM}?"},
                 {"prompt": "Hi", "response": half}, {"answer": 3})  # fmt: skip
    done = command(data, "--against", evaluation)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "data.jsonl: 2 of 3 rows (66.67%) share 13 words in a row with an evaluation" in said
    assert "eval.jsonl 2 2 100.0% 1 2" in said
    assert f"eval.jsonl #0 in row 1, 100%: {ITEM.lower()}" in said
    assert f"eval.jsonl #1 in row 2, 76%: {half.lower()}" in said
    assert "Left out: 1 " in said


def test_json_and_csv_hold_every_hit(evaluation: str) -> None:
    data = jsonl("data.jsonl", *({"prompt": f"{ITEM} {i}"} for i in range(5)))
    done = command(data, "--against", evaluation, "--json", "--csv", "hits.csv", "--n", 8)
    found = json.loads(done.stdout)
    assert (found["rows"], found["contaminated"], found["n"]) == (5, 5, 8)
    [told] = found["benchmarks"]
    assert (told["items"], told["items_found"], told["share"], told["rows"]) == (2, 1, 0.5, 5)
    assert [hit["row"] for hit in found["hits"]] == [0, 1, 2, 3, 4]
    lines = list(csv.DictReader(Path("hits.csv").read_text("utf-8").splitlines()))
    assert [(one["row"], one["item"], one["covered"]) for one in lines] == [
        (str(i), "#0", "1.0") for i in range(5)
    ]
    assert lines[0]["text"] == ITEM.lower()


def test_documents_by_their_column(evaluation: str) -> None:
    table = pa.table({"id": ["a", "b", "c"], "text": ["nothing", f"Lo! {OTHER}.", None]})
    pq.write_table(table, "documents.parquet")
    found = contamination(Path("documents.parquet"), [evaluation], Rules(), column="text")
    assert [(hit["row"], hit["id"], hit["item"], hit["word"]) for hit in found.hits] == [
        (1, "b", "#1", 1)
    ]
    assert found.left_out == {"without text": 1}
    done = command("documents.parquet", "--against", evaluation)
    assert done.exit_code == 2
    assert "name the text: --column NAME" in done.output


def test_a_run(evaluation: str, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    path = make_recipe(steps=[{"read": {"path": "data.jsonl"}}])
    jsonl("data.jsonl", {"prompt": "Hi"}, {"prompt": ITEM, "response": OTHER})
    done = karat.run(path, out=tmp_path / "run")
    found = contamination(done.path, [evaluation], Rules())
    assert [hit["item"] for hit in found.hits] == ["#0", "#1"]
    assert [
        hit["item"] for hit in contamination(done.path, [evaluation], Rules(), "response").hits
    ] == ["#1"]


def test_rows_that_look_like_an_item(evaluation: str) -> None:
    again = (
        "If one of four beetles lost two legs, how many legs have they and seven spiders together?"
    )
    data = jsonl("data.jsonl", {"prompt": again}, {"prompt": "Hello there"})
    found = contamination(Path(data), [evaluation], Rules(looks_like=0.85))
    assert (found.contaminated, found.looks_like) == (0, 1)
    done = command(data, "--against", evaluation, "--looks-like", 0.85)
    assert "eval.jsonl 2 0 0.0% 0 0 1 1" in " ".join(done.output.split())


def test_mistakes_in_one_line(evaluation: str) -> None:
    data = jsonl("data.jsonl", {"prompt": "Hi"})
    for arguments, message in (
        ((data,), "name an evaluation set: --against gsm8k"),
        ((data, "--against", "gsm8"), "did you mean 'gsm8k'"),
        (("nothing.jsonl", "--against", evaluation), "no file nothing.jsonl"),
    ):
        done = command(*arguments)
        assert (done.exit_code, done.output.count("error: ")) == (2, 1), done.output
        assert message in done.output
    with pytest.raises(RecipeError, match="has no rows to search"):
        contamination(Path(data), [evaluation], Rules(), column="text")
