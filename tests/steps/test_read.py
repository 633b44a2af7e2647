"""read on real files: shapes that published datasets have, and files that are broken."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import Ctx, jsonl, rows_of

from karat.errors import KaratError, RecipeError
from karat.step import find
from karat.steps.read import count_rows, input_files, read

RECORDS = [
    {"prompt": f"Question {i} – ä?", "response": f"Answer\n{i}", "topic": "x", "grade": str(i)}
    for i in range(7)
]


def write_as(path: Path) -> Path:
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(
                stream, list(RECORDS[0]), delimiter="\t" if path.suffix == ".tsv" else ","
            )
            writer.writeheader()
            writer.writerows(RECORDS)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), path)
    elif path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as packed:
            packed.write(lines)
    elif path.suffix in (".gz", ".bz2", ".xz"):
        pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[path.suffix]
        path.write_bytes(pack(lines))
    else:
        path.write_text(json.dumps(RECORDS, indent=1) if path.suffix == ".json" else lines.decode())
    return path


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a.jsonl",
        "a.json",
        "a.csv",
        "a.tsv",
        "a.parquet",
        "a.jsonl.gz",
        "a.jsonl.bz2",
        "a.ndjson.xz",
        "a.jsonl.zst",
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = write_as(tmp_path / name)
    rows = rows_of(path)
    plain = rows_of(jsonl(tmp_path / "plain.jsonl", RECORDS))
    assert rows == plain
    assert [row.prompt for row in rows] == [record["prompt"] for record in RECORDS]
    assert [row.responses[0].content for row in rows] == [r["response"] for r in RECORDS]
    assert rows[3].meta == {"topic": "x", "grade": "3"}
    assert count_rows([path]) == 7


def test_a_folder_is_all_its_files_and_glob_chooses_among_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_as(tmp_path / "b.jsonl")
    write_as(tmp_path / "deep/a.parquet")
    (tmp_path / "README.md").write_text("not data")
    assert len(rows_of(tmp_path)) == 14
    assert len(rows_of(tmp_path, glob="*.jsonl")) == 7
    assert count_rows(input_files(tmp_path, "**/*.parquet")) == 7
    with pytest.raises(RecipeError, match=r"no file in .* matches"):
        rows_of(tmp_path, glob="*.csv")
    with pytest.raises(RecipeError, match=r"README.md: its name must end in jsonl"):
        rows_of(tmp_path, glob="*.md")


def test_an_item_longer_than_a_chunk_and_a_ten_megabyte_line_are_read(tmp_path: Path) -> None:
    records = [{"prompt": '"[{,\\' * 700_000}, {"prompt": "y" * 10_000_000}, {"prompt": "z"}]
    (tmp_path / "a.json").write_text(json.dumps(records))
    listed = rows_of(tmp_path / "a.json")
    assert [len(row.prompt) for row in listed] == [3_500_000, 10_000_000, 1]
    assert rows_of(jsonl(tmp_path / "a.jsonl", records)) == listed


def test_ids_come_from_content_so_a_new_first_line_changes_none(tmp_path: Path) -> None:
    before = rows_of(jsonl(tmp_path / "a.jsonl", [*RECORDS, RECORDS[0], "broken"]))
    after = rows_of(
        jsonl(tmp_path / "b.jsonl", [{"prompt": "new"}, *RECORDS, RECORDS[0], "broken"])
    )
    assert [row.id for row in after[1:]] == [row.id for row in before]
    assert len({row.id for row in after}) == len(after)


def test_reading_holds_a_few_records_only(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"prompt": f"{i} {'x' * 2000}"} for i in range(5_000)])
    call = read(path=str(path))
    tracemalloc.start()
    count = sum(1 for _ in call.step.function(Ctx(), **call.params))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 5_000
    assert peak < 6e6  # the file has 10


# --- broken files --------------------------------------------------------------------------------

BAD = {
    b'{"prompt": "x"': "unreadable line (a.jsonl:2: not JSON)",
    b'{"prompt": "\xff"}': "unreadable line (a.jsonl:2: not UTF-8)",
    b'{"prompt": NaN}': "unreadable line (a.jsonl:2: not JSON: NaN or Infinity)",
    b'{"prompt": "\x00"}': "unreadable line (a.jsonl:2: not JSON: NUL in the text)",
    b'{"prompt": "\\ud800"}': "unreadable line (a.jsonl:2: not JSON: half of a surrogate pair)",
    b'["a"]': "unreadable line (a.jsonl:2: not a JSON object)",
    b'{"prompt": "\\u0000"}': "NUL in the text (a.jsonl:2: in 'prompt')",
    b'{"prompt": " "}': "empty prompt (a.jsonl:2: no user turn to answer)",
    b'{"prompt": ""}': "empty prompt (a.jsonl:2: 'prompt' is empty)",
    b'{"promt": "x"}': "missing field (a.jsonl:2: no 'prompt')",
    b'{"prompt": 7}': "wrong type (a.jsonl:2: 'prompt' is a number, not a text)",
    b'{"prompt": []}': "empty prompt (a.jsonl:2: 'prompt' is an empty list)",
    b'{"prompt": ["x", "y"]}': "wrong type (a.jsonl:2: 'prompt' is a list, not a text; "
    "'prompt.0' is its first one)",
    b'{"prompt": "x", "response": 7}': "wrong type (a.jsonl:2: 'response' is a number, not a text)",
    b'{"prompt": "x", "m": '
    + b"[" * 400
    + b"]" * 400
    + b"}": "unreadable line (a.jsonl:2: nested too deep)",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_becomes_a_dropped_row_with_its_place(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    good = b'{"prompt": "first", "response": "yes"}\n'
    path.write_bytes(b"\xef\xbb\xbf" + good + line + b'\r\n\n{"prompt": "last"}')
    first, bad, last = rows_of(path)
    assert (first.prompt, last.prompt, first.dropped, last.dropped) == ("first", "last", None, None)
    assert bad.dropped == BAD[line]
    assert bad.meta["record"]


def test_broken_items_of_a_list_cost_only_themselves(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"prompt": "a"}, {"prompt": NaN}, {"prompt": "b"}, 3] x')
    reasons = [row.dropped for row in rows_of(path)]
    assert reasons == [
        None,
        "unreadable line (a.json: item 2: not JSON: NaN or Infinity)",
        None,
        "unreadable line (a.json: item 4: not a JSON object)",
        "unreadable line (a.json: end: text after the list)",
    ]
    path.write_text('[{"prompt": "a"}, {"prompt": "b"')
    assert "the list does not end" in str(rows_of(path)[-1].dropped)


def test_broken_csv_lines_and_an_archive_that_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt,n\n"two\nlines",1\nx\nb\xe4d,2\n,3\nlast,4\n')
    assert [row.dropped for row in rows_of(path)] == [
        None,
        "unreadable line (a.csv:4: 1 cells under 2 columns)",
        "unreadable line (a.csv:5: not UTF-8)",
        "missing field (a.csv:6: no 'prompt')",
        None,
    ]
    lines = b"".join(b'{"prompt": "%d %s"}\n' % (i, b"x" * 90) for i in range(30_000))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines)[:-500])
    *good, last = rows_of(tmp_path / "b.jsonl.gz")
    assert len(good) > 10_000
    assert str(last.dropped).startswith("unreadable line (b.jsonl.gz: the file ends early")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "has no record that makes a row; it is empty"),
        ("a.jsonl", b"hello\nyou\n", r"first problem: unreadable line \(a.jsonl:1: not JSON\)"),
        ("a.jsonl", b'{"promt": "x", "n": 1}', r"did you mean 'promt'\? \(there is: n, promt\)"),
        ("a.jsonl", b'{"prompt": 3}', "first problem: wrong type"),
        ("a.jsonl", b"\xff\xfea\0", "UTF-16; save it as UTF-8"),
        ("a.csv", b"a,a\n1,2\n", "name each column once"),
        ("a.parquet", b"PAR1", "is not Parquet"),
        ("a.txt", b"x", "its name must end in"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_stops_the_run(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        rows_of(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.text('[]{}",:\\\n0aé', max_size=60).map(lambda t: ('[{"prompt": "a"},' + t).encode()),
        st.text('[]{}",:\\\n0aé', max_size=60).map(lambda t: ('{"prompt": "a"}\n' + t).encode()),
    )
)
def test_no_bytes_raise_anything_but_karats_errors(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    try:
        rows = rows_of(path)
    except KaratError:
        return
    if name == "a.jsonl" and not data.lstrip().startswith(b"["):
        assert len(rows) == sum(1 for line in data.split(b"\n") if line.strip())


def test_the_rule_and_the_parameters(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "name one of path"),
        ({"path": "a", "dataset": "b"}, "name one of path"),
        ({"dataset": "b", "glob": "*"}, "add path"),
        ({"path": "x/*.csv"}, "glob: '\\*.csv'"),
        ({"dataset": "s3://a"}, "write path: s3://a"),
        ({"path": "a", "source": "me"}, "source"),
        ({"path": "a", "prompt": "p", "messages": "m"}, "prompt and messages"),
        ({"path": "a", "response": "p", "responses": "m"}, "response and responses"),
    ]
    for params, message in cases:
        with pytest.raises(RecipeError, match=message):
            read(**params)
    assert find("read") is read
    path = jsonl(tmp_path / "a.jsonl", RECORDS)
    for params in ({"prompt": "promt"}, {"keep": ["topics"]}, {"scores": ["grades"]}):
        with pytest.raises(
            RecipeError, match=r"did you mean '(prompt|topic|grade)'\? \(there is: "
        ):
            rows_of(path, **params)
    rows = rows_of(path, keep=["topic"], licence="MIT", source="human", limit=2, responses=[])
    assert [(r.meta, r.source, r.responses) for r in rows] == [
        ({"topic": "x", "licence": "MIT"}, "human", [])
    ] * 2


def test_without_the_extra_a_dataset_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RecipeError, match=r"pip install 'karat\[hf\]'"):
        rows_of(dataset="nvidia/HelpSteer2")
