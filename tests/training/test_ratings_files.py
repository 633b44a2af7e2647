"""Files of ratings: of every kind, real ones, and mangled ones, which are named and never crash."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.errors import RecipeError
from karat.training.ratings import HumanData, pairs_of, read_human

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
FIVE = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
ASKED = [{"role": "user", "content": "Q"}]
RECORD = {"prompt": "Q", "response": "A", **dict.fromkeys(FIVE, 3)}


def write(path: Path, *records: object) -> Path:
    data = "".join(json.dumps(r) + "\n" for r in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(folder: Path, *records: object) -> HumanData:
    return read_human([write(folder / "some.jsonl", *records)])


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet", "list"])
def test_files_of_every_kind(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    records = [RECORD, {**RECORD, "verbosity": None}]
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif name == "a.csv":
        path.write_text("prompt,response,helpfulness,verbosity\nQ,A,3,3\nQ,A,3,\n", "utf-8")
    elif name == "list":
        path = tmp_path / "list.json"
        path.write_text("\ufeff" + json.dumps(records, indent=1), "utf-8")
    else:
        write(path, *records)
    found = read_human([path])
    assert [math.isnan(row.ratings[4]) for row in found.rated] == [False, True]
    assert found.files == {f"{tmp_path.name}/{path.name}": 2}
    assert read_human([str(tmp_path)]).rated[0] == found.rated[0]


def test_a_folder_of_train_and_validation_files_is_not_read_as_one(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl.gz", RECORD)
    write(tmp_path / "validation.jsonl.gz", RECORD)
    with pytest.raises(RecipeError, match=r"name one of them, or .*@train"):
        read_human([tmp_path])


BAD = [
    ({**RECORD, "helpfulness": 9}, "helpfulness 9 is outside 0–4"),
    ({**RECORD, "helpfulness": float("inf")}, "outside"),
    ({**RECORD, "helpfulness": 10**400}, "not JSON"),
    ({**RECORD, "helpfulness": True}, "a number was wanted, not True"),
    ({**RECORD, "response": None}, "a text was wanted"),
    ({**RECORD, "prompt": None}, "no field 'prompt'"),
    ({**RECORD, "prompt": said("A")}, "no user turn in the prompt"),
    ({"prompt": "Q", "response_1": "a", "preference_strength": 1}, "no field 'response_2'"),
    (
        {"prompt": "Q", "response_1": "a", "response_2": "b", "preference_strength": 7},
        "outside −3–3",
    ),
    ({"prompts": ["Q"], "responses_a": ["a"], "responses_b": ["b"], "winner": "x"}, "a winner of"),
    ({"input": "Q", "output_1": "a", "output_2": "b", "label": 3}, "a label of 1 or 2"),
    ({"prompt": "Q", "chosen": [], "rejected": []}, "a conversation without a turn"),
    ({"prompt": "Q", "chosen": "a", "rejected": "b", "strength": 9}, "a strength of 9"),
    ({"question": "Q", "answer": "A"}, "its fields are answer, question; wanted are"),
    ({}, "its fields are none"),
    ("text", "not a JSON object"),
]


@pytest.mark.parametrize(("record", "message"), BAD)
def test_a_bad_record_is_named_with_what_is_wrong(
    tmp_path: Path, record: object, message: str
) -> None:
    with pytest.raises(RecipeError, match=rf"some\.jsonl, line 1: .*{message}"):
        read(tmp_path, record)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-4, 4),
    st.floats(),
    st.sampled_from(["", "Q", "A", "user"]),
)
keys = st.sampled_from([
    *FIVE, "prompt", "response", "chosen", "rejected", "role", "content", "text", "replies", "rank",
    "prompts", "responses_a", "responses_b", "winner", "context", "response_1", "response_2",
    "preference_strength", "key", "values", "rater", "input", "output_1", "output_2", "label",
    "response_a", "response_b", "winner_model_a", "conversation_a", "messages", "score_chosen",
])  # fmt: skip
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
)
whole = st.sampled_from(
    [RECORD, {"prompt": ASKED, "chosen": said("a"), "rejected": said("b")},
     {"context": ASKED, "response1": "a", "response2": "b", "overall_preference": 1},
     {"prompts": ["Q"], "responses_a": ["a"], "responses_b": ["b"], "winner": "model_a"},
     {"prompt": {"role": "prompter", "text": "Q", "replies": [{"text": "a", "rank": 0}]}},
     {"key": "00" * 16, "rater": "ann", "values": {"helpfulness": 3}}]
)  # fmt: skip
mangled = st.builds(
    lambda record, other: record | other, whole, st.dictionaries(keys, values, max_size=3)
)


@given(st.dictionaries(keys, values, max_size=8) | mangled | values)
@settings(max_examples=150, deadline=None)
def test_a_mangled_record_is_read_or_named(tmp_path_factory: Any, record: object) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        found = read(folder, record)
    except RecipeError as error:
        assert "some.jsonl" in str(error)  # noqa: PT017
        return
    for row in found.rated:
        assert any(r == r for r in row.ratings)
        assert all(math.isnan(r) or 0 <= r <= 4 for r in row.ratings)
    assert all(pair.chosen.split() != pair.rejected.split() for pair in found.pairs)


@given(st.binary(max_size=300), st.sampled_from(["a.json", "a.jsonl.gz", "a.parquet", "a.csv"]))
@settings(max_examples=100, deadline=None)
def test_a_mangled_file_is_named(tmp_path_factory: Any, data: bytes, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    try:
        assert read_human([path]).rated == []
    except RecipeError as error:
        assert name in str(error)  # noqa: PT017


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "pairs", "left_out"),
    [
        ("helpsteer2/ratings.jsonl", 1000, 0, {}),
        ("helpsteer1", 500, 0, {}),
        # Every vote in this sample is a tie: no decided pair can come of it.
        ("pairs/arena-human.jsonl", 0, 0, {"tie": 500}),
        ("pairs/hh-helpful.jsonl", 0, 498,
         {"empty answer": 1, "the conversations part before the last turn": 1}),
        ("pairs/hh-harmless.jsonl", 0, 499, {"the conversations part before the last turn": 1}),
        ("pairs/rewardbench-sample.jsonl", 0, 500, {}),
        ("llmbar", 0, 319, {}),
        ("dialogues", 0, 754, {}),
    ],
)  # fmt: skip
def test_real_files(name: str, rows: int, pairs: int, left_out: dict[str, int]) -> None:
    found = read_human([DATA / name])
    assert (len(found.rated), len(found.pairs), found.left_out) == (rows, pairs, left_out)
    assert sum(found.files.values()) == rows + pairs


@needs_data
def test_pairs_of_real_ratings() -> None:
    found = pairs_of(read_human([DATA / "helpsteer2" / "ratings.jsonl"]))
    assert (len(found.pairs), found.left_out) == (373, {"tie": 127})
    good = pairs_of(read_human([DATA / "helpsteer2" / "ratings.jsonl"]), "goodness")
    assert (len(good.pairs), good.left_out) == (418, {"tie": 82})
