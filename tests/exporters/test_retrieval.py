"""retrieval and beir: what trainers and testers of search read, as their own loaders read it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from kept import lines, response, run_of

from karat.exporters import beir, retrieval
from karat.row import Message, Row

TEXT = "The bridge was opened in 1871. It is 240 metres long. Eleven workers died. Walkers cross."
SPANS = [(0, 53), (31, 74), (54, 89)]  # each repeats a sentence of the one before


def passage(number: int, **more: Any) -> dict[str, Any]:
    start, end = SPANS[number]
    return {"passage": TEXT[start:end], "file": "a.md", "start": start, "end": end, **more}


def other(number: int) -> dict[str, Any]:
    text = f"Other passage {number} ä."
    return {"passage": text, "file": "b.pdf", "start": 9 * number, "end": 9, "page": 2}


def asked(number: int, place: int, words: str, dropped: str | None = None, **more: Any) -> Row:
    """A question about a passage, whose answer is these words of it."""
    meta = passage(place, heading="Bridges", question=f"Question {number}?", answer=words, **more)
    at = meta["passage"].index(words)
    meta["support"] = {"start": at, "end": at + len(words)}
    messages = [Message("user", "x")]
    return Row(f"{number:016x}", messages, [response(words)], meta=meta, dropped=dropped)


def exported(tmp_path: Path, module: Any, rows: list[Row]) -> Any:
    return module.export(run_of(tmp_path / "run", rows), tmp_path / "export")


# --- retrieval -----------------------------------------------------------------------------------


def test_a_line_holds_the_question_its_passage_and_its_negatives(tmp_path):
    rows = [
        asked(1, 0, "1871", negatives=[other(1), other(2)], page=4, licence="MIT"),
        asked(2, 2, "Eleven workers"),
        Row("0" * 16, [Message("user", "x")], [response("y")], meta={"topic": "tea"}),
        Row("1" * 16, [Message("user", "x")], [response("y")], meta={"passage": "only"}),
    ]
    done = exported(tmp_path, retrieval, rows)
    assert (done.rows, done.left_out) == (2, {"no passage": 1, "no question": 1})
    first, second = lines(done.files["data"])
    assert first == {
        "query": "Question 1?",
        "positive": TEXT[0:53],
        "negatives": ["Other passage 1 ä.", "Other passage 2 ä."],
        "answer": "1871",
        "source": {"file": "a.md", "page": 4, "start": 0, "end": 53, "licence": "MIT"},
    }
    assert second["source"] == {
        "file": "a.md", "page": None, "start": 54, "end": 89, "licence": None,
    }  # fmt: skip
    assert second["negatives"] == []


FOREIGN = [
    ({"negatives": ["a", {"text": "b"}, {"passage": "c", "file": "x"}, " "]}, ["a", "b", "c"]),
    ({"negatives": None}, []),
    ({"negatives": "abc"}, None),
    ({"negatives": {"passage": "z"}}, None),
    ({"negatives": ["a", 5]}, None),
    ({"negatives": [{"title": "a"}]}, None),
    ({"negatives": [{"passage": None}]}, None),
    ({"negatives": 7}, None),
    ({"candidates": "abc", "checks": 1}, []),
    ({"support": {}, "start": 0}, []),
    ({"support": {"start": "0", "end": "5"}, "start": 0}, []),
    ({"support": {"start": 5, "end": 2}, "start": True, "end": 9}, []),
    ({"support": "strong", "start": 1.5, "end": 2**80}, []),
    ({"file": ["x"], "page": "iv", "heading": {"a": 1}, "licence": 5, "answer": [1]}, []),
]


@pytest.mark.parametrize(("columns", "negatives"), FOREIGN)
def test_columns_of_others_are_read_or_left_out_and_never_break_it(tmp_path, columns, negatives):
    good = asked(1, 0, "1871", negatives=[other(1)])
    meta = {"passage": "A text from elsewhere.", "question": "Which?", **columns}
    rows = [good, Row("b" * 16, [Message("user", "x")], [response("y")], meta=meta)]
    left_out = {"negatives are no passages": 1} if negatives is None else {}
    done = exported(tmp_path, retrieval, rows)
    assert (done.rows, done.left_out) == (2 - len(left_out), left_out)
    written = lines(done.files["data"])
    assert [line["negatives"] for line in written[1:]] == [n for n in [negatives] if n is not None]
    for line in written:
        assert {type(line["source"][key]) for key in ("page", "start", "end")} <= {int, type(None)}
        assert isinstance(line["source"]["file"], str | None)
    (tmp_path / "run").rename(tmp_path / "before")
    done = exported(tmp_path, beir, rows)
    assert (done.rows, done.left_out) == (2 - len(left_out), left_out)
    corpus, queries, qrels = load(tmp_path / "export/beir")
    texts = {passage["text"] for passage in corpus.values()}
    assert texts == {TEXT[0:53], "Other passage 1 ä.", meta["passage"], *(negatives or [])}
    assert {type(passage["title"]) for passage in corpus.values()} == {str}
    assert set(qrels) == set(queries)
    assert len(queries) == done.rows


def test_a_passage_without_a_word_is_none(tmp_path):
    row = Row("b" * 16, [Message("user", "x")], meta={"passage": " ", "question": "Which?"})
    for module in (retrieval, beir):
        done = exported(tmp_path / module.__name__, module, [row])
        assert (done.rows, done.left_out) == (0, {"no passage": 1})


def test_datasets_loads_it(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [asked(1, 0, "1871", negatives=[other(1)], licence="MIT"), asked(2, 2, "workers")]
    done = exported(tmp_path, retrieval, rows)
    loaded = datasets.load_dataset(
        "json", data_files=str(done.files["data"]), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == 2
    assert loaded[0]["negatives"] == ["Other passage 1 ä."]
    assert loaded[1]["source"]["licence"] is None


# --- BEIR ----------------------------------------------------------------------------------------


def load(folder: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, dict[str, int]]]:
    """As beir's GenericDataLoader.load("test") reads the three files."""
    corpus = {}
    with (folder / "corpus.jsonl").open(encoding="utf8") as stream:
        for line in map(json.loads, stream):
            corpus[line.get("_id")] = {"text": line.get("text"), "title": line.get("title")}
    with (folder / "queries.jsonl").open(encoding="utf8") as stream:
        queries = {line.get("_id"): line.get("text") for line in map(json.loads, stream)}
    qrels: dict[str, dict[str, int]] = {}
    with (folder / "qrels/test.tsv").open(encoding="utf-8") as stream:
        reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
        assert next(reader) == ["query-id", "corpus-id", "score"]
        for query, passage_id, score in reader:
            qrels.setdefault(query, {})[passage_id] = int(score)
    return corpus, {query: queries[query] for query in qrels}, qrels


ROWS = [
    asked(1, 0, "1871", negatives=[other(1), other(2)]),
    asked(2, 0, "240 metres"),
    asked(3, 1, "Eleven", dropped="closed_qa: too easy (answered without the passage)"),
    asked(4, 2, "Walkers", negatives=[other(2)]),
]


def test_the_files_load_as_beir_loads_them(tmp_path):
    done = exported(tmp_path, beir, ROWS)
    assert done.rows == 3
    corpus, queries, qrels = load(tmp_path / "export/beir")
    assert sorted(text["text"] for text in corpus.values()) == sorted(
        [*(TEXT[start:end] for start, end in SPANS), "Other passage 1 ä.", "Other passage 2 ä."]
    )
    assert queries == {row.id: row.meta["question"] for row in ROWS if row.dropped is None}
    assert set(qrels) == set(queries)
    assert all(passage_id in corpus for found in qrels.values() for passage_id in found)
    assert {text["title"] for text in corpus.values()} == {"Bridges", ""}


def test_every_passage_that_holds_the_support_is_relevant(tmp_path):
    exported(tmp_path, beir, ROWS)
    corpus, _, qrels = load(tmp_path / "export/beir")
    found = {
        query[-1]: [corpus[name]["text"] for name in relevant] for query, relevant in qrels.items()
    }
    assert (
        found
        == {
            "1": [TEXT[0:53]],
            "2": [TEXT[0:53], TEXT[31:74]],  # the second passage repeats the sentence
            "4": [TEXT[54:89]],
        }
    )
    assert {score for relevant in qrels.values() for score in relevant.values()} == {1}


def test_the_same_text_in_two_files_is_one_passage(tmp_path):
    twin = asked(5, 0, "1871")
    twin.meta["file"] = "copy.md"
    exported(tmp_path, beir, [ROWS[0], twin])
    corpus, queries, qrels = load(tmp_path / "export/beir")
    assert len(corpus) == 3
    assert len(queries) == 2
    assert len({tuple(relevant) for relevant in qrels.values()}) == 1


def test_passages_without_a_place_are_relevant_to_their_own_questions(tmp_path):
    meta = {"passage": "A text from elsewhere.", "question": "Which?", "answer": "this"}
    rows = [Row("a" * 16, [Message("user", "x")], [response("this")], meta=meta)]
    exported(tmp_path, beir, rows)
    corpus, queries, qrels = load(tmp_path / "export/beir")
    ((name, passage_held),) = corpus.items()
    assert passage_held == {"text": "A text from elsewhere.", "title": ""}
    assert qrels == {"a" * 16: {name: 1}}
    assert queries == {"a" * 16: "Which?"}


def test_without_questions_there_are_no_files(tmp_path):
    exported(tmp_path, beir, ROWS)
    done = exported(tmp_path, beir, [Row("0" * 16, [Message("user", "x")], meta={"passage": "p"})])
    assert (done.rows, done.files, done.left_out) == (0, {}, {"no question": 1})
    assert not [path for path in (tmp_path / "export").rglob("*") if path.is_file()]


def test_the_same_run_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        exported(tmp_path / name, beir, ROWS)
    for file in beir.FILES:
        assert (tmp_path / "a/export" / file).read_bytes() == (
            tmp_path / "b/export" / file
        ).read_bytes()
